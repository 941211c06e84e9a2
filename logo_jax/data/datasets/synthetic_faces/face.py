"""The face: the parts that a person's features are drawn with, and how the movements move them.

Coordinates and lengths as in shapes.py.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from logo_jax.data.datasets.synthetic_faces.factors import Identity, mix, shade
from logo_jax.data.datasets.synthetic_faces.shapes import Points, Shape

# What one full movement does, px at 112. At the smallest amplitude, 0.3, each still moves its
# landmarks by more than 1.5 px in the smallest face.
BROW_RAISE = 9.0
BROW_LOWER = 9.0
BROW_INWARD = 2.5
SMILE_UP = 10.0
SMILE_OUT = 6.0
SMILE_GAPE = 9.0
MOUTH_OPEN = 15.0
PUCKER_IN = 8.5


@dataclasses.dataclass(frozen=True)
class Motion:
    """Strength of every movement in each frame, distraction included; each `[T]`."""

    brow_raise: Float[np.ndarray, " T"]
    brow_lower: Float[np.ndarray, " T"]
    cheek_raise: Float[np.ndarray, " T"]
    smile: Float[np.ndarray, " T"]
    mouth_open: Float[np.ndarray, " T"]
    pucker: Float[np.ndarray, " T"]
    blink: Float[np.ndarray, " T"]
    gaze: Float[np.ndarray, "2 T"]


def parts_of(person: Identity, motion: Motion) -> list[Shape]:
    """Return all parts of the face in the order in which they are drawn, back to front."""
    parts = [*_hair_behind(person, motion), *_body(person, motion), *_head(person, motion)]
    for side in (-1.0, 1.0):
        parts += _eye(person, motion, side)
    parts += _lines(person, motion)
    for side in (-1.0, 1.0):
        parts.append(_brow(person, motion, side))
    parts += [*_nose(person, motion), *_mouth(person, motion), *_glasses(person, motion)]
    return parts


def _stack(x, y, num_frames: int) -> Points:
    """Broadcast `[K]` or `[T, K]` coordinates to `[T, K, 2]`."""
    x, y = np.broadcast_arrays(np.atleast_2d(x), np.atleast_2d(y))
    points = np.stack([x, y], axis=-1)
    return np.broadcast_to(points, (num_frames, *points.shape[1:]))


def _outline(
    person: Identity, angle: Float[np.ndarray, " K"], grow: float = 0.0
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Return x and y of the outline: angle 0..pi from ear over chin to ear, then the crown."""
    cos, sin = np.cos(angle), np.sin(angle)
    power = np.where(sin > 0, 2.0 / person.squareness, 1.0)
    x = (person.half_width + grow) * np.sign(cos) * np.abs(cos) ** power
    y = np.where(sin > 0, (person.bottom + grow) * sin, (person.top + grow) * sin)
    return x, y


def _jaw(y: np.ndarray, motion: Motion) -> np.ndarray:
    """Return `[T, K]` y of points of the lower face, which follow the jaw."""
    share = np.clip((y - 12.0) / 28.0, 0.0, 1.0)
    return y + 0.4 * MOUTH_OPEN * motion.mouth_open[:, None] * share


def _hair_behind(person: Identity, motion: Motion) -> list[Shape]:
    num_frames = len(motion.blink)
    angle = np.linspace(0.0, 2 * np.pi, 40, endpoint=False)
    if person.hair_style == "long":
        x = (person.half_width + 7.0) * np.cos(angle)
        y = (
            np.where(np.sin(angle) > 0, 44.0, person.top + 7.0)
            * np.sign(np.sin(angle))
            * np.abs(np.sin(angle)) ** np.where(np.sin(angle) > 0, 0.55, 1.0)
        )
    elif person.hair_style == "curly":
        bumps = 1.0 + 0.035 * np.cos(13 * angle)
        x = (person.half_width + 9.0) * np.cos(angle) * bumps
        y = np.minimum((person.top + 9.0) * np.sin(angle) * bumps, 14.0)
    else:
        return []
    return [Shape("hair_behind", _stack(x, y, num_frames), shade(person.hair, 0.8))]


