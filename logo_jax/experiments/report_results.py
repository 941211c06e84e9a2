"""The parts of a report that are made of numbers alone: facts, recipes, results, tests."""

import functools
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common import page
from logo_jax.common.errors import UserError
from logo_jax.common.page import Marked
from logo_jax.evaluation import curves, seeds, statistics, summary, tables
from logo_jax.evaluation.published_table import FOLDS, OurRow, published_table
from logo_jax.evaluation.scenes import by_scene, scene_rows
from logo_jax.evaluation.tables import Page, Table, percent
from logo_jax.experiments import config as configs
from logo_jax.experiments import parts
from logo_jax.experiments.evaluate import CONTROL_WORDS, WITH_SCENES, selection_sentence
from logo_jax.experiments.report_runs import Model, by_colour, by_method, log_of
from logo_jax.experiments.runs import RESULTS
from logo_jax.study.count import multiply_adds
from logo_jax.training.state import init_variables

MOST_PAIRS = 28  # of 8 models; a table of more says little
SAMPLINGS = {"dynamic": "DS", "time_interpolation": "TI"}


def facts_table(models: Sequence[Model]) -> Table:
    """What each model is, one column a model."""
    columns = [_facts(model) for model in models]
    body = [[name, *(Marked(column[name], "left") for column in columns)] for name in columns[0]]
    head = ["", *(model.name for model in models)]
    return Table("runs", "What was run, on what, with what.", head, body)


def _facts(model: Model) -> dict[str, str]:
    results, config, runs = model.results, model.config, model.runs
    parameters, gmacs = model_size(config, len(results["classes"]))
    logs = [log for log in map(log_of, runs) if log]
    seconds = sum(curves.training_seconds(log, config["batch_size"]) for log in logs)
    written = max((run.folder / RESULTS).stat().st_mtime for run in runs)
    dropped = {
        part: sum(run.results["dropped_clips"][part] for run in runs)
        for part in results["dropped_clips"]
    }
    selection = selection_sentence(
        results["selection"], results["selection_metric"] or "", results["train_clips"]
    )
    views = config["evaluation"]
    versions = [f"{name} {version}" for name, version in results["versions"].items() if version]
    return {
        "system": config["model"]["name"],
        "parameters": f"{parameters / 1e6:.3f} M",
        "multiply-adds a clip": f"{gmacs:.4g} G (without attention products)",
        "data": f"{results['data']['name']}/{results['data']['config']}",
        "fold": ", ".join(str(run.fold) for run in runs if run.fold) or "the set's own split",
        "data fingerprint": ", ".join(
            dict.fromkeys(run.results["data"]["fingerprint"][:16] for run in runs)
        ),
        "training clips": ", ".join(f"{run.results['train_clips']:,}" for run in runs),
        "clips judged": f"{len(model.predictions.clip_ids):,} ({runs[0].part})",
        "clips left out": ", ".join(f"{n:,} {part}" for part, n in dropped.items() if n) or "none",
        "checkpoint": selection.removeprefix("checkpoint: ").rpartition(";")[0],
        "step": ", ".join(str(run.results["step"]) for run in runs),
        "seed": str(model.seed),
        "views": f"{views['temporal_views']} temporal x {views['spatial_views']} spatial",
        "training time": f"{seconds:,.0f} s of steps" if logs else "not recorded",
        "hardware": ", ".join(dict.fromkeys(run.results["device"] for run in runs)),
        "judged": time.strftime("%Y-%m-%d", time.gmtime(written)),
        "versions": ", ".join(versions),
    }


def model_size(config: dict[str, Any], num_classes: int) -> tuple[int, float]:
    """Parameters, and 10^9 multiply-adds a clip by the convention of the papers' tables."""
    return _model_size(json.dumps(config, sort_keys=True), num_classes)


@functools.cache
def _model_size(config: str, num_classes: int) -> tuple[int, float]:
    fields = ConfigDict(json.loads(config))
    model = parts.build_model(fields, num_classes)
    shape = parts.clip_shape(fields)
    variables = jax.eval_shape(lambda: init_variables(model, shape, 0))
    clip = jax.ShapeDtypeStruct((1, *shape), np.float32)
    count = multiply_adds(lambda v, x: model.apply(v, x, train=False), variables, clip)
    size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))
    return size, count / 1e9


def recipe(config: dict[str, Any]) -> str:
    """The set fields of a config, as lines of a config file."""
    fields = ((name, value) for name, value in configs.leaves(config) if value is not None)
    return "\n".join(f"config.{name} = {value!r}" for name, value in fields)


def differences_table(models: Sequence[Model]) -> Table:
    """The config fields in which the models differ."""
    columns = [dict(configs.leaves(model.config)) for model in models]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(_value(column.get(name)) for column in columns)] for name in names]
    body = [row for row in rows if len(set(row[1:])) > 1]
    words = "Config fields in which the runs differ; all others are equal."
    head = ["field", *(model.name for model in models)]
    return Table("differences", words if body else "The configs are equal.", head, body)


