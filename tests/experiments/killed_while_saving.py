"""One process of a job that dies at a meeting of its second save: a script for test_layouts.py.

Arguments as of one_process.py; <workdir>.meeting names the meeting.
"""

import os
import signal
import sys
from pathlib import Path

import one_process
from jax.experimental import multihost_utils

meeting = Path(sys.argv[2]).with_suffix(".meeting").read_text()
meet = multihost_utils.sync_global_devices
saves = 0


def meet_or_die(name: str) -> None:
    global saves
    saves += name.startswith("CheckpointManager:save_start")
    if saves == 2 and name.startswith(meeting):
        os.kill(os.getpid(), signal.SIGKILL)
    meet(name)


multihost_utils.sync_global_devices = meet_or_die
one_process.main(*sys.argv[1:])
