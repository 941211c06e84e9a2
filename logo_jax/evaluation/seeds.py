"""Methods compared over several seeds: every seed, every fold, and no test that folds do not bear.

A test on one pair of trained models says that these two differ. Whether their methods do is seen
from several seeds; the folds of one seed are no substitute, since they share training data.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from logo_jax.common.errors import UserError
from logo_jax.evaluation import statistics
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.report import printable
from logo_jax.evaluation.summary import compare, correct, table


def compare_seeds(
    methods: Sequence[Sequence[Predictions]], seed: int, draws: int = statistics.DRAWS
) -> list[dict[str, Any]]:
    """Every pair of methods, with what `summary.compare` says of every seed.

    Holm's correction goes over all pairs and seeds, for WAR and for UAR apart.

    Args:
        methods: per method, one entry per seed; the same seed at the same place in all.
        seed: of the bootstrap.

    Raises:
        UserError: the methods differ in their number of seeds, or in clips or folds.
    """
    for method in methods[1:]:
        if len(method) != len(methods[0]):
            raise UserError(
                f"One method has {len(methods[0])} seeds and another {len(method)}; give the same "
                "seeds of all."
            )
    pairs: list[dict[str, Any]] = []
    for first, second in combinations(range(len(methods)), 2):
        differences = statistics.paired_differences(methods[first], methods[second])
        tests = [
            compare(models, seed, draws)[0]
            for models in zip(methods[first], methods[second], strict=True)
        ]
        for score in ("war", "uar"):
            by_fold = getattr(differences, score)
            for row, values in zip(tests, by_fold.tolist(), strict=True):
                row[score]["folds"] = values
        pairs.append(
            {
                "methods": [first, second],
                "folds": list(methods[first][0].fold_names),
                "seeds": [{score: row[score] for score in ("war", "uar")} for row in tests],
                "enough_seeds": differences.enough_seeds,
                "war": {"mean": differences.mean_war, "std": differences.std_war},
                "uar": {"mean": differences.mean_uar, "std": differences.std_uar},
            }
        )
    correct([row for pair in pairs for row in pair["seeds"]])
    return pairs


def over_seeds(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample deviation (None of one seed) over the seeds of one method, for JSON."""
    numbers: dict[str, Any] = {}
    for part in ("pooled", "fold_mean"):
        numbers[part] = {}
        for score in ("war", "uar"):
            values = [summary[part][score] for summary in summaries]
            numbers[part][score] = float(np.mean(values))
            std = float(np.std(values, ddof=1)) if len(values) > 1 else None
            numbers[part][f"{score}_std"] = std
    return numbers


def seeds_text(summaries: Sequence[dict[str, Any]], seeds: Sequence[int] = ()) -> str:
    """The scores of every seed of one method; `summaries` are those of `summary.summarize`.

    `seeds` names the seeds; without it they are numbered from 1.
    """
    rows = [["seed", "WAR % pooled", "mean of folds", "UAR % pooled", "mean of folds"]]
    columns = [(part, score) for score in ("war", "uar") for part in ("pooled", "fold_mean")]
    for number, summary in zip(seeds or range(1, len(summaries) + 1), summaries, strict=True):
        values = (summary[part][score] for part, score in columns)
        rows.append([str(number), *(f"{100 * value:.2f}" for value in values)])
    if len(summaries) > 1:
        mean = over_seeds(summaries)
        rows.append(["mean", *(f"{100 * mean[part][score]:.2f}" for part, score in columns)])
        deviations = (mean[part][f"{score}_std"] for part, score in columns)
        rows.append(["sample deviation", *(f"{100 * value:.2f}" for value in deviations)])
    return "\n".join(table(rows))


def differences_text(
    pairs: Sequence[dict[str, Any]], names: Sequence[str], seeds: Sequence[str | int] = ()
) -> str:
    """`compare_seeds` for the terminal, in points.

    `names` are those of the methods, `seeds` those of the seeds; without, these are numbered.
    """
    lines = []
    for pair in pairs:
        first, second = (names[index] for index in pair["methods"])
        folds = [f"fold {printable(name)}" for name in pair["folds"]]
        for score, test in (("war", "McNemar"), ("uar", "bootstrap")):
            rows = [["seed", *folds, "pooled", f"p ({test})", "p (Holm)"]]
            numbers = seeds or range(1, len(pair["seeds"]) + 1)
            for number, row in zip(numbers, pair["seeds"], strict=True):
                value = row[score]
                points = (f"{100 * x:+.2f}" for x in (*value["folds"], value["difference"]))
                tests = f"{value['p']:.4g}", f"{value['p_holm']:.4g}"
                rows.append([str(number), *points, *tests])
            over_all = f"mean of seeds and folds {100 * pair[score]['mean']:+.2f}"
            if len(pair["seeds"]) * len(folds) > 1:
                over_all += f", sample deviation {100 * pair[score]['std']:.2f}"
            lines += [f"{first} - {second}, {score.upper()}", *table(rows), over_all, ""]
        if not pair["enough_seeds"]:
            lines += [
                f"Fewer than {statistics.LEAST_SEEDS} seeds: this says nothing about the methods, "
                "only about these trained models.",
                "",
            ]
    return "\n".join(lines[:-1])
