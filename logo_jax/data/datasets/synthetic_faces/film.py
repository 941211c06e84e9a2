"""From the specification of one clip to its JPEG frames: background, light, camera, compression.

Imports neither JAX nor TFDS: worker processes load this module.
"""

import dataclasses
import functools

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Float, Int, UInt8

from logo_jax.data.datasets.synthetic_faces import factors, shapes, timelines
from logo_jax.data.datasets.synthetic_faces.face import Motion, parts_of
from logo_jax.data.datasets.synthetic_faces.factors import Identity, Nuisance
from logo_jax.data.datasets.synthetic_faces.timelines import Script

# Every frame of a clip takes as many bytes as its face at rest would at this factor, so that the
# sizes of the files tell nothing of the expression; what is missing is filled with a comment.
BYTES_HEADROOM = 1.25
# A comment is a marker, a length, and at least no text.
SMALLEST_COMMENT = 4


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """All that a clip is made of; the same specification always gives the same bytes.

    Attributes:
        person: who is filmed.
        script: the expression, and the coin that turns the time axis.
        nuisance: how it is filmed.
        num_frames: length of the clip.
        seed: of the paths over time, the background and the noise.
        size: side of the frames, px.
    """

    person: Identity
    script: Script
    nuisance: Nuisance
    num_frames: int
    seed: tuple[int, ...]
    size: int


def make_frames(spec: ClipSpec) -> list[bytes]:
    """Draw the clip's frames and return them as JPEG, in the order in which they are played.

    The clip is drawn forward, and the coin reverses the finished frames: so the law that the
    classes of a pair are time reversals holds for every byte, not only for the shapes.
    """
    frames = _compress(*_film(spec), quality=spec.nuisance.jpeg_quality)
    return frames[::-1] if spec.script.backward else frames


def landmarks(spec: ClipSpec) -> dict[str, Float[np.ndarray, "T K 2"]]:
    """Return the drawn points of each part in each frame as played, in px of the clip's frames.

    Coordinates count from the picture's top left corner; a part with two sides has one entry,
    the right one.
    """
    motion, pose = _paths(spec, np.random.default_rng(spec.seed))
    parts = parts_of(spec.person, motion)
    order = slice(None, None, -1 if spec.script.backward else 1)
    return {
        part.name: points[order] * (spec.size / shapes.SIDE)
        for part, points in zip(parts, shapes.project(parts, pose), strict=True)
    }


def _paths(spec: ClipSpec, rng: np.random.Generator) -> tuple[Motion, shapes.Pose]:
    """Draw the movements and the head's way through the clip as drawn, all distraction included."""
    nuisance, num_frames = spec.nuisance, spec.num_frames
    drifts = factors.waves(rng, num_frames, 6)
    jitter = nuisance.jitter * rng.standard_normal((2, num_frames))
    turn = np.radians(nuisance.drift)
    pose = shapes.Pose(
        yaw=np.radians(nuisance.yaw) + turn * drifts[0],
        pitch=np.radians(nuisance.pitch) + 0.6 * turn * drifts[1],
        roll=np.radians(nuisance.roll) + 0.5 * turn * drifts[2],
        scale=nuisance.scale * (1.0 + 0.2 * turn * drifts[3]),
        x=nuisance.shift_x + 8.0 * turn * drifts[4] + jitter[0],
        y=nuisance.shift_y + 8.0 * turn * drifts[5] + jitter[1],
    )
    units = timelines.units_as_drawn(spec.script, num_frames)
    tremor = nuisance.tremor * factors.waves(rng, num_frames, len(timelines.UNITS))
    units = {name: units[name] + tremor[i] for i, name in enumerate(timelines.UNITS)}
    units["mouth_open"] = units["mouth_open"] + nuisance.speech * factors.speech(rng, num_frames)
    # Negative strengths of these would cross the lips or the jaw.
    for name in ("mouth_open", "pucker", "cheek_raise"):
        units[name] = np.maximum(units[name], 0.0)
    motion = Motion(
        **units,
        blink=factors.blinks(rng, num_frames, nuisance.blink_rate),
        gaze=factors.glances(rng, num_frames, nuisance.gaze),
    )
    return motion, pose


