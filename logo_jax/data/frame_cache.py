"""Decoded frames on disk, so that from the second epoch on nothing is decoded.

A cache is a folder with two files. `frames.bin` holds slots of one frame each and only grows, up to
the bound. `index.bin` says for each frame of the set in which slot it lies, and a sum over its
bytes. Both are read through memory maps, which all processes of the machine share.

A slot is granted under a lock, then filled, and entered in the index last. So a process that is
killed leaves at worst a slot unused. A frame whose sum is wrong, after a power failure or damage,
counts as absent: it is decoded again.
"""

import contextlib
import fcntl
import functools
import hashlib
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from jaxtyping import Int, UInt8

from logo_jax.common.errors import UserError
from logo_jax.common.files import atomic_writer, make_folder

FOLDER = "frame_cache"  # beside the files of the prepared set
# Changes with how frames are decoded and resized, and with the form of the files.
_RULE = 1
_HEADER = 64  # bytes at the start of the index
_ENTRY = np.dtype([("slot", "<u8"), ("sum", "<u8")])  # slots count from 1; 0 is none


class NoRoom(UserError):
    """A cache whose bound leaves no room for its index."""


class FrameCache:
    """Frames of one prepared set at one size. Pickles as a description; each process opens it."""

    def __init__(
        self,
        root: str | Path,
        fingerprint: str,
        num_frames: Int[np.ndarray, " N"],
        frame_size: int,
        limit: int,
    ):
        """Open the cache, making it where it is not there.

        Args:
            root: folder of all caches that share the bound.
            fingerprint: of the prepared set.
            num_frames: of each clip.
            frame_size: S, side of the frames.
            limit: bytes that all files under `root` may take together.

        Raises:
            UserError: the folder cannot be written to, or (`NoRoom`) the bound leaves no room for
                the index.
        """
        self.root = Path(root).expanduser().absolute()
        self.frame_size = frame_size
        self.limit = limit
        self.starts = np.concatenate([[0], np.cumsum(num_frames, dtype=np.int64)])
        # Other versions of the decoders may give other pixels.
        rule = (fingerprint, frame_size, _RULE, simplejpeg.__version__, cv2.__version__)
        digest = hashlib.sha256(repr(rule).encode()).hexdigest()
        self.folder = self.root / f"{frame_size}px-{digest[:16]}"
        self.full = False  # whether a frame has found no room
        self._frame_bytes = frame_size * frame_size * 3
        self._slot_bytes = -(-self._frame_bytes // 8) * 8
        self._frames: np.ndarray = np.zeros((0, self._slot_bytes), np.uint8)
        make_folder(self.root)
        with self._errors_named(), self._locked():
            self._make_index()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open files and maps out."""
        opened = ("_index", "_frames_file", "_index_file")
        state = {name: value for name, value in vars(self).items() if name not in opened}
        return state | {"_frames": np.zeros((0, self._slot_bytes), np.uint8)}

    def read(self, row: int, frame: int, out: UInt8[np.ndarray, "S S 3"]) -> bool:
        """Copy a frame of clip `row` to `out`; False where it is not there, or damaged."""
        entry = self._index[self.starts[row] + frame]
        slot = int(entry["slot"]) - 1
        if slot < 0:
            return False
        if slot >= len(self._frames):
            self._frames = self._map_frames()
            if slot >= len(self._frames):
                return False
        stored = self._frames[slot]
        if _sum(stored) != entry["sum"]:
            return False
        np.copyto(out.reshape(-1), stored[: self._frame_bytes])
        return True

    def absent(self, row: int) -> Int[np.ndarray, " n"]:
        """The frames of clip `row` that are not there."""
        entries = self._index[self.starts[row] : self.starts[row + 1]]
        return np.flatnonzero(entries["slot"] == 0)

    def write(self, row: int, frames: Mapping[int, UInt8[np.ndarray, "S S 3"]]) -> None:
        """Keep frames of clip `row`, those that find room.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        with self._errors_named():
            places = {frame: int(self.starts[row]) + frame for frame in frames}
            # A damaged frame keeps its slot, unless its entry is damaged too and names none.
            taken = os.fstat(self._frames_file).st_size // self._slot_bytes
            slots = {frame: int(self._index[place]["slot"]) for frame, place in places.items()}
            slots = {frame: slot if slot <= taken else 0 for frame, slot in slots.items()}
            new = [frame for frame, slot in slots.items() if slot == 0]
            slots |= zip(new, self._grant(len(new)), strict=False)
            for frame, slot in slots.items():
                if slot == 0:
                    self.full = True
                    continue
                content = np.zeros(self._slot_bytes, np.uint8)
                content[: self._frame_bytes] = frames[frame].reshape(-1)
                entry = np.array((slot, _sum(content)), _ENTRY)
                _write_all(self._frames_file, content, (slot - 1) * self._slot_bytes)
                place = _HEADER + places[frame] * _ENTRY.itemsize
                _write_all(self._index_file, entry, place)

    def _grant(self, number: int) -> range:
        """Reserve up to so many slots that are nobody else's."""
        if number == 0 or self.full:
            return range(0)
        with self._locked():
            room = self.limit - _bytes_under(self.root)
            number = min(number, max(0, room) // self._slot_bytes)
            taken = os.fstat(self._frames_file).st_size // self._slot_bytes
            os.ftruncate(self._frames_file, (taken + number) * self._slot_bytes)
        return range(taken + 1, taken + number + 1)

    @property
    def _header(self) -> bytes:
        facts = f"logo_jax frames {self._slot_bytes} {self.starts[-1]}"
        return facts.encode().ljust(_HEADER)

    def _make_index(self) -> None:
        """Start anew unless a whole index of this very set is there."""
        path = self.folder / "index.bin"
        size = _HEADER + int(self.starts[-1]) * _ENTRY.itemsize
        whole = (self.folder / "frames.bin").exists()
        if whole and path.exists() and path.stat().st_size == size:
            with path.open("rb") as file:
                if file.read(_HEADER) == self._header:
                    return
        make_folder(self.folder)
        path.unlink(missing_ok=True)
        (self.folder / "frames.bin").unlink(missing_ok=True)
        used = _bytes_under(self.root)
        if used + size + self._slot_bytes > self.limit:
            raise NoRoom(
                f"The frame cache in {self.root} may take {self.limit / 2**30:.3g} GiB, of which "
                f"{used / 2**30:.3g} are taken, and the index of this set needs "
                f"{size / 2**30:.3g}: raise config.data.cache_gib, delete that folder, or set the "
                "field to 0."
            )
        (self.folder / "frames.bin").touch()
        with atomic_writer(path, "wb") as file:
            file.write(self._header)
            file.write(bytes(size - _HEADER))

    @functools.cached_property
    def _index(self) -> np.ndarray:
        path = self.folder / "index.bin"
        return np.memmap(path, _ENTRY, "r", _HEADER, shape=(int(self.starts[-1]),))

    @functools.cached_property
    def _index_file(self) -> int:
        return os.open(self.folder / "index.bin", os.O_RDWR | os.O_CLOEXEC)

    @functools.cached_property
    def _frames_file(self) -> int:
        return os.open(self.folder / "frames.bin", os.O_RDWR | os.O_CLOEXEC)

    def _map_frames(self) -> np.ndarray:
        """Map all slots that are there now."""
        slots = os.fstat(self._frames_file).st_size // self._slot_bytes
        shape = (slots, self._slot_bytes)
        if slots == 0:
            return np.zeros(shape, np.uint8)
        return np.memmap(self.folder / "frames.bin", np.uint8, "r", shape=shape)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of all caches under the root; a killed holder frees it."""
        with open(self.root / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The frame cache in {self.root} cannot be used: {error.strerror or error}; free "
                "some space there, choose another config.data.cache_dir, or set "
                "config.data.cache_gib=0."
            ) from error


def open_cache(
    prepared: Any,
    frame_size: int,
    cache_gib: float | int,
    cache_dir: str | Path,
    beside: bool = False,
) -> FrameCache | None:
    """Open the cache of a prepared set; None where the bound is 0 or clips are no prepared set.

    Args:
        beside: the frames of training may have filled the bound: then None, with a warning.

    Raises:
        UserError: as `FrameCache`, or the bound is no number of GiB.
    """
    if not 0 <= cache_gib * 2**30 < math.inf:
        raise UserError(f"cache_gib is {cache_gib}: give a number of GiB, or 0 for no cache.")
    if not cache_gib or not hasattr(prepared, "fingerprint"):
        return None
    root = cache_dir or prepared.folder / FOLDER
    limit = int(cache_gib * 2**30)
    try:
        return FrameCache(root, prepared.fingerprint, prepared.num_frames, frame_size, limit)
    except NoRoom as error:
        if not beside:
            raise
        _warn(f"Frames of {frame_size} px are decoded each time that they are judged. {error}")
        return None


@functools.cache
def _warn(sentence: str) -> None:
    """Once in a process, however often a run is judged."""
    print(f"Warning: {sentence}", file=sys.stderr, flush=True)


def _sum(slot: UInt8[np.ndarray, " n"]) -> np.uint64:
    """Sum of 8-byte words: a few microseconds a frame, where a CRC takes a third of decoding."""
    return slot.view(np.uint64).sum(dtype=np.uint64)


def _write_all(file: int, content: np.ndarray, position: int) -> None:
    rest = memoryview(content.tobytes())
    while rest:
        written = os.pwrite(file, rest, position)
        rest, position = rest[written:], position + written


def _bytes_under(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
