"""`--mode=summarize`: the folds of a cross-validation, wherever they were trained, in one result.

python launch.py --mode=summarize --workdir=runs/dfew-cv
python launch.py --mode=summarize --runs=a/fold1,b/fold2,c/dfew-cv --output=runs/dfew-merged
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder, write_json
from logo_jax.evaluation import calibration, metrics, plots, summary
from logo_jax.evaluation.predictions import Predictions, read_predictions
from logo_jax.evaluation.reliability_plot import reliability_png
from logo_jax.evaluation.scenes import by_scene, scene_numbers, scene_rows
from logo_jax.experiments.evaluate import (
    CONTROL_WORDS,
    WITH_SCENES,
    selection_sentence,
    write_predictions,
)
from logo_jax.experiments.runs import CONFUSION, Run, different_fields, find_models


def summarize(folders: Sequence[Path], output: Path) -> dict[str, Any]:
    """Merge the folds in `folders`; print the tables, write the files, return summary.json.

    Args:
        folders: runs of one fold each, or folders that hold folds.
        output: folder of summary.json, predictions.csv, confusion.png and reliability.png.

    Raises:
        UserError: a folder has no finished run, or the runs are not folds of one training: their
            configs, data, code of judgement or selection differ, a fold is there twice, or a clip.
    """
    runs = [run for folder in folders for model in find_models(folder) for run in model]
    runs.sort(key=lambda run: run.fold)
    check_folds(runs)
    files = [run.folder / "predictions.csv" for run in runs]
    predictions = read_predictions(files, tuple(runs[0].results["classes"]))
    numbers = summarize_runs(runs, predictions)

    make_folder(output)
    title = f"{numbers['data']['name']}, {runs[0].part}"
    if numbers["data"]["folds"]:
        title += f", {len(runs)} of {len(numbers['data']['folds'])} folds"
    confusion = np.array(numbers["pooled"]["confusion"])
    plots.confusion_png(output / "confusion.png", confusion, predictions.class_names, title)
    reliability_png(
        output / "reliability.png", predictions.probabilities, predictions.labels, title
    )
    write_predictions(output / "predictions.csv", predictions)
    write_json(output / "summary.json", numbers)
    print(text(numbers))
    if "scenes" in numbers:
        print("\n".join(summary.table(scene_rows(by_scene(predictions), predictions.class_names))))
        print("(UAR over the classes present in the scene)")
    print(f"summary: {output / 'summary.json'}, predictions.csv, confusion.png, reliability.png")
    return numbers


def check_folds(runs: Sequence[Run]) -> None:
    """Refuse to merge runs that are not the folds of one training.

    Raises:
        UserError: names the two runs and what differs.
    """
    first = runs[0]
    by_fold: dict[int, Run] = {}
    for run in runs:
        if run.part != first.part:
            raise UserError(
                f"{first.folder} was judged on the part {first.part} and {run.folder} on "
                f"{run.part}: give runs that were judged on the same part."
            )
        if run.fold in by_fold:
            what = f"fold {run.fold}" if run.fold else "the set's own split, and have no folds"
            raise UserError(
                f"{by_fold[run.fold].folder} and {run.folder} are both of {what}: give one of the "
                "two. --mode=compare sets models that differ in config or seed side by side."
            )
        by_fold[run.fold] = run
        if changed := different_fields(first, run, ignored=("data.fold",)):
            raise UserError(
                f"{run.folder} cannot be merged with {first.folder}, since their configs differ: "
                f"{'; '.join(words for _, words in changed)}. Train the folds with one config."
            )
        for what in ("classes", "selection", "selection_metric"):
            if run.results[what] != first.results[what]:
                raise UserError(
                    f"{run.folder} cannot be merged with {first.folder}: {what} is "
                    f"{run.results[what]} there and {first.results[what]} here."
                )
        for what in ("name", "config", "folds", "fingerprint"):
            if run.results["data"][what] != first.results["data"][what]:
                raise UserError(
                    f"{run.folder} was judged on other data than {first.folder} ({what} "
                    f"{run.results['data'][what]} and {first.results['data'][what]}): prepare the "
                    "same set on all machines."
                )


def summarize_runs(runs: Sequence[Run], predictions: Predictions) -> dict[str, Any]:
    """summary.json: `summary.summarize` of all clips, and what the runs say of themselves."""
    first = runs[0].results
    expected = first["data"]["folds"]
    present = [run.fold for run in runs]
    numbers = summary.summarize(predictions, seed=0)
    temperatures = [run.numbers["calibration"]["temperature"] for run in runs]
    if None not in temperatures:
        scaled = np.empty_like(predictions.probabilities)
        for fold, temperature in enumerate(temperatures):
            rows = predictions.folds == fold
            scaled[rows] = calibration.scaled(predictions.probabilities[rows], temperature)
        numbers["temperature"] = {
            "temperatures": temperatures,
            **calibration.measures(scaled, predictions.labels, predictions.predicted),
        }
    if first["data"]["name"] in WITH_SCENES:
        numbers["scenes"] = scene_numbers(by_scene(predictions))
    return numbers | {
        "missing_folds": [fold for fold in expected if fold not in present],
        "controls": _pooled_controls(runs),
        "selection": first["selection"],
        "selection_metric": first["selection_metric"],
        "step": max(run.results["step"] for run in runs),
        "seed": first["seed"],
        "data": {name: first["data"][name] for name in ("name", "config", "folds", "fingerprint")},
        "runs": [
            {
                "fold": run.fold or None,
                "folder": str(run.folder),
                "step": run.results["step"],
                "train_clips": run.results["train_clips"],
                "dropped_clips": run.results["dropped_clips"],
                "calibration": run.numbers["calibration"],
                "versions": run.results["versions"],
                "device": run.results["device"],
                "config_hash": run.results["config_hash"],
            }
            for run in runs
        ],
        "config": first["config"],
    }


def _pooled_controls(runs: Sequence[Run]) -> dict[str, Any]:
    """WAR and UAR of the frame orders in which every run was judged, pooled."""
    orders = [name.removesuffix(CONFUSION) for name in runs[0].numbers if name.endswith(CONFUSION)]
    pooled: dict[str, Any] = {}
    for order in orders:
        if not all(order + CONFUSION in run.numbers for run in runs):
            continue
        matrices = [run.numbers[order + CONFUSION] for run in runs]
        matrix = np.sum(matrices, axis=0)
        pooled[order] = {"war": metrics.war(matrix), "uar": metrics.uar(matrix)}
    return pooled


def text(numbers: dict[str, Any]) -> str:
    """summary.json for the terminal."""
    lines = [summary.summary_text(numbers)]
    if "temperature" not in numbers:
        notes = {run["calibration"]["note"] for run in numbers["runs"]} - {""}
        lines += sorted(notes)
    for order, control in numbers["controls"].items():
        words = CONTROL_WORDS[f"{order}_war"]
        lines.append(f"{words}: {control['war']:.4f} (UAR {control['uar']:.4f}), pooled")
    clips = sorted({run["train_clips"] for run in numbers["runs"]})
    lines.append(
        selection_sentence(numbers["selection"], numbers["selection_metric"] or "", clips[-1])
        + (f" ({clips[0]:,} in the smallest fold)" if len(clips) > 1 else "")
    )
    left_out = {part: 0 for part in ("train", "val", "test")}
    for run in numbers["runs"]:
        for part, count in run["dropped_clips"].items():
            left_out[part] += count
    if left_out["test"]:
        lines.append(
            f"CLIPS LEFT OUT (config.data.short=drop): {left_out['test']:,} test clips. These are "
            "not results on the whole test set."
        )
    if len({str(run["versions"]) for run in numbers["runs"]}) > 1:
        lines.append("The folds were run with different versions (summary.json names them).")
    lines.append(f"{numbers['data']['name']}/{numbers['data']['config']}: {_folds_words(numbers)}")
    return "\n".join(lines)


def _folds_words(numbers: dict[str, Any]) -> str:
    folds = numbers["data"]["folds"]
    if not folds:
        return "the set's own split"
    present = [str(run["fold"]) for run in numbers["runs"]]
    if not numbers["missing_folds"]:
        return f"all {len(folds)} folds"
    missing = ", ".join(map(str, numbers["missing_folds"]))
    return (
        f"folds {', '.join(present)} of {len(folds)}; MISSING: {missing}, so these are not yet the "
        "numbers of the set's protocol"
    )
