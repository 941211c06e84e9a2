"""Training end to end with each loss and each remedy for classes of unequal size."""

import json
import signal

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from logo_jax.common.errors import Interrupted, UserError
from logo_jax.experiments.config import check
from logo_jax.experiments.train import train
from logo_jax.training.checkpoint import find_checkpoint
from tests.experiments.test_train import stop_after, tensors


def log_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


def centers_of(workdir):
    """The centres in the newest checkpoint."""
    path = find_checkpoint(workdir) / "progress"
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(path).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        progress = checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    return np.asarray(progress["loss_state"]["center_loss"]["centers"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"cross_entropy": 0.0, "compact_regularizer": 0.0, "focal": 1.0, "focal_gamma": 1.5},
        {"compact_regularizer": 0.5, "regularizer_form": "as_printed", "label_smoothing": 0.1},
        {"compact_regularizer": 0.0, "center_loss": 1e-4},
        {"compact_regularizer": 0.0, "ec_stfl": 10.0},
        {"class_weights": "inverse"},
        {"class_weights": "effective", "class_weight_beta": 0.9, "focal": 0.5},
        {"logit_adjustment": 1.0},
    ],
    ids=lambda fields: next(iter(fields)) + "-" + next(reversed(fields)),
)
def test_trains_with(config, tmp_path, fields):
    config.max_steps = 2
    config.log_every = 1
    for name, value in fields.items():
        config.loss[name] = value
    check(config)
    results = train(config, tmp_path)
    assert results["step"] == 2
    names = ("cross_entropy", "focal", "compact_regularizer", "center_loss", "ec_stfl")
    weights = {name: config.loss[name] for name in names if config.loss[name]}
    for line in log_of(tmp_path):
        assert set(names) & set(line) == set(weights)
        total = sum(weight * line[name] for name, weight in weights.items())
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        assert line["perturbation_norm"] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.slow
def test_centers_are_saved_and_resumed_exactly(config, tmp_path, monkeypatch):
    config.max_steps = 4
    config.loss.center_loss = 0.1
    config.data.class_balanced = 0.5  # the draws must be resumed as well
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 2, signal.SIGTERM)
        with pytest.raises(Interrupted, match="after step 2"):
            train(config, tmp_path / "parts")
    half_way = centers_of(tmp_path / "parts")
    train(config, tmp_path / "parts")

    centers = centers_of(tmp_path / "whole")
    assert centers.shape == (3, 16) and np.abs(centers).min(axis=1).max() > 0
    assert not np.array_equal(half_way, centers)
    np.testing.assert_array_equal(centers_of(tmp_path / "parts"), centers)
    one, two = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[name], err_msg=name)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("loss.center_loss", -1.0, "weight of center_loss is -1.0"),
        ("loss.cross_entropy", 0.0, "No loss teaches the classes"),
        ("loss.class_weights", "invers", 'Did you mean "inverse"'),
        ("data.class_balanced", 1.5, "config.data.class_balanced=1.5"),
    ],
)
def test_impossible_losses_are_refused_before_any_data_is_read(config, field, value, message):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        check(config)
