"""What lies in a folder of results: a run, the folds of one, or several of either.

A *run* is a folder with the results.json and the predictions.csv of one judgement: a workdir, or
what `--mode=evaluate` wrote. The folds of a cross-validation are the folders fold<k> in one folder.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.evaluation.predictions import Predictions, read_predictions
from logo_jax.experiments import config as configs

RESULTS = "results.json"
CONFUSION = "_confusion"  # at the end of the names of the confusion matrices of the controls
FOLD = re.compile(r"fold([1-9]\d*)")
SEED_AT_END = re.compile(r"[-_/]?seed[=_-]?\d+$")
# Free for a run that resumes, but not for what its numbers are compared or merged with.
JUDGEMENT = ("evaluation.temporal_views", "evaluation.spatial_views")
# Files whose path belongs to the machine: only their name is compared.
PATHS = ("model.pretrained", "init_from")
NUMBER = (int, float)
# The fields of results.json that are handed on, and what they hold; below a part, those of `PART`.
FIELDS: dict[str, tuple[type, ...]] = {
    "classes": (list,),
    "checkpoint": (str,),
    "selection": (str,),
    "selection_metric": (str, NoneType),
    "train_clips": (int,),
    "dropped_clips": (dict,),
    "seed": (int,),
    "step": (int,),
    "versions": (dict,),
    "device": (str,),
    "config": (dict,),
    "config.data": (dict,),
    "config.evaluation": (dict,),
    "config.model": (dict,),
    "config.model.pretrained": (str,),
    "config.init_from": (str,),
    "config_hash": (str,),
    "data": (dict,),
    "data.name": (str,),
    "data.config": (str,),
    "data.fold": (int, NoneType),
    "data.folds": (list,),
    "data.fingerprint": (str,),
    "data.caveats": (list,),
}
PART: dict[str, tuple[type, ...]] = {
    "war": NUMBER,
    "uar": NUMBER,
    "confusion": (list,),
    "calibration": (dict,),
    "calibration.after": (dict, NoneType),
    "calibration.temperature": (*NUMBER, NoneType),
    "calibration.validation_clips": (int,),
    "calibration.note": (str,),
}
# Where a temperature was fitted, below `calibration`.
AFTER = {f"calibration.after.{name}": NUMBER for name in ("ece", "nll", "brier")}
OF_ONE_METHOD = ("seed", "data.fold")


@dataclass(frozen=True)
class Run:
    """A judged run. `part` is what it was judged on: "test", "val" or "train"."""

    folder: Path
    results: dict[str, Any]
    part: str
    predictions: Predictions

    @property
    def fold(self) -> int:
        """Its fold; 0 for a set's own split."""
        return self.results["data"]["fold"] or 0

    @property
    def seed(self) -> int:
        return self.results["seed"]

    @property
    def numbers(self) -> dict[str, Any]:
        return self.results[self.part]


def read_run(folder: Path) -> Run:
    """Read the results and the predictions of one run.

    Raises:
        UserError: a file is missing, damaged or of an earlier version, or the two files are of
            different judgements.
    """
    path = folder / RESULTS
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        (part,) = results.keys() & {"test", "val", "train"}
        _check_fields(results, part)
        confusion = results[part]["confusion"]
    except OSError as error:
        raise UserError(
            f"{folder} has no results: {path} cannot be read ({error.strerror}); train the run to "
            "its end."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged, or of an earlier version ({error!r}): judge the run again with "
            f"--mode=evaluate --workdir={folder} --output={folder}."
        ) from error
    predictions = read_predictions([folder / "predictions.csv"], tuple(results["classes"]))
    if predictions.confusions().sum(axis=0).tolist() != confusion:
        raise UserError(
            f"{folder / 'predictions.csv'} and {path} are of different judgements: judge the run "
            f"again with --mode=evaluate --workdir={folder} --output={folder}."
        )
    return Run(folder, results, part, predictions)


