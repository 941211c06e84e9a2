"""A stop signal is heard wherever the main thread is."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
    import gc, os, signal, sys, time
    from logo_jax.training.signals import Stopped, raise_on_stop

    def collecting(phase, info):
        gc.callbacks.remove(collecting)
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(0.01)  # the handler runs here, where an exception is dropped

    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_on_stop()
    gc.callbacks.append(collecting)
    try:
        gc.collect()
        time.sleep(10)
        print("lost")
    except Stopped as stop:
        print(stop.name, stop.status)
"""


@pytest.mark.parametrize(("number", "said"), [(2, "SIGINT 130"), (15, "SIGTERM 143")])
def test_a_signal_in_a_callback_of_the_garbage_collector_is_not_lost(number, said):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(number)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == said, done.stderr