def _body(person: Identity, motion: Motion) -> list[Shape]:
    num_frames = len(motion.blink)
    neck_x = np.array([-15.0, 15.0, 17.0, -17.0])
    neck = _stack(neck_x, np.array([24.0, 24.0, 62.0, 62.0]), num_frames)
    x = np.array([-70.0, -52.0, -20.0, -13.0, 0.0, 13.0, 20.0, 52.0, 70.0, 70.0, -70.0])
    y = np.array([64.0, 56.0, 49.0, 51.0, 56.0, 51.0, 49.0, 56.0, 64.0, 120.0, 120.0])
    return [
        Shape("neck", neck, shade(person.skin, 0.78), rides="body"),
        Shape("clothes", _stack(x, y, num_frames), person.clothes, rides="body"),
    ]


def _head(person: Identity, motion: Motion) -> list[Shape]:
    num_frames = len(motion.blink)
    parts = []
    angle = np.linspace(0.0, 2 * np.pi, 14, endpoint=False)
    for side in (-1.0, 1.0):
        ear_x = side * (person.half_width + 0.5) + 4.0 * np.cos(angle)
        ear = _stack(ear_x, -2.0 + 8.0 * np.sin(angle), num_frames)
        parts.append(Shape("ear", ear, shade(person.skin, 0.86)))
    angle = np.linspace(0.0, 2 * np.pi, 44, endpoint=False)
    x, y = _outline(person, angle)
    parts.append(Shape("head", _stack(x, _jaw(y, motion), num_frames), person.skin))
    if person.beard in ("stubble", "full"):
        share = 0.75 if person.beard == "full" else 0.28
        colour = mix(person.skin, person.brow, share)
        angle = np.linspace(0.02 * np.pi, 0.98 * np.pi, 24)
        x, y = _outline(person, angle, 0.3)
        inner_x = np.array([-0.8, -0.55, -0.2, 0.2, 0.55, 0.8]) * person.half_width
        lip_y = person.mouth_height - 5.5
        inner_y = np.array([lip_y - 3, lip_y + 1, lip_y, lip_y, lip_y + 1, lip_y - 3])
        x, y = np.concatenate([x, inner_x]), np.concatenate([y, inner_y])
        parts.append(Shape("beard", _stack(x, _jaw(y, motion), num_frames), colour))
    if person.hair_style != "bald":
        angle = np.linspace(1.03 * np.pi, 1.97 * np.pi, 22)
        x, y = _outline(person, angle, 2.5)
        place = np.linspace(0.9, -0.9, 13)
        # Down to the temples, always inside the head, so that no background shows in between.
        hairline = person.hairline + (-8.0 - person.hairline) * np.abs(place / 0.9) ** 6
        if person.hair_style == "fringe":
            hairline = hairline + 1.2 * np.cos(9 * np.pi * place) + 2.0
        x = np.concatenate([x, place * person.half_width])
        y = np.concatenate([y, hairline])
        parts.append(Shape("hair", _stack(x, y, num_frames), person.hair))
    return parts


