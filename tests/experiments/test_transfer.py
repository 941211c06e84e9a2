"""Starting from a trained model: what is loaded, what is new, what is left over."""

import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments import parts
from logo_jax.experiments.train import train
from logo_jax.experiments.transfer import parse_class_map, start_from
from logo_jax.training.checkpoint import find_checkpoint, load_variables
from logo_jax.training.state import init_variables


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def run(config, trained):
    """A workdir with one checkpoint, trained once for the module."""
    config.num_epochs = 1
    if not (trained / "results.json").exists():
        train(config, trained)
    return trained


def fresh(config, num_classes, seed=7):
    model = parts.build_model(config, num_classes)
    return init_variables(model, parts.clip_shape(config), seed)


def test_equal_classes_take_over_everything(config, run):
    old = load_variables(find_checkpoint(run))
    new, report = start_from(str(run), fresh(config, 3), ("calm", "joy", "rage"))
    np.testing.assert_array_equal(new["params"]["head"]["kernel"], old["params"]["head"]["kernel"])
    np.testing.assert_array_equal(
        new["batch_stats"]["backbone"]["bn1"]["mean"], old["batch_stats"]["backbone"]["bn1"]["mean"]
    )
    assert not report.new and not report.left_over


def test_the_order_of_equal_classes_does_not_matter(config, run):
    old = load_variables(find_checkpoint(run))["params"]["head"]
    new, _ = start_from(str(run), fresh(config, 3), ("rage", "calm", "joy"))
    np.testing.assert_array_equal(new["params"]["head"]["kernel"], old["kernel"][:, [2, 0, 1]])
    np.testing.assert_array_equal(new["params"]["head"]["bias"], old["bias"][[2, 0, 1]])


def test_other_classes_get_a_new_head(config, run):
    start = fresh(config, 2)
    new, report = start_from(str(run), start, ("yes", "no"))
    np.testing.assert_array_equal(
        new["params"]["head"]["kernel"], start["params"]["head"]["kernel"]
    )
    old = load_variables(find_checkpoint(run))
    np.testing.assert_array_equal(
        new["params"]["backbone"]["conv1"]["kernel"], old["params"]["backbone"]["conv1"]["kernel"]
    )
    assert "head: new, for the classes yes, no" in str(report)


def test_a_class_map_takes_columns(config, run):
    start = fresh(config, 4)
    old = load_variables(find_checkpoint(run))["params"]["head"]["kernel"]
    classes = ("a", "happy", "b", "angry")
    new, report = start_from(str(run), start, classes, "happy=joy, angry=rage")
    kernel = new["params"]["head"]["kernel"]
    np.testing.assert_array_equal(kernel[:, [1, 3]], old[:, [1, 2]])
    np.testing.assert_array_equal(kernel[:, [0, 2]], start["params"]["head"]["kernel"][:, [0, 2]])
    assert "happy from joy, angry from rage; new: a, b" in str(report)


def test_what_one_side_lacks_is_reported(config, run):
    config.model.final_norm = True
    config.model.global_out_proj = True
    _, report = start_from(str(run), fresh(config, 3), ("calm", "joy", "rage"))
    assert any("norm" in name for name in report.new) and not report.left_over


def test_positions_of_longer_and_larger_clips_are_interpolated(config, run):
    config.data.segments, config.input.image_size = 4, 32
    new, report = start_from(str(run), fresh(config, 3), ("calm", "joy", "rage"))
    assert "time_position interpolated from (5, 1) to (9, 1)" in str(report)
    old = load_variables(find_checkpoint(run))["params"]
    first = new["params"]["time_position"][0, :2, 0]  # the class token's, and the first frame's
    np.testing.assert_allclose(first, old["time_position"][0, :2, 0], rtol=1e-6)
    assert new["params"]["space_position"].shape == (1, 1, 64, 16)


def test_another_size_is_refused(config, run):
    config.model.dim = 32
    with pytest.raises(UserError, match="does not fit: .* has the shape"):
        start_from(str(run), fresh(config, 3), ("calm", "joy", "rage"))


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ("happy=jooy", 'the old class "jooy", which does not exist.*Did you mean "joy"'),
        ("hapy=joy", 'the new class "hapy", which does not exist.*Did you mean "happy"'),
        ("happy", 'not of the form "new class=old class"'),
        ("happy=joy,happy=rage", 'gives the new class "happy" two old ones'),
    ],
)
def test_a_wrong_class_map_is_refused(config, run, class_map, message):
    with pytest.raises(UserError, match=message):
        start_from(str(run), fresh(config, 2), ("happy", "sad"), class_map)


def test_a_missing_checkpoint_is_refused(config, tmp_path):
    with pytest.raises(UserError, match="No last checkpoint in"):
        start_from(str(tmp_path), fresh(config, 2), ("a", "b"))


@pytest.mark.slow
def test_a_run_starts_from_another(config, run, tmp_path, capsys):
    config.init_from = str(run)
    config.num_epochs = 1
    config.optimizer.learning_rate = 1e-9  # the parameters stay where they start
    train(config, tmp_path)
    assert f"started from {find_checkpoint(run)}" in capsys.readouterr().out
    one = load_variables(find_checkpoint(run))["params"]
    two = load_variables(find_checkpoint(tmp_path))["params"]
    np.testing.assert_allclose(one["head"]["kernel"], two["head"]["kernel"], atol=1e-6)


def test_class_map_is_parsed():
    assert parse_class_map(" a = b ,c=d,") == {"a": "b", "c": "d"}
    assert parse_class_map("") == {}
