"""The training log: one JSON object a line in `metrics.jsonl`, and TensorBoard event files."""

import json
import os
from pathlib import Path

from tensorboardX import SummaryWriter

from logo_jax.common.errors import UserError
from logo_jax.common.files import atomic_writer


class TrainingLog:
    """Writes the numbers of a step to `<workdir>/metrics.jsonl` and `<workdir>/tensorboard/`.

    A run that resumes at `first_step` repeats the steps after it: their old lines are dropped, so
    that each step stands once.
    """

    def __init__(self, workdir: str | os.PathLike, first_step: int):
        self.path = Path(workdir) / "metrics.jsonl"
        if self.path.exists():
            kept = [line for line in self._lines() if json.loads(line)["step"] <= first_step]
            with atomic_writer(self.path) as file:
                file.writelines(line + "\n" for line in kept)
        try:
            self._file = self.path.open("a", encoding="utf-8")
            self._tensorboard = SummaryWriter(
                str(Path(workdir) / "tensorboard"), purge_step=first_step + 1
            )
        except OSError as error:
            raise UserError(f"Cannot write the training log in {workdir}: {error}.") from error

    def write(self, step: int, values: dict[str, float]) -> None:
        """Record `values` under `step`, the number of steps done."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)
        self._tensorboard.flush()

    def close(self) -> None:
        self._file.close()
        self._tensorboard.close()

    def _lines(self) -> list[str]:
        """The whole lines; a crash may have cut the last one short."""
        text = self.path.read_text(encoding="utf-8")
        return text[: text.rfind("\n") + 1].splitlines()