def _eye(person: Identity, motion: Motion, side: float) -> list[Shape]:
    centre_x, centre_y = side * person.eye_distance, -6.5
    place = np.linspace(-1.0, 1.0, 9)
    bow = 1.0 - place**2  # [K]
    open_ = (1.0 - motion.blink)[:, None]
    wide = 1.0 + 0.25 * motion.brow_raise - 0.2 * motion.brow_lower
    # The upper lid also comes down in a frown, the lower one up in a smile.
    upper = centre_y - person.eye_height * wide[:, None] * open_ * bow
    raised = (1.0 - 0.55 * np.clip(motion.cheek_raise, 0, 1))[:, None]
    lower = centre_y + 0.85 * person.eye_height * open_ * raised * bow
    x = np.broadcast_to(centre_x + person.eye_width * place, upper.shape)
    white = np.concatenate(
        [np.stack([x, upper], -1), np.stack([x[:, ::-1], lower[:, ::-1]], -1)], axis=1
    )
    angle = np.linspace(0.0, 2 * np.pi, 14, endpoint=False)
    gaze_x, gaze_y = motion.gaze[0][:, None], motion.gaze[1][:, None]
    iris_x = centre_x + gaze_x + 3.7 * np.cos(angle)
    iris = np.stack([iris_x, centre_y + gaze_y + 3.7 * np.sin(angle)], -1)
    pupil_x = centre_x + gaze_x + 1.7 * np.cos(angle)
    pupil = np.stack([pupil_x, centre_y + gaze_y + 1.7 * np.sin(angle)], -1)
    # Lids cover what of the iris lies outside of the eye.
    above = np.stack([x[:, ::-1], np.broadcast_to(centre_y - 6.5 * bow, x.shape)[:, ::-1]], -1)
    below = np.stack([x[:, ::-1], np.broadcast_to(centre_y + 6.0 * bow, x.shape)[:, ::-1]], -1)
    upper_lid = np.concatenate([np.stack([x, upper], -1), above], axis=1)
    lower_lid = np.concatenate([np.stack([x, lower], -1), below], axis=1)
    skin = person.skin
    return [
        Shape("eye", white, (236.0, 234.0, 230.0)),
        Shape("iris", iris, person.iris),
        Shape("pupil", pupil, (16.0, 14.0, 14.0)),
        Shape("upper_lid", upper_lid, shade(skin, 0.9)),
        Shape("lower_lid", lower_lid, shade(skin, 0.95)),
        Shape("lashes", np.stack([x, upper], -1), shade(person.brow, 0.6), line=1.0),
    ]


def _brow(person: Identity, motion: Motion, side: float) -> Shape:
    place = np.linspace(0.0, 1.0, 7)  # from the nose outwards
    raise_, lower = motion.brow_raise[:, None], motion.brow_lower[:, None]
    x = 4.5 + 17.0 * place - BROW_INWARD * lower * (1.0 - place)
    arch = person.brow_arch * np.sin(np.pi * place) * (1.0 + 0.5 * raise_)
    y = person.brow_height - arch - BROW_RAISE * raise_
    y = y + BROW_LOWER * lower * (1.0 - 0.35 * place)
    half = 0.5 * person.brow_thickness * (1.0 - 0.6 * place**2)
    x = np.broadcast_to(side * x, y.shape)
    points = np.concatenate(
        [np.stack([x, y - half], -1), np.stack([x[:, ::-1], (y + half)[:, ::-1]], -1)], axis=1
    )
    return Shape("left_brow" if side < 0 else "right_brow", points, person.brow)


def _lines(person: Identity, motion: Motion) -> list[Shape]:
    """Folds from the nose to the mouth's corners and lines of the brow, deeper with age."""
    num_frames = len(motion.blink)
    parts = []
    fold = shade(person.skin, 0.93 - 0.15 * person.age)
    corner_x, corner_y = _corner(person, motion)
    for side in (-1.0, 1.0):
        x = np.stack(
            [np.full(num_frames, person.nose_width + 1.0), corner_x + 1.5, corner_x + 3.0], axis=1
        )
        y = np.stack([np.full(num_frames, 9.0), corner_y - 6.0, corner_y], axis=1)
        parts.append(Shape("fold", np.stack([side * x, y], -1), fold, line=1.0))
    if person.age > 0.45:
        place = np.linspace(-1.0, 1.0, 7)
        for height in (-24.5, -27.5):
            y = height - 0.5 * BROW_RAISE * motion.brow_raise[:, None] + 1.0 * place**2
            x = np.broadcast_to(12.0 * place, y.shape)
            parts.append(Shape("wrinkle", np.stack([x, y], -1), fold, line=1.0))
    return parts


