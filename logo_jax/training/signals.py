"""Signals that stop: in the training loop, finish the step and save; elsewhere, end in order."""

import os
import signal
import sys
import threading
import time
from types import FrameType

from logo_jax.common.errors import STOP_SIGNALS

# A process group, a cluster and a script that hands a signal on may each send the same stop.
SAME_STOP_SECONDS = 2.0


class Stopped(KeyboardInterrupt):
    """A stop signal came where no step was going on.

    Attributes:
        status: exit status of a program that this signal ended, 128 + its number.
        saved: what is there to go on from; set by whoever knows.
    """

    def __init__(self, number: int):
        super().__init__()
        self.name = signal.Signals(number).name
        self.status = 128 + number
        self.saved = "nothing was saved, and the same command starts again"

    def __str__(self) -> str:
        return f"{self.name}: stopped; {self.saved}"


def raise_on_stop() -> None:
    """Raise `Stopped` in the main thread at the first stop signal; a second one ends the program.

    A signal that is ignored, as Ctrl-C is in a background job, stays so.
    """
    _listen()
    sys.unraisablehook = _raise_again


def _listen() -> None:
    for number in _heard():
        signal.signal(number, _raise)


def _heard() -> list[signal.Signals]:
    """The stop signals that are not ignored, as SIGHUP is under nohup."""
    return [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def _raise(number: int, frame: FrameType | None) -> None:
    for each in _heard():
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)


def _raise_again(dropped: "sys.UnraisableHookArgs") -> None:
    """Repeat a stop signal that came in a callback of the garbage collector.

    Python can only drop what is raised there; JAX has such a callback.
    """
    stop = dropped.exc_value
    if not isinstance(stop, Stopped):
        sys.__unraisablehook__(dropped)
        return
    _listen()
    threading.Timer(0.05, os.kill, (os.getpid(), stop.status - 128)).start()


class StopSignals:
    """While the `with` block runs, `received` names the first stop signal that came, or is "".

    A later signal does what it would have done without this class; one that follows at once is
    taken for the same stop.
    """

    def __init__(self) -> None:
        self.received = ""
        self._when = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        # Python delivers signals to the main thread only; elsewhere there is nothing to catch.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._stop) for number in _heard()}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self.received:
            self.received = signal.Signals(number).name
            self._when = time.monotonic()
        elif time.monotonic() - self._when > SAME_STOP_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
