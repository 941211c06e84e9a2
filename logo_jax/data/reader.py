"""The frames of a clip that the model sees, decoded into the memory of a batch."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from logo_jax.common.errors import UserError
from logo_jax.data.decode import decode_into
from logo_jax.data.frame_cache import FrameCache
from logo_jax.data.interpolation import mix
from logo_jax.data.sampling import Sampler
from logo_jax.data.workers import new_frames

# Beside the order itself: "single" repeats the middle frame of the clip, "frozen" the sampled frame
# that differs most from the first sampled one (`apex`), "thinned" every second sampled frame.
FRAME_ORDERS = ("natural", "shuffled", "reversed", "frozen", "thinned", "single")


@runtime_checkable
class ClipSource(Protocol):
    """What batches are made of: a PreparedSet, or the ClipFiles of a prediction."""

    clip_ids: list[str]
    labels: Int[np.ndarray, " N"]
    num_frames: Int[np.ndarray, " N"]

    @property
    def mend(self) -> str:
        """What to do about a frame that cannot be decoded."""

    def read(self, row: int, indices: Int[np.ndarray, " n"]) -> list[bytes]:
        """Read frames of one clip, encoded."""


# A clip's row, and the indices [T] of frames to show or the weights [T, n] with which to mix them.
Choice = tuple[int, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads and decodes the sampled frames of clips.

    With a cache, `whole_clips` keeps every frame of a clip when the first one is decoded: random
    sampling shows others in the next epoch.
    """

    source: ClipSource
    sampler: Sampler
    frame_size: int
    frame_order: str
    cache: FrameCache | None
    whole_clips: bool

    def choose(
        self,
        row: int,
        sampling: np.random.Generator | None,
        shuffling: Callable[[], np.random.Generator],
    ) -> Choice:
        """Choose the frames of a clip, in the order in which they are shown."""
        num_frames = int(self.source.num_frames[row])
        chosen = self.sampler(num_frames, rng=sampling)
        if self.frame_order == "single":
            chosen = np.full(len(chosen), num_frames // 2)
        elif self.frame_order == "reversed":
            chosen = chosen[::-1]
        elif self.frame_order == "shuffled":
            chosen = shuffling().permutation(chosen)
        elif self.frame_order == "thinned":
            chosen = chosen[np.arange(len(chosen)) // 2 * 2]
        return row, chosen

    def batch(self, choices: Sequence[Choice], size: int, length: int) -> dict[str, np.ndarray]:
        """Read the clips of `choices`, and fill the batch up to `size` clips with padding.

        Args:
            choices: of `choose`.
            size: b, clips of the batch.
            length: T, frames of each.

        Returns:
            `frames` uint8 [b T S S 3], `label` int32 [b], `row` int32 [b], `mask` float32 [b];
            padding has black frames, row -1 and label and mask 0.
        """
        row = np.full(size, -1, np.int32)
        row[: len(choices)] = [clip for clip, _ in choices]
        mask = (row >= 0).astype(np.float32)
        label = np.where(row >= 0, self.source.labels[row], 0).astype(np.int32)
        with new_frames((size, length, self.frame_size, self.frame_size, 3)) as frames:
            plain = frames.view(np.ndarray)
            for choice, out in zip(choices, plain, strict=False):
                self._fill(*choice, out)
            plain[len(choices) :] = 0
        return {"frames": frames, "label": label, "row": row, "mask": mask}

    def _fill(self, row: int, chosen: np.ndarray, out: UInt8[np.ndarray, "T S S 3"]) -> None:
        if chosen.ndim == 1 and (chosen[1:] > chosen[:-1]).all():  # in order, and none twice
            self._decode(row, chosen, list(out))
        elif chosen.ndim == 1:
            wanted, first, inverse = np.unique(chosen, return_index=True, return_inverse=True)
            self._decode(row, wanted, [out[place] for place in first])
            for place, original in enumerate(first[inverse]):
                if place != original:
                    out[place] = out[original]
        else:
            wanted = np.flatnonzero(chosen.any(0))
            frames = np.empty((len(wanted), *out.shape[1:]), np.uint8)
            self._decode(row, wanted, list(frames))
            out[:] = mix(frames, chosen[:, wanted])
        if self.frame_order == "frozen":
            out[:] = out[apex(out)].copy()

    def _decode(
        self, row: int, indices: Int[np.ndarray, " n"], outs: list[UInt8[np.ndarray, "S S 3"]]
    ) -> None:
        """Put frames of a clip where they are wanted, from the cache as far as it has them."""
        frames = dict(zip(indices.tolist(), outs, strict=True))
        if self.cache is not None:
            cached = [index for index, out in frames.items() if self.cache.read(row, index, out)]
            for index in cached:
                del frames[index]
        if not frames:
            return
        encoded = self.source.read(row, np.array(list(frames)))
        for (index, out), data in zip(frames.items(), encoded, strict=True):
            try:
                decode_into(data, out)
            except UserError as error:
                raise UserError(
                    f"Frame {index} of clip {self.source.clip_ids[row]} cannot be decoded: "
                    f"{error}. {self.source.mend}"
                ) from error
        if self.cache is not None and not self.cache.full:
            if self.whole_clips:
                frames |= self._others(row, indices)
            self.cache.write(row, frames)

    def _others(self, row: int, wanted: Int[np.ndarray, " n"]) -> dict[int, np.ndarray]:
        """The frames of a clip that are not wanted now, and not in the cache."""
        assert self.cache is not None
        absent = np.setdiff1d(self.cache.absent(row), wanted)
        if not len(absent):
            return {}
        others = {}
        for index, data in zip(absent.tolist(), self.source.read(row, absent), strict=True):
            out = np.empty((self.frame_size, self.frame_size, 3), np.uint8)
            try:
                decode_into(data, out)
            except UserError:
                continue  # an error when it is wanted, as without a cache
            others[index] = out
        return others


def apex(frames: UInt8[np.ndarray, "T S S 3"]) -> int:
    """The frame that differs most, in mean absolute pixel value, from the first one.

    No set in use marks the apex of its clips; this is how apex frames are found where the first
    frame is the onset. A clip of equal frames gives 0.
    """
    first = frames[0].astype(np.int16)
    return int(np.argmax([np.abs(frame - first).mean() for frame in frames]))
