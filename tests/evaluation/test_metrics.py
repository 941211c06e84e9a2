"""Metrics against scikit-learn and against numbers that papers print."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.evaluation.metrics import confusion_matrix, empty_classes, recalls, uar, war

NAMES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
DFEW = np.array([2445, 1894, 2669, 2173, 1469, 145, 902])  # pooled test clips of the five folds
FERV39K = np.array([1473, 1393, 1958, 1487, 638, 467, 431])  # test clips


def confusion_with(right, totals):
    """A confusion matrix with this diagonal; the wrong clips go to the next class."""
    right = np.array(right)
    return np.diag(right) + np.roll(np.diag(totals - right), 1, axis=1)


@pytest.mark.parametrize(
    "right, totals, expected_uar, expected_war",
    [
        ([2136, 1286, 1734, 1548, 780, 5, 307], DFEW, 54.58, 66.65),  # STT
        ([2088, 1260, 1840, 1550, 802, 0, 295], DFEW, 54.21, 66.98),  # LOGO-Former
        ([967, 715, 1111, 649, 140, 40, 54], FERV39K, 37.20, 46.85),  # Former-DFER
    ],
)
def test_published_numbers(right, totals, expected_uar, expected_war):
    confusion = confusion_with(right, totals)
    assert round(100 * uar(confusion), 2) == expected_uar
    assert round(100 * war(confusion), 2) == expected_war


def test_recalls_of_stt_are_those_of_its_table():
    confusion = confusion_with([2136, 1286, 1734, 1548, 780, 5, 307], DFEW)
    # Its printed 3.49 for disgust is no share of 145 clips; 5 of 145 are 3.45.
    expected = [87.36, 67.90, 64.97, 71.24, 53.10, 3.45, 34.04]
    np.testing.assert_array_equal(np.round(100 * recalls(confusion), 2), expected)


pairs = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60),
    )
)


@pytest.mark.filterwarnings("ignore:A single label was found")
@given(pairs)
def test_against_scikit_learn(drawn):
    num_classes, clips = drawn
    labels, predictions = map(list, zip(*clips, strict=True))
    confusion = confusion_matrix(labels, predictions, num_classes)
    every = list(range(num_classes))
    reference = sklearn.metrics.confusion_matrix(labels, predictions, labels=every)
    np.testing.assert_array_equal(confusion, reference)
    assert confusion.dtype == np.int64
    assert war(confusion) == pytest.approx(np.mean(np.equal(labels, predictions)))
    present = sorted(set(labels))
    expected = sklearn.metrics.recall_score(
        labels, predictions, labels=present, average=None, zero_division=0
    )
    np.testing.assert_allclose(recalls(confusion)[present], expected)
    assert uar(confusion) == pytest.approx(expected.mean())
    absent = [c for c in every if c not in present]
    assert np.isnan(recalls(confusion)[absent]).all()
    assert empty_classes(confusion, [str(c) for c in every]) == [str(c) for c in absent]


def test_uar_is_balanced_accuracy():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 7, 500), rng.integers(0, 7, 500)
    expected = sklearn.metrics.balanced_accuracy_score(labels, predictions)
    assert uar(confusion_matrix(labels, predictions, 7)) == pytest.approx(expected)


@given(pairs, st.integers(0, 60))
def test_matrices_of_parts_add_up(drawn, cut):
    num_classes, clips = drawn

    def count(part):
        labels, predictions = np.array(part, np.int32).reshape(-1, 2).T
        return confusion_matrix(labels, predictions, num_classes)

    np.testing.assert_array_equal(count(clips[:cut]) + count(clips[cut:]), count(clips))


def test_an_empty_class_is_left_out_of_uar_and_named():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]])
    assert uar(confusion) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert war(confusion) == pytest.approx(5 / 8)
    assert empty_classes(confusion, ("a", "b", "c")) == ["b"]


def test_a_class_that_is_never_right_counts_in_uar():
    assert uar(np.array([[4, 0], [3, 0]])) == 0.5


def test_no_clips_have_no_score():
    empty = confusion_matrix([], [], 3)
    np.testing.assert_array_equal(empty, np.zeros((3, 3)))
    for score in (war, uar):
        with pytest.raises(UserError, match="no clips"):
            score(empty)
    assert np.isnan(recalls(empty)).all()


def test_bad_input_is_named():
    with pytest.raises(UserError, match=r"label of clip 1 .* is 3, but with 3 classes"):
        confusion_matrix([0, 3], [0, 0], 3)
    with pytest.raises(UserError, match=r"prediction of clip 0 .* is -1"):
        confusion_matrix([0, 2], [-1, 0], 3)
    with pytest.raises(UserError, match=r"\(2,\).*\(3,\)"):
        confusion_matrix([0, 1], [0, 1, 2], 3)
    with pytest.raises(UserError, match="float64"):
        confusion_matrix([0.0, 1.0], [0, 1], 3)
