"""`--mode=verify <workdir>`: are the recorded numbers those of the checkpoint, here and now?

python launch.py --mode=verify runs/dfew-fold3
python launch.py --mode=verify runs/dfew-cv --config.data.data_dir=/disks/data

Each run in the folder is judged again, as its results.json says, and compared clip by clip; what
results.json and summary.json say besides must follow from the predictions and the checkpoint. The
frame orders are not judged again. Nothing is written.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError
from logo_jax.common.versions import versions
from logo_jax.evaluation import metrics
from logo_jax.evaluation.calibration import calibrate
from logo_jax.evaluation.predictions import Predictions, read_predictions
from logo_jax.evaluation.scenes import by_scene, scene_numbers
from logo_jax.experiments import config as configs
from logo_jax.experiments.command_line import recorded
from logo_jax.experiments.evaluate import (
    WITH_SCENES,
    ceiling_numbers,
    check_data,
    check_trained_alike,
    control_numbers,
    data_facts,
    judge_part,
    numbers_of,
    resolve,
    selection_of,
)
from logo_jax.experiments.judge import Judge
from logo_jax.experiments.parts import Splits, open_splits
from logo_jax.experiments.runs import CONFUSION, FOLD, Run, find_models
from logo_jax.experiments.summarize import summarize_runs
from logo_jax.training.checkpoint import load_variables, read_meta

# Another version rounds otherwise; a model that differs differs by more.
TOLERANCE = 1e-3
# bfloat16 has 8 bits, and so has what a TPU makes of float32 in products; TF32 of GPUs has 11. The
# probabilities of a confident model then differ by up to 0.03 from those of float32.
COARSE_TOLERANCE = 3e-2
LAST_DIGITS = 1e-6  # of float32


def verify(workdir: Path, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Judge every run in `workdir` again; print and return what was compared, one entry a run.

    Args:
        overrides: "--config.<field>=<value>" of free fields, such as data.data_dir.

    Raises:
        UserError: a number, a predicted class or a probability is another one than the recorded,
            or a record does not belong to the run; the message says what differs.
    """
    models = find_models(workdir)
    reports, wrong = [], []
    for run in (run for model in models for run in model):
        report = _verify(run, overrides)
        reports.append(report)
        print(_text(report), flush=True)
        wrong += [f"{report['folder']}: {words}" for words in report["differences"]]
    for model in models:
        if model[0].folder != workdir:  # all folds of a folder, not one of them by itself
            wrong += summary_differences(model)
    if wrong:
        raise UserError(f"{'; '.join(wrong)}.")
    return reports


def _verify(run: Run, overrides: Sequence[str]) -> dict[str, Any]:
    if not (run.folder / "checkpoints").is_dir():
        raise UserError(
            f"{run.folder} holds results without checkpoints, such as --mode=evaluate writes: give "
            "--mode=verify the workdir of a run, and repeat other judgements by --mode=evaluate."
        )
    config = recorded(run.folder, None, overrides)
    path = resolve(config, run.folder, "")
    meta = read_meta(path)
    wrong = _config_differences(run, meta)
    if wrong:
        raise UserError(f"{run.folder}: {'; '.join(wrong)}.")
    config.evaluation = ConfigDict(run.results["config"]["evaluation"])  # as it was judged
    differences = []
    if Path(run.results["checkpoint"]).parts[-3:] != path.parts[-3:]:
        differences.append(
            f"checkpoint is {run.results['checkpoint']} in results.json and should be {path}"
        )
    if meta["step"] != run.results["step"]:
        differences.append(
            f"the results are of step {run.results['step']}, the checkpoint of {meta['step']}"
        )
    judged = run.results["config"]["data"]
    for name, value in (("name", judged["name"]), ("fold", judged["fold"] or None)):
        if run.results["data"][name] != value:
            differences.append(
                f"data.{name} is {run.results['data'][name]} in results.json and {value} in its "
                "config"
            )
    check_trained_alike(config, meta, path, own=path.is_relative_to(run.folder.absolute()))
    splits = open_splits(config)
    check_data(config, splits, meta, path, own=True)
    for name, value in data_facts(config, splits).items():
        if name not in ("name", "fold") and run.results["data"][name] != value:
            differences.append(f"data.{name} in results.json is not that of the prepared set")
    differences += _record_differences(run, meta, splits)
    judge = Judge(config, splits.prepared.classes)
    variables = load_variables(path, like=judge.abstract_variables())
    found = judge_part(config, judge, variables, splits, run.part)

    old = run.predictions
    if found.clip_ids != old.clip_ids or not np.array_equal(found.labels, old.labels):
        raise UserError(
            f"{run.folder / 'predictions.csv'} has other clips, or other true classes, than "
            f"{splits.prepared.folder}: judge the run again."
        )
    # float32 is what they were written from.
    gaps = np.abs(found.probabilities - old.probabilities.astype(np.float32))
    largest = float(gaps.max())
    alike = largest <= _tolerance(run)  # not so where there is a NaN
    if not alike:
        differences.append(f"probabilities differ by up to {largest:.2g}")
    other = int((found.predicted != old.predicted).sum())
    rounded = alike and _by_rounding(found, old.predicted, gaps)
    if other and not rounded:
        differences.append(f"{other:,} of {len(old.clip_ids):,} clips have another class")
    confusion = found.confusions().sum(axis=0)
    for name, number in (("war", metrics.war(confusion)), ("uar", metrics.uar(confusion))):
        if not (other and rounded) and not abs(run.numbers[name] - number) <= 1e-12:
            differences.append(f"{name.upper()} was {run.numbers[name]:.6f} and is {number:.6f}")
    return {
        "folder": str(run.folder),
        "part": run.part,
        "clips": len(old.clip_ids),
        "war": metrics.war(confusion),
        "uar": metrics.uar(confusion),
        "recorded_war": run.numbers["war"],
        "largest_probability_difference": largest,
        "other_classes": other,
        "differences": differences,
        "versions": _changed(
            {**run.results["versions"], "device": run.results["device"]},
            {**versions(), "device": jax.devices()[0].device_kind},
        ),
    }


