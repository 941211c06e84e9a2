"""`--mode=report`: the page of a run, or of several beside each other, and its tables as files.

python launch.py --mode=report --workdir=runs/quickstart
python launch.py --mode=report --runs=runs/a,runs/b --output=runs/a-and-b

What a report cannot show, since a file is missing, it says in a sentence.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Int

from logo_jax.common import page
from logo_jax.common.errors import UserError
from logo_jax.evaluation import curves, gallery, tables
from logo_jax.evaluation.embedding import embedding_plot, perplexity, sample, spread, tsne
from logo_jax.evaluation.predictions import Predictions, paired
from logo_jax.evaluation.tables import Page, Table
from logo_jax.experiments.report_model import TrainedModel
from logo_jax.experiments.report_results import (
    differences_table,
    facts_table,
    recipe,
    results_section,
    significance_section,
)
from logo_jax.experiments.report_runs import Model, by_colour, by_method, log_of, read_models
from logo_jax.training.objective import LOSSES
from logo_jax.training.signals import Stopped

REPORT = "report.html"
SEED = 0  # of the samples of clips, and of t-SNE
MOST_MODELS = 4  # whose features and frames one page shows
# Clips of which one page shows pictures: of a single model, and of each of several.
SHOWN, SHOWN_EACH = 7, 3
GALLERY, GALLERY_EACH = 6, 3
MOST_FRAMES = 16  # of a clip
EFFECTS_OF = 32  # clips over which the contribution of frames is averaged


def write_report(runs: Sequence[Path], output: Path) -> Path:
    """Write `report.html`, `tables/*.csv`, `tables/*.tex` and `figures/*.png` to `output`.

    Args:
        runs: folders of runs, of cross-validations (fold1, fold2, ...), or of several of either.
            Models that differ in seed and fold only are seeds, and folds, of one method.

    Raises:
        UserError: a folder holds no finished run or a damaged one, or `output` cannot be written.
    """
    started = time.perf_counter()
    models = read_models(runs)
    sheet = Page(output)
    _runs_section(sheet, models)
    results_section(sheet, models)
    if len(models) > 1:
        significance_section(sheet, models)
    _confusion_section(sheet, models)
    _model_sections(sheet, models)
    names = ", ".join(by_method(models))
    title = names if len(models) == 1 else f"{len(models)} models: {names}"
    page.write_page(sheet.folder / REPORT, f"Report: {title}", sheet.parts)
    print(f"report: {sheet.folder / REPORT} ({time.perf_counter() - started:.0f} s)")
    return sheet.folder / REPORT


def report(folders: Sequence[Path], output: Path) -> Path | None:
    """`--mode=report`, and the end of `train` and `evaluate`: `write_report` on the only host.

    A checkpoint is read by all hosts of a job together, so that there it is left for later.
    """
    if jax.process_count() > 1:
        if jax.process_index() == 0:
            print(f"report: run launch.py --mode=report --workdir={output} on one machine")
        return None
    try:
        return write_report(folders, output)
    except Stopped as stop:
        stop.saved = "the results are saved, and --mode=report writes the report"
        raise


def _runs_section(sheet: Page, models: Sequence[Model]) -> None:
    sheet.add(page.heading("The run" if len(models) == 1 else "The runs"))
    sheet.add(sheet.table(facts_table(models)))
    if len(models) > 1:
        sheet.add(sheet.table(differences_table(models)))
    for model in models:
        title = "Config" if len(models) == 1 else f"Config of {model.name}"
        text = page.preformatted(recipe(model.config))
        sheet.add(page.folded(f"{title}, as a recipe", [text]))
    sheet.add(page.heading("Training", 3))
    logs: dict[str, list[list[curves.Line]]] = {}
    silent = []
    for name, model in ((name, model) for name, of in by_colour(models).items() for model in of):
        for run in model.runs:
            title = model.title(run)
            try:
                log = log_of(run)
            except UserError as error:
                sheet.say(f"No curves of {title}: {error}")
                continue
            if log:  # a colour for each fold of one model
                logs.setdefault(title if len(models) == 1 else name, []).append(log)
            else:
                silent.append(title)
    if logs:
        drawings = curves.curves(logs, LOSSES)
        sheet.add(page.row([
            sheet.figure(draw, f"curve_{name.replace(' ', '_')}", f"{name} by step")
            for name, draw in drawings.items()
        ]))  # fmt: skip
        if "WAR and UAR" not in drawings:
            sheet.say(
                "No curve of WAR and UAR: config.selection=last evaluates nothing while it trains."
            )
    if silent:
        sheet.say(f"No curves: there is no metrics.jsonl of {', '.join(silent)}.")


def _confusion_section(sheet: Page, models: Sequence[Model]) -> None:
    sheet.add(page.heading("Confusion matrix"))
    words = "Rows are true classes, columns predicted ones: clips and percentage of the row"
    for number, model in enumerate(models, 1):
        name, of = "confusion", ""
        if len(models) > 1:
            name, of = f"confusion_{number}", f"{model.name}. "
        confusions, classes = model.predictions.confusions(), model.predictions.class_names
        pooled = f", pooled over {len(confusions)} folds" if len(confusions) > 1 else ""
        caption = f"{of}{words}{pooled}."
        sheet.add(
            sheet.table(tables.confusion_table(confusions.sum(axis=0), classes, name, caption))
        )
        if len(confusions) > 1:
            folds = [
                tables.confusion_table(
                    confusion, classes, f"{name}_fold{fold}", f"{of}Fold {fold}. {words}."
                )
                for fold, confusion in zip(model.predictions.fold_names, confusions, strict=True)
            ]
            sheet.add(page.folded(f"{of}Every fold", [sheet.table(table) for table in folds]))


def _model_sections(sheet: Page, models: Sequence[Model]) -> None:
    """What needs a trained model and its clips: of each method the first seed, its first fold."""
    groups = by_method(models)
    shown = [members[0] for members in groups.values()][:MOST_MODELS]
    opened: dict[str, TrainedModel] = {}
    notes = []
    for model in shown:
        try:
            opened[model.name] = TrainedModel(model.runs[0])
        except UserError as error:
            notes.append(f"Not shown of {model.name}: {str(error).rstrip('.')}.")
    if len(shown) < len(models) or any(len(model.runs) > 1 for model in shown):
        titles = "; ".join(model.title(model.runs[0]) for model in shown)
        notes.append(
            f"Of each method (at most {MOST_MODELS}) one trained model is shown: {titles}."
        )
    present = [model for model in shown if model.name in opened]
    sheet.add(page.heading("Features"), *map(page.paragraph, notes))
    if present:
        _features_section(sheet, present, opened)
    sheet.add(page.heading("What the model looks at"), *map(page.paragraph, notes))
    if present:
        _looks_section(sheet, present, opened)
    sheet.add(page.heading("Errors and narrow hits"), *map(page.paragraph, notes))
    _gallery_section(sheet, shown, opened)


def _first_fold(model: Model) -> Predictions:
    """What the shown model said: the predictions of the first fold."""
    return gallery.rows_of(model.predictions, np.flatnonzero(model.predictions.folds == 0))


def _features_section(
    sheet: Page, models: Sequence[Model], opened: dict[str, TrainedModel]
) -> None:
    first = _first_fold(models[0])
    rows = sample(len(first.clip_ids), SEED)
    clip_ids, labels = [first.clip_ids[row] for row in rows], first.labels[rows]
    panels, body = [], []
    for model in models:
        try:
            paired(first, _first_fold(model))  # the same clips, or an error
            features = opened[model.name].features(clip_ids)
            found = spread(features, labels)
            panels.append((model.name, tsne(features, SEED)))
        except UserError as error:
            sheet.say(f"No features of {model.name}: {error}")
            continue
        numbers = [f"{value:.4f}" for value in (found.intra, found.inter, found.ratio)]
        counts = [f"{len(rows):,}", f"{features.shape[1]:,}"]
        body.append([model.name, *counts, *numbers, f"{found.silhouette:+.4f}"])
    if not panels:
        return
    whole = len(rows) == len(first.clip_ids)
    of = "all" if whole else "a random sample, with a fixed seed, of"
    sheet.say(
        f"t-SNE of the features that the head reads, of {of} {len(rows):,} clips"
        + ("" if whole else f" out of {len(first.clip_ids):,}")
        + f": perplexity {perplexity(len(rows)):.3g}, started from PCA, seed {SEED}. t-SNE keeps "
        "neighbours, not distances: sizes of clusters and gaps between them mean nothing. The "
        "table has the numbers of the original space."
    )
    draw = embedding_plot(panels, labels, first.class_names)
    sheet.add(sheet.figure(draw, "features", "t-SNE of the features, coloured by true class"))
    caption = (
        "Euclidean distances in the space of the features: mean over pairs of clips of one class "
        "(intra) and of different classes (inter), their ratio (lower: more compact), and the "
        "silhouette (-1 to 1)."
    )
    head = ["run", "clips", "dimensions", "intra", "inter", "intra / inter", "silhouette"]
    sheet.add(sheet.table(Table("features", caption, head, body)))


def _looks_section(sheet: Page, models: Sequence[Model], opened: dict[str, TrainedModel]) -> None:
    sheet.say(
        "Rollout: the class token's attention, carried back through all blocks to the tokens (mean "
        "over heads, half of every step for its residual). Global, local, spatial, temporal: that "
        "kind of attention alone; of a kind that the class token skips, the mean over all tokens. "
        "Attention is a picture of weights, not a proof of use: beside it stands how the "
        "probability of the true class changes when a frame is replaced by its neighbour."
    )
    for number, model in enumerate(models, 1):
        name = "frames" if len(models) == 1 else f"frames_{number}"
        if len(models) > 1:
            sheet.add(page.heading(model.name, 3))
        found, trained = _first_fold(model), opened[model.name]
        clips = gallery.median_clips(found, SHOWN if len(models) == 1 else SHOWN_EACH)
        drawn = np.setdiff1d(sample(len(found.clip_ids), SEED, EFFECTS_OF), clips)
        chosen = np.concatenate([clips, drawn])[:EFFECTS_OF]
        frames = trained.frames([found.clip_ids[row] for row in chosen])
        effects = trained.frame_effects(frames, found.labels[chosen])
        try:
            maps = trained.rollouts(frames)
            if not maps:
                system = model.config["model"]["name"]
                sheet.say(f"{system} has no class token whose attention is known to the rollout.")
        except UserError as error:
            maps = {}
            sheet.say(f"No attention: {error}.")
        mass = {kind: tokens.sum((2, 3)) for kind, tokens in maps.items()}
        sheet.add(page.row([
            sheet.figure(draw, f"{name}_{kind}", f"Contribution of each frame: {kind}")
            for kind, draw in gallery.contribution_plots(mass, effects).items()
        ]))  # fmt: skip
        of = "" if len(models) == 1 else f"{model.name}. "
        sheet.add(sheet.table(gallery.frames_table(mass, effects, name, of)))
        some = _some_frames(frames.shape[1])
        for place, row in enumerate(clips):
            own = {kind: tokens[place] for kind, tokens in maps.items()}
            caption = f"{of}{gallery.describe(found, row)}, the median clip of its class"
            sheet.add(gallery.looks_table(frames[place][some], own, effects[place], some, caption))


def _gallery_section(sheet: Page, models: Sequence[Model], opened: dict[str, TrainedModel]) -> None:
    size = GALLERY if len(models) == 1 else GALLERY_EACH
    for number, model in enumerate(models, 1):
        name, of = "clips", ""
        if len(models) > 1:
            name, of = f"clips_{number}", f"{model.name}. "
            sheet.add(page.heading(model.name, 3))
        found = _first_fold(model)
        groups = [
            ("confident error", gallery.confident_errors(found, size)),
            ("narrow hit", gallery.narrow_hits(found, size)),
        ]
        for words, (_, rows) in zip(
            ("The most confident errors", "The least confident hits"), groups, strict=True
        ):
            sheet.say(f"{words}: {len(rows) or 'there are none'}.")
            if model.name in opened and len(rows):
                frames = opened[model.name].frames([found.clip_ids[row] for row in rows])
                some = _some_frames(frames.shape[1])
                for row, clip in zip(rows, frames, strict=True):
                    sheet.add(gallery.clip_strip(found, row, clip[some]))
        sheet.add(sheet.table(gallery.probabilities_table(found, groups, name, of)))


def _some_frames(length: int) -> Int[np.ndarray, " n"]:
    """At most `MOST_FRAMES` of a clip's frames, evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(length, MOST_FRAMES)).round().astype(np.int64))
