"""All numbers of one or several models from their predictions: as plain data, and as text."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from logo_jax.common.errors import UserError
from logo_jax.evaluation import calibration, statistics
from logo_jax.evaluation.metrics import empty_classes, recalls, uar, war
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.report import display_width, printable, results_table
from logo_jax.evaluation.statistics import Interval

WHAT_INTERVALS_COVER = (
    "clips resampled within fold and class; the intervals cover the sampling of the test set, not "
    "the variance of training"
)


def summarize(predictions: Predictions, seed: int, draws: int = statistics.DRAWS) -> dict[str, Any]:
    """Every number of one model, ready for JSON; fractions, and None where one is not defined.

    Raises:
        UserError: `draws` is not positive, or `seed` is negative.
    """
    if draws < 1:
        raise UserError(f"The number of bootstrap draws is {draws}, but must be at least 1.")
    if seed < 0:
        raise UserError(f"The seed of the bootstrap is {seed}, but must be 0 or more.")
    confusions = predictions.confusions()
    pooled = confusions.sum(axis=0)
    result = statistics.scores(confusions)
    intervals, of_class = statistics.bootstrap(confusions, seed, draws)
    return {
        "clips": len(predictions.clip_ids),
        "classes": list(predictions.class_names),
        "pooled": {
            "war": result.pooled_war,
            "war_interval": _pair(intervals["pooled_war"]),
            "uar": result.pooled_uar,
            "uar_interval": _pair(intervals["pooled_uar"]),
            "recalls": [_defined(r) for r in recalls(pooled)],
            "recall_intervals": [interval and _pair(interval) for interval in of_class],
            "confusion": pooled.tolist(),
            "classes_without_clips": empty_classes(pooled, predictions.class_names),
        },
        "fold_mean": {
            "war": result.fold_mean_war,
            "war_std": _defined(result.fold_std_war),
            "war_interval": _pair(intervals["fold_mean_war"]),
            "uar": result.fold_mean_uar,
            "uar_std": _defined(result.fold_std_uar),
            "uar_interval": _pair(intervals["fold_mean_uar"]),
        },
        "folds": [
            {
                "fold": name,
                "clips": int(confusion.sum()),
                "war": war(confusion),
                "uar": uar(confusion),
                "recalls": [_defined(r) for r in recalls(confusion)],
                "classes_without_clips": empty_classes(confusion, predictions.class_names),
            }
            for name, confusion in zip(predictions.fold_names, confusions, strict=True)
        ],
        "calibration": calibration.measures(
            predictions.probabilities, predictions.labels, predictions.predicted
        ),
        "bootstrap": {
            "draws": draws,
            "seed": seed,
            "coverage": statistics.COVERAGE,
            "meaning": WHAT_INTERVALS_COVER,
        },
    }


def with_temperature(test: Predictions, validation: Sequence[Predictions]) -> dict[str, Any]:
    """Fit one temperature per fold on its validation clips, and judge the test clips with it.

    Args:
        validation: one per fold of `test`, with the same order of classes; what the fold's model
            said of its validation clips. Where they name different folds, they are put in the
            order of `test`; else they must be in it.

    Raises:
        UserError: their number or their folds are wrong, a clip is in the validation and the test
            part of the same fold, or no temperature is best.
    """
    if len(validation) != len(test.fold_names):
        raise UserError(
            f"There are {len(validation)} files of validation predictions, but the test "
            f"predictions have {len(test.fold_names)} folds; give one per fold, in the same order."
        )
    own = {part.fold_names: part for part in validation}
    if len(own) == len(validation) > 1:
        if set(own) != {(name,) for name in test.fold_names}:
            names = sorted(name for part in own for name in part)
            raise UserError(
                f"The validation predictions are of the folds {', '.join(names)}, but the test "
                f"predictions of {', '.join(test.fold_names)}; give one file for each of these."
            )
        validation = [own[name,] for name in test.fold_names]
    scaled = np.empty_like(test.probabilities)
    temperatures = []
    for fold, part in enumerate(validation):
        rows = np.flatnonzero(test.folds == fold)
        if shared := {test.clip_ids[row] for row in rows} & set(part.clip_ids):
            raise UserError(
                f'The clip "{min(shared)}" is among both the validation and the test clips of '
                f"fold {test.fold_names[fold]}; a temperature is fitted on validation clips only."
            )
        temperatures.append(calibration.fit_temperature(part.probabilities, part.labels))
        scaled[rows] = calibration.scaled(test.probabilities[rows], temperatures[-1])
    return {
        "temperatures": temperatures,
        **calibration.measures(scaled, test.labels, test.predicted),
    }


def compare(
    models: Sequence[Predictions], seed: int, draws: int = statistics.DRAWS
) -> list[dict[str, Any]]:
    """Every pair of models on the same clips: McNemar for WAR, a paired bootstrap for UAR.

    `p_holm` is corrected over all pairs, for WAR and for UAR apart. The result is about these
    trained models; a claim about their methods needs several seeds (`seeds.compare_seeds`).

    Raises:
        UserError: the models do not judge the same clips.
    """
    rows: list[dict[str, Any]] = []
    for first, second in combinations(range(len(models)), 2):
        test = statistics.mcnemar(models[first], models[second])
        boot = statistics.paired_bootstrap(models[first], models[second], seed, draws)
        rows.append(
            {
                "models": [first, second],
                "war": {
                    "difference": boot["pooled_war"].difference,
                    "interval": _pair(boot["pooled_war"].interval),
                    "only_first": test.only_first,
                    "only_second": test.only_second,
                    "p": test.p,
                },
                "uar": {
                    "difference": boot["pooled_uar"].difference,
                    "interval": _pair(boot["pooled_uar"].interval),
                    "p": boot["pooled_uar"].p,
                },
            }
        )
    correct(rows)
    return rows


def correct(rows: Sequence[dict[str, Any]]) -> None:
    """Enter `p_holm` beside every `p`: Holm's correction over all rows, for WAR and UAR apart."""
    for score in ("war", "uar"):
        for row, p in zip(rows, statistics.holm([row[score]["p"] for row in rows]), strict=True):
            row[score]["p_holm"] = p


