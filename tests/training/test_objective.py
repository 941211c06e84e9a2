"""The weighted sum of losses: what it adds, to what, and what it leaves out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.contract import Output
from logo_jax.training import feature_losses, losses
from logo_jax.training.class_balance import class_weights
from logo_jax.training.objective import LOSSES, Objective

COUNTS = np.array([50, 5, 20, 1])
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def batch(seed=0, scale=2.0, size=6, num_classes=4):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.standard_normal((size, num_classes))).astype(np.float32)
    features = rng.standard_normal((size, 3)).astype(np.float32)
    return Output(jnp.asarray(logits), jnp.asarray(features)), jnp.asarray(
        rng.integers(0, num_classes, size)
    )


def make(**fields):
    return Objective(class_counts=COUNTS, **{"cross_entropy": 0.0} | fields)


def centers_of(objective, out, seed=1):
    state = objective.init_state(out)
    shape = state["center_loss"]["centers"].shape
    centers = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return {"center_loss": {"centers": jnp.asarray(centers)}}


def test_adds_the_weighted_parts_and_logs_them_without_weights():
    out, labels = batch()
    weights = {name: 0.5 + number for number, name in enumerate(LOSSES)}
    objective = make(**weights, label_smoothing=0.1, focal_gamma=1.0, regularizer_form="as_printed")
    state = centers_of(objective, out)
    loss, parts, new_state = jit(objective)(out, labels, state)

    centers = state["center_loss"]["centers"]

    @jit
    def expected_parts(out, labels):
        return {
            "cross_entropy": losses.cross_entropy(out.logits, labels, 0.1).mean(),
            "focal": losses.focal(out.logits, labels, 1.0).mean(),
            "compact_regularizer": losses.compact_regularizer(
                out.logits, labels, "as_printed"
            ).mean(),
            "center_loss": feature_losses.center_loss(out.features, labels, centers).mean(),
            "ec_stfl": feature_losses.ec_stfl(out.features, labels),
        }

    expected = expected_parts(out, labels)
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-5, err_msg=name)
    total = sum(weights[name] * float(value) for name, value in expected.items())
    np.testing.assert_allclose(loss, total, rtol=1e-5)
    moved = feature_losses.update_centers(centers, out.features, labels, 0.5)
    np.testing.assert_allclose(new_state["center_loss"]["centers"], moved, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_of_weight_0_is_not_computed(name, monkeypatch):
    """Neither the functions nor the state of the other losses are touched."""
    classifier = {} if name in ("cross_entropy", "focal") else {"focal": 1.0}
    allowed = {name, *classifier}
    room = {n: feature_losses if n in ("center_loss", "ec_stfl") else losses for n in LOSSES}

    def forbidden(*_):
        raise AssertionError("computed")

    for other in set(LOSSES) - allowed:
        # The focal loss is a factor of cross entropy.
        if not (other == "cross_entropy" and "focal" in allowed):
            monkeypatch.setattr(room[other], other, forbidden)
    out, labels = batch()
    objective = make(**classifier, **{name: 1.0})
    state = objective.init_state(out)
    assert set(state) == ({"center_loss"} if name == "center_loss" else set())
    _, parts, new_state = objective(out, labels, state)
    assert set(parts) == allowed
    assert jax.tree.structure(new_state) == jax.tree.structure(state)


def test_the_default_is_cross_entropy():
    out, labels = batch()
    loss, parts, state = Objective(class_counts=COUNTS)(out, labels, {})
    assert set(parts) == {"cross_entropy"} and state == {}
    np.testing.assert_allclose(loss, losses.cross_entropy(out.logits, labels).mean(), rtol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("method", ["inverse", "effective"])
def test_class_weights_multiply_each_clips_loss(name, method):
    out, labels = batch()
    weighted = make(**{name: 1.0}, class_weights=method, class_weight_beta=0.9)
    each = getattr(losses, name)(out.logits, labels)
    weights = class_weights(COUNTS, method, 0.9)[np.asarray(labels)]
    loss, _, _ = weighted(out, labels, {})
    np.testing.assert_allclose(loss, (weights * np.asarray(each)).mean(), rtol=1e-5)


def test_class_weights_and_logit_adjustment_leave_the_other_losses_alone():
    out, labels = batch()
    others = {name: 1.0 for name in LOSSES if name != "focal"}
    plain = make(**others)
    state = centers_of(plain, out)
    _, expected, _ = plain(out, labels, state)
    changed = make(**others, class_weights="inverse", logit_adjustment=1.0)
    _, parts, _ = changed(out, labels, state)
    assert parts.pop("cross_entropy") != expected.pop("cross_entropy")
    for name, value in expected.items():
        np.testing.assert_array_equal(parts[name], value, err_msg=name)


def test_logit_adjustment_is_that_of_the_paper():
    out, labels = batch()
    tau, prior = 1.5, COUNTS / COUNTS.sum()
    loss, _, _ = make(cross_entropy=1.0, logit_adjustment=tau)(out, labels, {})
    # Menon et al. 2021, equation 10: log(1 + sum_{y' != y} (pi_y' / pi_y)^tau exp(f_y' - f_y))
    expected = [
        np.log1p(
            sum(
                (prior[other] / prior[y]) ** tau * np.exp(f[other] - f[y])
                for other in range(4)
                if other != y
            )
        )
        for f, y in zip(np.asarray(out.logits, np.float64), np.asarray(labels), strict=True)
    ]
    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)


def test_trained_with_logit_adjustment_bare_logits_are_balanced():
    """Where all clips look alike, the best adjusted logits are the prior's: the bare ones equal."""
    labels = jnp.asarray(np.repeat(np.arange(4), COUNTS))
    objective = make(cross_entropy=1.0, logit_adjustment=1.0)

    def loss(logits):
        everywhere = jnp.broadcast_to(logits, (len(labels), 4))
        return objective(Output(everywhere, everywhere), labels, {})[0]

    np.testing.assert_allclose(jit(jax.grad(loss))(jnp.zeros(4)), 0, atol=1e-6)
    plain = make(cross_entropy=1.0)
    gradient = jax.grad(
        lambda x: plain(Output(jnp.tile(x, (76, 1)), jnp.zeros((76, 1))), labels, {})[0]
    )(jnp.zeros(4))
    np.testing.assert_allclose(gradient, 1 / 4 - COUNTS / 76, atol=1e-6)


