"""Frames of a clip as files: which are there, in which order, and whether they are whole.

Imported by worker processes, so it stays light.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Int

from logo_jax.common.errors import UserError
from logo_jax.data.decode import ImageFile, decode_image, read_image_file, resize

# Of frames that are made smaller when they are stored.
STORED_QUALITY = 95
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp"})


def natural_key(path: str | Path) -> tuple[int, str]:
    """Key that orders folders of clips by the last integer of the stem, then by name.

    Names without a number come first, by name.
    """
    numbers = _numbers(path)
    return (numbers[-1] if numbers else -1, os.path.basename(path))


def frame_order(paths: Iterable[str]) -> list[str]:
    """Sort the frames of one clip in time, by the numbers in the stems of their names.

    Lexicographic order would scramble 1.jpg, 2.jpg, 10.jpg. The number of the frame stands last,
    as in 00001_00010.jpg, unless all frames have the same number there, as in f_10_face0.jpg: then
    it is the last one that differs between frames, counted from the end. Where this leaves two
    frames at one place, or no number differs, all integers are compared from the first on, then
    the names. Names without the number come first.
    """
    numbers = {path: _numbers(path) for path in paths}
    for place in range(1, max(map(len, numbers.values()), default=0) + 1):
        keys = {
            path: found[-place] if len(found) >= place else -1 for path, found in numbers.items()
        }
        if len(set(keys.values())) > 1:
            if len(set(keys.values())) == len(keys):
                return sorted(keys, key=keys.__getitem__)
            break
    return sorted(numbers, key=lambda path: (numbers[path], os.path.basename(path)))


def frame_files(folder: str | Path) -> list[str]:
    """List the image files directly in `folder`, in temporal order.

    Files that start with a dot, or have no image suffix, are passed over.

    Raises:
        UserError: the folder is missing or unreadable, or holds no image.
    """
    try:
        with os.scandir(folder) as entries:
            found = [entry.path for entry in entries if _is_frame(entry)]
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror or error}") from error
    if not found:
        raise UserError(f"{folder}: there is no image in it ({', '.join(sorted(SUFFIXES))})")
    return frame_order(found)


def read_frames(paths: Sequence[str]) -> list[bytes]:
    """Read image files as they are, and decode each once to be sure that it is whole.

    Raises:
        UserError: a file cannot be read or is damaged; the message names it.
    """
    cv2.setNumThreads(0)  # the processes share the cores already
    frames = []
    for path in paths:
        try:
            data = read_image_file(path)
            decode_image(data)
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        frames.append(data)
    return frames


def read_folder(folder: str) -> list[bytes]:
    """Read all frames of a clip folder, in temporal order; raises as the two functions above."""
    return read_frames(frame_files(folder))


def read_declared(clip: tuple[str, int | None]) -> list[bytes]:
    """Read all frames of (clip folder, number of frames that its list declares, or None).

    Raises:
        UserError: another number of frames is there, or as `read_folder`.
    """
    folder, declared = clip
    paths = frame_files(folder)
    if declared is not None and len(paths) != declared:
        raise UserError(f"{folder}: {declared} frames are declared, {len(paths)} are there")
    return read_frames(paths)


def count_frames(folder: str) -> int:
    """Count the frames of a clip folder without reading them; raises as `frame_files`."""
    return len(frame_files(folder))


def count_declared(clip: tuple[str, int | None]) -> int:
    """Count the frames of a clip that `read_declared` takes, without reading them."""
    return count_frames(clip[0])


def frames_or_problem(
    make_frames: Callable[[Any], list[bytes]], stored_size: int, payload: Any
) -> list[bytes] | str:
    """Make the frames of one clip as they are stored, or return what a user can mend as text."""
    try:
        frames = make_frames(payload)
        if stored_size:
            frames = [at_most(frame, stored_size) for frame in frames]
    except UserError as error:
        # A line of its own in a file of UTF-8, whatever the frames are called.
        return str(error).replace("\n", "\\n").encode("utf-8", "backslashreplace").decode()
    return frames or "it has no frames"


def at_most(data: bytes, size: int) -> bytes:
    """Encode an image anew, `size` x `size` pixels, unless neither of its sides is longer.

    Raises:
        UserError: the image is damaged.
    """
    image = decode_image(data)
    if max(image.shape[:2]) <= size:
        return data
    return simplejpeg.encode_jpeg(
        resize(image, size), quality=STORED_QUALITY, colorspace="RGB", colorsubsampling="444"
    )


class ClipFiles:
    """Clips that lie as image files, readable like a prepared set: for prediction.

    Attributes:
        clip_ids: name of each clip.
        num_frames: number of frames of each clip, int32 [N].
        labels: int32 [N] of -1: nobody knows them.
        mend: what to do about a broken frame.
    """

    mend = "Replace that frame or leave the clip out."

    def __init__(self, clips: Sequence[tuple[str, Sequence[Path]]]):
        """Take (name, paths of the frames in temporal order) of each clip, see `find_clips`."""
        self.clip_ids = [name for name, _ in clips]
        self._paths = [list(paths) for _, paths in clips]
        self.num_frames = np.array([len(paths) for paths in self._paths], np.int32)
        self.labels = np.full(len(clips), -1, np.int32)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clip_ids)

    def read(self, row: int, indices: Int[np.ndarray, " n"]) -> list[bytes]:
        """Read frames of one clip, encoded.

        Raises:
            UserError: a file cannot be read; the message names it.
        """
        frames: list[bytes] = []
        for path in (self._paths[row][index] for index in indices):
            try:
                frames.append(ImageFile(path))
            except OSError as error:
                raise UserError(f"{path}: {error.strerror or error}") from error
        return frames


def _numbers(path: str | Path) -> list[int]:
    stem = os.path.splitext(os.path.basename(path))[0]
    return [int(digits) for digits in re.findall(r"[0-9]+", stem)]


def _is_frame(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
