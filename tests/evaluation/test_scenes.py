"""Results per scene against scikit-learn, and how small classes are shown."""

import warnings

import numpy as np
import pytest
import sklearn.metrics

from logo_jax.common.errors import UserError
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.scenes import by_scene, scene_numbers, scene_rows

CLASSES = ("Happy", "Sad", "Fear")


def predictions(scenes, labels, predicted):
    labels, predicted = np.array(labels), np.array(predicted)
    return Predictions(
        CLASSES,
        ("1",),
        tuple(f"{scene}{i:04}" for i, scene in enumerate(scenes)),
        np.zeros(len(labels), np.int64),
        labels,
        predicted,
        np.eye(3)[predicted],
    )


def test_scenes_against_scikit_learn():
    rng = np.random.default_rng(0)
    names = rng.choice(["War", "Crime", "Action"], 300)
    labels, predicted = rng.integers(0, 3, (2, 300))
    labels[names == "War"] %= 2  # no fear in this scene
    scenes = by_scene(predictions([f"{n}/x/" for n in names], labels, predicted))
    assert [scene.name for scene in scenes] == ["Action", "Crime", "War"]
    assert [scene.num_present for scene in scenes] == [3, 3, 2]
    assert sum(scene.confusion for scene in scenes).sum() == 300
    for scene in scenes:
        rows = names == scene.name
        assert scene.clips == rows.sum()
        assert scene.war == pytest.approx(
            sklearn.metrics.accuracy_score(labels[rows], predicted[rows])
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes that are only predicted
            expected = sklearn.metrics.balanced_accuracy_score(labels[rows], predicted[rows])
        assert scene.uar == pytest.approx(expected)


def test_few_clips_are_shown_with_their_number():
    labels = [0] * 30 + [1] * 29
    predicted = [0] * 15 + [1] * 44
    rows = scene_rows(by_scene(predictions(["War/x/"] * 59, labels, predicted)), CLASSES)
    assert rows == [
        ["scene", "clips", "WAR %", "UAR %", "classes", *CLASSES],
        ["War", "59", "74.58", "75.00", "2 of 3", "50.00", "100.00 (n=29)", "-"],
    ]
    gray = [cell for row in rows for cell in row if getattr(cell, "mark", "") == "gray"]
    assert gray == ["100.00 (n=29)", "-"]


def test_numbers_of_a_scene_for_json():
    (scene,) = scene_numbers(by_scene(predictions(["War/x/"] * 4, [0, 0, 1, 1], [0, 1, 1, 1])))
    assert scene == {
        "scene": "War",
        "clips": 4,
        "war": 0.75,
        "uar": 0.75,
        "classes_present": 2,
        "recalls": [0.5, 1.0, None],
        "class_clips": [2, 2, 0],
        "confusion": [[1, 1, 0], [0, 2, 0], [0, 0, 0]],
    }


def test_ids_without_a_scene_are_refused():
    with pytest.raises(UserError, match='"000010000" names no scene'):
        by_scene(predictions(["00001"], [0], [0]))
