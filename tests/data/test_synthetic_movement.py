"""The smallest movements of the synthetic faces, as drawn and as decoded from JPEG.

Issue: at least 1.5 px at 112 px after JPEG, at the smallest amplitude. The decoded movement is
measured on the pixels alone: parts of the face are cut out by colour and their edges compared
between rest and the height of the movement.
"""

import dataclasses

import cv2
import numpy as np
import pytest

from logo_jax.data.datasets.synthetic_faces import factors, film, timelines
from logo_jax.data.datasets.synthetic_faces.configs import CONFIGS, WILD
from logo_jax.data.decode import decode_frames

SMALLEST = 1.5  # px at 112
UPSAMPLING = 8
PEOPLE = range(8)

# What moves in each pair: name of the measurement -> movement that causes it.
CUES = {
    "smile": {"corner": "smile"},
    "surprise": {"brow": "brow_raise", "lower_lip": "mouth_open"},
    "frown": {"brow": "brow_lower", "lower_lip": "mouth_open", "corner": "pucker"},
}


def clip(kind: str, person: int, **nuisances) -> film.ClipSpec:
    """A clip of 60 frames at amplitude 0.3 (neutral: 0), filmed as `wild` at its hardest allows."""
    rng = np.random.default_rng([41, person])
    hard = WILD.nuisances
    ranges = dataclasses.replace(hard, jpeg_quality=(hard.jpeg_quality[0],) * 2, **nuisances)
    script = timelines.draw_script(rng, kind, False, 0.3, rest=(0.1, 0.15), cut_probability=0.0)
    return film.ClipSpec(
        person=factors.draw_identity(rng),
        script=script,
        nuisance=factors.draw_nuisance(rng, ranges),
        num_frames=60,
        seed=(3, person),
        size=112,
    )


def apex(spec: film.ClipSpec, unit: str) -> int:
    """The frame in the middle of the height of a movement."""
    levels = timelines.units_as_played(spec.script, spec.num_frames)[unit]
    return int(np.median(np.flatnonzero(levels > 0.999 * levels.max())))


@pytest.mark.parametrize("kind", CUES)
@pytest.mark.parametrize("config", CONFIGS)
def test_landmarks_move_at_the_smallest_amplitude(kind, config):
    """In the smallest face of the config, turned as far as it goes, without drifts."""
    ranges = CONFIGS[config].nuisances
    still = {"drift": 0.0, "jitter": 0.0, "speech": 0.0, "tremor": 0.0, "gaze": 0.0}
    spec = clip(kind, 0, **still, scale=(ranges.scale[0],) * 2)
    spec = dataclasses.replace(
        spec, nuisance=dataclasses.replace(spec.nuisance, yaw=ranges.yaw, pitch=ranges.pitch)
    )
    points = film.landmarks(spec)
    parts = {"corner": ("lip_line", 0), "brow": ("right_brow", 0), "lower_lip": ("lips", 16)}
    for cue, unit in CUES[kind].items():
        part, corner = parts[cue]
        path = points[part][:, corner]
        moved = np.linalg.norm(path[apex(spec, unit)] - path[0])
        assert moved >= SMALLEST, (cue, moved)


@pytest.mark.parametrize("kind", [*CUES, "neutral"])
def test_pixels_move_at_the_smallest_amplitude_after_jpeg(kind):
    moved: dict[str, list[float]] = {cue: [] for cue in CUES.get(kind, CUES["frown"])}
    for person in PEOPLE:
        # One thing at a time: the movement, at the config's smallest size and lowest JPEG quality.
        spec = clip(
            kind,
            person,
            yaw=0.0,
            pitch=0.0,
            roll=0.0,
            drift=0.0,
            jitter=0.0,
            shift=0.0,
            light=0.0,
            light_drift=0.0,
            side_light=0.0,
            colour_cast=0.0,
            occluder_probability=0.0,
            speech=0.0,
            blink_rate=0.0,
            gaze=0.0,
            tremor=0.0,
            scale=(WILD.nuisances.scale[0],) * 2,
        )
        # Colours that the cutting out by colour can tell apart; forms vary.
        plain = dataclasses.replace(
            spec.person,
            beard="none",
            glasses="none",
            hair_style="short",
            age=0.0,
            skin=factors.SKINS[1],
            lips=(150.0, 62.0, 64.0),
            brow=(50.0, 36.0, 28.0),
        )
        spec = dataclasses.replace(spec, person=plain)
        frames = film.make_frames(spec)
        for cue in moved:
            top = apex(spec, CUES[kind][cue]) if kind in CUES else spec.num_frames // 2
            rest, height = decode_frames([frames[1], frames[top]], 112)
            moved[cue].append(float(np.linalg.norm(MEASURES[cue](height) - MEASURES[cue](rest))))
    for cue, distances in moved.items():
        if kind in CUES:
            assert min(distances) >= SMALLEST, (cue, distances)
        else:  # the measurement itself moves little
            assert max(distances) < 0.5, (cue, distances)


def corner(frame):
    """x and y of the mouth's right corner."""
    mouth = part(frame, slice(66, 86), slice(36, 76))
    y, x = np.nonzero(mouth)
    end = x >= x.max() - UPSAMPLING
    return np.array([x.max(), y[end].mean()]) / UPSAMPLING


def lower_lip(frame):
    """y of the lower edge of the lower lip."""
    y, _ = np.nonzero(part(frame, slice(66, 86), slice(52, 60)))
    return np.array([y.max()]) / UPSAMPLING


def brow(frame):
    """y of the middle of the right brow's inner half."""
    y, _ = np.nonzero(part(frame, slice(32, 51), slice(61, 68)))
    return np.array([y.mean()]) / UPSAMPLING


MEASURES = {"corner": corner, "lower_lip": lower_lip, "brow": brow}


def part(frame, rows, columns):
    """Cut out of a window what differs from the cheeks in colour and lies most in its middle."""
    skin = np.median(frame[62:72, 36:44].reshape(-1, 3), axis=0)
    window = frame[rows, columns].astype(np.float32)
    distance = np.linalg.norm(window - skin, axis=-1)
    distance = cv2.resize(
        distance, None, fx=UPSAMPLING, fy=UPSAMPLING, interpolation=cv2.INTER_CUBIC
    )
    mask = (distance > 0.5 * np.quantile(distance, 0.97)).astype(np.uint8)
    _, labels = cv2.connectedComponents(mask)
    height, width = mask.shape
    middle = labels[height // 4 : 3 * height // 4, width // 3 : 2 * width // 3]
    return labels == 1 + np.argmax(np.bincount(middle[middle > 0])[1:])
