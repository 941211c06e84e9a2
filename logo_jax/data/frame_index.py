"""Where each frame lies in the shards of a prepared set, so that single frames can be read.

A record of ArrayRecord holds all frames of a clip. The library reads, checks and copies it whole,
some 700 kB, which takes a fifth of the time that decoding 16 of its frames takes. The shards are
written uncompressed, so the bytes of a frame stand in them as they are, but for the 24 bytes that
begin each block of 64 KiB (github.com/google/riegeli, doc/riegeli_records_file_format.md). The
index, `frames.npy`, has a row for each frame, clip by clip; a checksum shows damage.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from jaxtyping import Int, Shaped
from zlib_ng import zlib_ng

from logo_jax.common.errors import UserError

INDEX = "frames.npy"

_BLOCK, _HEADER = 2**16, 24
# Between two records lie less than these bytes of headers and padding.
_BETWEEN = 2**17
_ENTRY = np.dtype([("shard", "<u4"), ("size", "<u4"), ("start", "<u8"), ("crc", "<u4")])


class FrameIndex:
    """Reads frames of a prepared set; the files are opened when they are needed."""

    def __init__(self, path: Path, num_frames: Int[np.ndarray, " N"], shard_name: str):
        """Open the index `path` of a set whose clips have `num_frames` frames.

        Args:
            path: the index, beside the shards.
            num_frames: of each clip.
            shard_name: names of the shards, with the fields `index` and `count`.

        Raises:
            UserError: the index is damaged.
        """
        self._folder, self._shard_name = path.parent, shard_name
        self._starts = np.concatenate([[0], np.cumsum(num_frames, dtype=np.int64)])
        with damage_named(path):
            entries = np.load(path, mmap_mode="r", allow_pickle=False)
            if entries.dtype != _ENTRY or entries.shape != (self._starts[-1],):
                raise ValueError(f"it has {len(entries):,} frames of {self._starts[-1]:,}")
        self._entries = entries.view(np.ndarray)
        self._count = int(self._entries["shard"][-1]) + 1
        self._files: dict[int, tuple[Path, IO[bytes]]] = {}

    def read(self, row: int, indices: Int[np.ndarray, " n"]) -> list[bytes]:
        """Read frames of clip `row`.

        Raises:
            UserError: a shard is missing or damaged.
        """
        places = self._entries[self._starts[row] + indices].tolist()
        shard = places[0][0]  # a clip is one record
        if shard not in self._files:
            path = self._folder / self._shard_name.format(index=shard, count=self._count)
            with damage_named(path):
                self._files[shard] = path, open(path, "rb", buffering=0)
        path, file = self._files[shard]
        with damage_named(path):
            number = file.fileno()
            frames = [_read(number, start, size) for _, size, start, _ in places]
            for frame, (_, _, start, crc) in zip(frames, places, strict=True):
                if zlib_ng.crc32(frame) != crc:
                    raise ValueError(f"the frame at byte {start:,} is not the one that was stored")
        return frames


def locate(shards: Sequence[tuple[Path, int]]) -> Shaped[np.ndarray, " F"]:
    """Find all frames in finished shards.

    Args:
        shards: path and number of records of each.

    Returns:
        The rows of the index; F is the number of frames.

    Raises:
        ValueError: a record does not lie in its shard as it is.
    """
    from array_record.python.array_record_module import ArrayRecordReader  # readers need neither
    from tensorflow_datasets.proto import tf_example_pb2

    found = []
    for number, (path, num_records) in enumerate(shards):
        rows = []
        reader = ArrayRecordReader(str(path), options="readahead_buffer_size:0")
        with open(path, "rb", buffering=0) as file:
            position = 0  # in the shard without the beginnings of its blocks
            for index in range(num_records):
                record = reader.read([index])[0]
                window = _read(file.fileno(), _in_file(position), len(record) + _BETWEEN)
                begin = window.find(record)
                if begin < 0:
                    raise ValueError(f"{path}: record {index} does not lie there as it is")
                position += begin
                within = 0
                example = tf_example_pb2.Example.FromString(record).features.feature
                for frame in example["frames"].bytes_list.value:
                    within = record.index(frame, within)
                    rows.append(
                        (number, len(frame), _in_file(position + within), zlib_ng.crc32(frame))
                    )
                    within += len(frame)
                position += len(record)
        reader.close()
        found.append(np.array(rows, _ENTRY))
    return np.concatenate(found)


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Whatever goes wrong in the block is a damage of the file `path` of a prepared set."""
    try:
        yield
    except Exception as error:  # TFDS, ArrayRecord and their parsers raise errors of any kind
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        reason = getattr(error, "strerror", "") or reason.partition("\n")[0]
        raise UserError(
            f"{path} cannot be read ({reason}): this is no prepared set, or a damaged one; delete "
            "its folder and prepare again."
        ) from error


def _in_file(position: int) -> int:
    """Place in a file of a byte that would be at `position` without the beginnings of blocks."""
    block, within = divmod(position, _BLOCK - _HEADER)
    return block * _BLOCK + _HEADER + within


def _read(file: int, start: int, size: int) -> bytes:
    """Read `size` bytes, or up to the end of the file, leaving out the beginnings of blocks."""
    first = -start % _BLOCK
    if size <= first:
        return os.pread(file, size, start)
    blocks = -(-(size - first) // (_BLOCK - _HEADER))
    data = os.pread(file, size + blocks * _HEADER, start)
    rest = range(first, len(data), _BLOCK)
    return b"".join([data[:first], *(data[at + _HEADER : at + _BLOCK] for at in rest)])
