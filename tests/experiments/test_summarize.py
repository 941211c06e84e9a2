"""Folds in one result: the numbers against scikit-learn, and what is not merged."""

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from logo_jax.common.errors import UserError
from logo_jax.evaluation.predictions import read_predictions
from logo_jax.experiments.runs import find_models
from logo_jax.experiments.summarize import summarize
from logo_jax.experiments.verify import summary_differences
from tests.experiments.judged import settings, write_run


@pytest.fixture
def folds(tmp_path):
    parts = [write_run(tmp_path / "cv" / f"fold{k}", settings(k)) for k in (1, 2, 3)]
    return tmp_path, parts


def test_pooled_and_mean_of_folds(folds, capsys):
    root, parts = folds
    numbers = summarize([root / "cv"], root / "out")
    assert json.loads((root / "out" / "summary.json").read_text()) == numbers
    truth = np.concatenate([labels for labels, _ in parts])
    found = np.concatenate([p.argmax(1) for _, p in parts])
    assert numbers["pooled"]["war"] == pytest.approx((truth == found).mean())
    assert numbers["pooled"]["uar"] == pytest.approx(balanced_accuracy_score(truth, found))
    assert numbers["pooled"]["confusion"] == confusion_matrix(truth, found).tolist()
    uars = [balanced_accuracy_score(labels, p.argmax(1)) for labels, p in parts]
    assert numbers["fold_mean"]["uar"] == pytest.approx(np.mean(uars))
    assert numbers["fold_mean"]["uar_std"] == pytest.approx(np.std(uars, ddof=1))
    low, high = numbers["pooled"]["war_interval"]
    assert low < numbers["pooled"]["war"] < high and numbers["bootstrap"]["draws"] == 2000
    assert numbers["missing_folds"] == []
    # The transposed matrices of the frame order that was judged keep what is right.
    assert numbers["controls"]["shuffled"]["war"] == pytest.approx(numbers["pooled"]["war"])

    said = capsys.readouterr().out
    assert "all 3 folds" in said and "not the variance of training" in said
    assert "selected on nothing; trained on 83 clips (81 in the smallest fold)" in said
    assert "no temperature is fitted" in said
    assert (root / "out" / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_of_all_folds_give_the_same_numbers(folds):
    root, _ = folds
    numbers = summarize([root / "cv"], root / "out")
    merged = read_predictions([root / "out" / "predictions.csv"])
    assert merged.fold_names == ("1", "2", "3")
    assert merged.confusions().sum(0).tolist() == numbers["pooled"]["confusion"]
    again = read_predictions([root / "cv" / f"fold{k}" / "predictions.csv" for k in (1, 2, 3)])
    np.testing.assert_array_equal(merged.probabilities, again.probabilities)
    assert merged.clip_ids == again.clip_ids


def test_folds_of_other_machines_are_merged_in_any_order(folds):
    root, _ = folds
    whole = summarize([root / "cv"], root / "whole")
    (root / "elsewhere").mkdir()
    (root / "cv" / "fold1").rename(root / "elsewhere" / "first")
    parts = summarize([root / "cv", root / "elsewhere" / "first"], root / "parts")
    for numbers in (whole, parts):
        for run in numbers["runs"]:
            del run["folder"]
    assert whole == parts


def test_missing_folds_are_named(folds, capsys):
    root, _ = folds
    (root / "cv" / "fold2" / "results.json").unlink()  # not finished
    numbers = summarize([root / "cv"], root / "out")
    assert numbers["missing_folds"] == [2]
    assert "folds 1, 3 of 3; MISSING: 2" in capsys.readouterr().out


def test_the_temperature_is_that_of_every_fold(tmp_path):
    parts = []
    for k, temperature in ((1, 2.0), (2, 0.5)):
        config = settings(k)
        labels, p = write_run(tmp_path / "cv" / f"fold{k}", config)
        path = tmp_path / "cv" / f"fold{k}" / "results.json"
        results = json.loads(path.read_text())
        results["test"]["calibration"]["temperature"] = temperature
        path.write_text(json.dumps(results))
        powers = p.astype(np.float64) ** (1 / temperature)
        scaled = powers / powers.sum(1, keepdims=True)
        parts.append(-np.log(scaled[np.arange(len(labels)), labels]))
    numbers = summarize([tmp_path / "cv"], tmp_path / "out")
    assert numbers["temperature"]["temperatures"] == [2.0, 0.5]
    assert numbers["temperature"]["nll"] == pytest.approx(np.concatenate(parts).mean())


def test_the_same_weights_may_lie_elsewhere_on_another_machine(tmp_path):
    for k, path in ((1, "/a/weights.pth"), (2, "/b/weights.pth")):
        config = settings(k, **{"model.pretrained": path, "data.data_dir": path, "log_every": k})
        write_run(tmp_path / f"fold{k}", config)
    assert summarize([tmp_path], tmp_path / "out")["missing_folds"] == [3]


@pytest.mark.parametrize(
    ("fields", "more", "message"),
    [
        (
            {"model.num_blocks": 2},
            {},
            r"fold2 cannot be merged .* config.model.num_blocks was None",
        ),
        ({"seed": 1}, {}, "config.seed was 0 and is 1"),
        ({"model.pretrained": "other.pth"}, {}, "config.model.pretrained was"),
        ({"evaluation.temporal_views": 2}, {}, "config.evaluation.temporal_views was 1 and is 2"),
        ({}, {"selection": "best_on_val"}, "selection is best_on_val there and last here"),
        ({}, {"classes": ["sad", "happy", "neutral"]}, "classes is"),
    ],
)
def test_runs_of_other_trainings_are_refused(tmp_path, fields, more, message):
    write_run(tmp_path / "fold1", settings(1))
    seed = fields.pop("seed", 0)
    write_run(tmp_path / "fold2", settings(2, seed, **fields))
    path = tmp_path / "fold2" / "results.json"
    results = json.loads(path.read_text()) | more
    if "classes" in more:  # the same clips, in the order of those classes
        order = [1, 0, 2]
        confusion = np.array(results["test"]["confusion"])[order][:, order]
        results["test"]["confusion"] = confusion.tolist()
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match=message):
        summarize([tmp_path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_data_or_a_fold_or_clip_twice_are_refused(tmp_path):
    write_run(tmp_path / "a" / "fold1", settings(1))
    write_run(tmp_path / "b" / "fold1", settings(1))
    with pytest.raises(UserError, match=r"a/fold1 and .*b/fold1 are both of fold 1"):
        summarize([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    write_run(tmp_path / "c" / "fold2", settings(2), prefix="1")
    with pytest.raises(UserError, match=r'the clip "1-0" stands in .*a/fold1/predictions.csv'):
        summarize([tmp_path / "a", tmp_path / "c"], tmp_path / "out")
    path = tmp_path / "c" / "fold2" / "results.json"
    path.write_text(path.read_text().replace('"fingerprint": "f"', '"fingerprint": "g"'))
    with pytest.raises(UserError, match=r"was judged on other data than .*fingerprint g and f"):
        summarize([tmp_path / "a", tmp_path / "c"], tmp_path / "out")


def test_what_is_no_finished_run_is_named(tmp_path):
    with pytest.raises(UserError, match="There is no folder"):
        summarize([tmp_path / "no"], tmp_path)
    with pytest.raises(UserError, match="There is no finished run in"):
        summarize([tmp_path], tmp_path)
    run = tmp_path / "fold1"
    write_run(run, settings(1))
    text = (run / "predictions.csv").read_text()
    lines = text.splitlines(keepends=True)
    (run / "predictions.csv").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="are of different judgements"):
        summarize([run], tmp_path / "out")
    (run / "results.json").write_text('{"test": {"confusion": [[1]]}}')
    with pytest.raises(
        UserError, match=r"damaged, or of an earlier version \(KeyError\('classes'\)"
    ):
        summarize([run], tmp_path / "out")


def test_a_summary_that_was_changed_is_found_out(tmp_path):
    for fold in (1, 2):
        write_run(tmp_path / f"fold{fold}", settings(fold))
    summarize([tmp_path], tmp_path)
    (runs,) = find_models(tmp_path)
    assert summary_differences(runs) == []
    numbers = json.loads((tmp_path / "summary.json").read_text())
    numbers["fold_mean"]["uar_std"] += 0.001
    (tmp_path / "summary.json").write_text(json.dumps(numbers))
    csv = tmp_path / "predictions.csv"
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]))
    (words,) = summary_differences(runs)
    assert "the summary is not of its folds (fold_mean, predictions.csv); run --mode=sum" in words
    write_run(tmp_path / "fold3", settings(3))  # finished since
    (runs,) = find_models(tmp_path)
    assert "missing_folds" in summary_differences(runs)[0]


def test_a_set_with_one_split_has_no_missing_folds(tmp_path, capsys):
    write_run(tmp_path / "run", settings(0))
    numbers = summarize([tmp_path / "run"], tmp_path / "out")
    assert numbers["missing_folds"] == [] and len(numbers["folds"]) == 1
    assert "the set's own split" in capsys.readouterr().out
