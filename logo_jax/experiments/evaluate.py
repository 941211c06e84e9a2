"""`--mode=evaluate`: a checkpoint on a split, and the files that every judgement leaves."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder, write_json
from logo_jax.common.versions import versions
from logo_jax.data.datasets.synthetic_faces import REVERSED, order_blind_ceiling
from logo_jax.evaluation import metrics, plots, report, summary
from logo_jax.evaluation.calibration import calibrate
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.reliability_plot import reliability_png
from logo_jax.evaluation.scenes import by_scene, scene_numbers, scene_rows
from logo_jax.experiments import agreement
from logo_jax.experiments import config as configs
from logo_jax.experiments.judge import Judge
from logo_jax.experiments.parts import Splits, open_splits
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
# Data sets whose clip ids name a scene: results are given per scene as well.
WITH_SCENES = ("ferv39k",)
# How the numbers of the controls are named where they are printed.
CONTROL_WORDS = {
    "shuffled_war": "WAR, frames of each clip shuffled",
    "reversed_war": "WAR, frames reversed",
    "reversed_swapped_war": "WAR, frames reversed, the classes of each pair swapped",
    "frozen_war": "WAR, the apex frame repeated",
    "thinned_war": "WAR, every second frame repeated",
    "single_war": "WAR, the middle frame repeated",
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
    agreement.check_config(config, workdir)
    path = resolve(config, workdir, checkpoint)
    meta = read_meta(path)
    own = path.is_relative_to(workdir.absolute())
    check_trained_alike(config, meta, path, own)
    make_folder(output)
    splits = open_splits(config)
    agreement.check_data(splits.prepared.fingerprint)
    check_data(config, splits, meta, path, own)
    judge = Judge(config, splits.prepared.classes)
    variables = load_variables(path, like=judge.abstract_variables())
    return write_results(config, judge, variables, splits, part, path, output)


def resolve(config: ConfigDict, workdir: Path, checkpoint: str) -> Path:
    """The folder of the checkpoint step that `checkpoint` names."""
    if checkpoint in ("last", "best"):
        return find_checkpoint(workdir, checkpoint)
    selected = "last" if config.selection == "last" else "best"
    return find_checkpoint(checkpoint or workdir, selected)


def check_trained_alike(
    config: ConfigDict, meta: dict[str, Any], checkpoint: Path, own: bool = False
) -> None:
    """Refuse a checkpoint that was trained with another model, input or sampling than `config`.

    One of the run's own must have all fields of `config` but the free ones.
    """
    changed = []
    for field, text in configs.differences(meta["config"], configs.plain(config)):
        # Where another run started from does not matter.
        bound = field.startswith(AS_TRAINED) and field != "model.pretrained"
        if bound or (own and not configs.is_free(field)):
            changed.append(text)
    if changed:
        raise UserError(
            f"{checkpoint} was trained with another config: {'; '.join(changed)}. Judge it with "
            "--workdir=<the run it belongs to>."
        )


def check_data(
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
    """Judge `variables` on `part`, print the table, write the files, return results.json.

    results.json is written last: where it stands, the other files are those of the same judgement.
    """
    meta = read_meta(checkpoint)
    selection = selection_of(meta)
    metric = meta["config"]["selection_metric"]
    prepared = splits.prepared

    found = judge_part(config, judge, variables, splits, part)
    validation = None
    if part == "test" and len(splits.val):
        validation = judge_part(config, judge, variables, splits, "val")
    numbers = numbers_of(found)
    numbers["calibration"] = calibrate(
        found.probabilities,
        found.labels,
        (validation.probabilities, validation.labels) if validation else None,
    )
    numbers |= _controls(config, judge, variables, splits, part, found)
    if prepared.name in WITH_SCENES:
        scenes = by_scene(found)
        numbers["scenes"] = scene_numbers(scenes)
    results = {
        part: numbers,
        "classes": list(prepared.classes),
        "selection": selection,
        "selection_metric": None if selection == "last" else metric,
        "checkpoint": str(checkpoint),
        "parameters": meta.get("parameters", "trained"),
        "step": meta["step"],
        "train_clips": meta["train_clips"],
        "dropped_clips": splits.dropped,
        "data": data_facts(config, splits),
        "seed": config.seed,
        "trained_with": meta.get("trained_with"),  # at each start that changed it; then this one's:
        "versions": versions(),
        "device": jax.devices()[0].device_kind,
        "config": configs.plain(config),
        "config_hash": configs.digest(configs.plain(config)),
    }
    if jax.process_index() != 0:
        return results
    make_folder(output)
    title = f"{prepared.name}, {part}"
    write_predictions(output / "predictions.csv", found)
    if validation:
        write_predictions(output / "val_predictions.csv", validation)
    confusion = found.confusions().sum(axis=0)
    plots.confusion_png(output / "confusion.png", confusion, prepared.classes, title)
    reliability_png(output / "reliability.png", found.probabilities, found.labels, title)
    write_json(output / "results.json", results)

    print(report.results_table(confusion, prepared.classes))
    print(summary.intervals_line(numbers))
    print(calibration_text(numbers["calibration"]))
    for name, words in CONTROL_WORDS.items():
        if name in numbers:
            print(f"{words}: {numbers[name]:.4f}")
    if "scenes" in numbers:
        print("\n".join(summary.table(scene_rows(scenes, prepared.classes))))
        print("(UAR over the classes present in the scene)")
    for sentence in splits.caveats:
        print(sentence)
    views = config.evaluation
    if views.temporal_views * views.spatial_views > 1:
        print(
            f"probabilities averaged over {views.temporal_views} temporal x "
            f"{views.spatial_views} spatial views"
        )
    words = selection_sentence(selection, metric, meta["train_clips"])
    average = "; parameters: their moving average" if results["parameters"] == "ema" else ""
    print(f"part: {part}; {words}; step {meta['step']}{average}")
    print(f"results: {output / 'results.json'}, predictions.csv, confusion.png, reliability.png")
    return results


def data_facts(config: ConfigDict, splits: Splits) -> dict[str, Any]:
    """What results.json says of the data."""
    prepared = splits.prepared
    return {
        "name": prepared.name,
        "config": prepared.config,
        "fold": config.data.fold or None,
        "folds": list(prepared.folds) if config.data.fold else [],
        "fingerprint": prepared.fingerprint,
        "caveats": prepared.caveats,
    }


def selection_of(meta: dict[str, Any]) -> str:
    """Only the best checkpoint of a selection has a score: any other is the last of its time."""
    return meta["config"]["selection"] if "score" in meta else "last"


def judge_part(
    config: ConfigDict, judge: Judge, variables: dict, splits: Splits, part: str
) -> Predictions:
    """What the model says of the clips of a part."""
    prepared, rows = splits.prepared, splits.rows(part)
    probabilities = judge.probabilities(variables, prepared, rows)
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if len(bad):
        raise UserError(
            f"The model gives {len(bad):,} of {len(rows):,} clips probabilities that are not "
            f'finite, "{prepared.clip_ids[rows[bad[0]]]}" first: its parameters overflow; judge '
            "another checkpoint, or train with a lower config.optimizer.learning_rate."
        )
    return Predictions(
        prepared.classes,
        (str(config.data.fold or ""),),
        tuple(prepared.clip_ids[row] for row in rows),
        np.zeros(len(rows), np.int64),
        prepared.labels[rows].astype(np.int64),
        probabilities.argmax(-1),
        probabilities,
    )


def numbers_of(found: Predictions) -> dict[str, Any]:
    """WAR, UAR, recalls and their intervals, ready for JSON."""
    numbers = summary.summarize(found, seed=0)
    return {"clips": numbers["clips"], **numbers["pooled"], "bootstrap": numbers["bootstrap"]}


def _controls(
    config: ConfigDict,
    judge: Judge,
    variables: dict,
    splits: Splits,
    part: str,
    found: Predictions,
) -> dict[str, Any]:
    """The same clips with their frames in the other orders of `config.evaluation.controls`."""
    prepared, rows, size = splits.prepared, splits.rows(part), len(splits.prepared.classes)
    numbers: dict[str, Any] = {}
    for order in configs.controls(config):
        control = judge.probabilities(variables, prepared, rows, order).argmax(-1)
        matrix = metrics.confusion_matrix(found.labels, control, size)
        numbers |= control_numbers(order, matrix, prepared.name)
    return numbers | ceiling_numbers(np.bincount(found.labels, minlength=size), prepared.name)


def control_numbers(
    order: str, confusion: Int[np.ndarray, "C C"], data_name: str
) -> dict[str, Any]:
    """What is said of the frame order `order`, by the confusion matrix that it gives."""
    numbers = {
        f"{order}_war": metrics.war(confusion),
        f"{order}_uar": metrics.uar(confusion),
        f"{order}_confusion": confusion.tolist(),
    }
    if order == "reversed" and data_name == "synthetic_faces":
        # A clip played backwards is a clip of the other class of its pair.
        numbers["reversed_swapped_war"] = metrics.war(confusion[:, np.asarray(REVERSED)])
    return numbers


def ceiling_numbers(class_clips: Int[np.ndarray, " C"], data_name: str) -> dict[str, float]:
    """What a model blind to order can reach, of the set that knows it."""
    if data_name != "synthetic_faces":
        return {}
    return {"order_blind_ceiling_war": order_blind_ceiling(class_clips)[0]}


def write_predictions(path: Path, found: Predictions) -> None:
    """Write predictions.csv, with the fold of every clip."""
    report.write_predictions(
        path,
        found.clip_ids,
        found.labels,
        found.probabilities,
        found.class_names,
        [found.fold_names[fold] for fold in found.folds],
    )


def calibration_text(numbers: dict[str, Any]) -> str:
    """`calibration.calibrate` for the terminal."""
    lines = [summary.calibration_line("calibration", numbers["before"])]
    if numbers["after"]:
        line = summary.calibration_line("with temperature", numbers["after"])
        fitted = f"fitted on {numbers['validation_clips']:,} validation clips"
        lines.append(f"{line}   (T = {numbers['temperature']:.4f}, {fitted})")
    else:
        lines.append(numbers["note"])
    return "\n".join(lines)


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
