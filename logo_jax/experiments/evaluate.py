"""`--mode=evaluate`: a checkpoint on a split, and the files that every judgement leaves."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common.files import make_folder, write_json
from logo_jax.common.versions import versions
from logo_jax.data.datasets.synthetic_faces import REVERSED, order_blind_ceiling
from logo_jax.evaluation import metrics, plots, report
from logo_jax.experiments import config as configs
from logo_jax.experiments.parts import Judge, Splits, open_splits
from logo_jax.training.checkpoint import find_checkpoint, load_variables, read_meta

# How the numbers of the controls are named where they are printed.
CONTROL_WORDS = {
    "shuffled_war": "WAR, frames of each clip shuffled",
    "reversed_war": "WAR, frames reversed",
    "reversed_swapped_war": "WAR, frames reversed, the classes of each pair swapped",
    "single_war": "WAR, one frame repeated",
    "order_blind_ceiling_war": "highest WAR that a model blind to order can reach",
}


def evaluate(
    config: ConfigDict, workdir: Path, checkpoint: str, part: str, output: Path
) -> dict[str, Any]:
    """Judge a checkpoint of the run in `workdir` on one part of its data.

    Args:
        checkpoint: "last", "best", a workdir, a folder of one step, or "" for the one that
            `config.selection` names.
        part: "train", "val" or "test".
        output: folder for results.json, predictions.csv and confusion.png.
    """
    path = resolve(config, workdir, checkpoint)
    splits = open_splits(config)
    judge = Judge(config, splits.prepared.classes)
    variables = load_variables(path, like=judge.abstract_variables())
    return write_results(config, judge, variables, splits, part, path, output)


def resolve(config: ConfigDict, workdir: Path, checkpoint: str) -> Path:
    """The folder of the checkpoint step that `checkpoint` names."""
    if checkpoint in ("last", "best"):
        return find_checkpoint(workdir, checkpoint)
    selected = "last" if config.selection == "last" else "best"
    return find_checkpoint(checkpoint or workdir, selected)


def write_results(
    config: ConfigDict,
    judge: Judge,
    variables: dict,
    splits: Splits,
    part: str,
    checkpoint: Path,
    output: Path,
) -> dict[str, Any]:
    """Judge `variables` on `part`, print the table, write the files, return results.json."""
    prepared, rows = splits.prepared, splits.rows(part)
    classes, labels = prepared.classes, prepared.labels[rows]
    probabilities = judge.probabilities(variables, prepared, rows)
    confusion = metrics.confusion_matrix(labels, probabilities.argmax(-1), len(classes))
    numbers: dict[str, Any] = {
        "war": metrics.war(confusion),
        "uar": metrics.uar(confusion),
        "recalls": [None if np.isnan(r) else float(r) for r in metrics.recalls(confusion)],
        "confusion": confusion.tolist(),
        "clips": len(rows),
        "classes_without_clips": metrics.empty_classes(confusion, classes),
    }
    for order in configs.controls(config):
        control = judge.probabilities(variables, prepared, rows, order).argmax(-1)
        matrix = metrics.confusion_matrix(labels, control, len(classes))
        numbers[f"{order}_war"] = metrics.war(matrix)
        numbers[f"{order}_uar"] = metrics.uar(matrix)
        if order == "reversed" and prepared.name == "synthetic_faces":
            # A clip played backwards is a clip of the other class of its pair.
            swapped = np.asarray(REVERSED)[labels]
            matrix = metrics.confusion_matrix(swapped, control, len(classes))
            numbers["reversed_swapped_war"] = metrics.war(matrix)
    if prepared.name == "synthetic_faces":
        ceiling, _ = order_blind_ceiling(np.bincount(labels, minlength=len(classes)))
        numbers["order_blind_ceiling_war"] = ceiling
    meta = read_meta(checkpoint)
    results = {
        part: numbers,
        "classes": list(classes),
        "selection": config.selection,
        "selection_metric": None if config.selection == "last" else config.selection_metric,
        "checkpoint": str(checkpoint),
        "step": meta["step"],
        "train_clips": len(splits.train),
        "dropped_clips": splits.dropped,
        "data": {
            "name": prepared.name,
            "config": prepared.config,
            "fold": config.data.fold or None,
            "fingerprint": prepared.fingerprint,
        },
        "seed": config.seed,
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "config": configs.plain(config),
    }
    if jax.process_index() == 0:
        make_folder(output)
        write_json(output / "results.json", results)
        clip_ids = [prepared.clip_ids[row] for row in rows]
        report.write_predictions(
            output / "predictions.csv", clip_ids, labels, probabilities, classes
        )
        plots.confusion_png(
            output / "confusion.png", confusion, classes, f"{prepared.name}, {part}"
        )
        print(report.results_table(confusion, classes))
        for name, words in CONTROL_WORDS.items():
            if name in numbers:
                print(f"{words}: {numbers[name]:.4f}")
        if splits.dropped_sentence():
            print(splits.dropped_sentence())
        views = config.evaluation
        if views.temporal_views * views.spatial_views > 1:
            print(
                f"probabilities averaged over {views.temporal_views} temporal x "
                f"{views.spatial_views} spatial views"
            )
        print(f"part: {part}; {selection_sentence(config, len(splits.train))}; step {meta['step']}")
        print(f"results: {output / 'results.json'}, predictions.csv, confusion.png")
    return results


def selection_sentence(config: ConfigDict, train_clips: int) -> str:
    """What the judged parameters were selected on: always printed beside a result."""
    if config.selection == "last":
        how = "the last step, selected on nothing"
    else:
        part = configs.SELECTIONS[config.selection]
        how = f"the best {config.selection_metric.upper()} on the {part} split"
        if part == "test":
            how += " (so these numbers are optimistic, as those of most published systems)"
    return f"checkpoint: {how}; trained on {train_clips:,} clips"
