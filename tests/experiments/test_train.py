"""Training end to end on tiny data: files, resume bit for bit, selection, stops."""

import copy
import csv
import fcntl
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from logo_jax.common.errors import Interrupted, UserError
from logo_jax.common.versions import versions
from logo_jax.experiments import config as configs
from logo_jax.experiments import train as train_module
from logo_jax.experiments.train import train
from logo_jax.training import loop
from logo_jax.training.checkpoint import find_checkpoint, load_variables
from logo_jax.training.damage import write_checksums
from logo_jax.training.signals import Stopped

CLASSES = ["calm", "joy", "rage"]


def tensors(workdir):
    """All variables of the newest checkpoint, by name."""
    variables = load_variables(find_checkpoint(workdir))
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def stop_after(monkeypatch, step, number=signal.SIGTERM):
    """Send this process a real signal while the loop works on `step`, counted from its start.

    The batch of the next step is on its way to the devices then.
    """
    calls = []
    real = loop.to_devices

    def counting(batch, mesh):
        calls.append(1)
        if len(calls) == step + 1:
            os.kill(os.getpid(), number)
        return real(batch, mesh)

    monkeypatch.setattr(loop, "to_devices", counting)


def test_leaves_results_that_agree_with_each_other(config, tmp_path):
    config.evaluation.controls = "shuffled,reversed,frozen,thinned"
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


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where a run of one epoch lies, once it is trained."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def finished(config, kept, tmp_path):
    """The folder of a finished run of `config`, which has one epoch."""
    config.num_epochs = 1
    if not kept.exists():
        train(config, kept)
    return shutil.copytree(kept, tmp_path / "finished")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_interrupted_and_resumed_equals_uninterrupted(config, tmp_path, monkeypatch, number):
    whole = train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 3, number)
        patch.setattr(train_module, "versions", lambda: {"git": "an earlier commit"})
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
    begun = [(start["from_step"], start["versions"]) for start in resumed["trained_with"]]
    assert begun == [(0, {"git": "an earlier commit"}), (3, versions())]
    assert [start["from_step"] for start in whole["trained_with"]] == [0]


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


def test_a_finished_run_is_judged_again_without_training(config, finished, monkeypatch):
    first = json.loads((finished / "results.json").read_text())
    monkeypatch.setattr(loop, "to_devices", None)  # a step would fail
    assert train(config, finished)["test"] == first["test"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_best_on_test_says_so(config, tmp_path, capsys):
    config.selection = "best_on_test"
    config.num_epochs = 1
    train(config, tmp_path)
    assert "on the test split (so these numbers are optimistic" in capsys.readouterr().out


@pytest.mark.slow
def test_best_on_val_needs_a_validation_split(config, tmp_path, source, data_dir):
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


def test_another_config_in_the_same_workdir_is_refused(config, finished):
    config.optimizer.learning_rate = 0.5
    with pytest.raises(UserError, match=r"config.optimizer.learning_rate was 0.01 and is 0.5"):
        train(config, finished)


def test_a_checkpoint_of_another_model_is_refused(config, finished):
    config.model.dim = 32
    configs.write_json(finished / "config.json", configs.plain(config))  # edited by hand
    message = r"last/4 was trained with another config than config.json .*: config.model.dim was 16"
    with pytest.raises(UserError, match=message):
        train(config, finished)


def test_a_best_checkpoint_of_another_run_is_refused(config, finished):
    last = finished / "checkpoints" / "last" / "4"
    best = shutil.copytree(last, finished / "checkpoints" / "best" / "4")
    meta = json.loads((best / "meta" / "metadata").read_text())
    meta["config"]["seed"] = 7
    (best / "meta" / "metadata").write_text(json.dumps(meta))
    write_checksums(best)
    with pytest.raises(UserError, match=r"best/4 was trained with another .*: config.seed was 7"):
        train(config, finished)


@pytest.mark.slow
def test_a_start_without_a_step_binds_no_later_one(config, tmp_path):
    first = copy.deepcopy(config)
    first.model.window = (3, 2, 2)
    with pytest.raises(UserError, match="does not divide"):
        train(first, tmp_path)
    config.max_steps = 1
    train(config, tmp_path)  # the correction that the error asks for
    assert configs.read(tmp_path)["model"]["window"] == [2, 2, 2]

    for field, value in {"init_from": "runs/other", "model.pretrained": "other.pth"}.items():
        other = copy.deepcopy(config)
        other.update_from_flattened_dict({field: value})
        with pytest.raises(UserError, match=f"config.{field} was .* and is .*other"):
            train(other, tmp_path)

    for text, message in {
        "{": "is no config",
        "[]": "is no config",
        "{}": "lacks the fields",
    }.items():
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=f"config.json {message}"):
            train(config, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="has lost its record"):
        train(config, tmp_path)