def _check_fields(results: dict[str, Any], part: str) -> None:
    """Raise KeyError or TypeError, which name the field, where `FIELDS` is not kept."""
    _check_types(results, FIELDS)
    if not all(isinstance(name, str) for name in results["classes"]):
        raise TypeError("classes must be a list of names")
    numbers = results[part]
    _check_types(results, {f"{part}.{name}": kinds for name, kinds in PART.items()})
    if numbers["calibration"]["after"] is not None:
        _check_types(results, {f"{part}.{name}": kinds for name, kinds in AFTER.items()})
    # Those of the controls, and of whatever else a judgement counted.
    shares = [name for name in numbers if name.endswith(("_war", "_uar"))]
    _check_types(results, {f"{part}.{name}": (*NUMBER, NoneType) for name in shares})
    size = len(results["classes"])
    for name in (name for name in numbers if name.endswith(CONFUSION)):
        if [[type(count) for count in row] for row in numbers[name]] != [[int] * size] * size:
            raise TypeError(f"{part}.{name} must be {size} lists of {size} whole numbers")


def _check_types(results: dict[str, Any], fields: dict[str, tuple[type, ...]]) -> None:
    for name, kinds in fields.items():
        value: Any = results
        for word in name.split("."):
            if word not in value:
                raise KeyError(name)
            value = value[word]
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise TypeError(f"{name} is {value!r} and must be of the type {kinds[0].__name__}")


def find_models(folder: Path) -> list[list[Run]]:
    """The trained models in `folder`, each with its runs: one, or one for each finished fold.

    Raises:
        UserError: there is no such folder, or no finished run in it.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}: name workdirs of runs that are finished.")
    found = [[read_run(run) for run in runs] for runs in _run_folders(folder)]
    if not found:
        raise UserError(f"There is no finished run in {folder}: none has a {RESULTS}.")
    return found


def find_all(folders: Sequence[Path]) -> list[list[Run]]:
    """`find_models` of several folders; a run to which several of them lead is there once.

    Raises:
        UserError: as `find_models`.
    """
    found, seen = [], set()
    for folder in folders:
        for model in find_models(folder):
            new = [run for run in model if run.folder.resolve() not in seen]
            seen |= {run.folder.resolve() for run in new}
            found += [new] if new else []
    return found


def _run_folders(folder: Path) -> list[list[Path]]:
    if (folder / RESULTS).is_file():
        return [[folder]]
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    folds = {int(m[1]): child for child in children if (m := FOLD.fullmatch(child.name))}
    if folds:
        done = [folds[fold] for fold in sorted(folds) if (folds[fold] / RESULTS).is_file()]
        return [done] if done else []
    if (folder / configs.RECORD).exists():  # a run that is not finished
        return []
    return [runs for child in children for runs in _run_folders(child)]


def different_fields(one: Run, other: Run, ignored: Sequence[str]) -> list[tuple[str, str]]:
    """Fields in which the configs of two runs differ so that their numbers are not those of one
    method, and words for each; `ignored` are further fields that may differ."""
    fields = configs.differences(_comparable(one), _comparable(other))
    return [
        (field, words)
        for field, words in fields
        if field not in ignored and (field in JUDGEMENT or not configs.is_free(field))
    ]


def _comparable(run: Run) -> dict[str, Any]:
    fields = dict(configs.leaves(run.results["config"]))
    for field in PATHS:
        fields[field] = Path(fields[field]).name
    return fields


def method(run: Run) -> str:
    """Equal for runs that differ in seed, fold and free fields only."""
    fields = {
        name: value
        for name, value in _comparable(run).items()
        if name not in OF_ONE_METHOD and (name in JUDGEMENT or not configs.is_free(name))
    }
    return json.dumps([fields, run.results["selection"], run.part], sort_keys=True)


def name_of(folder: Path) -> str:
    """What a model is called: as its folder; one called by a seed alone, as the one above too."""
    folder = folder.absolute()
    alone = SEED_AT_END.fullmatch(folder.name)
    return f"{folder.parent.name}/{folder.name}" if alone else folder.name


def without_seed(name: str) -> str:
    """What the models of all seeds are called."""
    return SEED_AT_END.sub("", name) or name
