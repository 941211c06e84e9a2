"""Frames of a clip as files: which are there, in which order, and whether they are whole.

Imported by worker processes, so it stays light.
"""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Int

from logo_jax.common.errors import UserError
from logo_jax.data.decode import ImageFile, decode_image, read_image_file, shrink

# Of frames that are made smaller when they are stored.
STORED_QUALITY = 95
# A clip is one record, and Protocol Buffers write none of 2 GiB; some is left for all but frames.
MAX_CLIP_BYTES = 2**31 - 2**24
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp"})


def natural_key(path: str | Path) -> tuple[int, str]:
    """Key that orders folders of clips by the last integer of the stem, then by name.

    Names without a number come first, by name.
    """
    numbers = _numbers(path)
    return (numbers[-1] if numbers else -1, os.path.basename(path))


def frame_order(paths: Iterable[str]) -> list[str]:
    """Sort the frames of one clip in time, by the numbers in the stems of their names.

    Lexicographic order would scramble 1.jpg, 2.jpg, 10.jpg. If one number differs between the
    frames, it is the frame's. If several do, it is the last one that counts: of another value in
    every frame, and taking a quarter of the values in its range. 0001_0.97 has it first (a score
    stands last), face3_0001 last. If none counts (00_00_59_960, f_1_face0), all numbers are
    compared from the first on, then the names. Numbers are matched from the end of the names;
    names without the number come first.
    """
    numbers = _all_numbers(paths)
    columns = _varying(numbers)
    if len(columns) > 1:
        columns = [column for column in columns if _counts(column)]
    if columns and len(set(columns[0])) == len(numbers):
        key = dict(zip(numbers, columns[0], strict=True))
        return sorted(key, key=key.__getitem__)
    return sorted(numbers, key=lambda path: (numbers[path], os.path.basename(path)))


def order_is_doubtful(paths: Iterable[str]) -> bool:
    """Whether several numbers differ between frames, and two of them say different orders."""
    numbers = _all_numbers(paths)
    orders = {
        tuple(sorted(range(len(column)), key=column.__getitem__))
        for column in _varying(numbers)
        if len(set(column)) == len(column)
    }
    by_all = tuple(sorted(range(len(numbers)), key=list(numbers.values()).__getitem__))
    return len(orders | {by_all}) > 1 and bool(orders)


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


def target_around(link: str | Path) -> str:
    """The folder that a link leads to, if it holds the link; else "".

    Raises:
        OSError: the link leads nowhere.
    """
    target = os.path.realpath(link, strict=True)
    here = os.path.realpath(os.path.dirname(link))
    return target if os.path.commonpath([target, here]) == target else ""


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
    return read_frames(_declared_files(clip))


def count_declared(clip: tuple[str, int | None]) -> int:
    """Count the frames of a clip that `read_declared` takes, without reading them.

    Raises:
        UserError: as `read_declared`, but for damaged files.
    """
    return len(_declared_files(clip))


def _declared_files(clip: tuple[str, int | None]) -> list[str]:
    folder, declared = clip
    paths = frame_files(folder)
    if declared is not None and len(paths) != declared:
        raise UserError(f"{folder}: {declared} frames are declared, {len(paths)} are there")
    return paths


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
    size = sum(map(len, frames))
    if size > MAX_CLIP_BYTES:
        return (
            f"its {len(frames):,} frames take {size:,} bytes of the {MAX_CLIP_BYTES:,} that a clip "
            "may have; pass stored_size to make them smaller, or cut the clip in two"
        )
    return frames or "it has no frames"


def at_most(data: bytes, size: int) -> bytes:
    """Encode an image anew, the sides that are longer than `size` pixels as long as that.

    One without such a side comes back as it is.

    Raises:
        UserError: the image is damaged.
    """
    image = decode_image(data)
    if max(image.shape[:2]) <= size:
        return data
    return simplejpeg.encode_jpeg(
        shrink(image, size), quality=STORED_QUALITY, colorspace="RGB", colorsubsampling="444"
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
    return [int(digits) for digits in re.findall(r"[0-9]+", _stem(path))]


def _stem(path: str | Path) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _all_numbers(paths: Iterable[str]) -> dict[str, list[int]]:
    """The numbers in the name of each frame; 0.04 and 1.2 are decimals, 3.9 and 3.10 two numbers.

    Decimals have fractions of one length, or one that begins with 0. They are scaled to integers.
    """
    stems = {path: _stem(path) for path in paths}
    fractions = {f for stem in stems.values() for f in re.findall(r"[0-9]\.([0-9]+)", stem)}
    longest = max(map(len, fractions), default=0)
    if len({len(f) for f in fractions}) > 1 and not any(f[0] == "0" for f in fractions):
        longest = 0
    if not longest:
        return {path: _numbers(path) for path in stems}
    decimal = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
    return {
        path: [
            int(whole + fraction.ljust(longest, "0")) for whole, fraction in decimal.findall(stem)
        ]
        for path, stem in stems.items()
    }


def _varying(numbers: Mapping[str, Sequence[int]]) -> list[list[int]]:
    """Those that differ between frames, the last in the names first; -1 where there is none."""
    columns = (
        [found[-place] if len(found) >= place else -1 for found in numbers.values()]
        for place in range(1, max(map(len, numbers.values()), default=0) + 1)
    )
    return [column for column in columns if len(set(column)) > 1]


def _counts(column: Sequence[int]) -> bool:
    """Whether no number occurs twice, and a quarter of those in the range are there."""
    values = sorted(value for value in column if value >= 0)
    step = math.gcd(*(b - a for a, b in itertools.pairwise(values)))
    return len(set(column)) == len(column) and (
        len(values) < 2 or values[-1] - values[0] < 4 * step * len(values)
    )


def _is_frame(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()
    return suffix in SUFFIXES and not entry.name.startswith(".") and not entry.is_dir()
