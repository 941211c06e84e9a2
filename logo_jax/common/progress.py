"""Progress of long work: a bar on a terminal, a plain line every few seconds otherwise."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """How far a piece of long work is, reported on standard error.

    A log file is not a terminal: there a bar would leave thousands of control characters, so a
    line with count, rate and remaining time is printed at most every ten seconds instead.
    """

    def __init__(self, total: int | None, desc: str = "", unit: str = "it", done: int = 0):
        self.total, self.desc, self.unit = total, desc, unit
        self.done = self.first = done
        self.start = self.last = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=total, desc=desc, unit=unit, initial=done, dynamic_ncols=True)

    def update(self, count: int = 1, note: str = "") -> None:
        """`count` more units are done; `note` is a few words to show beside the count."""
        self.done += count
        if self.bar is not None:
            if note:
                self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif time.monotonic() - self.last >= SECONDS_BETWEEN_LINES:
            self.last = time.monotonic()
            self.say(self._line(note))

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self.say(self._line())

    def _line(self, note: str = "") -> str:
        seconds = time.monotonic() - self.start
        rate = (self.done - self.first) / max(seconds, 1e-9)
        text = f"{self.desc}: {self.done:,}"
        if self.total:
            text += f" of {self.total:,}"
        text += f" {self.unit}"
        if rate > 0:  # slow steps of a large model: "0.0/s" would say nothing
            text += f", {rate:.1f}/s" if rate >= 1 else f", {1 / rate:.1f} s each"
            if self.total and self.done < self.total:
                text += f", {(self.total - self.done) / rate:.0f} s left"
        return text + (f"; {note}" if note else "")


def track(
    iterable: Iterable[Item], total: int | None = None, desc: str = "", unit: str = "it"
) -> Iterator[Item]:
    """Yield the items of `iterable` and report how far the work is."""
    progress = Progress(total, desc, unit)
    try:
        for item in iterable:
            yield item
            progress.update()
    finally:
        progress.close()
