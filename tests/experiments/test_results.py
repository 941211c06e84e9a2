"""What every judgement leaves: intervals, calibration, frame orders, scenes, all predictions."""

import csv
import json
import shutil

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
)

from logo_jax.common.errors import UserError
from logo_jax.data.datasets.synthetic_faces import REVERSED
from logo_jax.evaluation.__main__ import main
from logo_jax.evaluation.predictions import read_predictions
from logo_jax.experiments import evaluate as module
from logo_jax.experiments.evaluate import evaluate
from logo_jax.experiments.summarize import summarize
from logo_jax.experiments.train import train
from logo_jax.experiments.verify import verify

CLASSES = ["calm", "joy", "rage"]


def read(path):
    rows = list(csv.DictReader(path.open(newline="")))
    labels = np.array([CLASSES.index(row["true"]) for row in rows])
    shares = np.array([[float(row[f"p:{name}"]) for name in CLASSES] for row in rows])
    return rows, labels, shares / shares.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture
def run(config, workdir):
    """A run of a set with a validation split, trained once for the module."""
    config.evaluation.controls = "reversed,frozen,thinned"
    if not (workdir / "results.json").exists():
        train(config, workdir)
    return config, json.loads((workdir / "results.json").read_text())["test"]


def test_calibration_before_and_after_a_temperature_of_the_validation(run, workdir):
    _, test = run
    _, labels, shares = read(workdir / "predictions.csv")
    _, val_labels, val_shares = read(workdir / "val_predictions.csv")
    found = test["calibration"]
    assert found["validation_clips"] == len(val_labels) == 6
    assert found["before"]["nll"] == pytest.approx(log_loss(labels, shares), rel=1e-5)
    brier = sum(brier_score_loss(labels == c, shares[:, c]) for c in range(3))
    assert found["before"]["brier"] == pytest.approx(brier, rel=1e-5)
    if found["temperature"] is None:
        assert "The temperature cannot be fitted" in found["note"]
        return

    def scaled(shares, temperature):
        powers = shares ** (1 / temperature)
        return powers / powers.sum(1, keepdims=True)

    best = minimize_scalar(
        lambda x: log_loss(val_labels, scaled(val_shares, np.exp(x))),
        bounds=(-7, 7), options={"xatol": 1e-8},
    )  # fmt: skip
    assert found["temperature"] == pytest.approx(np.exp(best.x), rel=1e-3)
    after = log_loss(labels, scaled(shares, found["temperature"]))
    assert found["after"]["nll"] == pytest.approx(after, rel=1e-4)


def test_every_number_is_recomputed_from_the_predictions(run, workdir, tmp_path):
    _, test = run
    rows, labels, shares = read(workdir / "predictions.csv")
    assert list(rows[0])[:4] == ["clip_id", "fold", "true", "predicted"]
    assert {row["fold"] for row in rows} == {""}  # a set with one split
    assert test["uar"] == pytest.approx(balanced_accuracy_score(labels, shares.argmax(1)))
    main([str(workdir / "predictions.csv"), "--json", str(tmp_path / "numbers.json")])
    (again,) = json.loads((tmp_path / "numbers.json").read_text())["models"]
    for name, value in again["pooled"].items():
        assert test[name] == value, name
    assert test["bootstrap"]["draws"] == 2000
    for name in ("ece", "nll", "brier"):
        before = test["calibration"]["before"]
        assert before[name] == pytest.approx(again["calibration"][name], rel=1e-6)


def test_frame_orders_are_judged_on_the_same_clips(run):
    _, test = run
    for order in ("reversed", "frozen", "thinned"):
        confusion = np.array(test[f"{order}_confusion"])
        np.testing.assert_array_equal(confusion.sum(1), np.sum(test["confusion"], axis=1))
        assert test[f"{order}_war"] == pytest.approx(np.trace(confusion) / confusion.sum())


def test_without_a_validation_split_no_temperature_is_fitted(
    config, run, workdir, tmp_path, capsys
):
    results = evaluate(config, workdir, "", "val", tmp_path)
    found = results["val"]["calibration"]
    assert found["temperature"] is None and found["after"] is None
    assert not (tmp_path / "val_predictions.csv").exists()
    assert "no validation split, so no temperature is fitted" in capsys.readouterr().out
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_scenes_of_a_set_that_has_them(config, run, workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "WITH_SCENES", ("frame_folders",))  # ids are <part>/<class>/<clip>
    config.evaluation.controls = ""
    results = evaluate(config, workdir, "", "test", tmp_path)
    (scene,) = results["test"]["scenes"]
    assert scene["scene"] == "test" and scene["classes_present"] == 3
    assert scene["confusion"] == results["test"]["confusion"]
    assert scene["class_clips"] == [3, 3, 3] and "(n=3)" in capsys.readouterr().out


def test_results_are_written_last(config, run, workdir, tmp_path, monkeypatch):
    """Where results.json stands, the predictions beside it are those of the same judgement."""
    monkeypatch.setattr(module, "reliability_png", None)  # stands for a kill
    with pytest.raises(TypeError):
        evaluate(config, workdir, "", "test", tmp_path)
    assert (tmp_path / "predictions.csv").exists()
    assert not (tmp_path / "results.json").exists()


def test_a_run_is_verified(run, workdir, capsys):
    before = {path: path.read_bytes() for path in workdir.glob("*.*") if path.is_file()}
    (report,) = verify(workdir, ["--config.data.num_workers=0"])
    assert report["differences"] == [] and report["largest_probability_difference"] == 0
    assert "verified; test, 9 clips" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def moved(probabilities, rows, by):
    """Move a share from the first to the second class of these clips."""
    probabilities = np.array(probabilities)
    first, second = np.argsort(probabilities, axis=1)[rows, :-3:-1].T
    probabilities[rows, first] -= by
    probabilities[rows, second] += by
    return probabilities


def test_classes_that_nearly_tie_may_be_others_on_another_device(run, workdir, monkeypatch, capsys):
    found = read_predictions([workdir / "predictions.csv"], tuple(CLASSES)).probabilities
    lead = np.sort(found, axis=1)[:, -1] - np.sort(found, axis=1)[:, -2]
    by, real = 0.6 * lead.min(), module.Judge.probabilities
    monkeypatch.setattr(
        module.Judge, "probabilities",
        lambda *a, **k: moved(real(*a, **k), np.arange(9), by),
    )  # fmt: skip
    monkeypatch.setattr("logo_jax.experiments.verify.TOLERANCE", 0.9 * by)
    with pytest.raises(UserError, match=r"probabilities differ by .* of 9 clips have another clas"):
        verify(workdir, [])
    monkeypatch.setattr("logo_jax.experiments.verify.TOLERANCE", 1.1 * by)  # they agree by this
    (report,) = verify(workdir, [])
    assert report["differences"] == [] and report["other_classes"] > 0
    said = capsys.readouterr().out
    assert f"{report['other_classes']} clips have another class, WAR" in said
    assert f"WAR {100 * report['recorded_war']:.2f} % was recorded" in said


def test_a_class_that_rounding_does_not_explain_is_found_out(run, workdir, monkeypatch):
    """Where the other clips agree to the last digit, no clip changes its class by rounding."""
    found = read_predictions([workdir / "predictions.csv"], tuple(CLASSES)).probabilities
    lead = np.sort(found, axis=1)[:, -1] - np.sort(found, axis=1)[:, -2]
    real = module.Judge.probabilities
    monkeypatch.setattr(
        module.Judge, "probabilities",
        lambda *a, **k: moved(real(*a, **k), [lead.argmin()], 0.6 * lead.min()),
    )  # fmt: skip
    monkeypatch.setattr("logo_jax.experiments.verify.TOLERANCE", 1.0)
    with pytest.raises(UserError, match="1 of 9 clips have another class; .*: WAR was"):
        verify(workdir, [])