def _film(spec: ClipSpec) -> tuple[list[UInt8[np.ndarray, "S S 3"]], UInt8[np.ndarray, "S S 3"]]:
    """Return the frames as drawn, and one frame of the same face at rest."""
    motion, pose = _paths(spec, np.random.default_rng(spec.seed))
    rng = np.random.default_rng((*spec.seed, 1))
    scene = _Scene(spec, rng)
    frames = scene.shoot(motion, pose, np.arange(spec.num_frames))
    middle = spec.num_frames // 2
    rest = Motion(
        **{name: np.zeros(1) for name in timelines.UNITS},
        blink=np.zeros(1),
        gaze=np.zeros((2, 1)),
    )
    (still,) = scene.shoot(rest, pose.at(middle), np.array([middle]))
    return frames, still


class _Scene:
    """Background, light, occluder and camera of one clip."""

    def __init__(self, spec: ClipSpec, rng: np.random.Generator):
        self.spec = spec
        nuisance, size, num_frames = spec.nuisance, spec.size, spec.num_frames
        self.background = _background(rng, size, nuisance.clutter)
        wander = factors.waves(rng, num_frames, 2) * np.radians(nuisance.drift) * 8.0
        margin = (self.background.shape[0] - size) // 2
        self.offset = np.clip(np.round(margin + wander), 0, 2 * margin).astype(int)
        drift = factors.waves(rng, num_frames, 2)
        self.gain = nuisance.light * (1.0 + nuisance.light_drift * 0.5 * drift[0])
        self.side = np.clip(0.5 + 0.5 * rng.uniform(-1, 1) + 0.3 * drift[1], 0.0, 1.0)
        self.lights = _lights(size, nuisance)
        self.noise_offset = rng.integers(0, NOISE_MARGIN, size=(num_frames, 2))
        self.occluder = _occluder(rng, spec)

    def shoot(
        self, motion: Motion, pose: shapes.Pose, times: Int[np.ndarray, " T"]
    ) -> list[UInt8[np.ndarray, "S S 3"]]:
        """Take one picture for each row of `motion` and `pose`, at `times` of the clip."""
        size, nuisance = self.spec.size, self.spec.nuisance
        parts = parts_of(self.spec.person, motion)
        corners = [shapes.to_corners(points, size) for points in shapes.project(parts, pose)]
        if self.occluder is not None:
            parts = [*parts, self.occluder]
            corners.append(shapes.to_corners(self.occluder.points[times], size))
        noise = _noise_bank(size)
        grain_strength = nuisance.noise / NOISE_UNIT
        frames = []
        for row, time in enumerate(times):
            top, left = self.offset[:, time]
            frame = self.background[top : top + size, left : left + size].copy()
            shapes.draw(frame, parts, corners, row)
            one, other = self.gain[time] * self.side[time], self.gain[time] * (1 - self.side[time])
            light = cv2.addWeighted(self.lights[0], one, self.lights[1], other, 0.0)
            frame = cv2.multiply(frame, light, scale=1 / LIGHT_UNIT)
            if nuisance.blur > MIN_BLUR:
                frame = cv2.GaussianBlur(frame, (5, 5), nuisance.blur * size / shapes.SIDE)
            top, left = self.noise_offset[time]
            grain = noise[top : top + size, left : left + size]
            frame = cv2.addWeighted(frame, 1.0, grain, grain_strength, -128.0 * grain_strength)
            frames.append(frame)
        return frames


# Value of a light map that leaves a pixel as it is.
LIGHT_UNIT = 128
# Blur below this changes no pixel, px at 112.
MIN_BLUR = 0.25
# Standard deviation of the noise bank, and how far a frame's window may lie from its corner.
NOISE_UNIT = 32
NOISE_MARGIN = 64