def summary_text(summary: dict[str, Any]) -> str:
    """`summarize`, and `with_temperature` under its key "temperature", for the terminal."""
    pooled, mean = summary["pooled"], summary["fold_mean"]
    rows = [["", "WAR %", "95 %", "std", "UAR %", "95 %", "std"]]
    rows.append(["pooled", *_cells(pooled, "war"), *_cells(pooled, "uar")])
    if len(summary["folds"]) > 1:
        rows.append(["mean of folds", *_cells(mean, "war"), *_cells(mean, "uar")])
        for fold in summary["folds"]:
            name = f"fold {printable(fold['fold'])} ({fold['clips']:,})"
            rows.append([name, *_cells(fold, "war"), *_cells(fold, "uar")])
    lines = [results_table(np.array(pooled["confusion"]), summary["classes"]), "", *table(rows)]
    for fold in summary["folds"]:
        if fold["classes_without_clips"] != pooled["classes_without_clips"]:
            missing = ", ".join(map(printable, fold["classes_without_clips"]))
            lines.append(f"No clips in fold {printable(fold['fold'])}: {missing}")
    lines.append("")
    rows = [["class", "recall %", "95 %"]]
    for name, recall, interval in zip(
        summary["classes"], pooled["recalls"], pooled["recall_intervals"], strict=True
    ):
        rows.append([printable(name), _percent(recall), _range(interval)])
    lines += table(rows)
    boot = summary["bootstrap"]
    lines.append(f"({boot['draws']:,} draws, seed {boot['seed']}: {boot['meaning']})")
    lines += ["", calibration_line("calibration", summary["calibration"])]
    if "temperature" in summary:
        fitted = ", ".join(f"{t:.4f}" for t in summary["temperature"]["temperatures"])
        lines.append(
            calibration_line("with temperature", summary["temperature"])
            + f"   (T = {fitted}, fitted on validation)"
        )
    return "\n".join(lines)


def intervals_line(numbers: dict[str, Any]) -> str:
    """The intervals of WAR and UAR of one test set, from `summarize`'s "pooled" and "bootstrap"."""
    boot = numbers["bootstrap"]
    return (
        f"95 % intervals: WAR {_range(numbers['war_interval'])} %, "
        f"UAR {_range(numbers['uar_interval'])} % ({boot['draws']:,} draws; {boot['meaning']})"
    )


def comparison_text(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """`compare` for the terminal; `names` are those of the models."""
    cells = [["", "first - second", "95 %", "only first", "only second", "p", "p (Holm)"]]
    for row in rows:
        first, second = (names[index] for index in row["models"])
        for score, test in (("war", "McNemar"), ("uar", "bootstrap")):
            value = row[score]
            cells.append(
                [
                    f"{first} - {second}, {score.upper()} ({test})",
                    f"{100 * value['difference']:+.2f}",
                    _range(value["interval"]),
                    f"{value['only_first']:,}" if score == "war" else "",
                    f"{value['only_second']:,}" if score == "war" else "",
                    f"{value['p']:.4g}",
                    f"{value['p_holm']:.4g}",
                ]
            )
    return "\n".join(
        [
            *table(cells),
            f"(pooled, in points; Holm's correction over {len(rows)} pairs. These are two trained "
            f"models; a claim about a method needs at least {statistics.LEAST_SEEDS} seeds)",
        ]
    )


def calibration_line(name: str, numbers: dict[str, Any]) -> str:
    """`calibration.measures` for the terminal."""
    return (
        f"{name}: ECE {numbers['ece']:.4f} ({len(numbers['bins']['clips'])} bins of equal mass)   "
        f"NLL {numbers['nll']:.4f} nats   Brier {numbers['brier']:.4f}"
    )


def _pair(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _cells(numbers: dict[str, Any], score: str) -> list[str]:
    interval = numbers.get(f"{score}_interval")
    std = numbers.get(f"{score}_std")
    return [
        _percent(numbers[score]),
        _range(interval) if interval else "",
        "" if std is None else f"{100 * std:.2f}",
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def _range(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns of equal width: the first to the left, the others to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        gaps = [" " * (w - display_width(c)) for c, w in zip(row, widths, strict=True)]
        cells = [row[0] + gaps[0], *(g + c for g, c in zip(gaps[1:], row[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines
