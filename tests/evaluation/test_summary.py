"""`python -m logo_jax.evaluation`: numbers from files, against scikit-learn and by hand."""

import json
import math
import re
import statistics as stdlib
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics

from logo_jax.evaluation.__main__ import main
from logo_jax.evaluation.report import write_predictions

CLASSES = ("happy", "sad", "neutral")


def draw(seed, clips, sharpness=1.0):
    """Labels and probabilities of a model that is often, but not always, right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, clips)
    logits = sharpness * (rng.normal(0, 1, (clips, 3)) + 1.2 * np.eye(3)[labels])
    powers = np.exp(logits)
    return labels, (powers / powers.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture
def folds(tmp_path):
    """Two folds of predictions of model A, and of model B on the same clips."""

    def write(name, prefix, labels, probabilities):
        path = tmp_path / f"{name}.csv"
        ids = [f"{prefix}{i:03}" for i in range(len(labels))]
        write_predictions(path, ids, labels, probabilities, CLASSES)
        return str(path)

    parts = [draw(seed, clips, 2.5) for seed, clips in ((0, 150), (1, 120))]
    a = [write(f"a{f}", f"{f}-", *part) for f, part in enumerate(parts)]
    worse = [
        (labels, np.roll(probabilities, 1, axis=1) * 0.55 + probabilities * 0.45)
        for labels, probabilities in parts
    ]
    b = [write(f"b{f}", f"{f}-", *part) for f, part in enumerate(worse)]
    val = [write(f"v{f}", f"val{f}-", *draw(9 + f, 400, 2.5)) for f in range(2)]
    return {"a": a, "b": b, "val": val, "parts": parts, "worse": worse, "folder": tmp_path}


def test_all_numbers_agree_with_scikit_learn(folds, capsys):
    target = str(folds["folder"] / "numbers.json")
    main([*folds["a"], "--json", target, "--draws", "500"])
    text = capsys.readouterr().out
    with open(target) as file:
        (model,) = json.load(file)["models"]
    labels = np.concatenate([part[0] for part in folds["parts"]])
    probabilities = np.concatenate([part[1] for part in folds["parts"]]).astype(np.float64)
    predicted = probabilities.argmax(1)
    war = sklearn.metrics.accuracy_score(labels, predicted)
    uar = sklearn.metrics.balanced_accuracy_score(labels, predicted)
    pooled = model["pooled"]
    assert (pooled["war"], pooled["uar"]) == pytest.approx((war, uar))
    assert pooled["recalls"] == pytest.approx(
        sklearn.metrics.recall_score(labels, predicted, average=None)
    )
    assert pooled["confusion"] == sklearn.metrics.confusion_matrix(labels, predicted).tolist()
    of_folds = [
        sklearn.metrics.balanced_accuracy_score(truth, p.argmax(1)) for truth, p in folds["parts"]
    ]
    assert [fold["uar"] for fold in model["folds"]] == pytest.approx(of_folds)
    assert model["fold_mean"]["uar"] == pytest.approx(stdlib.mean(of_folds))
    assert model["fold_mean"]["uar_std"] == pytest.approx(stdlib.stdev(of_folds))
    assert model["calibration"]["nll"] == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities / probabilities.sum(1, keepdims=True)),
        rel=1e-5,
    )
    assert f"{100 * war:.2f}" in text and f"{100 * uar:.2f}" in text
    low, high = pooled["uar_interval"]
    assert low < uar < high and f"{100 * low:.2f} to {100 * high:.2f}" in text
    assert "mean of folds" in text and "fold 2 (120)" in text
    assert "not the variance of training" in text


def test_two_models(folds, capsys):
    target = str(folds["folder"] / "numbers.json")
    main([*folds["a"], "--compare", *folds["b"], "--compare", *folds["a"], "--json", target])
    with open(target) as file:
        rows = json.load(file)["comparisons"]
    assert [row["models"] for row in rows] == [[0, 1], [0, 2], [1, 2]]
    right = [
        np.concatenate([p.argmax(1) == truth for truth, p in folds[name]])
        for name in ("parts", "worse")
    ]
    b, c = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    war = rows[0]["war"]
    assert (war["only_first"], war["only_second"]) == (b, c) and b > c > 0
    p = 2 * sum(math.comb(b + c, k) for k in range(c + 1)) / 2 ** (b + c)
    assert war["p"] == pytest.approx(p)
    # Holm over three pairs, the second of which is a model against itself.
    assert war["p_holm"] == pytest.approx(min(1, 3 * p))
    assert rows[1]["war"]["p"] == rows[1]["uar"]["p_holm"] == 1
    assert rows[2]["uar"]["difference"] == pytest.approx(-rows[0]["uar"]["difference"])
    text = capsys.readouterr().out
    assert "A - B, WAR (McNemar)" in text and "at least 3 seeds" in text


def test_a_temperature_per_fold(folds, capsys):
    target = str(folds["folder"] / "numbers.json")
    main([*folds["a"], "--calibrate-on", *folds["val"], "--json", target])
    with open(target) as file:
        (model,) = json.load(file)["models"]
    assert len(model["temperature"]["temperatures"]) == 2
    # The model's logits are 2.5 / 1.2 times too large, so the likelihood gains.
    assert all(1.5 < t < 3 for t in model["temperature"]["temperatures"])
    assert model["temperature"]["nll"] < model["calibration"]["nll"] - 0.05
    assert "fitted on validation" in capsys.readouterr().out


def test_validation_files_that_name_their_folds_may_come_in_any_order(tmp_path, capsys):
    names, models = ("2", "10", "7"), {}
    for part, clips in (("test", 90), ("val", 200)):
        for seed, fold in enumerate(names):
            models[part, fold] = str(tmp_path / f"{part}{fold}.csv")
            labels, shares = draw(seed + clips, clips, 1 + 2 * seed)
            ids = [f"{part}{fold}-{i}" for i in range(clips)]
            write_predictions(models[part, fold], ids, labels, shares, CLASSES, [fold] * clips)

    def temperatures(*order):
        test, val = ([models[part, fold] for fold in order] for part in ("test", "val"))
        main([test[0], test[1], "--calibrate-on", *val[::-1], "--json", str(tmp_path / "n.json")])
        (model,) = json.loads((tmp_path / "n.json").read_text())["models"]
        return model["temperature"]["temperatures"]

    first, second = temperatures("2", "10")  # by number
    assert first < second / 1.5 and temperatures("10", "2") == [first, second]
    with pytest.raises(SystemExit):
        main([models["test", "2"], models["test", "10"], "--calibrate-on", models["val", "2"],
              models["val", "7"]])  # fmt: skip
    assert "are of the folds 2, 7, but the test predictions of 2, 10" in capsys.readouterr().err


def test_scenes(tmp_path, capsys):
    path = tmp_path / "predictions.csv"
    ids = ["War/Sad/1", "War/Sad/2", "Crime/Sad/1", "Crime/Happy/1"]
    write_predictions(path, ids, np.array([1, 1, 1, 0]), np.eye(3)[[1, 0, 1, 0]], CLASSES)
    target = str(tmp_path / "numbers.json")
    main([str(path), "--scenes", "--json", target])
    with open(target) as file:
        scenes = json.load(file)["scenes"]
    assert [(s["scene"], s["war"], s["uar"], s["classes_present"]) for s in scenes] == [
        ("Crime", 1, 1, 2),
        ("War", 0.5, 0.5, 1),
    ]
    assert "50.00 (n=2)" in capsys.readouterr().out


def test_the_diagram(folds):
    target = folds["folder"] / "reliability.png"
    main([*folds["a"], "--reliability", str(target)])
    assert target.stat().st_size > 5000


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--calibrate-on", "{a0}", "{v1}"], "both the validation and the test clips of fold 1"),
        (["--calibrate-on", "{v0}"], "1 files of validation predictions, but .* 2 folds"),
        (["--compare", "{b0}"], "120 clips were judged by one"),
        (["--compare", "{b1}", "{b0}"], "is in fold 1 of the first model and in fold 2"),
        (["{a0}"], "stands in .* already"),
        (["--draws", "0"], "must be at least 1"),
        (["--seed", "-1"], "seed of the bootstrap is -1, but must be 0 or more"),
    ],
)
def test_mistakes_are_one_sentence(folds, capsys, flags, words):
    names = {name + str(f): folds[key][f] for key, name in (("a", "a"), ("b", "b"), ("val", "v"))
             for f in (0, 1)}  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main([*folds["a"], *(flag.format(**names) for flag in flags)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err

    assert re.search(words, error) and "Traceback" not in error


def test_a_class_that_a_fold_lacks_is_named(tmp_path, capsys):
    paths = []
    for fold, labels in enumerate(([0, 1, 2, 2], [0, 1, 1, 0])):
        path = tmp_path / f"{fold}.csv"
        ids = [f"{fold}-{i}" for i in range(4)]
        write_predictions(path, ids, np.array(labels), np.eye(3)[[0, 1, 2, 0]], CLASSES)
        paths.append(str(path))
    main(paths)
    assert "No clips in fold 2: neutral" in capsys.readouterr().out


def test_the_command_itself(folds):
    command = [sys.executable, "-m", "logo_jax.evaluation", folds["a"][0]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mean of folds" not in done.stdout  # there is one
    assert "ECE" in done.stdout and not done.stderr
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as piped:
        piped.stdout.close()  # as head does
        assert piped.stderr.read() == b""