def _value(value: Any) -> str:
    return "the system's own" if value is None else str(value) or "empty"


def results_section(sheet: Page, models: Sequence[Model]) -> None:
    """Numbers, recalls, published rows, folds, controls, calibration, scenes."""
    found = [(model.name, model.summary) for model in models]
    scores = tables.scores_table("results", found, [_trained(model) for model in models])
    sheet.add(page.heading("Results"), sheet.table(scores))
    if any(model.results["selection"] == "best_on_test" for model in models):
        sheet.say(
            "best_on_test: selected on the clips that it is judged on, so its numbers are "
            "optimistic, as those of most published systems."
        )
    for model in models:
        if apart := _apart(model):
            sheet.say(f"{model.name}: {apart}; these are not the numbers of the set's protocol.")
        for caveat in _caveats(model):
            sheet.say(f"{model.name}: {caveat}")
        if missing := model.summary["pooled"]["classes_without_clips"]:
            words = f"{model.name}: no clips, so left out of UAR: {', '.join(missing)}."
            sheet.add(page.paragraph(words))
        absent = set(model.results["data"]["folds"]) - {run.fold for run in model.runs}
        if absent:
            folds = ", ".join(map(str, sorted(absent)))
            words = f"{model.name} lacks folds of the set's protocol: {folds}."
            sheet.add(page.paragraph(words))
    if table := _seeds_table(models):
        sheet.add(sheet.table(table))
    for dataset in dict.fromkeys(model.dataset for model in models):
        ours = [row for model in models if model.dataset == dataset for row in _our_rows(model)]
        if table := published_table(dataset, ours):
            sheet.add(sheet.table(table))
            if any(row.folds < FOLDS.get(dataset, 1) for row in ours):
                words = f"Published rows are of {FOLDS[dataset]} folds; fewer cannot stand beside."
                sheet.add(page.paragraph(words))
        else:
            sheet.add(page.paragraph(f"No published numbers are known here for {dataset}."))
    if len(models) == 1:
        sheet.add(sheet.table(tables.recalls_table(models[0].summary, "recalls")))
    else:
        sheet.add(sheet.table(_recalls_of_models(models)))
    for number, model in enumerate(models, 1):
        suffix, of = ("", "") if len(models) == 1 else (f"_{number}", f"{model.name}. ")
        if len(model.runs) > 1:
            table = tables.folds_table(model.summary, f"folds{suffix}", of)
            sheet.add(sheet.table(table))
        if model.dataset in WITH_SCENES:
            head, *body = scene_rows(by_scene(model.predictions), model.predictions.class_names)
            caption = f"{of}Scenes; UAR over the classes present in the scene."
            sheet.add(sheet.table(Table(f"scenes{suffix}", caption, head, body)))
    if table := _controls(models):
        sheet.add(sheet.table(table))
    sheet.add(page.heading("Calibration", 3), sheet.table(_calibration(models)))
    bins = {
        name: [model.summary["calibration"]["bins"] for model in members]
        for name, members in by_colour(models).items()
    }
    draw = curves.reliability_diagram(bins)
    sheet.add(page.row([sheet.figure(draw, "reliability", "Accuracy over confidence")]))


def _trained(model: Model) -> tuple[str, str]:
    """What selected the parameters, and the number of training clips (least to most of the folds),
    as a row of results says it."""
    results = model.results
    selection, metric = results["selection"], results["selection_metric"]
    clips = sorted({run.results["train_clips"] for run in model.runs})
    return (
        selection if selection == "last" else f"{selection}, {metric.upper()}",
        f"{clips[0]:,}" + (f" to {clips[-1]:,}" if len(clips) > 1 else ""),
    )


def _apart(model: Model) -> str:
    """Why the judged clips are not the test set of the protocol; "" where they are."""
    dropped = sum(run.results["dropped_clips"]["test"] for run in model.runs)
    where, part = model.config["data"].get("where"), model.runs[0].part
    reasons = {
        f"judged on {part}": part != "test",
        f"only the clips of {where}": where,
        f"without {dropped:,} short clips": dropped,
        "not the set as it was published": _caveats(model),
    }
    return ", ".join(words for words, holds in reasons.items() if holds)


def _caveats(model: Model) -> list[str]:
    """What the prepared sets of its runs say against comparing them, each once."""
    return list(dict.fromkeys(c for run in model.runs for c in run.results["data"]["caveats"]))


