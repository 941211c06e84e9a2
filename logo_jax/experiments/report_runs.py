"""The trained models of a report, as they lie on disk."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.evaluation import summary
from logo_jax.evaluation.curves import Line, read_log
from logo_jax.evaluation.predictions import Predictions, read_predictions
from logo_jax.experiments.runs import FOLD, Run, find_all, method, name_of, without_seed

FOLD_AT_END = re.compile(r"[-_]?fold\d+$")


@dataclass(frozen=True)
class Model:
    """One method with one seed: a run, or its folds, and what `summary.summarize` says of it."""

    name: str
    runs: tuple[Run, ...]
    predictions: Predictions
    summary: dict[str, Any]

    @property
    def results(self) -> dict[str, Any]:
        """Those of the first fold."""
        return self.runs[0].results

    @property
    def config(self) -> dict[str, Any]:
        return self.results["config"]

    @property
    def seed(self) -> int:
        return self.runs[0].seed

    @property
    def dataset(self) -> str:
        return self.results["data"]["name"]

    def title(self, run: Run) -> str:
        """The name with the run's fold, where it has one."""
        return f"{self.name}, fold {run.fold}" if run.fold else self.name


def read_models(folders: Sequence[Path]) -> list[Model]:
    """The models in `folders`, in their order; runs of single folds of one method and seed are one.

    Raises:
        UserError: no folder is given, or one holds no finished run, or a damaged one.
    """
    if not folders:
        raise UserError("There are no runs to report: give at least one folder of a run.")
    groups: dict[Any, list[Run]] = {}
    for runs in find_all(folders):
        key: Any = (method(runs[0]), runs[0].seed)
        present = {run.fold for run in groups.get(key, [])}
        # The same fold once more, or a set without folds: another training.
        if present & {run.fold for run in runs}:
            key = runs[0].folder
        groups.setdefault(key, []).extend(runs)
    return _distinct([_model(sorted(runs, key=lambda run: run.fold)) for runs in groups.values()])


def by_method(models: Sequence[Model]) -> dict[str, list[Model]]:
    """The models of each method by its name, by seed; the name is the first one's without seed."""
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(method(model.runs[0]), []).append(model)
    named: dict[str, list[Model]] = {}
    for members in groups.values():
        name = members[0].name
        if len(members) > 1:
            name = without_seed(name)
        named[members[0].name if name in named else name] = sorted(members, key=lambda m: m.seed)
    return named


def by_colour(models: Sequence[Model]) -> dict[str, list[Model]]:
    """What curves tell apart: the methods, or the models where there is one method only."""
    methods = by_method(models)
    return methods if len(methods) > 1 else {model.name: [model] for model in models}


def checkpoint_of(run: Run) -> Path | None:
    """The judged checkpoint, None where it is not there any more; absolute, as Orbax asks."""
    recorded = Path(run.results["checkpoint"])
    # A run that was moved has it where it lay, below its own folder.
    moved = run.folder.absolute().joinpath(*recorded.parts[-3:])
    return next(
        (path for path in (moved, recorded.absolute()) if (path / "variables").is_dir()), None
    )


def log_of(run: Run) -> list[Line]:
    """The lines of the training log; none where there is no metrics.jsonl.

    Raises:
        UserError: the log is damaged.
    """
    places = [run.folder]
    if (checkpoint := checkpoint_of(run)) is not None:  # judged elsewhere by --mode=evaluate
        places.append(checkpoint.parents[2])
    files = [place / "metrics.jsonl" for place in places]
    return next((read_log(file) for file in files if file.is_file()), [])


def _model(runs: list[Run]) -> Model:
    files = [run.folder / "predictions.csv" for run in runs]
    predictions = read_predictions(files, tuple(runs[0].results["classes"]))
    folder = runs[0].folder.absolute()
    if FOLD.fullmatch(folder.name):
        folder = folder.parent
    name = name_of(folder)
    if folder.parent.name == "evaluation":  # what --mode=evaluate writes
        name = f"{folder.parents[1].name}, {name}"
    if len(runs) > 1:
        name = FOLD_AT_END.sub("", name) or name
    return Model(name, tuple(runs), predictions, summary.summarize(predictions, seed=0))


def _distinct(models: list[Model]) -> list[Model]:
    """Give models of the same name that of the folder above as well, or else a number."""
    counts = Counter(model.name for model in models)
    seen: Counter[str] = Counter()
    named = []
    for model in models:
        name = model.name
        if counts[name] > 1:
            name = f"{model.runs[0].folder.absolute().parent.name}/{name}"
        seen[name] += 1
        named.append(replace(model, name=f"{name} ({seen[name]})" if seen[name] > 1 else name))
    return named
