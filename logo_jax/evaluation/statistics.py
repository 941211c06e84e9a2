"""How sure the numbers are: folds, bootstrap intervals, and paired comparisons of two models.

WAR and UAR over folds are given in two ways, each with its name: *pooled*, from the sum of the
folds' confusion matrices, and as the *mean of folds* with the sample standard deviation (n - 1).

The bootstrap resamples clips within fold and class, so every draw has the test set's own counts.
How often a class is then recognized in a fold is a binomial number, and how often by only one of
two models a multinomial one; they are drawn directly, which is the same thing as drawing clips.
The intervals cover the sampling of the test set, not the variance of training.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int

from logo_jax.common.errors import UserError
from logo_jax.evaluation.metrics import uar, war
from logo_jax.evaluation.predictions import Predictions, paired

DRAWS = 2000
COVERAGE = 0.95
# A claim about a method, not about two trained models, needs this many seeds.
LEAST_SEEDS = 3

NUMBERS = ("pooled_war", "pooled_uar", "fold_mean_war", "fold_mean_uar")


@dataclass(frozen=True)
class Scores:
    """WAR and UAR as fractions; the deviations are NaN where there is one fold only."""

    pooled_war: float
    pooled_uar: float
    fold_war: tuple[float, ...]
    fold_uar: tuple[float, ...]
    fold_mean_war: float
    fold_mean_uar: float
    fold_std_war: float
    fold_std_uar: float


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """`only_first`, `only_second`: clips that only this model recognized. `p`: two-sided."""

    only_first: int
    only_second: int
    p: float


@dataclass(frozen=True)
class PairedBootstrap:
    """First model minus second: the difference, its 95 % interval, and a two-sided p."""

    difference: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class PairedDifferences:
    """First method minus second, per seed (row) and fold (column), as fractions.

    `std_*` is the sample deviation over all of them. There is no t-test: folds share training
    data, so their differences are not independent.
    """

    war: Float[np.ndarray, "S F"]
    uar: Float[np.ndarray, "S F"]
    mean_war: float
    mean_uar: float
    std_war: float
    std_uar: float
    enough_seeds: bool


def scores(confusions: Int[np.ndarray, "F C C"]) -> Scores:
    """WAR and UAR of every fold, pooled, and as the mean of folds.

    A class that has no clips in a fold is left out of the UAR of that fold.

    Raises:
        UserError: a fold has no clips.
    """
    fold_war = [war(fold) for fold in confusions]
    fold_uar = [uar(fold) for fold in confusions]
    pooled = confusions.sum(axis=0)
    return Scores(
        war(pooled),
        uar(pooled),
        tuple(fold_war),
        tuple(fold_uar),
        float(np.mean(fold_war)),
        float(np.mean(fold_uar)),
        _sample_std(fold_war),
        _sample_std(fold_uar),
    )


def bootstrap(
    confusions: Int[np.ndarray, "F C C"], seed: int, draws: int = DRAWS
) -> tuple[dict[str, Interval], list[Interval | None]]:
    """95 % percentile intervals of `NUMBERS` and of the pooled recalls, from the same draws.

    A recall of exactly 0 or 1 has an interval of no width, which says nothing: too few of the
    clips of such a class were wrong, or right, for the bootstrap.

    Returns:
        the interval of each name in `NUMBERS`, and one per class (None for a class without clips).
    """
    totals = confusions.sum(axis=2)  # [F C]
    right = np.diagonal(confusions, axis1=1, axis2=2)
    share = np.divide(right, totals, out=np.zeros(totals.shape), where=totals > 0)
    drawn = np.random.default_rng(seed).binomial(totals, share, (draws, *totals.shape))
    intervals = {name: _interval(values) for name, values in _numbers(drawn, totals).items()}
    pooled = totals.sum(axis=0)
    of_class = [
        _interval(drawn[:, :, c].sum(axis=1) / pooled[c]) if pooled[c] else None
        for c in range(len(pooled))
    ]
    return intervals, of_class


def mcnemar(first: Predictions, second: Predictions) -> McNemar:
    """McNemar's exact test: do two models recognize equally many of the same clips (WAR)?

    Of the n clips that only one of the two recognized, each is as likely to be the first's as the
    second's: p = min(1, 2 P(X <= min(b, c))), X binomial with n = b + c and 1/2.

    Raises:
        UserError: the two do not judge the same clips.
    """
    second = paired(first, second)
    one, two = first.predicted == first.labels, second.predicted == first.labels
    only_first, only_second = int((one & ~two).sum()), int((two & ~one).sum())
    return McNemar(only_first, only_second, binomial_p(only_first, only_second))


def binomial_p(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value of a fair coin, in whole numbers up to the last division."""
    clips = only_first + only_second
    term, tail = 1, 0
    for count in range(min(only_first, only_second) + 1):
        tail += term
        term = term * (clips - count) // (count + 1)
    return float(min(Fraction(1), Fraction(2 * tail, 2**clips)))