def _config_differences(run: Run, meta: dict[str, Any]) -> list[str]:
    """What the config in results.json says otherwise than the checkpoint's; free fields may."""
    judged = run.results["config"]
    names = dict(configs.leaves(judged))
    wrong = [
        f"config.{name} is missing in results.json"
        for name, _ in configs.leaves(meta["config"])
        if name not in names
    ]
    wrong += [
        f"{words} in results.json"
        for field, words in configs.differences(meta["config"], judged)
        if field in names and not configs.is_free(field)
    ]
    wrong += [f"config.{words} in results.json" for words in configs.wrong_types(judged)]
    if configs.digest(judged) != run.results["config_hash"]:
        wrong.append("the config in results.json is not that of its hash")
    return wrong


def _by_rounding(found: Predictions, old: np.ndarray, gaps: np.ndarray) -> bool:
    """Whether rounding explains all clips of another class than `old`.

    It moves the probabilities of all clips, so that classes change only where two nearly tie.
    """
    rows = np.flatnonzero(found.predicted != old)
    noise = max(np.delete(gaps, rows, axis=0).max(initial=0), LAST_DIGITS)
    lead = found.probabilities[rows, found.predicted[rows]] - found.probabilities[rows, old[rows]]
    return bool((lead <= 4 * noise).all())


def _record_differences(run: Run, meta: dict[str, Any], splits: Splits) -> list[str]:
    """What results.json says otherwise than the checkpoint's meta, the data and the predictions."""
    results, wrong = run.results, []
    selection = selection_of(meta)
    facts = {
        "selection": selection,
        "selection_metric": None if selection == "last" else meta["config"]["selection_metric"],
        "train_clips": meta["train_clips"],
        "dropped_clips": splits.dropped,
        "parameters": meta.get("parameters", "trained"),
        "trained_with": meta.get("trained_with"),
        "seed": results["config"]["seed"],
    }
    for name, value in facts.items():
        if results.get(name) != value:
            wrong.append(f"{name} is {results.get(name)} in results.json and should be {value}")
    validation = None
    if run.numbers["calibration"].get("validation_clips"):
        found = read_predictions([run.folder / "val_predictions.csv"], run.predictions.class_names)
        validation = _float32(found), found.labels
    numbers = numbers_of(run.predictions)
    numbers["calibration"] = calibrate(
        _float32(run.predictions), run.predictions.labels, validation
    )
    if results["data"]["name"] in WITH_SCENES:
        numbers["scenes"] = scene_numbers(by_scene(run.predictions))
    wrong += [
        f"{name} in results.json is not that of predictions.csv"
        for name, value in numbers.items()
        if name not in ("war", "uar") and not _alike(run.numbers.get(name), value)
    ]
    return wrong + _control_differences(run)


