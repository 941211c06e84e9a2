"""Losses of logits against closed forms (scipy) and PyTorch, their laws, and extremes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax

from logo_jax.common.errors import UserError
from logo_jax.training.losses import compact_regularizer, cross_entropy, focal

FORMS = ["definition", "as_printed"]
forms = pytest.mark.parametrize("form", FORMS)
# Few sizes, since every new shape is compiled anew.
class_counts = st.sampled_from([2, 3, 7, 100])
seeds = st.integers(0, 2**32 - 1)
scales = st.sampled_from([1e-3, 1.0, 10.0, 1e4])


# Compiled once a shape: the property tests below call these hundreds of times.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
regularizer = jit(compact_regularizer, static_argnames="form")
entropy = jit(cross_entropy, static_argnames="label_smoothing")
focal_loss = jit(focal, static_argnames="gamma")


@functools.partial(jit, static_argnames="form")
def regularizer_gradient(logits, labels, form):
    return jax.grad(lambda x: compact_regularizer(x, labels, form).sum())(logits)


@functools.partial(jit, static_argnames="form")
def total_and_gradient(logits, labels, form):
    def total(x):
        parts = cross_entropy(x, labels, 0.1), compact_regularizer(x, labels, form)
        return sum(part.sum() for part in (*parts, focal(x, labels, 0.5), focal(x, labels, 2.0)))

    return jax.value_and_grad(total)(logits)


def draw(seed, num_classes, scale=1.0, batch=5):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.standard_normal((batch, num_classes))).astype(np.float32)
    return logits, rng.integers(0, num_classes, batch)  # numpy, which compiles nothing


def expected_regularizer(logits, labels, form):
    """Equation (12) clip by clip, by the textbook."""
    values = []
    for row, label in zip(np.asarray(logits, np.float64), np.asarray(labels), strict=True):
        others = np.delete(row, label)
        log_u, log_p = -np.log(len(others)), log_softmax(others)
        forward = (np.exp(log_u) * (log_u - log_p)).sum()  # D(u||p')
        if form == "definition":
            values.append(forward + (np.exp(log_p) * (log_p - log_u)).sum())
        else:  # the second sum without its weight
            values.append(forward + (log_u - log_p).sum())
    return np.array(values)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("num_classes", [2, 7, 100])
def test_cross_entropy_closed_form(num_classes, smoothing):
    logits, labels = draw(0, num_classes, scale=3.0)
    target = (1 - smoothing) * np.eye(num_classes)[np.asarray(labels)] + smoothing / num_classes
    expected = -(target * log_softmax(np.asarray(logits, np.float64), axis=1)).sum(axis=1)
    np.testing.assert_allclose(entropy(logits, labels, smoothing), expected, rtol=1e-5)


def test_smallest_smoothed_cross_entropy_is_the_entropy_of_the_target():
    target = np.full(7, 0.1 / 7)
    target[2] += 0.9
    loss = cross_entropy(jnp.log(jnp.asarray(target))[None], jnp.array([2]), 0.1)
    np.testing.assert_allclose(loss, -(target * np.log(target)).sum(), rtol=1e-5)


@forms
@pytest.mark.parametrize("num_classes", [2, 3, 7, 100])
def test_regularizer_closed_form(num_classes, form):
    logits, labels = draw(1, num_classes, scale=3.0)
    expected = expected_regularizer(logits, labels, form)
    result = regularizer(logits, labels, form)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-12)


def test_regularizer_by_hand():
    # The wrong classes have probabilities 1/4 and 3/4 against 1/2 and 1/2.
    logits, labels = np.array([[5.0, 0.0, np.log(3.0)]], np.float32), np.array([0])
    forward = -0.5 * np.log(0.5) - 0.5 * np.log(1.5)  # D(u||p')
    backward = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)  # D(p'||u)
    np.testing.assert_allclose(regularizer(logits, labels), forward + backward, rtol=1e-6)
    printed = regularizer(logits, labels, "as_printed")
    np.testing.assert_allclose(printed, 3 * forward, rtol=1e-6)


@given(seeds, class_counts)
def test_the_printed_form_is_C_times_the_divergence_of_p_from_u(seed, num_classes):
    logits, labels = draw(seed, num_classes)
    divergence = []
    for row, label in zip(np.asarray(logits, np.float64), np.asarray(labels), strict=True):
        p = softmax(np.delete(row, label))
        divergence.append(rel_entr(np.full(len(p), 1 / len(p)), p).sum())
    result = regularizer(logits, labels, "as_printed")
    np.testing.assert_allclose(result, num_classes * np.array(divergence), rtol=1e-5, atol=1e-7)


@forms
@given(seed=seeds, num_classes=class_counts, scale=scales)
def test_regularizer_is_not_negative_and_0_for_two_classes(form, seed, num_classes, scale):
    logits, labels = draw(seed, num_classes, scale)
    value = np.asarray(regularizer(logits, labels, form))
    assert np.isfinite(value).all()
    if num_classes == 2:
        assert (value == 0).all()
    else:
        assert (value > 0).all()  # random logits are never equal


@forms
@given(seed=seeds, num_classes=class_counts, scale=scales)
def test_regularizer_is_0_where_wrong_logits_are_equal(form, seed, num_classes, scale):
    logits, labels = draw(seed, num_classes, scale)
    is_target = labels[:, None] == np.arange(num_classes)
    equal = np.where(is_target, logits, logits[:, :1])
    assert (np.asarray(regularizer(equal, labels, form)) == 0).all()
    np.testing.assert_allclose(regularizer_gradient(equal, labels, form), 0, atol=1e-6)


@forms
@given(seed=seeds, num_classes=class_counts, target_logit=st.floats(-1e4, 1e4))
def test_regularizer_ignores_the_logit_of_the_target(form, seed, num_classes, target_logit):
    logits, labels = draw(seed, num_classes)
    rows = np.arange(len(labels))
    changed = logits.copy()
    changed[rows, labels] = target_logit
    np.testing.assert_array_equal(
        regularizer(changed, labels, form), regularizer(logits, labels, form)
    )
    gradient = np.asarray(regularizer_gradient(logits, labels, form))
    assert (gradient[rows, labels] == 0).all()
    # A shift of all logits changes nothing, so the gradient of each clip sums to 0.
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-5)


@forms
@given(seed=seeds, num_classes=class_counts, shift=st.integers(-64, 64))
def test_regularizer_is_invariant_to_shift_and_permutation(form, seed, num_classes, shift):
    logits, labels = draw(seed, num_classes)
    logits = np.round(logits * 256) / 256  # so that the shift itself is exact
    value = regularizer(logits, labels, form)
    shifted = regularizer(logits + np.float32(shift), labels, form)
    np.testing.assert_allclose(shifted, value, rtol=1e-5, atol=1e-7)
    order = np.random.default_rng(seed).permutation(num_classes)
    permuted = regularizer(logits[:, order], np.argsort(order)[labels], form)
    np.testing.assert_allclose(permuted, value, rtol=1e-5, atol=1e-7)


@forms
def test_regularizer_keeps_its_digits_for_nearly_equal_logits(form):
    logits = (1000.0 + 2.0**-10 * np.arange(7)[None]).astype(np.float32)
    labels = np.array([3])
    expected = expected_regularizer(logits, labels, form)  # about 1e-5
    np.testing.assert_allclose(regularizer(logits, labels, form), expected, rtol=1e-4)


@forms
@pytest.mark.parametrize("num_classes", [2, 7, 100])
def test_loss_and_gradient_are_finite_for_huge_logits(num_classes, form):
    rng = np.random.default_rng(2)
    huge = (1e4 * rng.choice([-1.0, 0.0, 1.0], (32, num_classes))).astype(np.float32)
    labels = rng.integers(0, num_classes, 32)
    one_wins = np.where(np.arange(num_classes) == 0, np.float32(1e4), huge)

    for logits in (huge, np.zeros_like(huge), one_wins, -huge):
        value, gradient = total_and_gradient(logits, labels, form)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    expected = expected_regularizer(huge, labels, form)
    np.testing.assert_allclose(regularizer(huge, labels, form), expected, rtol=1e-5)


@forms
def test_gradient_against_finite_differences(form):
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        logits = rng.standard_normal((4, 7)) * 2
        labels = jnp.asarray(rng.integers(0, 7, 4))

        def total(x):
            parts = cross_entropy(x, labels, 0.2), compact_regularizer(x, labels, form)
            return sum(part.sum() for part in (*parts, focal(x, labels, 1.5)))

        value = jit(total)
        gradient = jit(jax.grad(total))(jnp.asarray(logits))
        assert gradient.dtype == jnp.float64
        numeric = np.zeros_like(logits)
        for index in np.ndindex(*logits.shape):
            step = np.zeros_like(logits)
            step[index] = 1e-5
            numeric[index] = (value(logits + step) - value(logits - step)) / 2e-5
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@given(seeds, class_counts)
def test_focal_loss_with_gamma_0_is_cross_entropy(seed, num_classes):
    logits, labels = draw(seed, num_classes, scale=3.0)
    np.testing.assert_array_equal(focal_loss(logits, labels, 0.0), entropy(logits, labels))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("num_classes", [2, 7, 100])
def test_focal_loss_closed_form(num_classes, gamma):
    logits, labels = draw(8, num_classes, scale=4.0)
    log_p = log_softmax(np.asarray(logits, np.float64), axis=1)[np.arange(5), labels]
    expected = -((1 - np.exp(log_p)) ** gamma) * log_p
    np.testing.assert_allclose(focal_loss(logits, labels, gamma), expected, rtol=1e-5, atol=1e-7)


def test_focal_loss_by_hand():
    # p = 0.9 counts a hundredth of cross entropy for gamma 2, as the paper says.
    logits = np.log(np.array([[0.9, 0.1], [0.5, 0.5]], np.float32))
    expected = [-np.log(0.9) / 100, np.log(2) / 4]
    np.testing.assert_allclose(focal_loss(logits, np.array([0, 0]), 2.0), expected, rtol=1e-5)


@given(seed=seeds, shift=st.integers(-64, 64))
def test_cross_entropy_and_focal_loss_are_invariant_to_shift_and_permutation(seed, shift):
    logits, labels = draw(seed, 7)
    logits = np.round(logits * 256) / 256  # so that the shift itself is exact
    order = np.random.default_rng(seed).permutation(7)
    for loss, option in ((entropy, 0.1), (focal_loss, 2.0)):
        value = loss(logits, labels, option)
        shifted = loss(logits + np.float32(shift), labels, option)
        np.testing.assert_allclose(shifted, value, rtol=1e-5, atol=1e-6)
        permuted = loss(logits[:, order], np.argsort(order)[labels], option)
        np.testing.assert_allclose(permuted, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("loss", [cross_entropy, focal, compact_regularizer])
def test_half_precision_logits_are_judged_in_float32(loss, dtype):
    logits, labels = map(jnp.asarray, draw(4, 7, scale=3.0))
    logits = logits.astype(dtype)
    half = jit(loss)(logits, labels)
    assert half.dtype == jnp.float32
    np.testing.assert_array_equal(half, jit(loss)(logits.astype(jnp.float32), labels))


def test_losses_work_under_vmap():
    logits, labels = map(jnp.asarray, draw(6, 7))
    for loss in (cross_entropy, focal, compact_regularizer):
        one_by_one = jit(jax.vmap(lambda x, y, loss=loss: loss(x[None], y[None])[0]))
        np.testing.assert_allclose(one_by_one(logits, labels), jit(loss)(logits, labels), rtol=1e-6)


def test_bad_arguments_are_named():
    logits, labels = map(jnp.asarray, draw(7, 7))
    with pytest.raises(UserError, match=r'form .*"as_print".*Did you mean "as_printed"'):
        compact_regularizer(logits, labels, "as_print")
    for loss in (compact_regularizer, focal):
        with pytest.raises(UserError, match="two or more"):
            loss(logits[:, :1], jnp.zeros_like(labels))
    for smoothing in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="label_smoothing"):
            cross_entropy(logits, labels, smoothing)
    for gamma in (-1.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match="focal_gamma"):
            focal(logits, labels, gamma)
