"""A stop signal is heard wherever the main thread is."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from logo_jax.training import signals

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


@pytest.mark.parametrize(
    ("number", "said"), [(1, "SIGHUP 129"), (2, "SIGINT 130"), (15, "SIGTERM 143")]
)
def test_a_signal_in_a_callback_of_the_garbage_collector_is_not_lost(number, said):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(number)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == said, done.stderr


def test_a_stop_that_is_sent_twice_is_one_and_a_later_one_ends_the_program(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with signals.StopSignals() as stop:
            signal.raise_signal(signal.SIGTERM)
            now[0] += 1
            signal.raise_signal(signal.SIGINT)
            assert stop.received == "SIGTERM"
            now[0] += 2
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_is_ignored_stays_so():
    """As SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.StopSignals() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.received == ""
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
