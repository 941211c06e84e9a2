"""Center loss and EC-STFL: by hand, their laws, and what must not become NaN."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.training.feature_losses import center_loss, ec_stfl, update_centers

seeds = st.integers(0, 2**32 - 1)

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
ratio = jit(ec_stfl)
ratio_gradient = jit(jax.grad(ec_stfl))


def draw(seed, batch=8, size=5, num_classes=3):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((batch, size)).astype(np.float32)
    return features, rng.integers(0, num_classes, batch)


def test_center_loss_by_hand():
    centers = jnp.array([[1.0, 2.0], [0.0, 0.0], [-1.0, 3.0]])
    features = jnp.array([[1.0, 5.0], [1.0, 2.0], [0.0, 0.0]])
    loss = center_loss(features, jnp.array([0, 0, 2]), centers)
    np.testing.assert_allclose(loss, [9 / 2, 0, (1 + 9) / 2])


def test_centers_move_by_equation_4_and_absent_classes_stay():
    centers, labels = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 2, 2, 0, 0])
    features = np.random.default_rng(1).standard_normal((5, 3))
    moved = update_centers(
        jnp.float32(centers), jnp.float32(features), jnp.asarray(labels), rate=0.5
    )
    for label, center in enumerate(centers):
        members = features[labels == label]
        # Delta c_j = sum_i delta(y_i = j) (c_j - x_i) / (1 + sum_i delta(y_i = j))
        delta = sum((center - x for x in members), np.zeros(3)) / (1 + len(members))
        np.testing.assert_allclose(moved[label], center - 0.5 * delta, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(moved[1], np.float32(centers[1]))
    np.testing.assert_array_equal(moved[3], np.float32(centers[3]))


def test_centers_come_to_the_means_of_their_classes():
    features, labels = draw(2)
    centers = jnp.zeros((3, 5))
    step = jit(update_centers)
    for _ in range(60):
        centers = step(centers, features, labels)
    means = [features[labels == label].mean(axis=0) for label in range(3)]
    np.testing.assert_allclose(centers, means, atol=1e-5)


def test_half_precision_features_are_judged_in_float32():
    features, labels = map(jnp.asarray, draw(3))
    features = features.astype(jnp.bfloat16)
    full = features.astype(jnp.float32)
    centers = jnp.ones((3, 5))
    for function in (
        ec_stfl,
        lambda x, y: center_loss(x, y, centers),
        lambda x, y: update_centers(centers, x, y),
    ):
        result = jit(function)(features, labels)
        assert result.dtype == jnp.float32
        np.testing.assert_array_equal(result, jit(function)(full, labels))


def test_ec_stfl_by_hand():
    # Two clips of class 0 and one of class 1: distances 3 within, 4 and 5 between.
    features = jnp.array([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    # Within, ordered pairs (0,1) and (1,0), N = 2. Between: j of class 0 (N 2), j of class 1 (N 1).
    within, between = (3 + 3) / 2, (4 + 5) / 2 + (4 + 5) / 1
    value = ec_stfl(features, jnp.array([0, 0, 1]))
    np.testing.assert_allclose(value, within / between, rtol=1e-6)


@given(seeds)
def test_ec_stfl_does_not_notice_order_shift_rotation_scale_and_names(seed):
    features, labels = draw(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    rotation, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    expected = np.asarray(ratio(features, labels))
    for changed, names in (
        (features[order], labels[order]),
        (features + np.float32(3), labels),
        ((features @ rotation).astype(np.float32), labels),
        (features * np.float32(1e3), labels),
        (features, rng.permutation(3)[labels]),
    ):
        np.testing.assert_allclose(ratio(changed, names), expected, rtol=1e-4, atol=1e-6)
    # So the gradient has no part along a shift or a scaling.
    gradient = np.asarray(ratio_gradient(features, labels))
    np.testing.assert_allclose(gradient.sum(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose((gradient * features).sum(), 0, atol=1e-5)


def test_ec_stfl_falls_as_classes_come_apart():
    features, labels = draw(4)
    pull = np.eye(3, 5, dtype=np.float32)[labels]
    values = [float(ratio(features + c * pull, labels)) for c in (0, 2, 5, 20, 1000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.01


def test_a_batch_of_one_class_is_skipped():
    features, _ = draw(5)
    labels = np.full(8, 2)
    assert ratio(features, labels) == 0
    np.testing.assert_array_equal(ratio_gradient(features, labels), 0)
    assert ratio(np.ones((1, 5), np.float32), np.array([0])) == 0


def test_equal_features_have_a_finite_gradient():
    features, labels = draw(6)
    alike = np.ones_like(features)
    assert ratio(alike, labels) == 0
    np.testing.assert_array_equal(ratio_gradient(alike, labels), 0)
    twins = features.copy()
    twins[1], twins[2] = twins[0], twins[3]
    for classes in (np.array([0, 0, 1, 1, 2, 2, 0, 1]), np.array([0, 1, 0, 1, 2, 2, 0, 1])):
        assert np.isfinite(ratio(twins, classes))
        gradient = np.asarray(ratio_gradient(twins, classes))
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_huge_features_stay_finite():
    features, labels = draw(7)
    huge = features * np.float32(1e4)
    assert np.isfinite(ratio_gradient(huge, labels)).all()
    centers = jnp.zeros((3, 5))
    gradient = jit(jax.grad(lambda x: center_loss(x, jnp.asarray(labels), centers).sum()))
    assert np.isfinite(gradient(jnp.asarray(huge))).all()


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_bad_rate_is_refused(rate):
    features, labels = map(jnp.asarray, draw(8))
    with pytest.raises(UserError, match="center_rate is"):
        update_centers(jnp.zeros((3, 5)), features, labels, rate)
