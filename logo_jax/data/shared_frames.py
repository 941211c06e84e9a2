"""Memory for the frames of batches that worker processes fill and the parent reads.

The parent makes one file that has no name and takes no space until it is written to, and each
worker lays its batches into slots of a part of it. When the parent has let go of a batch, the
worker fills that slot again: fresh memory for every batch would cost more than decoding, since the
system clears each page of it, and both processes have to map it. The first byte of a slot says
whether it is taken. Whatever dies, the system takes the memory back.
"""

import contextlib
import math
import mmap
import os
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8

# Linux has files without a name; elsewhere Grain copies each batch into fresh shared memory.
AVAILABLE = hasattr(os, "memfd_create")

# Address space of each worker's part; its slots are as many as there are batches on the way.
_PART = 2**40
# Before the frames of a slot. On a CPU, an aligned batch becomes a device array uncopied.
_HEADER = 64


class SharedFrames(np.ndarray):
    """Frames in a slot, as a worker sees them. The parent unpickles them as a plain array."""

    place: tuple[int, int] = (-1, 0)  # number of the file in the parent, and start of the slot

    def __reduce__(self) -> Any:
        """Send the place alone."""
        return _taken, (*self.place, self.shape)


class Slots:
    """The slots of one worker."""

    def __init__(self, parent: int, number: int, worker: int):
        """Open the part of `worker` in the file `number` of the process `parent`."""
        self._file = os.open(f"/proc/{parent}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
        self._number, self._end = number, worker * _PART
        self._maps: dict[int, mmap.mmap] = {}

    @contextlib.contextmanager
    def frames(self, shape: tuple[int, ...]) -> Iterator[SharedFrames]:
        """Give a slot that is free; it is taken unless the block fails. All are of one shape."""
        size = _slot_size(shape)
        free = (start for start, memory in self._maps.items() if memory[0] == 0)
        start = next(free, self._end)
        if start == self._end:
            self._maps[start] = mmap.mmap(self._file, size, offset=start)
            self._end += size
        memory = self._maps[start]
        frames = np.ndarray.__new__(SharedFrames, shape, np.uint8, memory, _HEADER)
        frames.place = self._number, start
        memory[0] = 1
        try:
            yield frames
        except BaseException:
            memory[0] = 0
            raise


@contextlib.contextmanager
def shared_file(workers: int) -> Iterator[int]:
    """Make the file for so many workers, and give its number; arrays in it outlive the block."""
    number = os.memfd_create("frames of batches")
    try:
        os.ftruncate(number, workers * _PART)
        _opened[number] = {}
        yield number
    finally:
        _opened.pop(number, None)
        os.close(number)


# In the parent: maps of slots by file and start.
_opened: dict[int, dict[int, mmap.mmap]] = {}


def _taken(number: int, start: int, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Map a slot, which is free again when nobody refers to the array any more."""
    if number not in _opened:
        # Not the parent: a worker that ends empties its own queue, and nobody sees these frames.
        return np.empty((0, *shape[1:]), np.uint8)
    maps = _opened[number]
    if start not in maps:
        maps[start] = mmap.mmap(number, _slot_size(shape), offset=start)
    # Views of this array, of any kind, refer to it, since its own base is no array.
    frames = np.frombuffer(maps[start], np.uint8, math.prod(shape), _HEADER)
    weakref.finalize(frames, maps[start].__setitem__, 0, 0)
    return frames.reshape(shape)


def _slot_size(shape: tuple[int, ...]) -> int:
    unit = mmap.ALLOCATIONGRANULARITY
    return -(-(_HEADER + math.prod(shape)) // unit) * unit
