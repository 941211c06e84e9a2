"""Clips as video files: their frames as JPEG, whole or cut to the face.

Imported by worker processes, so it stays light.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from logo_jax.common.errors import UserError
from logo_jax.data.decode import open_at_once
from logo_jax.data.faces import FaceDetector
from logo_jax.data.frames import count_declared, read_declared

JPEG_QUALITY = 95
# Of the width and height of the box around a face, added at each side.
FACE_MARGIN = 0.2
# Frames over which the middle of the face is averaged, so that the crop does not tremble.
SMOOTHED_FRAMES = 9


@dataclasses.dataclass(frozen=True)
class Video:
    """One clip as a video file.

    Attributes:
        path: the file.
        face_detector: weights of the detector, "" = keep whole frames.
        allow_frame_counts: accept a file that holds another number of frames than it declares.
        listed: number of frames that a list declares, None where none does or any is accepted.
    """

    path: str
    face_detector: str = ""
    allow_frame_counts: bool = False
    listed: int | None = None


def read_clip(payload: Video | tuple[str, int | None]) -> list[bytes]:
    """Read the frames of a video, or of (clip folder, declared number of frames or None).

    Raises:
        UserError: as `read_video` and `frames.read_declared`.
    """
    return read_video(payload) if isinstance(payload, Video) else read_declared(payload)


def count_clip(payload: Video | tuple[str, int | None]) -> int:
    """Count the frames of a clip that `read_clip` takes, without decoding them where possible."""
    return count_video(payload) if isinstance(payload, Video) else count_declared(payload)


def read_video(video: Video) -> list[bytes]:
    """Read all frames of a video as JPEG, cut to the face where a detector is given.

    The crop is a square of one size for the whole clip, the median of the faces' longer side plus
    `FACE_MARGIN` at each side, around the middle of the face of each frame, smoothed over
    `SMOOTHED_FRAMES`; a frame without a face takes that of the nearest frame with one. Beyond the
    border of the frame its last pixels are repeated.

    Raises:
        UserError: the file cannot be read or is cut off, no frame of it shows a face, or a list
            declares another number of frames.
    """
    cv2.setNumThreads(0)  # the processes share the cores already
    if video.face_detector:
        centres, side = _crops(video)
        frames = [
            _jpeg(_cut(image, centre, side))
            for image, centre in zip(_images(video.path), centres, strict=True)
        ]
    else:
        frames = [_jpeg(image) for image in _images(video.path)]
    declared = _declared(video.path)
    if len(frames) != declared and not video.allow_frame_counts:
        raise UserError(
            f"{video.path}: it declares {declared} frames and {len(frames)} can be read; copy it "
            "again, or pass allow_frame_counts=True to take what can be read"
        )
    if not frames:
        raise UserError(f"{video.path}: no frame of it can be read")
    _as_listed(video, len(frames))
    return frames


def count_video(video: Video) -> int:
    """Count the frames of a video: as it declares them, or by reading where it may be wrong.

    Raises:
        UserError: the file cannot be read, or a list declares another number of frames.
    """
    if video.allow_frame_counts:
        return sum(1 for _ in _images(video.path))
    return _as_listed(video, _declared(video.path))


def _as_listed(video: Video, count: int) -> int:
    if video.listed not in (None, count):
        raise UserError(f"{video.path}: {video.listed} frames are declared, {count} are there")
    return count


def _open(path: str) -> cv2.VideoCapture:
    try:
        with open(path, "rb", opener=open_at_once) as file:
            empty = not file.read(1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error
    if empty:  # or a pipe, for which OpenCV would wait
        raise UserError(f"{path}: the file is empty")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # we say what is wrong with a file
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise UserError(f"{path}: it is no readable video")
    return capture


def _declared(path: str) -> int:
    capture = _open(path)
    try:
        return round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()


def _images(path: str) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Yield the frames in BGR, one at a time: a long clip would fill the memory."""
    capture = _open(path)
    try:
        while True:
            there, image = capture.read()
            if not there:
                return
            yield image
    finally:
        capture.release()


def _jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


@functools.cache
def _detector(weights: str) -> FaceDetector:
    return FaceDetector(weights)


def _crops(video: Video) -> tuple[Float[np.ndarray, "N 2"], int]:
    """The middle of the face in each frame, smoothed, as x and y; and the side of the square."""
    detector = _detector(video.face_detector)
    boxes = [
        detector.largest(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)) for image in _images(video.path)
    ]
    seen = np.flatnonzero([box is not None for box in boxes])
    if not len(seen):
        raise UserError(f"{video.path}: no face was found in its {len(boxes)} frames")
    found = np.array([boxes[place][:4] for place in seen], np.float64)  # type: ignore[index]
    side = round(float(np.median(found[:, 2:].max(1))) * (1 + 2 * FACE_MARGIN))
    middles = found[:, :2] + found[:, 2:] / 2
    nearest = np.abs(np.arange(len(boxes))[:, None] - seen).argmin(1)
    return _smoothed(middles[nearest]), max(side, 1)


def _smoothed(points: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N 2"]:
    """Average each point with its neighbours in time; at the ends with fewer, as many each side."""
    reach = SMOOTHED_FRAMES // 2
    smooth = np.empty_like(points)
    for place in range(len(points)):
        near = min(reach, place, len(points) - 1 - place)
        smooth[place] = points[place - near : place + near + 1].mean(0)
    return smooth


def _cut(
    image: UInt8[np.ndarray, "H W 3"], centre: Float[np.ndarray, " 2"], side: int
) -> UInt8[np.ndarray, "S S 3"]:
    left, top = np.round(centre - side / 2).astype(int)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    return image[rows[:, None], columns]


def find_videos(folder: str, suffixes: frozenset[str]) -> dict[int, str]:
    """Find the videos in a folder that are named by a number, padded with zeros or not.

    Returns:
        Number -> path.

    Raises:
        UserError: two files have one number.
    """
    found: dict[int, str] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in suffixes and stem.isascii() and stem.isdigit():
                other = found.setdefault(int(stem), entry.path)
                if other != entry.path:
                    raise UserError(
                        f"{other} and {entry.path} are both the video {int(stem)}; remove one."
                    )
    return found
