"""Class weights and priors against their formulas and their limits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from logo_jax.common.errors import UserError
from logo_jax.training.class_balance import class_weights, log_prior

DFEW = np.array([2445, 1894, 2669, 2173, 1469, 145, 902])  # the seven classes, all clips
many_counts = st.lists(st.integers(1, 10_000), min_size=1, max_size=11).map(np.array)
methods = st.sampled_from(["none", "inverse", "effective"])


@given(counts=many_counts, method=methods, beta=st.sampled_from([0.0, 0.9, 0.999, 0.9999]))
def test_weights_are_1_on_average_over_the_training_clips(counts, method, beta):
    weights = class_weights(counts, method, beta)
    labels = np.repeat(np.arange(len(counts)), counts)
    assert weights[labels].mean() == pytest.approx(1)
    assert (weights > 0).all()
    # The rarer the class, the larger its weight.
    assert (np.diff(weights[np.argsort(-counts, kind="stable")]) >= -1e-12).all()


def test_inverse_weights_are_the_usual_balanced_ones():
    labels = np.repeat(np.arange(7), DFEW)
    expected = compute_class_weight("balanced", classes=np.arange(7), y=labels)
    np.testing.assert_allclose(class_weights(DFEW, "inverse"), expected)


def test_effective_weights_are_those_of_the_paper_up_to_a_factor():
    beta = 0.999
    volume = np.array([sum(beta**k for k in range(n)) for n in DFEW])  # E_n as a geometric series
    weights = class_weights(DFEW, "effective", beta)
    np.testing.assert_allclose(weights / weights[0], volume[0] / volume, rtol=1e-10)


def test_effective_weights_go_from_none_to_inverse():
    np.testing.assert_allclose(class_weights(DFEW, "effective", 0.0), 1)
    nearly = class_weights(DFEW, "effective", 1 - 1e-9)
    np.testing.assert_allclose(nearly, class_weights(DFEW, "inverse"), rtol=1e-5)


def test_a_class_without_clips_has_no_weight_and_disturbs_no_other():
    for method in ("none", "inverse", "effective"):
        weights = class_weights(np.array([10, 0, 30]), method)
        np.testing.assert_array_equal(weights[1], 0)
        np.testing.assert_allclose(weights[[0, 2]], class_weights(np.array([10, 30]), method))


def test_log_prior():
    np.testing.assert_allclose(np.exp(log_prior(np.array([1, 3, 4]))), [1 / 8, 3 / 8, 1 / 2])
    with pytest.raises(UserError, match=r"classes numbered 1, 2 \(from 0\)"):
        log_prior(np.array([4, 0, 0]))


def test_bad_arguments_are_named():
    with pytest.raises(UserError, match=r'class_weights "invers".*Did you mean "inverse"'):
        class_weights(DFEW, "invers")
    for beta in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="class_weight_beta is"):
            class_weights(DFEW, "effective", beta)
