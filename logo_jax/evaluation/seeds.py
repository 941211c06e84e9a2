"""Methods compared over several seeds: every seed, every fold, and no test that folds do not bear.

A test on one pair of trained models says that these two differ. Whether their methods do is seen
from several seeds; the folds of one seed are no substitute, since they share training data.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

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


def seeds_text(summaries: Sequence[dict[str, Any]]) -> str:
    """The scores of every seed of one method; `summaries` are those of `summary.summarize`."""
    rows = [["seed", "WAR % pooled", "mean of folds", "UAR % pooled", "mean of folds"]]
    for number, summary in enumerate(summaries, 1):
        parts = (
            summary[part][score] for score in ("war", "uar") for part in ("pooled", "fold_mean")
        )
        rows.append([str(number), *(f"{100 * value:.2f}" for value in parts)])
    return "\n".join(table(rows))


def differences_text(pairs: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """`compare_seeds` for the terminal, in points; `names` are those of the methods."""
    lines = []
    for pair in pairs:
        first, second = (names[index] for index in pair["methods"])
        folds = [f"fold {printable(name)}" for name in pair["folds"]]
        for score, test in (("war", "McNemar"), ("uar", "bootstrap")):
            rows = [["seed", *folds, "pooled", f"p ({test})", "p (Holm)"]]
            for number, row in enumerate(pair["seeds"], 1):
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