def _our_rows(model: Model) -> list[OurRow]:
    """A row of the pooled numbers, and of several folds one of their mean."""
    results, found, folds = model.results, model.summary, len(model.runs)
    sampling = model.config["data"]["sampling"]
    sampling = SAMPLINGS.get(sampling, sampling)
    if "16f" in results["data"]["config"]:  # DFEW's folders of time-interpolated frames
        sampling = "TI"
    cost = model_size(model.config, len(results["classes"]))[1]
    recalls = {
        name.lower(): None if recall is None else 100 * recall
        for name, recall in zip(found["classes"], found["pooled"]["recalls"], strict=True)
    }

    def row(name: str, aggregation: str, numbers: dict[str, Any], of: dict[str, Any]) -> OurRow:
        war, uar = 100 * numbers["war"], 100 * numbers["uar"]
        selection, apart = results["selection"], _apart(model)
        return OurRow(name, sampling, selection, aggregation, folds, cost, of, uar, war, apart)

    if folds == 1:
        how = "pooled" if model.runs[0].fold else "official_split"
        return [row(model.name, how, found["pooled"], recalls)]
    return [
        row(f"{model.name}, pooled", "pooled", found["pooled"], recalls),
        row(f"{model.name}, mean of folds", "fold_mean", found["fold_mean"], {}),
    ]


def _seeds_table(models: Sequence[Model]) -> Table | None:
    """Mean and sample deviation over the seeds of each method that has several."""
    body = []
    for name, members in by_method(models).items():
        if len(members) > 1:
            pooled = seeds.over_seeds([model.summary for model in members])["pooled"]
            scores = [
                f"{percent(pooled[score])} ± {percent(pooled[f'{score}_std'])}"
                for score in ("war", "uar")
            ]
            body.append([name, ", ".join(str(model.seed) for model in members), *scores])
    caption = "Pooled numbers of each method: mean ± sample deviation over its seeds."
    return Table("seeds", caption, ["method", "seeds", "WAR %", "UAR %"], body) if body else None


def _recalls_of_models(models: Sequence[Model]) -> Table:
    """One row a model; the best of each class is bold."""
    classes = list(dict.fromkeys(name for model in models for name in model.summary["classes"]))
    rows = []
    for model in models:
        recalls = map(percent, model.summary["pooled"]["recalls"])
        rows.append(dict(zip(model.summary["classes"], recalls, strict=True)))
    numbers = {
        name: [float(row[name]) for row in rows if row.get(name, "-") != "-"] for name in classes
    }
    best = {name: max(of, default=None) for name, of in numbers.items() if len(set(of)) > 1}
    body = []
    for model, row in zip(models, rows, strict=True):
        cells = [row.get(name, "-") for name in classes]
        marked = [
            Marked(cell, "best") if cell != "-" and float(cell) == best.get(name) else cell
            for name, cell in zip(classes, cells, strict=True)
        ]
        body.append([model.name, *marked])
    caption = "Recall of each class in per cent, pooled; the best is bold."
    return Table("recalls", caption, ["run", *classes], body)


def _controls(models: Sequence[Model]) -> Table | None:
    """The same models on clips in other orders, one row a fold."""
    rows = [(model.title(run), run.numbers) for model in models for run in model.runs]
    names = [name for name in CONTROL_WORDS if any(name in numbers for _, numbers in rows)]
    body = [
        [title, percent(numbers["war"]), *(percent(numbers.get(name)) for name in names)]
        for title, numbers in rows
    ]
    words = [CONTROL_WORDS[name].removeprefix("WAR, ") for name in names]
    caption = "What the model needs of time: WAR % of the same model on changed clips."
    return Table("controls", caption, ["run", "natural", *words], body) if names else None


def _calibration(models: Sequence[Model]) -> Table:
    rows: list[tuple[str, dict[str, Any]]] = []
    for model in models:
        rows.append((model.name, model.summary["calibration"]))
        for run in model.runs:
            found = run.numbers["calibration"]
            if found["after"]:
                words = f"T = {found['temperature']:.4f}, {found['validation_clips']:,} clips"
                rows.append((f"{model.title(run)}: {words}", found["after"]))
    return tables.calibration_table(rows)


def significance_section(sheet: Page, models: Sequence[Model]) -> None:
    """Tests over seeds where all methods have the same seeds, else between trained models."""
    sheet.add(page.heading("Significance"))
    groups = by_method(models)
    of_seeds = [[model.seed for model in members] for members in groups.values()]
    alike = len(groups) > 1 and all(own == of_seeds[0] for own in of_seeds)
    try:
        if alike and len(of_seeds[0]) > 1:
            sets = [[model.predictions for model in members] for members in groups.values()]
            pairs = seeds.compare_seeds(sets, seed=0)
            table = tables.methods_table(pairs, list(groups), of_seeds[0])
        elif len(models) * (len(models) - 1) // 2 <= MOST_PAIRS:
            pairs = summary.compare([model.predictions for model in models], seed=0)
            table = tables.models_table(pairs, [model.name for model in models])
        else:
            raise UserError(
                f"{len(models)} models without common seeds make too many pairs; give the same "
                "seeds of all methods, or fewer runs."
            )
    except UserError as error:
        sheet.add(page.paragraph(f"Not compared: {error}"))
        return
    if not alike or len(of_seeds[0]) < statistics.LEAST_SEEDS:
        least = statistics.LEAST_SEEDS
        words = f"This is about trained models; a claim about a method needs {least} seeds or more."
        table = replace(table, caption=f"{table.caption} {words}")  # in its files, too
    sheet.add(sheet.table(table))