def test_another_device_multiplies_in_fewer_bits(run, workdir, tmp_path, monkeypatch, capsys):
    real = module.Judge.probabilities
    monkeypatch.setattr(module.Judge, "probabilities", lambda *a, **k: real(*a, **k) + 0.01)
    with pytest.raises(UserError, match=r"probabilities differ by up to 0\.01"):
        verify(workdir, [])
    copy = shutil.copytree(workdir, tmp_path / "copy")
    results = json.loads((copy / "results.json").read_text()) | {"device": "TPU v4"}
    (copy / "results.json").write_text(json.dumps(results))
    (report,) = verify(copy, [])
    assert report["differences"] == []
    assert "device was TPU v4 and is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r["test"].update(war=float("nan")), "WAR was nan and is"),
        (lambda r: r["data"].update(name="dfew"), "data.name is dfew in results.json and frame"),
        (lambda r: r["data"].update(fold=2), "data.fold is 2 in results.json and None in its"),
        (lambda r: r["test"].update(war=0.99), r"WAR was 0.990000 and is 0\.\d{6}"),
        (
            lambda r: r["config"].update(seed=7),
            "the config in results.json is not that of its hash",
        ),
        (lambda r: r.update(step=3), "the results are of step 3, the checkpoint of 8"),
        (lambda r: r["config"]["evaluation"].pop("controls"), "config.evaluation.controls is miss"),
        (lambda r: r["config"]["data"].pop("fold"), "config.data.fold is missing in results.json"),
        (
            lambda r: r["config"]["evaluation"].update(controls=3),
            "controls is 3 and must be of",
        ),
        (lambda r: r["config"]["evaluation"].update(batch_size="x"), "batch_size is 'x' and must"),
        (
            lambda r: r.update(checkpoint="runs/other/checkpoints/last/7"),
            "checkpoint is runs/oth",
        ),
        (lambda r: r["test"]["bootstrap"].update(draws=True), "bootstrap in results.json is not"),
        (lambda r: r["data"].update(fingerprint="f"), "data.fingerprint in results.json is not"),
        (lambda r: r["data"].update(caveats=["x"]), "data.caveats in results.json is not that"),
        (
            lambda r: r.update(selection="best_on_test", selection_metric="uar"),
            "selection is best_on_test in results.json and should be last; .*selection_metric",
        ),
        (lambda r: r.update(train_clips=5000), "train_clips is 5000 in results.json and should be"),
        (lambda r: r.update(seed=5), "seed is 5 in results.json and should be 0"),
        (
            lambda r: r["test"]["recalls"].__setitem__(0, 0.123),
            "recalls in results.json is not that of predictions.csv",
        ),
        (
            lambda r: r["test"]["uar_interval"].__setitem__(0, 0.01),
            "uar_interval in results.json is not that of predictions.csv",
        ),
        (
            lambda r: r["test"]["calibration"]["before"].update(ece=0.0001),
            "calibration in results.json is not that of predictions.csv",
        ),
        (lambda r: r.update(parameters="ema"), "parameters is ema in results.json and should be"),
        (lambda r: r["dropped_clips"].update(test=3), "dropped_clips is .* and should be"),
        (lambda r: r["data"].update(config="x"), "data.config in results.json is not that of the"),
        (lambda r: r["test"].pop("reversed_confusion"), "reversed_confusion is missing in"),
        (
            lambda r: r["test"].update(reversed_confusion=[[9, 0, 0], [0, 9, 0], [0, 0, 9]]),
            "reversed_confusion in results.json has other clips",
        ),
        (
            lambda r: r["test"].update(reversed_war=0.999),
            "reversed_war in results.json is not that of its confusion matrix",
        ),
    ],
)
def test_a_record_that_was_changed_is_found_out(run, workdir, tmp_path, change, message):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    results = json.loads((copy / "results.json").read_text())
    change(results)
    (copy / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=message):
        verify(copy, [])


@pytest.mark.parametrize(("field", "value"), [("seed", 7), ("num_epochs", 3)])
def test_a_config_that_was_changed_is_found_out(run, workdir, tmp_path, field, value):
    copy = shutil.copytree(workdir, tmp_path / "copy")
    record = json.loads((copy / "config.json").read_text()) | {field: value}
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"another config than config.json .*: config.{field} was"):
        verify(copy, [])


def test_probabilities_that_are_not_finite_leave_the_files(run, workdir, tmp_path, monkeypatch):
    config, _ = run
    copy = shutil.copytree(workdir, tmp_path / "copy")
    real = module.Judge.probabilities
    monkeypatch.setattr(module.Judge, "probabilities", lambda *a, **k: np.nan * real(*a, **k))
    with pytest.raises(UserError, match=r"gives 9 of 9 clips probabilities that are not finite"):
        evaluate(config, copy, "", "test", copy)
    for name in ("predictions.csv", "results.json"):
        assert (copy / name).read_bytes() == (workdir / name).read_bytes()


def test_results_without_a_training_are_not_verified(config, run, workdir, tmp_path):
    evaluate(config, workdir, "", "val", tmp_path)
    with pytest.raises(UserError, match="holds results without checkpoints, such as"):
        verify(tmp_path, [])


def test_the_summary_is_verified_with_its_folds_only(run, workdir, tmp_path):
    shutil.copytree(workdir, tmp_path / "fold1")
    summarize([tmp_path], tmp_path)
    verify(tmp_path, [])
    numbers = json.loads((tmp_path / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps(numbers | {"clips": 10}))
    verify(tmp_path / "fold1", [])
    with pytest.raises(UserError, match=r"the summary is not of its folds \(clips\)"):
        verify(tmp_path, [])


def test_reversed_clips_count_for_the_other_class_of_their_pair():
    rng = np.random.default_rng(0)
    labels, found = rng.integers(0, 7, (2, 100))
    numbers = module.control_numbers(
        "reversed", confusion_matrix(labels, found, labels=range(7)), "synthetic_faces"
    )
    swapped = np.array(REVERSED)[labels]
    assert numbers["reversed_swapped_war"] == pytest.approx(np.mean(swapped == found))
    assert numbers["reversed_war"] == pytest.approx(np.mean(labels == found))


def test_predictions_of_another_model_are_found_out(run, workdir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(workdir, copy)
    lines = (copy / "predictions.csv").read_text().splitlines(keepends=True)
    clip_id, fold, true, predicted, *_ = lines[1].split(",")
    shares = ["0.98" if name == predicted else "0.01" for name in CLASSES]
    lines[1] = ",".join([clip_id, fold, true, predicted, *shares]) + "\n"
    (copy / "predictions.csv").write_text("".join(lines))
    with pytest.raises(UserError, match=r"copy: probabilities differ by up to 0\.\d"):
        verify(copy, [])
