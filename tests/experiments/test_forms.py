"""Sharpness forms, micro-batches and the moving average as fields of a config."""

import json

import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments import config as configs
from logo_jax.experiments.train import train
from logo_jax.training.checkpoint import find_checkpoint
from logo_jax.training.damage import read_arrays


def set_fields(config, fields):
    with config.unlocked():
        config.update_from_flattened_dict(fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"optimizer.sharpness": "looksam", "optimizer.look_every": 2, "accumulate": 2},
        {"optimizer.sharpness": "esam", "model.remat": True},
        {"optimizer.sharpness": "msam", "optimizer.m": 2, "ema_decay": 0.5},
        {"optimizer.sharpness": "mesa", "ema_decay": 0.5, "judged_parameters": "trained"},
    ],
)
def test_a_run_of_every_form(config, tmp_path, capsys, fields):
    set_fields(config, fields)
    config.num_epochs = 1
    results = train(config, tmp_path)
    expected = "ema" if config.ema_decay and not config.judged_parameters else "trained"
    assert results["parameters"] == expected
    said = capsys.readouterr().out
    assert f"{config.optimizer.sharpness}" in said and f"judged parameters: {expected}" in said
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").open()]
    assert np.isfinite(losses).all()
    assert (find_checkpoint(tmp_path) / "ema").is_dir() == (config.ema_decay > 0)


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_no_end_of_the_run(config, tmp_path, capsys):
    config.checkpoint_every = 3  # steps 3, 6 and 8
    train(config, tmp_path)
    last = find_checkpoint(tmp_path)
    before = read_arrays(last / "variables")
    (last / "meta" / "metadata").write_text("{}")
    (tmp_path / "results.json").unlink()
    train(config, tmp_path)
    said = capsys.readouterr()
    assert str(last) in said.err and f"the run goes on from {last.with_name('6')}" in said.err
    assert "after step 6 of 8" in said.out
    after = read_arrays(last / "variables")
    one, other = before["params"]["head"]["kernel"], after["params"]["head"]["kernel"]
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"optimizer.sharpness": "gsam"}, "sharpness"),
        ({"optimizer.sharpness": "mesa"}, "set config.ema_decay"),
        (
            {"optimizer.sharpness": "msam", "optimizer.m": 3},
            "m=3 does not divide config.batch_size",
        ),
        ({"optimizer.sharpness": "msam", "optimizer.m": 2, "accumulate": 2}, "leave config.accum"),
        ({"accumulate": 3}, "config.accumulate cuts config.batch_size=4 into 3 parts on 1 device"),
        ({"accumulate": 0}, "config.accumulate=0: it must be at least 1"),
        ({"accumulate": 2, "loss.ec_stfl": 1.0}, "config.loss.ec_stfl compares all pairs"),
        ({"ema_decay": 1.0}, "config.ema_decay=1.0"),
        ({"judged_parameters": "ema"}, "an average that the run does not keep"),
        ({"judged_parameters": "best"}, "judged_parameters"),
    ],
)
def test_impossible_combinations_are_refused_before_any_data_is_read(config, fields, message):
    set_fields(config, fields)
    with pytest.raises(UserError, match=message):
        configs.check(config)