def test_a_set_without_test_clips_is_refused_before_the_training(config, tmp_path, source):
    own = tmp_path / "own"
    shutil.copytree(source, own)
    shutil.rmtree(own / "test")
    config.data.source, config.data.data_dir = str(own), str(tmp_path / "prepared")
    config.data.allow_empty_classes = True
    with pytest.raises(UserError, match='no clips in the part "test".* add them to the source'):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_two_runs_in_one_workdir_are_refused(config, tmp_path):
    with (tmp_path / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=f"Another process trains in {tmp_path}"):
            train(config, tmp_path)


@pytest.mark.slow
def test_a_stop_outside_the_steps_says_what_is_saved(config, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise Stopped(signal.SIGTERM)

    versions.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(train_module.parts, "open_splits", stop)
        with pytest.raises(Stopped, match="SIGTERM: stopped; nothing was saved") as caught:
            train(config, tmp_path)
        assert caught.value.status == 143
    assert versions.cache_info().currsize == 1  # known before anything that takes long
    config.max_steps = 1
    monkeypatch.setattr(train_module, "write_results", stop)
    with pytest.raises(Stopped, match="stopped; step 1 is saved, and the same command continues"):
        train(config, tmp_path)


@pytest.mark.slow
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
        ("seed", 2**32, "config.seed=4294967296: choose one below"),
        ("input.mean", (0.5, 0.5), r"config.input.mean=\(0.5, 0.5\): give three numbers"),
        ("input.std", (1.0, 0.0, 1.0), r"config.input.std=.*: it must be above 0"),
        ("augment.min_area", 2.0, "0 < min_area <= max_area <= 1, not 2.0"),
        ("augment.max_ratio", 0.1, "min_ratio <= max_ratio"),
        ("loss.label_smoothing", 1.0, "label_smoothing is 1.0"),
        ("loss.regularizer_form", "printed", 'form of the compact regularizer "printed"'),
        ("optimizer.base", "adm", 'Unknown optimizer "adm"'),
        ("optimizer.warmup_epochs", 5.0, "warmup_steps"),
        (
            "optimizer.warmup_epochs",
            float("nan"),
            "config.optimizer.warmup_epochs=nan: it is a num",
        ),
        ("optimizer.decay_every_epochs", float("inf"), "config.optimizer.decay_every_epochs=inf"),
        ("input.mean", ("a", "b", "c"), "config.input.mean=.* must be finite numbers"),
        ("input.std", (1.0, float("inf"), 1.0), "config.input.std=.* must be finite numbers"),
        ("augment.brightness", float("nan"), "config.augment.brightness=nan: the jitter must be"),
        ("num_epochs", 10**30, "config.num_epochs=10+ makes .* steps, but they are counted in 32"),
        ("model.pool", "mean", 'Unknown pool "mean"'),
        ("model.window", (3, 2, 2), "window 3 x 2 x 2 does not divide"),
        ("init_class_map", "a=b", "give config.init_from as well"),
    ],
)
def test_impossible_values_are_refused(config, field, value, message):
    from logo_jax.experiments.config import check

    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=message):
        check(config)