def test_everything_at_once_is_finite_for_huge_logits():
    weights = dict.fromkeys(LOSSES, 1.0)
    objective = make(**weights, class_weights="effective", logit_adjustment=1.0, focal_gamma=0.5)
    labels = batch(size=16)[1]
    rng = np.random.default_rng(2)
    huge = (1e4 * rng.choice([-1.0, 0.0, 1.0], (16, 4))).astype(np.float32)

    @jit
    def gradient(out, labels):
        def loss(out):
            return objective(out, labels, objective.init_state(out))[0]

        return jax.value_and_grad(loss)(out)

    for logits in (huge, -huge, np.zeros_like(huge)):
        value, gradients = gradient(Output(jnp.asarray(logits), jnp.asarray(logits)), labels)
        assert np.isfinite(value)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_half_precision_outputs_are_judged_in_float32():
    out, labels = batch()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), out)
    full = jax.tree.map(lambda x: x.astype(jnp.float32), half)
    objective = make(**dict.fromkeys(LOSSES, 1.0), logit_adjustment=1.0)
    results = [jit(objective)(x, labels, objective.init_state(x)) for x in (half, full)]
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype("float32")}
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_with_inverse_weights_all_classes_pull_alike():
    """On logits that all clips share, as the bias of the head is."""
    labels = jnp.asarray(np.repeat(np.arange(4), COUNTS))
    objective = make(cross_entropy=1.0, class_weights="inverse")

    def loss(logits):
        everywhere = jnp.broadcast_to(logits, (len(labels), 4))
        return objective(Output(everywhere, everywhere), labels, {})[0]

    np.testing.assert_allclose(jit(jax.grad(loss))(jnp.zeros(4)), 0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"center_loss": -1.0}, "weight of center_loss is -1.0"),
        ({"ec_stfl": float("nan")}, "weight of ec_stfl is nan"),
        ({"focal": float("inf")}, "weight of focal is inf"),
        ({"cross_entropy": 0.0, "ec_stfl": 1.0}, "No loss teaches the classes"),
        ({"logit_adjustment": -1.0}, "logit_adjustment is -1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"focal": 1.0, "focal_gamma": -1.0}, "focal_gamma is -1.0"),
        ({"center_loss": 1.0, "center_rate": 2.0}, "center_rate is 2.0"),
        ({"compact_regularizer": 1.0, "regularizer_form": "x"}, "form of the compact regularizer"),
        ({"class_weights": "x"}, 'Unknown class_weights "x"'),
        ({"class_weights": "effective", "class_weight_beta": 1.0}, "class_weight_beta is 1.0"),
        ({"class_counts": np.array([3, 0]), "logit_adjustment": 1.0}, r"numbered 1 \(from 0\)"),
    ],
)
def test_impossible_fields_are_refused_at_once(fields, message):
    with pytest.raises(UserError, match=message):
        Objective(**{"class_counts": COUNTS} | fields)
