"""`--mode=evaluate`: a checkpoint on a split, and the files that every judgement leaves."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder, write_json
from logo_jax.common.versions import versions
from logo_jax.data.datasets.synthetic_faces import REVERSED, order_blind_ceiling
from logo_jax.evaluation import metrics, plots, report
from logo_jax.experiments import config as configs
from logo_jax.experiments.parts import Judge, Splits, open_splits
from logo_jax.training.checkpoint import find_checkpoint, load_variables, read_meta

# What a model sees, and what it is: a checkpoint is judged as it was trained.
AS_TRAINED = (
    "model.",
    "input.",
    "data.sampling",
    "data.segments",
    "data.duration",
    "data.short",
    "data.stride",
    "data.frame_size",
    "data.frame_order",
)
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

    Raises:
        UserError: no such checkpoint, one of another model, input, data or classes, or one that
            was trained on what it would be judged on; or a part without clips.
    """
    path = resolve(config, workdir, checkpoint)
    meta = read_meta(path)
    check_trained_alike(config, meta, path)
    make_folder(output)
    splits = open_splits(config)
    _check_data(config, splits, meta, path, own=path.is_relative_to(workdir.absolute()))
    judge = Judge(config, splits.prepared.classes)
    variables = load_variables(path, like=judge.abstract_variables())
    return write_results(config, judge, variables, splits, part, path, output)


def resolve(config: ConfigDict, workdir: Path, checkpoint: str) -> Path:
    """The folder of the checkpoint step that `checkpoint` names."""
    if checkpoint in ("last", "best"):
        return find_checkpoint(workdir, checkpoint)
    selected = "last" if config.selection == "last" else "best"
    return find_checkpoint(checkpoint or workdir, selected)


def check_trained_alike(config: ConfigDict, meta: dict[str, Any], checkpoint: Path) -> None:
    """Refuse a checkpoint that was trained with another model, input or sampling than `config`."""
    ignored = "model.pretrained"  # where it started from
    changed = [
        text
        for field, text in configs.differences(meta["config"], configs.plain(config))
        if field.startswith(AS_TRAINED) and field != ignored
    ]
    if changed:
        raise UserError(
            f"{checkpoint} was trained with another config: {'; '.join(changed)}. Judge it with "
            "--workdir=<the run it belongs to>."
        )


def _check_data(
    config: ConfigDict, splits: Splits, meta: dict[str, Any], checkpoint: Path, own: bool
) -> None:
    """Refuse to judge on other classes, on other data than the run's, or on training clips."""
    prepared = splits.prepared
    if meta["classes"] != list(prepared.classes):
        raise UserError(
            f"{checkpoint} knows the classes {', '.join(meta['classes'])}, in this order, and "
            f"{prepared.folder} has {', '.join(prepared.classes)}: they must be the same."
        )
    if own and meta["fingerprint"] != prepared.fingerprint:
        raise UserError(
            f"{checkpoint} was trained on other data than what lies in {prepared.folder} now: "
            "bring the old data back, or name their config.data.data_dir."
        )
    trained = meta["config"]["data"]
    split = ("fold", "val_fraction")
    if trained["name"] == prepared.name and any(trained[f] != config.data[f] for f in split):
        raise UserError(
            f"{checkpoint} was trained with config.data.fold={trained['fold']} and val_fraction="
            f"{trained['val_fraction']}, here they are {config.data.fold} and "
            f"{config.data.val_fraction}: it would be judged on clips that it was trained on."
        )


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
    meta = read_meta(checkpoint)
    # Only the best checkpoint of a selection has a score: any other one is the last of its time.
    selection = meta["config"]["selection"] if "score" in meta else "last"
    metric = meta["config"]["selection_metric"]
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
    results = {
        part: numbers,
        "classes": list(classes),
        "selection": selection,
        "selection_metric": None if selection == "last" else metric,
        "checkpoint": str(checkpoint),
        "step": meta["step"],
        "train_clips": meta["train_clips"],
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
        words = selection_sentence(selection, metric, meta["train_clips"])
        print(f"part: {part}; {words}; step {meta['step']}")
        print(f"results: {output / 'results.json'}, predictions.csv, confusion.png")
    return results


def selection_sentence(selection: str, metric: str, train_clips: int) -> str:
    """What the judged parameters were selected on: always printed beside a result."""
    if selection == "last":
        how = "the last step, selected on nothing"
    else:
        part = configs.SELECTIONS[selection]
        how = f"the best {metric.upper()} on the {part} split"
        if part == "test":
            how += " (so these numbers are optimistic, as those of most published systems)"
    return f"checkpoint: {how}; trained on {train_clips:,} clips"
