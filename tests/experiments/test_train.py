"""Training end to end on tiny data: files, resume bit for bit, selection, stops."""

import csv
import json
import os
import signal

import jax
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from logo_jax.common.errors import Interrupted, UserError
from logo_jax.experiments import train as train_module
from logo_jax.experiments.evaluate import evaluate
from logo_jax.experiments.train import train
from logo_jax.training import loop
from logo_jax.training.checkpoint import find_checkpoint, load_variables

CLASSES = ["calm", "joy", "rage"]


def tensors(workdir):
    """All variables of the newest checkpoint, by name."""
    variables = load_variables(find_checkpoint(workdir))
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a real signal while the loop works on `step`, counted from its start."""
    calls = []
    real = loop.to_devices

    def counting(batch, mesh):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), number)
        return real(batch, mesh)

    monkeypatch.setattr(loop, "to_devices", counting)


def test_leaves_results_that_agree_with_each_other(config, tmp_path):
    config.evaluation.controls = "shuffled,reversed"
    results = train(config, tmp_path / "run")

    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    test = results["test"]
    assert results["classes"] == CLASSES and test["clips"] == 9
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open(newline="")))
    truth, predicted = [r["true"] for r in rows], [r["predicted"] for r in rows]
    assert test["confusion"] == confusion_matrix(truth, predicted, labels=CLASSES).tolist()
    assert test["war"] == pytest.approx(np.mean(np.array(truth) == np.array(predicted)))
    assert test["uar"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    for row in rows:
        probabilities = [float(row[f"p:{name}"]) for name in CLASSES]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
        assert CLASSES[int(np.argmax(probabilities))] == row["predicted"]
    assert 0 <= test["shuffled_war"] <= 1 and 0 <= test["reversed_war"] <= 1
    assert results["selection"] == "last" and results["step"] == 8
    assert (tmp_path / "run" / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "run" / "tensorboard").iterdir())

    log = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [line["step"] for line in log] == [2, 4, 6, 8]
    for line in log:
        assert line["loss"] == pytest.approx(
            line["cross_entropy"] + line["compact_regularizer"], rel=1e-5
        )
        assert line["perturbation_norm"] == pytest.approx(0.05, rel=1e-3)  # rho
        assert line["gradient_norm"] > 0 and line["clips_per_second"] > 0
        assert 0 <= line["input_wait"] <= 1 and line["learning_rate"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_interrupted_and_resumed_equals_uninterrupted(config, tmp_path, monkeypatch, number):
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 3, number)
        with pytest.raises(Interrupted, match="stopped after step 3 of 8 and saved"):
            train(config, tmp_path / "parts")
    assert find_checkpoint(tmp_path / "parts").name == "3"
    resumed = train(config, tmp_path / "parts")

    one, two = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        np.testing.assert_array_equal(tensor, two[name], err_msg=name)
    assert whole["test"] == resumed["test"]
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "metrics.jsonl").open()]
    assert steps == [2, 4, 6, 8]


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, 8))
def test_resumes_at_any_step_with_another_number_of_workers(config, tmp_path, monkeypatch, step):
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, step)
        with pytest.raises(Interrupted):
            train(config, tmp_path / "parts")
    config.data.num_workers = 1 + step % 2
    train(config, tmp_path / "parts")
    for name, tensor in tensors(tmp_path / "whole").items():
        np.testing.assert_array_equal(tensor, tensors(tmp_path / "parts")[name], err_msg=name)


def test_a_finished_run_is_judged_again_without_training(config, tmp_path, monkeypatch):
    first = train(config, tmp_path)
    monkeypatch.setattr(loop, "to_devices", None)  # a step would fail
    assert train(config, tmp_path)["test"] == first["test"]


def test_the_best_checkpoint_on_validation_is_judged(config, tmp_path, monkeypatch):
    config.selection = "best_on_val"
    config.num_epochs = 3
    scores = iter([0.2, 0.9, 0.4])
    real = train_module.metrics.uar
    monkeypatch.setattr(train_module.metrics, "uar", lambda matrix: next(scores, real(matrix)))
    results = train(config, tmp_path)
    best = json.loads((tmp_path / "results.json").read_text())
    # 15 clips in batches of 4: an epoch ends within step 4, so selections follow 4, 8 and 12.
    assert results["step"] == best["step"] == 8
    assert results["selection_metric"] == "uar"
    assert find_checkpoint(tmp_path, "last").name == "12"
    assert find_checkpoint(tmp_path, "best").name == "8"


def test_best_on_test_says_so(config, tmp_path, capsys):
    config.selection = "best_on_test"
    config.num_epochs = 1
    train(config, tmp_path)
    assert "on the test split (so these numbers are optimistic" in capsys.readouterr().out


def test_best_on_val_needs_a_validation_split(config, tmp_path, source, data_dir):
    import shutil

    own = tmp_path / "own"
    shutil.copytree(source, own)
    shutil.rmtree(own / "val")
    config.data.source, config.data.data_dir = str(own), str(tmp_path / "prepared")
    config.selection = "best_on_val"
    with pytest.raises(UserError, match=r'no clips in the part "val".*config.data.val_fraction'):
        train(config, tmp_path / "run")
    config.data.val_fraction = 0.2
    config.num_epochs = 1
    results = train(config, tmp_path / "run2")
    assert results["train_clips"] == 12


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(config, tmp_path):
    config.checkpoint_every = 1
    config.optimizer.learning_rate = 1e18
    with pytest.raises(UserError, match=r"^Step \d+: the loss is .* of step \d+ is kept|no check"):
        train(config, tmp_path)
    saved = tensors(tmp_path)
    assert all(np.isfinite(tensor).all() for tensor in saved.values())


def test_another_config_in_the_same_workdir_is_refused(config, tmp_path):
    config.num_epochs = 1
    train(config, tmp_path)
    config.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"config.optimizer.learning_rate was 0.01 and is 0.5"):
        train(config, tmp_path)


def test_a_checkpoint_of_another_model_is_refused(config, tmp_path):
    config.num_epochs = 1
    train(config, tmp_path)
    config.model.dim = 32
    with pytest.raises(UserError, match="is of another model: .* tensors differ, such as"):
        evaluate(config, tmp_path, "last", "test", tmp_path / "out")


def test_frozen_statistics_and_backbone_stay(config, tmp_path):
    config.num_epochs = 1
    config.model.freeze_bn = True
    config.optimizer.backbone_lr_scale = 0.0
    config.checkpoint_every = 1
    train(config, tmp_path)
    end = tensors(tmp_path)
    means = [name for name in end if "batch_stats" in name and "mean" in name]
    assert means and all((end[name] == 0).all() for name in means)
    scales = [name for name in end if "backbone" in name and "scale" in name]
    assert scales and all((end[name] == 1).all() for name in scales)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("batch_size", 0, "config.batch_size=0: it must be at least 1"),
        ("selection", "best", 'Unknown config.selection "best"'),
        ("data.frame_order", "random", 'Unknown frame order "random"'),
        ("data.val_fraction", 1.5, "config.data.val_fraction=1.5"),
        ("data.fold", -1, "config.data.fold=-1"),
    ],
)
def test_impossible_values_are_refused(config, field, value, message):
    from logo_jax.experiments.config import check

    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        check(config)
