"""Sampling and views from the config to the results: averages over views, clips left out."""

import csv
import json

import jax
import numpy as np
import pytest
import scipy.special

from logo_jax.common.errors import UserError
from logo_jax.data.decode import decode_frames
from logo_jax.experiments import parts
from logo_jax.experiments.config import check
from logo_jax.experiments.evaluate import evaluate
from logo_jax.experiments.judge import Judge
from logo_jax.experiments.predict import predict
from logo_jax.experiments.train import train
from logo_jax.training.state import init_variables


@pytest.fixture
def judged(config):
    """A config whose crops need no resizing, its test clips, a model and its variables."""
    config.input.image_size = 14
    config.data.frame_size = 16
    config.data.sampling = "uniform"
    config.data.segments, config.data.duration = 2, 1
    splits = parts.open_splits(config)

    def judge():
        judge = Judge(config, splits.prepared.classes)
        return judge, init_variables(judge.model, parts.clip_shape(config), seed=1)

    return config, splits, judge


def expected_probabilities(prepared, rows, judge, variables, places, crops):
    """The average softmax over frames floor((i + place) n / 2) and crops of 14 x 14 pixels."""
    logits = jax.jit(lambda clips: judge.model.apply(variables, clips, train=False).logits)
    found = []
    for row in rows:
        clip = prepared[row]
        frames = decode_frames(clip["frames"], 16).astype(np.float32) / 255
        views = []
        for place in places:
            indices = [int((i + place) * clip["num_frames"] / 2) for i in range(2)]
            views += [frames[indices, 1:15, left : left + 14] for left in crops]
        found.append(scipy.special.softmax(np.asarray(logits(np.stack(views))), -1).mean(0))
    return np.array(found)


def test_probabilities_are_averaged_over_all_views(judged):
    config, splits, make_judge = judged
    config.evaluation.temporal_views = 2
    config.evaluation.spatial_views = 3
    check(config)
    judge, variables = make_judge()
    rows = splits.test[:5]  # in batches of 4
    ours = judge.probabilities(variables, splits.prepared, rows)
    expected = expected_probabilities(
        splits.prepared, rows, judge, variables, (0.25, 0.75), (0, 1, 2)
    )
    assert ours.dtype == np.float32 and ours.shape == (5, 3)
    np.testing.assert_allclose(ours, expected, atol=1e-5)

    one = judge.probabilities(variables, splits.prepared, rows, one_view=True)
    config.evaluation.temporal_views = config.evaluation.spatial_views = 1
    np.testing.assert_array_equal(one, judge.probabilities(variables, splits.prepared, rows))
    assert np.abs(one - ours).max() > 1e-4


def test_short_clips_are_dropped_from_every_part(config):
    # Clips have 5 frames and more; in each part, one of each of the 3 classes has no more than 5.
    config.data.segments, config.data.duration = 3, 2
    whole = parts.open_splits(config)
    assert whole.dropped == {"train": 0, "val": 0, "test": 0} and not whole.dropped_sentence()
    config.data.short = "drop"
    splits = parts.open_splits(config)
    assert splits.dropped == {"train": 3, "val": 3, "test": 3}
    for part, size in {"train": 12, "val": 3, "test": 6}.items():
        rows = splits.rows(part)
        assert len(rows) == size and set(rows) < set(whole.rows(part))
        assert splits.prepared.num_frames[rows].min() == 6


@pytest.mark.slow
def test_results_and_predictions_say_which_clips_are_left_out(config, source, tmp_path, capsys):
    config.data.segments, config.data.duration = 3, 2
    config.data.short = "drop"
    config.num_epochs = 1
    config.evaluation.temporal_views = 2
    results = train(config, tmp_path / "run")
    assert results["dropped_clips"] == {"train": 3, "val": 3, "test": 3}
    assert results["train_clips"] == 12 and results["test"]["clips"] == 6
    assert json.loads((tmp_path / "run" / "results.json").read_text()) == results
    printed = capsys.readouterr().out
    sentence = "CLIPS LEFT OUT (config.data.short=drop), shorter than 6 frames: 3 train, 3 val, 3"
    assert printed.count(sentence) == 2  # before the training and beside the result
    assert "averaged over 2 temporal x 1 spatial views" in printed

    val = evaluate(config, tmp_path / "run", "last", "val", tmp_path / "val")
    assert val["val"]["clips"] == 3 and sentence in capsys.readouterr().out

    path = predict(config, tmp_path / "run", "last", str(source / "test" / "joy"), tmp_path / "out")
    assert [row["clip_id"] for row in csv.DictReader(path.open(newline=""))] == ["test1", "test2"]
    assert "1 CLIPS LEFT OUT, shorter than 6 frames (config.data.short=drop): test0" in (
        capsys.readouterr().out
    )
    one = str(source / "test" / "joy" / "test0")  # a clip of 5 frames
    with pytest.raises(UserError, match=r"All 1 clips are shorter than 6 frames .*test0\. Set"):
        predict(config, tmp_path / "run", "last", one, tmp_path / "out")
    config.data.segments = 30
    with pytest.raises(UserError, match=r'no clips in the part "train"\. CLIPS LEFT OUT'):
        train(config, tmp_path / "none")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.sampling": "dynamics"}, 'Unknown sampling "dynamics".*"dynamic"'),
        ({"data.short": "loop"}, 'no policy for short clips "loop"'),
        ({"data.stride": 0}, "config.data.stride=0: it must be at least 1"),
        ({"data.stride": 2}, "A stride of 2 belongs to dense sampling"),
        ({"evaluation.temporal_views": 0}, "config.evaluation.temporal_views=0"),
        ({"evaluation.spatial_views": 5}, "no 5 spatial views"),
        (
            {"data.sampling": "time_interpolation", "evaluation.temporal_views": 2},
            "one temporal view",
        ),
    ],
)
def test_impossible_samplings_are_refused(config, fields, message):
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=message):
        check(config)
