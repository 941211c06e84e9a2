"""Micro-batches, the moving average and skipped steps, against the plain step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from logo_jax.common.errors import UserError
from logo_jax.training import ema
from logo_jax.training.accumulate import check_parts
from logo_jax.training.checkpoint import Checkpoints, find_checkpoint, load_variables
from logo_jax.training.sharpness import Sharpness
from tests.training.small_run import META
from tests.training.small_step import (
    LABELS,
    Net,
    clips,
    close,
    flat,
    gradient,
    move,
    train,
    variables,
)

FORMS = {
    "plain": Sharpness(rho=0),
    "sam": Sharpness(rho=0.1),
    "looksam": Sharpness(form="looksam", rho=0.1, look_every=2),
    "esam": Sharpness(form="esam", rho=0.1),
    "mesa": Sharpness(form="mesa"),
}
SLOW_FORMS = ("plain", "looksam", "esam", "mesa")


@pytest.mark.parametrize(
    "form", ["sam", *(pytest.param(form, marks=pytest.mark.slow) for form in SLOW_FORMS)]
)
def test_micro_batches_change_nothing_without_batch_norm(form):
    weights = {"cross_entropy": 1.0, "compact_regularizer": 0.5, "center_loss": 0.3}
    run = functools.partial(
        train, Net(), 4, optax.adam(0.01), weights=weights, form=FORMS[form], ema_decay=0.9
    )
    plain, plain_metrics = run()
    swept, metrics = run(accumulate=4)
    close(swept[-1].params, plain[-1].params, rtol=2e-5, atol=2e-6)
    close(swept[-1].loss_state, plain[-1].loss_state)
    for one, other in zip(metrics, plain_metrics, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_running_statistics_follow_the_micro_batches():
    """The mean is exact; the variance is the mean of the micro-batches', as the doc says."""
    (state,), _ = train(Net(norm=True), accumulate=4)
    rows = clips().reshape(8, -1)
    np.testing.assert_allclose(state.batch_stats["norm"]["mean"], rows.mean(0) / 2, atol=1e-6)
    within = np.mean([rows[part::4].var(0) for part in range(4)], axis=0)
    np.testing.assert_allclose(state.batch_stats["norm"]["var"], (1 + within) / 2, atol=1e-6)


def test_micro_batches_draw_masks_of_their_own():
    same = [np.tile(clips()[:2], (4, 1, 1, 1, 1))]  # each of 4 micro-batches would be alike
    states, _ = train(Net(dropout=0.5), batches=same, accumulate=2)
    again, _ = train(Net(dropout=0.5), batches=same, accumulate=2)
    plain, _ = train(Net(dropout=0.5), batches=same)
    np.testing.assert_array_equal(flat(states[0].params), flat(again[0].params))
    assert np.abs(flat(states[0].params) - flat(plain[0].params)).max() > 1e-4


def test_what_does_not_come_out_even_is_refused():
    check_parts(24, 3, 4, "config.accumulate")
    with pytest.raises(UserError, match=r"config.batch_size=24 into 5 parts .* a multiple of 10"):
        check_parts(24, 5, 2, "config.accumulate")


def test_the_average_follows_its_equation():
    decay = 0.8
    model = Net(norm=True)
    states, _ = train(model, 5, ema_decay=decay)
    average = variables(model)
    for state in states:
        now = {"params": state.params, "batch_stats": state.batch_stats}
        average = jax.tree.map(lambda v, w: decay * v + (1 - decay) * w, average, now)
        close(state.ema, average)
    assert np.abs(flat(states[-1].ema["params"]) - flat(states[-1].params)).max() > 1e-3


@pytest.mark.parametrize("judged", ["ema", pytest.param("trained", marks=pytest.mark.slow)])
def test_a_checkpoint_keeps_the_average_and_the_run_goes_on_exactly(tmp_path, judged):
    model = Net(norm=True)
    run = functools.partial(train, model, form=FORMS["looksam"], ema_decay=0.8)
    states, _ = run(3)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(states[0], {"step": 1, **META, "parameters": judged})
    emptied = jax.tree.map(
        lambda x: x if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else jnp.zeros_like(x),
        states[0],
    )
    restored, _ = checkpoints.restore(emptied)
    checkpoints.close()
    resumed, _ = run(2, state=restored, batches=[clips(1), clips(2)])
    for one, other in zip(resumed, states[1:], strict=True):
        for name in ("params", "batch_stats", "opt_state", "ema"):
            a, b = flat(getattr(one, name)), flat(getattr(other, name))
            np.testing.assert_array_equal(a, b)
    found = load_variables(find_checkpoint(tmp_path))
    expected = states[0].ema if judged == "ema" else {
        "params": states[0].params, "batch_stats": states[0].batch_stats
    }  # fmt: skip
    np.testing.assert_array_equal(flat(found), flat(expected))


def test_which_parameters_are_judged():
    assert ema.judged(None, 0.0) == "trained" and ema.judged(None, 0.9) == "ema"
    assert ema.judged("trained", 0.9) == "trained"
    with pytest.raises(UserError, match="an average that the run does not keep"):
        ema.judged("ema", 0.0)
    with pytest.raises(UserError, match="judged_parameters"):
        ema.judged("best", 0.9)
    for decay in (-0.1, 1.0, float("nan")):
        with pytest.raises(UserError, match="config.ema_decay"):
            ema.check_decay(decay)


def test_a_step_that_is_not_finite_is_not_applied():
    """And the schedule goes on: the third step has the third rate."""
    model, batches = Net(), [clips(0), clips(1) * np.nan, clips(2)]
    base = optax.sgd(lambda step: 0.1 * 0.5**step)
    states, metrics = train(model, 3, base, batches=batches, ema_decay=0.9, skip_nonfinite=True)
    assert [m["finite"] for m in metrics] == [1, 0, 1]
    for name in ("params", "ema"):
        np.testing.assert_array_equal(
            flat(getattr(states[1], name)), flat(getattr(states[0], name))
        )
    assert states[1].step == 2
    grads = gradient(model, states[1].params, clips(2), LABELS)
    close(states[2].params, move(states[1].params, grads, -0.1 * 0.5**2))
