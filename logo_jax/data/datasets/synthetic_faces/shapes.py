"""Polygons and lines over time: turned with the head, projected, drawn.

All points of all frames are arrays `[T, K, 2]` in the face's own coordinates: x to the right, y
down, origin between nose and eyes, in pixels of a frame of 112 px. A head pose lifts them onto an
ellipsoid, turns it, and projects it straight onto the picture. Drawing is OpenCV's, with smooth
edges and 1/16 pixel positions, so that small movements are not rounded away.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from logo_jax.data.datasets.synthetic_faces.factors import Colour

# Side of the picture in which all lengths are given, px.
SIDE = 112
# Depth of the head's ellipsoid in front of its silhouette, px.
DEPTH = 24.0
# Bits of the fraction of a pixel in OpenCV's coordinates.
SHIFT = 4

Points = Float[np.ndarray, "T K 2"]


@dataclasses.dataclass(frozen=True)
class Shape:
    """One polygon or line in all frames.

    Attributes:
        name: of the part, for landmarks.
        points: `[T, K, 2]`.
        colour: RGB.
        line: thickness of an open line in px at 112; 0 for a filled polygon.
        rides: "head" turns with the head, "body" only moves along.
    """

    name: str
    points: Points
    colour: Colour
    line: float = 0.0
    rides: str = "head"


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where the head is in each frame: radians, a factor, and px at 112; each `[T]`."""

    yaw: Float[np.ndarray, " T"]
    pitch: Float[np.ndarray, " T"]
    roll: Float[np.ndarray, " T"]
    scale: Float[np.ndarray, " T"]
    x: Float[np.ndarray, " T"]
    y: Float[np.ndarray, " T"]

    def at(self, frame: int) -> "Pose":
        """Return the pose of one frame, as a clip of one frame."""
        fields = dataclasses.fields(self)
        return Pose(**{f.name: getattr(self, f.name)[frame : frame + 1] for f in fields})


def project(parts: list[Shape], pose: Pose) -> list[Points]:
    """Return each part's points in the picture, px at 112 from the picture's top left corner."""
    # All parts at once: a few large array operations instead of many small ones.
    ends = np.cumsum([part.points.shape[1] for part in parts])
    points = np.concatenate([part.points for part in parts], axis=1)  # [T, sum of K, 2]
    turns = np.repeat([part.rides == "head" for part in parts], np.diff(ends, prepend=0))
    x, y = points[..., 0], points[..., 1]
    z = DEPTH * np.sqrt(np.clip(1.0 - (x / 34.0) ** 2 - (y / 46.0) ** 2, 0.0, None))
    yaw, pitch, roll = pose.yaw[:, None], pose.pitch[:, None], pose.roll[:, None]
    turned_x = x * np.cos(yaw) + z * np.sin(yaw)
    turned_z = z * np.cos(yaw) - x * np.sin(yaw)
    turned_y = y * np.cos(pitch) - turned_z * np.sin(pitch)
    cos, sin = np.cos(roll), np.sin(roll)
    x = np.where(turns, turned_x * cos - turned_y * sin, x)
    y = np.where(turns, turned_x * sin + turned_y * cos, y)
    scale = pose.scale[:, None]
    centre_y = SIDE / 2 + 2.0
    placed = np.stack(
        [SIDE / 2 + scale * x + pose.x[:, None], centre_y + scale * y + pose.y[:, None]], axis=-1
    )
    return np.split(placed, ends[:-1], axis=1)


def draw(
    canvas: UInt8[np.ndarray, "S S 3"], parts: list[Shape], corners: list[np.ndarray], frame: int
) -> None:
    """Draw one frame over `canvas`, in place.

    Args:
        canvas: the picture.
        parts: as `shapes` returns them.
        corners: for each part its points as int32 `[T, K, 2]` in 1/16 px of the canvas.
        frame: which frame.
    """
    thickness_scale = canvas.shape[0] / SIDE
    for part, points in zip(parts, corners, strict=True):
        if part.line:
            thickness = max(1, round(part.line * thickness_scale))
            cv2.polylines(
                canvas, [points[frame]], False, part.colour, thickness, cv2.LINE_AA, SHIFT
            )
        else:
            cv2.fillPoly(canvas, [points[frame]], part.colour, cv2.LINE_AA, SHIFT)


def to_corners(points: Points, size: int) -> np.ndarray:
    """Return points in px at 112 as OpenCV's int32 fixed-point coordinates at `size` px.

    OpenCV counts from the centre of the first pixel, half a pixel from the picture's corner.
    """
    return np.round((points * (size / SIDE) - 0.5) * (1 << SHIFT)).astype(np.int32)
