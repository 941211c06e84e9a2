"""Steps whose loss is not finite: named with their clips, and skipped where that is asked."""

import json

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from logo_jax.common.errors import UserError
from logo_jax.training.checkpoint import find_checkpoint
from tests.training.small_run import add_one, fit
from tests.training.small_step import Net, clips, close, flat, train, variables

CLIP_IDS = ["happy/1", "sad/7", "sad/8"]


def batches():
    while True:
        yield {"label": np.zeros(2, np.int32), "row": np.array([0, 2], np.int32)}


def lost_at(*steps):
    """A step whose loss is not finite at `steps`, where it changes nothing but the number."""

    def step(state, batch):
        new, metrics = add_one(state, batch)
        if int(state.step) + 1 in steps:
            metrics |= {"finite": jnp.asarray(False), "loss": jnp.asarray(np.nan)}
            new = new.replace(params=state.params)
        return new, metrics

    return step


def test_a_step_that_is_not_finite_is_named_with_its_clips(tmp_path):
    with pytest.raises(UserError) as error:
        fit(tmp_path, 6, batches(), step=lost_at(4), checkpoint_every=2, clip_ids=CLIP_IDS)
    text = str(error.value)
    assert text.startswith("Step 4: the loss is nan and the gradient norm 1.0")
    assert "the checkpoint of step 2 is kept. Its clips: happy/1, sad/8." in text
    assert "--skip_nonfinite" in text
    assert find_checkpoint(tmp_path).name == "2"


def test_skipped_steps_are_told_and_counted(tmp_path, capsys):
    options = {"checkpoint_every": 2, "clip_ids": CLIP_IDS, "skip_nonfinite": True, "log_every": 2}
    state = fit(tmp_path, 6, batches(), step=lost_at(3, 5, 6), **options)
    np.testing.assert_array_equal(state.params["w"], 3)
    out, said = capsys.readouterr()
    assert "3 of the 6 steps were skipped" in out
    for step in (3, 5, 6):
        assert f"Step {step} is skipped: the loss is nan" in said
    assert "Its clips: happy/1, sad/8." in said
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    found = [(line["step"], line.get("skipped"), line.get("loss")) for line in lines]
    assert found == [(2, None, 1.0), (4, 1.0, 1.0), (6, 2.0, None)]


def test_a_run_whose_steps_were_all_skipped_is_not_judged(tmp_path):
    for _ in range(2):  # started again, it is finished already
        with pytest.raises(UserError, match="All 3 steps were skipped .* are not judged: lower"):
            fit(tmp_path, 3, batches(), step=lost_at(1, 2, 3), skip_nonfinite=True)


def test_a_gradient_that_overflows_is_not_finite():
    """Its square in Adam's state is infinite, so Adam would stand still ever after."""
    huge = {"cross_entropy": 1e25}
    states, metrics = train(
        Net(), 2, optax.adam(0.1), [clips(0), clips(1)], huge, skip_nonfinite=True
    )
    assert [(np.isfinite(m["loss"]), m["finite"]) for m in metrics] == [(True, 0), (True, 0)]
    close(states[-1].params, variables(Net())["params"], rtol=0, atol=0)
    assert np.isfinite(flat(states[-1].opt_state)).all()
