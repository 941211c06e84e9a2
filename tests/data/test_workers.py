"""Input workers: the stop signals are the parent's, and none outlives it."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCRIPT = """
    import functools, multiprocessing, os, signal, sys, threading, time
    import numpy as np
    from logo_jax.common.errors import STOP_SIGNALS
    from logo_jax.data import PreparedSet, pipeline
    from logo_jax.data.sampling import dynamic_sampling

    if __name__ == "__main__":
        received = []
        for number in STOP_SIGNALS:
            signal.signal(number, lambda number, frame: received.append(int(number)))
        prepared = PreparedSet(sys.argv[1])
        sampler = functools.partial(dynamic_sampling, segments=1, duration=1)
        batches = pipeline.eval_batches(
            prepared, np.tile(np.arange(21), 4), batch_size=2, sampler=sampler, frame_size=8,
            num_workers=2,
        )

        def signals_while_they_start():
            while len(multiprocessing.active_children()) < 2:
                time.sleep(0.01)
            os.killpg(0, signal.SIGINT)

        threading.Thread(target=signals_while_they_start).start()
        rows = next(batches)["row"].tolist() + next(batches)["row"].tolist()  # both work
        for number in STOP_SIGNALS:
            os.killpg(0, number)
        for _ in range(28):
            rows += next(batches)["row"].tolist()
        assert rows == [row % 21 for row in range(60)], rows
        alive = [child.is_alive() for child in multiprocessing.active_children()]
        print(sorted(set(received)), alive, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_workers_leave_signals_to_the_parent_and_end_with_it(noise_set, tmp_path):
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    output = tmp_path / "output.txt"  # no pipe, which a worker that is left behind would hold
    with output.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, tmp_path / "script.py", noise_set.folder],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        process.wait(timeout=90)
        assert output.read_text().startswith("[1, 2, 15] [True, True]\n"), output.read_text()
        end = time.monotonic() + 10
        while group_is_alive(process.pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert not group_is_alive(process.pid)
    finally:
        if group_is_alive(process.pid):
            os.killpg(process.pid, 9)
