"""Every system through the same training on the synthetic faces; configs for all of them."""

import json
import math

import jax
import numpy as np
import pytest

from configs import default, paper, wild
from logo_jax.common.errors import UserError
from logo_jax.experiments import parts
from logo_jax.experiments.command_line import load
from logo_jax.experiments.config import run_name
from logo_jax.experiments.train import train
from logo_jax.models.systems import SYSTEMS, options_of


def test_every_option_of_every_system_is_a_field_of_the_config():
    fields = set(default.get_config().model.to_dict())
    for name in SYSTEMS:
        assert set(options_of(name)) <= fields, name


def test_every_system_has_a_small_form():
    assert wild.SYSTEMS.keys() == SYSTEMS.keys()


def test_unset_options_are_the_systems_own():
    config = default.get_config()
    for name in SYSTEMS:
        config.model.name = name
        model = parts.build_model(config, 7)
        for option, value in options_of(name).items():
            assert getattr(model, option) == value
    config.model.name = "r3d_18"
    config.model.dim = 64
    with pytest.raises(UserError, match='r3d_18 has no option "dim"'):
        parts.build_model(config, 7)


@pytest.mark.parametrize("row", paper.ROWS)
def test_rows_of_the_papers_tables(row):
    config = paper.get_config(f"{row},2")
    system, options, losses = paper.ROWS[row]
    assert (config.model.name, config.data.fold) == (system, 2)
    model = parts.build_model(config, 7)
    assert all(getattr(model, name) == value for name, value in options.items())
    weights = {
        name: config.loss[name] for name in ("compact_regularizer", "center_loss", "ec_stfl")
    }
    assert {name: weight for name, weight in weights.items() if weight} == losses
    with_16_frames = config.data.options.frame_folder == "clip_224x224_16f"
    assert with_16_frames == row.endswith("_ti")
    if with_16_frames:  # in training as in test
        sample = parts.sampler(config)
        for rng in (None, np.random.default_rng(0)):
            np.testing.assert_array_equal(sample(16, rng=rng), np.arange(16))


def test_rows_that_do_not_exist():
    with pytest.raises(UserError, match='row of the paper\'s tables "logo": choose one of'):
        paper.get_config("logo")
    with pytest.raises(UserError, match='"6" is no fold'):
        paper.get_config("stt,6")
    with pytest.raises(UserError, match='Did you mean "r3d_18"'):
        wild.get_config("r3d18")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """A folder for the data; compiling takes most of the time here, and less without optimizing."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield tmp_path_factory.mktemp("faces")
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_trains(system, faces, tmp_path):
    config = wild.get_config(system)
    config.data.data_dir = str(faces)
    config.data.options.num_train = 21
    config.data.options.num_val = 7
    config.data.options.num_test = 7
    config.data.allow_empty_classes = True
    config.batch_size, config.evaluation.batch_size, config.max_steps = 4, 7, 3
    config.evaluation.controls = ""
    results = train(config, tmp_path / "run")
    assert results["step"] == 3
    assert 0 <= results["test"]["war"] <= 1
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert all(math.isfinite(value) for line in lines for value in json.loads(line).values())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("configs/dfew.py:3", "dfew-fold3"),
        ("configs/dfew.py", "dfew-fold1"),
        ("configs/paper.py:stt,3", "paper-stt-fold3"),
        ("configs/wild.py:r3d_18", "wild-r3d_18"),
        ("configs/quickstart.py", "quickstart"),
    ],
)
def test_the_name_of_a_run_tells_its_config(text, name):
    assert run_name(text, load(text)) == name
    config = load(text)
    config.data.frame_order = "shuffled"
    assert run_name(text, config) == f"{name}-shuffled"