def _nose(person: Identity, motion: Motion) -> list[Shape]:
    num_frames = len(motion.blink)
    tip = -2.0 + person.nose_length
    w = person.nose_width
    wing_x = np.array([-w, -0.9 * w, -0.35 * w, 0.35 * w, 0.9 * w, w])
    wing_y = np.array([tip - 2.0, tip + 0.8, tip + 1.8, tip + 1.8, tip + 0.8, tip - 2.0])
    ridge_x = np.array([-0.28 * w, -0.45 * w, -0.8 * w, -0.2 * w])
    ridge_y = np.array([-8.0, 0.0, tip - 1.0, tip])
    return [
        Shape("nose_side", _stack(ridge_x, ridge_y, num_frames), shade(person.skin, 0.88)),
        Shape("nose", _stack(wing_x, wing_y, num_frames), shade(person.skin, 0.66), line=1.0),
    ]


def _corner(person: Identity, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y `[T]` of the mouth's right corner."""
    x = person.mouth_width + SMILE_OUT * motion.smile - PUCKER_IN * motion.pucker
    x = x - 1.5 * motion.mouth_open
    y = person.mouth_height + person.rest_curve - SMILE_UP * motion.smile
    return x, y + 0.25 * MOUTH_OPEN * motion.mouth_open


def _mouth(person: Identity, motion: Motion) -> list[Shape]:
    place = np.linspace(-1.0, 1.0, 11)
    bow = 1.0 - place**2
    corner_x, corner_y = (value[:, None] for value in _corner(person, motion))
    x = corner_x * place
    middle = person.mouth_height + 1.0 * motion.smile[:, None]
    gape = np.clip(MOUTH_OPEN * motion.mouth_open + SMILE_GAPE * motion.smile, 0.0, None)[:, None]
    line = middle + (corner_y - middle) * place**2
    # A puckered mouth is small, with full lips.
    lip = person.lip * (1.0 + 0.8 * motion.pucker[:, None])
    inner_top = line - 0.1 * gape * bow
    inner_bottom = line + 0.9 * gape * bow
    # The middle of the upper lip dips: the bow of the lips.
    outer_top = inner_top - lip * bow**0.7 * (1.0 - 0.25 * np.exp(-((place / 0.18) ** 2)))
    outer_bottom = inner_bottom + 1.15 * lip * bow**0.8

    def between(top, bottom):
        x_ = np.broadcast_to(x, top.shape)
        return np.concatenate(
            [np.stack([x_, top], -1), np.stack([x_[:, ::-1], bottom[:, ::-1]], -1)], axis=1
        )

    teeth_bottom = inner_top + np.minimum(0.45 * gape, 4.2) * bow
    parts = []
    if person.beard in ("full", "moustache"):
        above = outer_top - 3.2 * bow**0.5
        parts.append(Shape("moustache", between(above, outer_top + 0.5), person.brow))
    return [
        *parts,
        Shape("lips", between(outer_top, outer_bottom), person.lips),
        Shape("mouth", between(inner_top, inner_bottom), (58.0, 20.0, 24.0)),
        Shape("teeth", between(inner_top, teeth_bottom), (232.0, 226.0, 216.0)),
        Shape("lip_line", np.stack([x, inner_top], -1), shade(person.lips, 0.55), line=1.0),
    ]


def _glasses(person: Identity, motion: Motion) -> list[Shape]:
    if person.glasses == "none":
        return []
    num_frames = len(motion.blink)
    frame = (36.0, 34.0, 38.0)
    angle = np.linspace(0.0, 2 * np.pi, 25)
    power = 1.0 if person.glasses == "round" else 0.55
    parts = []
    for side in (-1.0, 1.0):
        cos, sin = np.cos(angle), np.sin(angle)
        x = side * (person.eye_distance + 0.3) + 9.6 * np.sign(cos) * np.abs(cos) ** power
        y = -5.5 + 7.8 * np.sign(sin) * np.abs(sin) ** power
        parts.append(Shape("glasses", _stack(x, y, num_frames), frame, line=1.0))
    bridge = _stack(np.array([-2.6, 0.0, 2.6]), np.array([-7.0, -8.2, -7.0]), num_frames)
    return [*parts, Shape("bridge", bridge, frame, line=1.0)]
