"""Statistics against published numbers, closed forms, scikit-learn and resampled clips."""

import math
import statistics as stdlib

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.statistics import (
    NUMBERS,
    binomial_p,
    bootstrap,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_differences,
    scores,
)

DFEW = np.array([2445, 1894, 2669, 2173, 1469, 145, 902])
FERV39K = np.array([1473, 1393, 1958, 1487, 638, 467, 431])


def confusion_with(right, totals):
    return np.diag(right) + np.roll(np.diag(totals - np.array(right)), 1, axis=1)


def predictions(labels, predicted, folds, num_classes=3):
    """Predictions that are sure of what they say."""
    labels, predicted, folds = map(np.asarray, (labels, predicted, folds))
    return Predictions(
        tuple(f"class {c}" for c in range(num_classes)),
        tuple(str(f) for f in range(1, folds.max() + 2)),
        tuple(f"clip {i}" for i in range(len(labels))),
        folds,
        labels,
        predicted,
        np.eye(num_classes)[predicted],
    )


def drawn(seed, clips=400, share=0.6, folds=3, num_classes=3):
    """A random model and another one on the same clips; each is right with probability `share`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, clips)
    fold = np.arange(clips) % folds
    said = [
        np.where(rng.random(clips) < share, labels, (labels + 1) % num_classes) for _ in range(2)
    ]
    return [predictions(labels, p, fold, num_classes) for p in said]


def split_into_folds(right, totals, folds=5):
    """Confusion matrices of several folds whose sum has this diagonal and these row sums."""

    def part(counts, f):
        return counts // folds + (f < counts % folds)

    right = np.array(right)
    wrong = totals - right
    return np.stack(
        [
            confusion_with(part(right, f), part(right, f) + part(wrong, folds - 1 - f))
            for f in range(folds)
        ]
    )


@pytest.mark.parametrize(
    "right, totals, uar, war",
    [
        ([2136, 1286, 1734, 1548, 780, 5, 307], DFEW, 54.58, 66.65),  # STT
        ([2088, 1260, 1840, 1550, 802, 0, 295], DFEW, 54.21, 66.98),  # LOGO-Former
        ([967, 715, 1111, 649, 140, 40, 54], FERV39K, 37.20, 46.85),  # Former-DFER
    ],
)
def test_published_numbers_are_pooled_ones(right, totals, uar, war):
    for confusions in (confusion_with(right, totals)[None], split_into_folds(right, totals)):
        result = scores(confusions)
        assert (round(100 * result.pooled_uar, 2), round(100 * result.pooled_war, 2)) == (uar, war)
    # The other way to aggregate gives another number, if only a little, on the same clips.
    assert result.fold_mean_uar != result.pooled_uar


def test_folds_against_scikit_learn():
    model = drawn(0)[0]
    result = scores(model.confusions())
    folds = [model.folds == f for f in range(3)]
    war = [sklearn.metrics.accuracy_score(model.labels[f], model.predicted[f]) for f in folds]
    uar = [
        sklearn.metrics.balanced_accuracy_score(model.labels[f], model.predicted[f]) for f in folds
    ]
    assert result.fold_war == pytest.approx(war) and result.fold_uar == pytest.approx(uar)
    assert result.fold_mean_war == pytest.approx(stdlib.mean(war))
    assert result.fold_std_war == pytest.approx(stdlib.stdev(war))
    assert result.fold_mean_uar == pytest.approx(stdlib.mean(uar))
    assert result.fold_std_uar == pytest.approx(stdlib.stdev(uar))
    assert result.pooled_war == pytest.approx(
        sklearn.metrics.accuracy_score(model.labels, model.predicted)
    )
    assert result.pooled_uar == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(model.labels, model.predicted)
    )


def test_one_fold_has_no_deviation():
    result = scores(confusion_with([3, 2], np.array([4, 4]))[None])
    assert result.pooled_war == result.fold_mean_war == 5 / 8
    assert math.isnan(result.fold_std_war) and math.isnan(result.fold_std_uar)
    with pytest.raises(UserError, match="no clips"):
        scores(np.array([[[1, 0], [0, 1]], [[0, 0], [0, 0]]]))


def resampled_clips(model, other, draws, seed):
    """A bootstrap that draws clips: numbers, or differences of two models, [draws, 4]."""
    rng = np.random.default_rng(seed)
    strata = [
        np.flatnonzero((model.folds == f) & (model.labels == c))
        for f in range(len(model.fold_names))
        for c in range(len(model.class_names))
    ]
    rows = []
    for _ in range(draws):
        index = np.concatenate([rng.choice(stratum, len(stratum)) for stratum in strata])

        def numbers(one, index=index):
            result = scores(
                predictions(one.labels[index], one.predicted[index], one.folds[index]).confusions()
            )
            return np.array([getattr(result, name) for name in NUMBERS])

        rows.append(numbers(model) - (numbers(other) if other is not None else 0))
    return np.array(rows)


@pytest.mark.slow
def test_intervals_are_those_of_resampled_clips():
    first, second = drawn(1, clips=150)
    intervals, recalls = bootstrap(first.confusions(), seed=0, draws=20_000)
    expected = np.quantile(resampled_clips(first, None, 800, 5), (0.025, 0.975), axis=0)
    for name, (low, high) in zip(NUMBERS, expected.T, strict=True):
        # An end of the reference interval is itself uncertain by some 0.004.
        assert intervals[name].low == pytest.approx(low, abs=0.016), name
        assert intervals[name].high == pytest.approx(high, abs=0.016), name
    compared = paired_bootstrap(first, second, seed=0, draws=20_000)
    expected = np.quantile(resampled_clips(first, second, 800, 5), (0.025, 0.975), axis=0)
    for name, (low, high) in zip(NUMBERS, expected.T, strict=True):
        assert compared[name].interval.low == pytest.approx(low, abs=0.02), name
        assert compared[name].interval.high == pytest.approx(high, abs=0.02), name
    assert len(recalls) == 3


def test_deviation_of_the_draws_has_a_closed_form():
    # Var(UAR) = sum over classes of p (1 - p) / n, over C^2; the interval is about 2 x 1.96 of it.
    right, totals = np.array([300, 120, 40]), np.array([400, 300, 200])
    intervals, recalls = bootstrap(confusion_with(right, totals)[None], seed=0, draws=20_000)
    p = right / totals
    std = {
        "pooled_uar": math.sqrt((p * (1 - p) / totals).sum()) / 3,
        "pooled_war": math.sqrt((p * (1 - p) * totals).sum()) / totals.sum(),
    }
    for name, deviation in std.items():
        width = intervals[name].high - intervals[name].low
        assert width == pytest.approx(2 * 1.96 * deviation, rel=0.03)
        assert intervals[name] == intervals[name.replace("pooled", "fold_mean")]
    for interval, share, n in zip(recalls, p, totals, strict=True):
        width = interval.high - interval.low
        assert width == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / n), rel=0.08)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(3)
    share, totals = np.array([[0.8, 0.5, 0.3], [0.7, 0.6, 0.2]]), np.array([[200, 150, 80]] * 2)
    truth = {
        "pooled_war": (share * totals).sum() / totals.sum(),
        "pooled_uar": share.mean(),
        "fold_mean_war": (share * totals).sum() / totals.sum(),
        "fold_mean_uar": share.mean(),
    }
    covered = dict.fromkeys(truth, 0)
    for trial in range(300):
        right = rng.binomial(totals, share)
        confusions = np.stack([confusion_with(*fold) for fold in zip(right, totals, strict=True)])
        intervals, _ = bootstrap(confusions, seed=trial, draws=400)
        for name, value in truth.items():
            covered[name] += intervals[name].low <= value <= intervals[name].high
    for name, times in covered.items():
        assert 0.90 < times / 300 < 0.985, name


def test_the_seed_decides_the_draws():
    confusions = drawn(2)[0].confusions()
    assert bootstrap(confusions, seed=1) == bootstrap(confusions, seed=1)
    assert bootstrap(confusions, seed=1) != bootstrap(confusions, seed=2)


def test_a_class_without_clips_has_no_interval():
    confusions = np.array([[[3, 1, 0], [0, 0, 0], [1, 0, 1]]])
    intervals, recalls = bootstrap(confusions, seed=0)
    assert recalls[1] is None
    assert 0 <= intervals["pooled_uar"].low < 5 / 8 < intervals["pooled_uar"].high <= 1


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_a_fair_coin(b, c):
    n = b + c
    tail = sum(math.comb(n, k) for k in range(min(b, c) + 1)) / 2**n
    assert binomial_p(b, c) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)
    assert binomial_p(b, c) == binomial_p(c, b)


def test_mcnemar_by_hand():
    assert binomial_p(0, 0) == 1
    assert binomial_p(1, 9) == pytest.approx(2 * (1 + 10) / 1024)
    assert binomial_p(0, 5) == 2 / 32
    # As many clips as DFEW has: no overflow. The normal approximation, with its correction:
    p = binomial_p(5700, 5997)
    assert p == pytest.approx(math.erfc((297 - 1) / math.sqrt(2 * 11697)), rel=0.01)
    assert binomial_p(0, 11697) == 0.0  # 2^-11696 is below every float

    labels = np.zeros(10, int)
    first = predictions(labels, [0, 0, 0, 0, 0, 1, 1, 1, 0, 1], labels)
    second = predictions(labels, [0, 0, 0, 1, 1, 1, 2, 0, 1, 1], labels)
    result = mcnemar(first, second)
    assert (result.only_first, result.only_second) == (3, 1)
    assert result.p == pytest.approx(2 * (1 + 4) / 16)


def test_paired_bootstrap():
    first, second = drawn(4)
    result = paired_bootstrap(first, second, seed=0)
    ours, theirs = scores(first.confusions()), scores(second.confusions())
    for name, value in result.items():
        expected = getattr(ours, name) - getattr(theirs, name)
        assert value.difference == pytest.approx(expected)
        assert value.interval.low <= value.difference <= value.interval.high
    same = paired_bootstrap(first, first, seed=0)["pooled_uar"]
    assert (same.difference, same.p) == (0, 1)
    perfect = predictions(first.labels, first.labels, first.folds)
    assert paired_bootstrap(perfect, second, seed=0)["pooled_uar"].p == 2 / 2001
    # p and interval say the same.
    value = result["pooled_uar"]
    assert (value.p < 0.05) == (value.interval.low > 0 or value.interval.high < 0)


def test_p_of_equal_models_is_not_small_too_often():
    small = [
        paired_bootstrap(*drawn(seed, clips=120, folds=2), seed=seed, draws=400)["pooled_uar"].p
        for seed in range(250)
    ]
    assert np.mean(np.array(small) < 0.05) < 0.09


def test_holm_by_hand():
    # Holm 1979: the smallest times 4, the next times 3, ..., never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_step_down_rejects(p_values, level):
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if (len(p_values) - rank) * p_values[index] > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(p_values)) if p <= level} == rejected


def test_differences_per_fold_and_seed():
    first = [drawn(7, share=0.7)[i] for i in (0, 1)]
    second = [drawn(7, share=0.5)[i] for i in (0, 1)]
    result = paired_differences(first, second)
    assert result.war.shape == (2, 3)
    differences = []
    for one, two in zip(first, second, strict=True):
        for fold in range(3):
            rows = one.folds == fold
            right = [(m.predicted == m.labels)[rows].mean() for m in (one, two)]
            differences.append(right[0] - right[1])
    np.testing.assert_allclose(result.war.ravel(), differences)
    assert result.mean_war == pytest.approx(stdlib.mean(differences))
    assert result.std_war == pytest.approx(stdlib.stdev(differences))
    assert not result.enough_seeds
    assert paired_differences(first + first[:1], second + second[:1]).enough_seeds
    with pytest.raises(UserError, match="2 seeds of the first method and 1 of the second"):
        paired_differences(first, second[:1])
