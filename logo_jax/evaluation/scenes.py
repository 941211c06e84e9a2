"""Results per scene, for FERV39K, whose clips are named `<Scene>/<Emotion>/<clip>`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int

from logo_jax.common.errors import UserError
from logo_jax.common.page import Marked
from logo_jax.evaluation.metrics import confusion_matrix, recalls, uar, war
from logo_jax.evaluation.predictions import Predictions

# A recall of fewer clips than this is shown with their number, since it is mostly chance.
FEW_CLIPS = 30


@dataclass(frozen=True)
class Scene:
    """The clips of one scene. `uar` is the mean over the `num_present` classes that occur there,
    so that UARs of scenes with different classes cannot be compared."""

    name: str
    confusion: Int[np.ndarray, "C C"]
    war: float
    uar: float
    num_present: int

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())


def by_scene(predictions: Predictions) -> list[Scene]:
    """One entry per scene, the part of a clip's id before its first "/", by name.

    Raises:
        UserError: a clip's id has no "/".
    """
    names = []
    for clip_id in predictions.clip_ids:
        scene, slash, _ = clip_id.partition("/")
        if not slash:
            raise UserError(
                f'The clip "{clip_id}" names no scene: results per scene need ids of the form '
                "<Scene>/<Emotion>/<clip>, as FERV39K has them."
            )
        names.append(scene)
    scenes = []
    for name in sorted(set(names)):
        rows = np.array([scene == name for scene in names])
        confusion = confusion_matrix(
            predictions.labels[rows], predictions.predicted[rows], len(predictions.class_names)
        )
        present = int((confusion.sum(axis=1) > 0).sum())
        scenes.append(Scene(name, confusion, war(confusion), uar(confusion), present))
    return scenes


def scene_numbers(scenes: Sequence[Scene]) -> list[dict[str, Any]]:
    """Ready for JSON: fractions, None for the recall of a class without clips in the scene."""
    return [
        {
            "scene": scene.name,
            "clips": scene.clips,
            "war": scene.war,
            "uar": scene.uar,
            "classes_present": scene.num_present,
            "recalls": [None if np.isnan(r) else float(r) for r in recalls(scene.confusion)],
            "class_clips": scene.confusion.sum(axis=1).tolist(),
            "confusion": scene.confusion.tolist(),
        }
        for scene in scenes
    ]


def scene_rows(scenes: Sequence[Scene], class_names: Sequence[str]) -> list[list[str]]:
    """The heading and a row per scene, in per cent; recalls of few clips as `50.00 (n=12)`, gray
    where the table stands on a page."""
    rows = [["scene", "clips", "WAR %", "UAR %", "classes", *class_names]]
    for scene in scenes:
        cells = []
        for recall, clips in zip(
            recalls(scene.confusion), scene.confusion.sum(axis=1), strict=True
        ):
            if clips >= FEW_CLIPS:
                cells.append(f"{100 * recall:.2f}")
            else:
                cells.append(Marked(f"{100 * recall:.2f} (n={clips})" if clips else "-", "gray"))
        scores = [f"{100 * scene.war:.2f}", f"{100 * scene.uar:.2f}"]
        present = f"{scene.num_present} of {len(class_names)}"
        rows.append([scene.name, f"{scene.clips:,}", *scores, present, *cells])
    return rows
