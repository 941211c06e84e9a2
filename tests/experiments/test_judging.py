"""Which checkpoints may be judged on which data, and what is said of them."""

import shutil

import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments.evaluate import evaluate
from logo_jax.experiments.predict import predict
from logo_jax.experiments.train import train
from logo_jax.training.checkpoint import find_checkpoint


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("judged")


@pytest.fixture
def run(config, workdir):
    """A run that selects on the test split, trained once for the module."""
    config.selection = "best_on_test"
    config.max_steps = 5
    if not (workdir / "results.json").exists():
        train(config, workdir)
    return workdir


@pytest.mark.parametrize(
    ("checkpoint", "words", "selection"),
    [("last", "the last step, selected on nothing", "last"), ("", "the best UAR", "best_on_test")],
)
def test_the_selection_is_that_of_the_judged_checkpoint(
    config, run, tmp_path, capsys, checkpoint, words, selection
):
    config.selection_metric = "war"  # what the config says of another run is not told
    checkpoint = str(find_checkpoint(run, "last") if checkpoint else run)
    results = evaluate(config, tmp_path, checkpoint, "val", tmp_path)
    assert f"checkpoint: {words}" in capsys.readouterr().out
    assert results["selection"] == selection and results["train_clips"] == 15
    assert results["selection_metric"] == (None if selection == "last" else "uar")


@pytest.mark.parametrize(
    ("field", "value"),
    [("model.dim", 32), ("input.std", (0.5, 0.5, 0.5)), ("data.duration", 1)],
)
def test_a_checkpoint_trained_otherwise_is_refused(config, run, tmp_path, source, field, value):
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=f"was trained with another config: config.{field} was"):
        evaluate(config, tmp_path, str(run), "test", tmp_path / "out")
    with pytest.raises(UserError, match=f"was trained with another config: config.{field} was"):
        predict(config, tmp_path, str(run), str(source / "test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_data_or_classes_or_another_cut_are_refused(config, run, tmp_path, source):
    own = tmp_path / "own"
    shutil.copytree(source, own)
    shutil.rmtree(own / "val")
    config.data.source, config.data.data_dir = str(own), str(tmp_path / "prepared")
    with pytest.raises(UserError, match="was trained on other data than what lies in"):
        evaluate(config, run, "last", "test", tmp_path / "out")
    evaluate(config, tmp_path, str(run), "test", tmp_path / "out")  # of another run it may be
    for part in ("train", "test"):
        (own / part / "rage").rename(own / part / "anger")
    config.data.data_dir = str(tmp_path / "renamed")
    with pytest.raises(UserError, match="knows the classes calm, joy, rage, in this order, and"):
        evaluate(config, tmp_path, str(run), "test", tmp_path / "out")
    config.data.val_fraction = 0.2
    for part in ("train", "test"):
        (own / part / "anger").rename(own / part / "rage")
    config.data.data_dir = str(tmp_path / "again")
    with pytest.raises(UserError, match="it would be judged on clips that it was trained on"):
        evaluate(config, tmp_path, str(run), "test", tmp_path / "out")


def test_what_cannot_be_written_or_is_not_given_is_said_at_once(config, run, tmp_path, monkeypatch):
    monkeypatch.setattr("logo_jax.experiments.evaluate.open_splits", None)  # would cost time
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        evaluate(config, run, "last", "test", tmp_path / "file" / "out")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        predict(config, run, "last", "nowhere", tmp_path / "file" / "out")
    with pytest.raises(UserError, match="Give --input"):
        predict(config, run, "last", "", tmp_path / "out")
