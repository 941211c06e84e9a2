"""All clip folders of a copy, examined by worker processes and folded into a few arrays.

Memory: eight bytes a frame and a few numbers a clip, whatever the number of files.
"""

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Int, UInt64

from logo_jax.common.progress import Progress
from logo_jax.data.doctor.clip import DECODE_NONE, Task, clip_digests, scan_clips
from logo_jax.data.doctor.copy import Copy
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.pool import ordered_map

# Clips that a worker examines at a time: enough that passing them on costs nothing.
CHUNK = 32
# Fewer clips are examined in this process: starting workers takes longer.
FEW = 64


@dataclasses.dataclass
class Tally:
    """What was seen in all clips; row i is the clip i.

    Attributes:
        num_frames: frames of each clip.
        keys: a number for each frame of all clips in a row, equal for equal files.
        sizes: (width, height) -> clips that have such frames.
        mixed, not_square: whether the clip has frames of several sizes, or not square ones.
        num_bytes: of all frames.
    """

    num_frames: Int[np.ndarray, " clips"]
    keys: UInt64[np.ndarray, " frames"]
    sizes: Counter[tuple[int, int]]
    mixed: Bool[np.ndarray, " clips"]
    not_square: Bool[np.ndarray, " clips"]
    num_bytes: int

    @functools.cached_property
    def clip_of_frame(self) -> Int[np.ndarray, " frames"]:
        """Row of the clip of each frame."""
        return np.repeat(np.arange(len(self.num_frames)), self.num_frames)


def scan(copy: Copy, findings: Findings, num_workers: int, decode: str = DECODE_NONE) -> Tally:
    """Examine clip folders and note what is wrong in them.

    Args:
        copy: whose clips.
        findings: where issues are noted.
        num_workers: processes; 0 does the work in this one.
        decode: "none", "sample" (one frame a clip) or "all": frames that are decoded.
    """
    num_clips = len(copy.clips)
    num_frames = np.zeros(num_clips, np.int32)
    mixed, not_square = np.zeros((2, num_clips), bool)
    keys = bytearray()
    sizes: Counter[tuple[int, int]] = Counter()
    num_bytes = 0
    tasks = (Task(str(copy.root), copy.folder(clip), decode) for clip in copy.clips)
    workers = num_workers if num_clips > FEW else 0
    progress = Progress(num_clips, "Examining", "clips")
    row = 0
    for found in ordered_map(scan_clips, chunks(tasks, CHUNK), workers):
        for clip in found:
            num_frames[row] = clip.num_frames
            keys += clip.keys
            sizes.update(clip.sizes)
            mixed[row] = len(clip.sizes) > 1
            not_square[row] = any(width != height for width, height in clip.sizes)
            num_bytes += clip.num_bytes
            for code, example in clip.issues:
                findings.add(code, example, clips=[copy.clips[row].name] if clip.num_frames else [])
            row += 1
        progress.update(len(found))
    progress.close()
    return Tally(num_frames, np.frombuffer(bytes(keys), np.uint64), sizes, mixed, not_square,
                 num_bytes)  # fmt: skip


def digests(folders: Sequence[str], num_workers: int) -> dict[str, list[bytes]]:
    """Hash every frame of some clips: folder -> a hash for each frame in temporal order."""
    workers = num_workers if len(folders) > FEW else 0
    progress = Progress(len(folders), "Comparing", "clips")
    found: dict[str, list[bytes]] = {}
    for folder, hashes in zip(folders, ordered_map(clip_digests, folders, workers), strict=True):
        found[folder] = hashes
        progress.update()
    progress.close()
    return found


def chunks(items: Iterator[Task], size: int) -> Iterator[list[Task]]:
    """Cut a stream of tasks into lists of at most `size`."""
    chunk: list[Task] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