def paired_bootstrap(
    first: Predictions, second: Predictions, seed: int, draws: int = DRAWS
) -> dict[str, PairedBootstrap]:
    """Differences of `NUMBERS` between two models on the same clips, first minus second.

    The p-value goes with the interval: twice the share of draws on the other side of zero, with
    one draw added to both, so that it is never below 2 / (draws + 1).

    Raises:
        UserError: the two do not judge the same clips.
    """
    second = paired(first, second)
    one, two = first.predicted == first.labels, second.predicted == first.labels
    shape = len(first.fold_names), len(first.class_names)
    counts = np.zeros((*shape, 4), np.int64)  # neither, only second, only first, both
    np.add.at(counts, (first.folds, first.labels, 2 * one + two), 1)
    totals = counts.sum(axis=-1)
    share = np.full(counts.shape, 0.25)
    np.divide(counts, totals[..., None], out=share, where=totals[..., None] > 0)
    drawn = np.random.default_rng(seed).multinomial(totals, share, (draws, *shape))
    observed = _differences(counts[None], totals)
    return {
        name: PairedBootstrap(float(observed[name][0]), _interval(values), _two_sided(values))
        for name, values in _differences(drawn, totals).items()
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: p-values that may be held against one level, in the order given."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def paired_differences(
    first: Sequence[Predictions], second: Sequence[Predictions]
) -> PairedDifferences:
    """Differences between two methods, each trained with the same seeds, first minus second.

    Args:
        first, second: one entry per seed, the same seed at the same place in both.

    Raises:
        UserError: the numbers of seeds differ or are zero, or clips or folds differ.
    """
    if len(first) != len(second) or not first:
        raise UserError(
            f"There are {len(first)} seeds of the first method and {len(second)} of the second; "
            "give the same seeds of both, at least one."
        )
    reference = first[0]
    wars, uars = [], []
    for one, two in zip(first, second, strict=True):
        ours = scores(paired(reference, one).confusions())
        theirs = scores(paired(reference, two).confusions())
        wars.append(np.subtract(ours.fold_war, theirs.fold_war))
        uars.append(np.subtract(ours.fold_uar, theirs.fold_uar))
    return PairedDifferences(
        np.stack(wars),
        np.stack(uars),
        float(np.mean(wars)),
        float(np.mean(uars)),
        _sample_std(np.ravel(wars)),
        _sample_std(np.ravel(uars)),
        len(first) >= LEAST_SEEDS,
    )


def _numbers(
    right: Int[np.ndarray, "K F C"], totals: Int[np.ndarray, "F C"]
) -> dict[str, Float[np.ndarray, " K"]]:
    """`NUMBERS` from how many clips of each fold and class were recognized, one per draw."""
    present = totals > 0
    recall = np.divide(right, totals, out=np.zeros(right.shape), where=present)
    fold_war = right.sum(axis=-1) / totals.sum(axis=-1)
    fold_uar = recall.sum(axis=-1) / present.sum(axis=-1)
    pooled_right, pooled = right.sum(axis=-2), totals.sum(axis=0)
    pooled_recall = np.divide(
        pooled_right, pooled, out=np.zeros(pooled_right.shape), where=pooled > 0
    )
    values = (
        pooled_right.sum(axis=-1) / pooled.sum(),
        pooled_recall.sum(axis=-1) / (pooled > 0).sum(),
        fold_war.mean(axis=-1),
        fold_uar.mean(axis=-1),
    )
    return dict(zip(NUMBERS, values, strict=True))


def _differences(
    counts: Int[np.ndarray, "K F C 4"], totals: Int[np.ndarray, "F C"]
) -> dict[str, Float[np.ndarray, " K"]]:
    """First minus second: every number is linear, so clips that both or neither hit cancel."""
    return _numbers(counts[..., 2] - counts[..., 1], totals)


def _interval(values: Float[np.ndarray, " K"]) -> Interval:
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Interval(float(low), float(high))


def _two_sided(values: Float[np.ndarray, " K"]) -> float:
    rarer = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(values) + 1))


def _sample_std(values: Sequence[float] | np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