def _control_differences(run: Run) -> list[str]:
    """What results.json says of frame orders that does not follow from their confusion matrices."""
    class_clips = np.array(run.numbers["confusion"]).sum(1)
    data_name, wrong = run.results["data"]["name"], []
    expected: dict[str, Any] = dict(ceiling_numbers(class_clips, data_name))
    asked = configs.controls(ConfigDict(run.results["config"]))
    found = [name.removesuffix(CONFUSION) for name in run.numbers if name.endswith(CONFUSION)]
    for order in dict.fromkeys([*asked, *found]):
        if order not in found:
            wrong.append(f"{order}{CONFUSION} is missing in results.json")
            continue
        matrix = np.array(run.numbers[f"{order}{CONFUSION}"])
        if matrix.sum(1).tolist() != class_clips.tolist():
            wrong.append(f"{order}{CONFUSION} in results.json has other clips")
        expected |= control_numbers(order, matrix, data_name)
    return wrong + [
        f"{name} in results.json is not that of its confusion matrix"
        for name, value in expected.items()
        if not _alike(run.numbers.get(name), value)
    ]


def summary_differences(runs: Sequence[Run]) -> list[str]:
    """Whether the summary beside folds, where there is one, is that of these folds."""
    folder = runs[0].folder.parent
    if not (FOLD.fullmatch(runs[0].folder.name) and (folder / "summary.json").is_file()):
        return []
    mend = f"run --mode=summarize --workdir={folder} again"
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{folder / 'summary.json'} is damaged ({error}): {mend}.") from error
    classes = tuple(runs[0].results["classes"])
    pooled = read_predictions([run.folder / "predictions.csv" for run in runs], classes)
    numbers = summarize_runs(runs, pooled)
    for part in (numbers, summary):
        for run in part.get("runs", []):
            run.pop("folder", None)  # as it was called there
    wrong = [name for name, value in numbers.items() if not _alike(summary.get(name), value)]
    found = read_predictions([folder / "predictions.csv"], classes)
    same = found.clip_ids == pooled.clip_ids and all(
        np.array_equal(getattr(found, name), getattr(pooled, name))
        for name in ("folds", "labels", "predicted", "probabilities")
    )
    wrong += [] if same else ["predictions.csv"]
    return [f"{folder}: the summary is not of its folds ({', '.join(wrong)}); {mend}"] * bool(wrong)


def _float32(found: Predictions) -> np.ndarray:
    """The probabilities as they were before they were written."""
    return found.probabilities.astype(np.float32)


def _alike(recorded: Any, value: Any) -> bool:
    """Equal, numbers up to their last digits, which another machine rounds otherwise."""
    if isinstance(value, dict) and isinstance(recorded, dict):
        return all(_alike(recorded.get(name), inner) for name, inner in value.items())
    if isinstance(value, list | tuple) and isinstance(recorded, list):
        return len(value) == len(recorded) and all(map(_alike, recorded, value))
    if isinstance(recorded, bool) != isinstance(value, bool):
        return False
    if isinstance(value, float) and isinstance(recorded, float | int):
        return abs(recorded - value) <= LAST_DIGITS * max(1, abs(value))
    return bool(recorded == value)


def _tolerance(run: Run) -> float:
    """Largest difference of a probability that is rounding: by the type, and on another device."""
    same = run.results["device"] == jax.devices()[0].device_kind
    coarse = run.results["config"]["model"]["dtype"] != "float32"
    return COARSE_TOLERANCE if coarse or not same else TOLERANCE


def _changed(old: dict[str, str], new: dict[str, str]) -> dict[str, list[str | None]]:
    return {
        name: [old.get(name), new.get(name)]
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    }


def _text(report: dict[str, Any]) -> str:
    recorded = f"{100 * report['recorded_war']:.2f} %"
    lines = [
        f"{report['folder']}: {'DIFFERS' if report['differences'] else 'verified'}; "
        f"{report['part']}, {report['clips']:,} clips: WAR {100 * report['war']:.2f} %, "
        f"UAR {100 * report['uar']:.2f} %; largest difference of a probability "
        f"{report['largest_probability_difference']:.2g}"
    ]
    if report["other_classes"]:
        lines[0] += (
            f"; {report['other_classes']:,} clips have another class, WAR {recorded} was recorded"
        )
    for name, (old, new) in report["versions"].items():
        lines.append(f"  {name} was {old or 'absent'} and is {new or 'absent'}")
    return "\n".join(lines)