@functools.lru_cache(maxsize=2)
def _noise_bank(size: int) -> UInt8[np.ndarray, "N N 3"]:
    """Return a patch of grey 128 with noise; each frame takes a window of it at random."""
    rng = np.random.default_rng(20_23)
    side = size + NOISE_MARGIN
    # Sensor noise is mostly alike in the three colours.
    grey, coloured = rng.standard_normal((side, side, 1)), rng.standard_normal((side, side, 3))
    bank = 0.8 * grey + 0.6 * coloured
    return np.clip(128 + NOISE_UNIT * bank, 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, size: int, clutter: int) -> UInt8[np.ndarray, "B B 3"]:
    """Draw a wall with light running over it and `clutter` things, out of focus."""
    side = size + 2 * (size // 8)
    top, bottom = _wall_colour(rng), _wall_colour(rng)
    share = np.linspace(0.0, 1.0, side)[:, None, None]
    wall = (1 - share) * top + share * (0.5 * top + 0.5 * bottom)
    wall = np.broadcast_to(wall, (side, side, 3)).astype(np.uint8).copy()
    for _ in range(clutter):
        centre, extent = rng.uniform(0, side, size=2), rng.uniform(0.05, 0.3, size=2) * side
        box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * extent + centre
        colour = tuple(_wall_colour(rng))
        cv2.fillPoly(wall, [box.astype(np.int32)], colour, cv2.LINE_AA)
    if clutter:
        wall = cv2.GaussianBlur(wall, (0, 0), 0.02 * size)
    return wall


def _wall_colour(rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Draw a colour as rooms have: mostly grey."""
    return 0.65 * rng.uniform(30, 225) + 0.35 * rng.uniform(30, 225, size=3)


def _lights(size: int, nuisance: Nuisance) -> tuple[UInt8[np.ndarray, "S S 3"], ...]:
    """Return two light maps, one lit from either side, rounded like a head."""
    place = np.linspace(-1.0, 1.0, size)
    x, y = np.meshgrid(place, place)
    round_ = 1.06 - 0.22 * np.clip(x**2 + (y + 0.1) ** 2, 0.0, 1.2)
    maps = []
    for side in (-1.0, 1.0):
        shade = round_ * (1.0 + nuisance.side_light * np.clip(side * x, -1, 1) * 0.6)
        coloured = shade[..., None] * np.asarray(nuisance.cast) * LIGHT_UNIT
        maps.append(np.clip(coloured, 0, 255).astype(np.uint8))
    return tuple(maps)


def _occluder(rng: np.random.Generator, spec: ClipSpec) -> shapes.Shape | None:
    """Draw a thing in front of the face that moves straight and evenly in any direction."""
    nuisance, num_frames = spec.nuisance, spec.num_frames
    if nuisance.occluder == "none":
        return None
    half = nuisance.occluder_size
    angle = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
    if nuisance.occluder == "hand":
        # Four fingers that point up.
        radius = half * (1.0 + 0.25 * np.cos(8 * angle) * (np.sin(angle) < 0))
        outline = np.stack([radius * np.cos(angle), 1.5 * radius * np.sin(angle)], -1)
        colour = factors.SKINS[rng.integers(len(factors.SKINS))]
    elif nuisance.occluder == "bar":
        corners = np.array([[-0.5, -6.0], [0.5, -6.0], [0.5, 6.0], [-0.5, 6.0]]) * half
        tilt = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])
        outline = corners @ turn
        colour = tuple(rng.uniform(20, 235, size=3))
    else:
        outline = half * np.stack([np.cos(angle), np.sin(angle)], -1)
        colour = tuple(rng.uniform(20, 235, size=3))
    centre = rng.uniform([20.0, 20.0], [92.0, 100.0])
    way = rng.normal(0.0, 16.0, size=2)
    path = centre + way * np.linspace(-1.0, 1.0, num_frames)[:, None]
    return shapes.Shape("occluder", path[:, None] + outline, colour, rides="picture")


def _compress(
    frames: list[UInt8[np.ndarray, "S S 3"]], still: UInt8[np.ndarray, "S S 3"], quality: int
) -> list[bytes]:
    """Encode the frames, all to one number of bytes that depends on the face at rest alone."""
    budget = int(BYTES_HEADROOM * len(_jpeg(still, quality))) + SMALLEST_COMMENT
    return [_jpeg_of_size(frame, quality, budget) for frame in frames]


def _jpeg(frame: UInt8[np.ndarray, "S S 3"], quality: int) -> bytes:
    return simplejpeg.encode_jpeg(frame, quality, "RGB", "420", fastdct=True)


def _jpeg_of_size(frame: UInt8[np.ndarray, "S S 3"], quality: int, budget: int) -> bytes:
    """Encode to exactly `budget` bytes: at a lower quality if need be, filled with a comment."""
    data = _jpeg(frame, quality)
    while len(data) > budget - SMALLEST_COMMENT:
        quality -= 4
        if quality < 1:
            raise ValueError(f"A frame does not fit into {budget} bytes.")
        data = _jpeg(frame, quality)
    length = budget - len(data) - 2  # of the comment, its two bytes of length included
    return data[:2] + b"\xff\xfe" + length.to_bytes(2, "big") + bytes(length - 2) + data[2:]
