"""The training log: one JSON object a line in `metrics.jsonl`, and TensorBoard event files."""

import contextlib
import json
import os
import time
from pathlib import Path

import jax
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from logo_jax.common.distributed import on_first_host
from logo_jax.common.errors import UserError
from logo_jax.common.files import atomic_writer


class TrainingLog:
    """Writes the numbers of a step to `<workdir>/metrics.jsonl` and `<workdir>/tensorboard/`.

    A run that resumes at `first_step` repeats the steps after it: their old lines are dropped, so
    that each step stands once. All processes of a job make a log and write to it together; the
    first one has the files, and all of them know, or raise, what it finds.

    Raises:
        UserError: a line of the log is no line of it, or the log cannot be written.
    """

    def __init__(self, workdir: str | os.PathLike, first_step: int):
        self.workdir = Path(workdir)
        self.path = self.workdir / "metrics.jsonl"
        self._last = on_first_host(lambda: self._open(first_step))

    def last_step(self, name: str) -> int | None:
        """The last step at which an earlier start of the run has recorded `name`."""
        return self._last.get(name)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record `values` under `step`, the number of steps done.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        on_first_host(lambda: self._write(step, values))

    def close(self) -> None:
        """Close the files. Every line was flushed, or its failure was raised by `write`."""
        if jax.process_index() != 0:
            return
        for file in (self._file, self._tensorboard):
            with contextlib.suppress(OSError):
                file.close()

    def _open(self, first_step: int) -> dict[str, int]:
        """Open the files, and return the last steps of all names in the lines that stay."""
        last: dict[str, int] = {}
        if self.path.exists():
            kept = [line for line in self._lines() if line["step"] <= first_step]
            with atomic_writer(self.path) as file:
                file.writelines(json.dumps(line) + "\n" for line in kept)
            for line in kept:
                last |= {name: max(line["step"], last.get(name, 0)) for name in line}
        try:
            folder = self.workdir / "tensorboard"
            folder.mkdir(exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            # Not tensorboardX's SummaryWriter: it writes in a thread, where a full disk ends the
            # thread and, once its queue is full, leaves the training waiting for ever.
            # Its names have seconds: starts within one would share a file.
            self._tensorboard = EventsWriter(str(folder / "events"), f".after{first_step:09d}")
            # TensorBoard hides what an earlier start wrote from this step on.
            start = SessionLog(status=SessionLog.START)
            self._tensorboard.write_event(Event(step=first_step + 1, session_log=start))
        except OSError as error:
            raise self._cannot_write(error) from error
        return last

    def _write(self, step: int, values: dict[str, float]) -> None:
        try:
            self._file.write(json.dumps({"step": step, **values}) + "\n")
            self._file.flush()
            for name, value in values.items():
                event = Event(wall_time=time.time(), step=step, summary=scalar(name, value))
                self._tensorboard.write_event(event)
            self._tensorboard.flush()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _lines(self) -> list[dict]:
        """The whole lines; a crash may have cut the last one short."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise UserError(
                f"The training log {self.path} cannot be read ({error.strerror}): it must be a "
                "file; move what lies there away."
            ) from error
        lines = []
        for number, text in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
            try:
                line = json.loads(text)
                line["step"] += 0  # a number
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"Line {number} of {self.path} is damaged: delete the line, or the file."
                ) from error
            lines.append(line)
        return lines

    def _cannot_write(self, error: OSError) -> UserError:
        reason = error.strerror or error
        return UserError(
            f"Cannot write the training log in {self.workdir}: {reason}; free some space there."
        )
