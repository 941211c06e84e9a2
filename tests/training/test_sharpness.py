"""LookSAM, half-batch ascent, m-SAM and MESA, each against its equation written out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import rel_entr, softmax

from logo_jax.common.errors import UserError
from logo_jax.training.sam import sam
from logo_jax.training.sharpness import Sharpness, looksam, trajectory_loss
from tests.training.small_step import (
    LABELS,
    RATE,
    Net,
    climb,
    clips,
    close,
    cross_entropy,
    flat,
    gradient,
    move,
    train,
    variables,
)

RHO = 0.2
MATRIX = np.diag([1.0, 3.0, 0.5, 2.0]) + 0.2


def quadratic_steps(tx, steps, start=(1.0, -2.0, 0.5, 3.0)):
    """Steps on w -> w^T A w / 2, whose gradient is A w; also the number of second gradients."""
    second = []

    def grad_fn(w, _):
        jax.debug.callback(lambda: second.append(1))
        return jnp.asarray(MATRIX, w.dtype) @ w

    @jax.jit
    def step(w, state):
        updates, state = tx.update(jnp.asarray(MATRIX, w.dtype) @ w, state, w, grad_fn=grad_fn)
        return optax.apply_updates(w, updates), state

    w = jnp.asarray(start, jnp.float32)
    state, path = tx.init(w), []
    for _ in range(steps):
        w, state = step(w, state)
        path.append(np.asarray(w))
    jax.effects_barrier()
    return np.array(path), len(second), state


def test_looksam_is_algorithm_1():
    every, alpha, rate = 3, 0.7, 0.1
    w, expected = np.array([1.0, -2.0, 0.5, 3.0]), []
    for step in range(8):
        g = MATRIX @ w
        if step % every == 0:
            g_s = MATRIX @ (w + RHO * g / np.linalg.norm(g))
            cosine = g @ g_s / np.linalg.norm(g) / np.linalg.norm(g_s)
            g_v = g_s - np.linalg.norm(g_s) * cosine * g / np.linalg.norm(g)
        else:
            g_s = g + alpha * np.linalg.norm(g) / np.linalg.norm(g_v) * g_v
        w = w - rate * g_s
        expected.append(w)
    path, ascents, _ = quadratic_steps(looksam(optax.sgd(rate), RHO, every, alpha), 8)
    np.testing.assert_allclose(path, expected, rtol=1e-4, atol=1e-5)
    assert ascents == 3  # of steps 0, 3 and 6: the others cost one gradient


def test_looksam_in_every_step_is_sam():
    path, ascents, _ = quadratic_steps(looksam(optax.sgd(0.1), RHO, 1, 0.7), 5)
    expected, _, _ = quadratic_steps(sam(optax.sgd(0.1), RHO), 5)
    np.testing.assert_allclose(path, expected, rtol=1e-6)
    assert ascents == 5


def test_looksam_at_a_minimum_stays_there():
    path, _, state = quadratic_steps(looksam(optax.sgd(0.1), RHO, 2, 0.7), 3, start=(0, 0, 0, 0))
    assert not path.any() and np.isfinite(flat(state)).all()


@pytest.mark.slow
def test_esam_climbs_with_every_second_clip():
    model = Net(norm=True)
    start = variables(model)
    params, stats = start["params"], start["batch_stats"]
    (state,), (metrics,) = train(model, form=Sharpness(form="esam", rho=RHO))
    ascent = gradient(model, params, clips()[::2], LABELS[::2], stats)
    followed = gradient(model, climb(params, ascent, RHO), clips(), LABELS, stats)
    close(state.params, move(params, followed, -RATE))
    # Statistics and numbers are those of the first pass: of the half, at the old parameters.
    mean = clips()[::2].reshape(4, -1).mean(0)
    np.testing.assert_allclose(state.batch_stats["norm"]["mean"], 0.5 * mean, atol=1e-6)
    expected = cross_entropy(model, params, clips()[::2], LABELS[::2], stats)
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "m, norm", [(2, True), (8, True), pytest.param(4, False, marks=pytest.mark.slow)]
)
def test_msam_averages_the_gradients_of_shards_each_at_its_own_worst_point(m, norm):
    model = Net(norm=norm)
    start = variables(model)
    params, stats = start["params"], start["batch_stats"]
    (state,), (metrics,) = train(model, form=Sharpness(form="msam", rho=RHO, m=m))
    shards = 8 // m
    total = jax.tree.map(jnp.zeros_like, params)
    for index in range(shards):
        rows = slice(index, None, shards)  # m clips
        ascent = gradient(model, params, clips()[rows], LABELS[rows], stats)
        point = climb(params, ascent, RHO)
        found = gradient(model, point, clips()[rows], LABELS[rows], stats)
        total = move(total, found, 1 / shards)
    close(state.params, move(params, total, -RATE))
    assert metrics["perturbation_norm"] == pytest.approx(RHO, rel=1e-5)
    if m == 8:
        (plain,), _ = train(model, form=Sharpness(rho=RHO))
        close(state.params, plain.params)
        close(state.batch_stats, plain.batch_stats)


def test_trajectory_loss_is_the_divergence_of_tempered_outputs():
    rng = np.random.default_rng(0)
    logits, average = rng.normal(0, 3, (2, 5, 7)).astype(np.float32)
    expected = rel_entr(softmax(average / 2.5, -1), softmax(logits / 2.5, -1)).sum(-1)
    np.testing.assert_allclose(trajectory_loss(logits, average, 2.5), expected, rtol=1e-4)
    large = trajectory_loss(1e4 * logits, -1e4 * average, 1.0)
    assert np.isfinite(large).all()
    for argument, moves in ((0, True), (1, False)):
        slope = jax.grad(lambda *x: trajectory_loss(*x, 2.5).sum(), argument)(logits, average)
        assert np.any(slope) == moves


def test_mesa_adds_the_divergence_from_the_averaged_model():
    weight, temperature, decay = 2.0, 1.5, 0.5
    model = Net()
    form = Sharpness(form="mesa", mesa_weight=weight, mesa_temperature=temperature)
    states, metrics = train(model, steps=3, form=form, ema_decay=decay)

    def loss(params, average, found):
        now = jax.nn.softmax(model.apply({"params": params}, found).logits / temperature)
        then = jax.nn.softmax(model.apply({"params": average}, found).logits / temperature)
        away = (then * jnp.log(then / now)).sum(-1).mean()
        return cross_entropy(model, params, found, LABELS) + weight * away

    slope = jax.jit(jax.value_and_grad(loss))
    params = average = variables(model)["params"]
    for index in range(3):
        value, grads = slope(params, average, clips(index))
        assert metrics[index]["loss"] == pytest.approx(float(value), rel=1e-5)
        params = move(params, grads, -RATE)
        average = jax.tree.map(lambda v, w: decay * v + (1 - decay) * w, average, params)
        close(states[index].params, params)
        close(states[index].ema["params"], average)
    assert metrics[0]["trajectory_loss"] == 0 and metrics[2]["trajectory_loss"] > 0


@pytest.mark.parametrize("form", ["looksam", "msam"])
def test_rho_0_is_the_base_optimizer(form):
    model = Net(norm=True)
    states, _ = train(model, steps=2, form=Sharpness(form=form, rho=0))
    expected, _ = train(model, steps=2)
    np.testing.assert_array_equal(flat(states[1].params), flat(expected[1].params))


def test_asam_is_sam_with_adaptive():
    one, _ = train(Net(), form=Sharpness(form="asam", rho=RHO))
    two, _ = train(Net(), form=Sharpness(rho=RHO, adaptive=True))
    np.testing.assert_array_equal(flat(one[0].params), flat(two[0].params))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"form": "gsam"}, '"gsam".*sharpness|sharpness.*"gsam"'),
        ({"rho": -1}, "rho is -1"),
        ({"look_every": 0}, "look_every is 0, but must be at least 1"),
        ({"m": 0}, "m is 0"),
        ({"look_alpha": float("nan")}, "look_alpha is nan"),
        ({"mesa_weight": -1}, "mesa_weight is -1"),
        ({"mesa_temperature": 0}, "mesa_temperature is 0, but must be above 0"),
        ({"form": "mesa", "adaptive": True}, "leave adaptive at False"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(UserError, match=message):
        Sharpness(**options)


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UserError, match="sharpness=mesa compares .* set config.ema_decay"):
        train(Net(), form=Sharpness(form="mesa"))
    with pytest.raises(UserError, match="leave config.accumulate at 1"):
        train(Net(), form=Sharpness(form="msam"), accumulate=2)
    with pytest.raises(UserError, match="optimizer.m=3 does not divide config.batch_size=8"):
        train(Net(), form=Sharpness(form="msam", m=3))
