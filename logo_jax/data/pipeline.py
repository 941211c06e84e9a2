"""Prepared sets to batches, with Grain.

Everything random about a clip is a function of (seed, epoch, row), and the clips of a batch are a
function of its number. So batches do not depend on the number of workers or hosts, and a run
resumes at any step without any saved state but that number.

With worker processes, a script needs the usual `if __name__ == "__main__":` guard.
"""

import contextlib
import dataclasses
import functools
import multiprocessing.resource_tracker
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import grain
import numpy as np
from absl import flags
from jaxtyping import Int, UInt8

from logo_jax.common.errors import UserError
from logo_jax.data import augment as augmentation
from logo_jax.data import pool
from logo_jax.data.decode import decode_frames
from logo_jax.data.interpolation import mix
from logo_jax.data.sampling import Sampler

# Beside the order itself: "single" repeats the middle frame of the clip, "frozen" the sampled frame
# that differs most from the first sampled one (`apex`), "thinned" every second sampled frame.
FRAME_ORDERS = ("natural", "shuffled", "reversed", "frozen", "thinned", "single")


@runtime_checkable
class ClipSource(Protocol):
    """What batches are made of: a PreparedSet, or the ClipFiles of a prediction."""

    @property
    def mend(self) -> str:
        """What to do about a frame that cannot be decoded."""

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Return `frames` (encoded), `num_frames`, `clip_id` and `label` of one clip."""


# Streams of random numbers that must not repeat each other, by purpose.
_ORDER, _SAMPLING, _AUGMENTATION, _SHUFFLING = range(4)
_BALANCING = 5  # 4 draws the validation split


def train_batches(
    prepared: ClipSource,
    rows: Int[np.ndarray, " N"],
    *,
    batch_size: int,
    total_steps: int,
    seed: int,
    sampler: Sampler,
    frame_size: int,
    augment: augmentation.AugmentConfig,
    start_step: int = 0,
    num_workers: int = 0,
    frame_order: str = "natural",
    class_balanced: float | int = 0.0,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield this host's share of the global batches `start_step` .. `total_steps - 1`.

    Each epoch takes every clip once, in an order of its own; batches run across the ends of
    epochs, so that none is short. With `class_balanced`, that share of an epoch's draws, at random
    places, takes a class, all alike, and a clip of it instead (Kang et al. 2020, section 4.1).

    Args:
        prepared: the set; a PreparedSet where `class_balanced` is above 0.
        rows: the clips to train on.
        batch_size: clips of a global batch; a multiple of `process_count`.
        total_steps: number of global batches of the whole run.
        seed: of order, sampling and augmentation.
        sampler: called as `sampler(num_frames, rng=generator)` for the frames of a clip: gives
            indices [T] of frames, or weights [T, num_frames] with which all are mixed.
        frame_size: S, height and width to which frames are decoded.
        augment: what to draw for each clip.
        start_step: global batches that an earlier run has taken.
        num_workers: processes that read and decode; 0 works in this one.
        frame_order: "natural", or a control: "shuffled" (frames of each clip in a random order),
            "reversed", "single" (the centre frame repeated).
        class_balanced: share of the draws, 0 to 1, that are uniform over the classes of `rows`.
        process_index: number of this host.
        process_count: number of hosts.

    Yields:
        `frames` uint8 [b T S S 3], `label` int32 [b], `row` int32 [b], `mask` float32 [b] of
        ones, `crop` float32 [b 4], `flip` bool [b], `brightness` and `contrast` float32 [b], with
        b = batch_size / process_count.

    Raises:
        UserError: a frame cannot be decoded (names clip and frame), or an argument is wrong.
    """
    batches = _TrainBatches(
        reader=_Reader(prepared, sampler, frame_size, _checked_order(frame_order)),
        rows=_checked_rows(rows),
        rows_of_classes=_rows_of_classes(prepared, rows, class_balanced),
        class_balanced=class_balanced,
        batch_size=batch_size,
        host_rows=_host_rows(batch_size, process_index, process_count),
        seed=seed,
        augment=augment,
    )
    return _iterate(batches, range(start_step, total_steps), num_workers)


def eval_batches(
    prepared: ClipSource,
    rows: Int[np.ndarray, " N"],
    *,
    batch_size: int,
    sampler: Sampler | Sequence[Sampler],
    frame_size: int,
    num_workers: int = 0,
    frame_order: str = "natural",
    seed: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield this host's share of batches that show every clip of `rows` once, in order.

    All hosts yield the same number of batches of the same size. The last is filled up with
    padding: `mask` 0, `row` -1, black frames. Arguments as for `train_batches`; the sampler is
    called with `rng=None`, and `seed` serves `frame_order="shuffled"` only. With a list of
    samplers, one for each temporal view, each batch comes once for each of them before the next.

    Yields:
        `frames` uint8 [b T S S 3], `label` int32 [b], `row` int32 [b], `mask` float32 [b].

    Raises:
        UserError: a frame cannot be decoded (names clip and frame), or an argument is wrong.
    """
    samplers = sampler if isinstance(sampler, Sequence) else [sampler]
    order = _checked_order(frame_order)
    batches = _EvalBatches(
        readers=[_Reader(prepared, view, frame_size, order) for view in samplers],
        rows=_checked_rows(rows),
        batch_size=batch_size,
        host_rows=_host_rows(batch_size, process_index, process_count),
        seed=seed,
    )
    steps = range(-(-len(rows) // batch_size) * len(samplers))
    return _iterate(batches, steps, num_workers)


def apex(frames: UInt8[np.ndarray, "T S S 3"]) -> int:
    """The frame that differs most, in mean absolute pixel value, from the first one.

    No set in use marks the apex of its clips; this is how apex frames are found where the first
    frame is the onset. A clip of equal frames gives 0.
    """
    first = frames[0].astype(np.int16)
    return int(np.argmax([np.abs(frame - first).mean() for frame in frames]))


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Reads and decodes the sampled frames of a clip."""

    prepared: ClipSource
    sampler: Sampler
    frame_size: int
    frame_order: str

    def __call__(
        self, row: int, sampling: np.random.Generator | None, shuffling: np.random.Generator
    ) -> dict[str, np.ndarray]:
        clip = self.prepared[row]
        chosen = self.sampler(clip["num_frames"], rng=sampling)  # indices [T] or weights [T, n]
        if self.frame_order == "single":
            chosen = np.full(len(chosen), clip["num_frames"] // 2)
        elif self.frame_order == "reversed":
            chosen = chosen[::-1]
        elif self.frame_order == "shuffled":
            chosen = shuffling.permutation(chosen)
        elif self.frame_order == "thinned":
            chosen = chosen[np.arange(len(chosen)) // 2 * 2]
        if chosen.ndim == 1:
            wanted, inverse = np.unique(chosen, return_inverse=True)
            frames = self._decode(clip, wanted)[inverse]
        else:
            wanted = np.flatnonzero(chosen.any(0))
            frames = mix(self._decode(clip, wanted), chosen[:, wanted])
        if self.frame_order == "frozen":
            frames = np.repeat(frames[[apex(frames)]], len(frames), axis=0)
        return {
            "frames": frames,  # [T S S 3]
            "label": np.array(clip["label"], np.int32),
            "row": np.array(row, np.int32),
            "mask": np.array(1, np.float32),
        }

    def _decode(self, clip: dict[str, Any], indices: np.ndarray) -> np.ndarray:
        frames = np.empty((len(indices), self.frame_size, self.frame_size, 3), np.uint8)
        for place, index in enumerate(indices):
            try:
                frames[place] = decode_frames([clip["frames"][index]], self.frame_size)[0]
            except UserError as error:
                raise UserError(
                    f"Frame {index} of clip {clip['clip_id']} cannot be decoded: {error}. "
                    f"{self.prepared.mend}"
                ) from error
        return frames


@dataclasses.dataclass(frozen=True)
class _TrainBatches:
    reader: _Reader
    rows: np.ndarray
    rows_of_classes: list[np.ndarray]  # of every class with clips; [] where nothing is balanced
    class_balanced: float
    batch_size: int
    host_rows: range
    seed: int
    augment: augmentation.AugmentConfig

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        places = [int(step) * self.batch_size + position for position in self.host_rows]
        order = functools.cache(self._order)
        clips = []
        for place in places:
            epoch, within = divmod(place, len(self.rows))
            rows = order(epoch)
            repeat = int(np.count_nonzero(rows[:within] == rows[within]))
            clips.append(self._clip(epoch, int(rows[within]), repeat))
        return _stack(clips)

    def _order(self, epoch: int) -> np.ndarray:
        order = np.random.default_rng((self.seed, epoch, _ORDER)).permutation(self.rows)
        if self.rows_of_classes:
            rng = np.random.default_rng((self.seed, epoch, _BALANCING))
            sizes = np.array([len(rows) for rows in self.rows_of_classes])
            starts = np.cumsum(sizes) - sizes
            classes = rng.integers(len(sizes), size=len(order))
            chosen = starts[classes] + rng.integers(sizes[classes])
            balanced = rng.random(len(order)) < self.class_balanced
            order = np.where(balanced, np.concatenate(self.rows_of_classes)[chosen], order)
        return order

    def _clip(self, epoch: int, row: int, repeat: int) -> dict[str, np.ndarray]:
        # Only class-balanced draws repeat a clip within an epoch.
        words = (repeat,) if repeat else ()

        def stream(purpose: int) -> np.random.Generator:
            return np.random.default_rng((self.seed, epoch, row, purpose, *words))

        clip = self.reader(row, stream(_SAMPLING), stream(_SHUFFLING))
        return clip | augmentation.draw(stream(_AUGMENTATION), self.augment)


@dataclasses.dataclass(frozen=True)
class _EvalBatches:
    readers: list[_Reader]  # one for each temporal view
    rows: np.ndarray
    batch_size: int
    host_rows: range
    seed: int

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        number, view = divmod(int(step), len(self.readers))
        places = [number * self.batch_size + position for position in self.host_rows]
        rows = [int(self.rows[place]) for place in places if place < len(self.rows)]
        clips = [self._clip(view, row) for row in rows]
        # A host may have nothing but padding; its shape is that of any clip.
        like = clips[0] if clips else self._clip(view, int(self.rows[0]))
        padding = {name: np.zeros_like(value) for name, value in like.items()}
        padding["row"] = np.array(-1, np.int32)
        return _stack(clips + [padding] * (len(places) - len(clips)))

    def _clip(self, view: int, row: int) -> dict[str, np.ndarray]:
        shuffling = np.random.default_rng((self.seed, 0, row, _SHUFFLING))
        return self.readers[view](row, None, shuffling)


def _stack(clips: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


def _iterate(
    batches: Callable[[int], dict[str, np.ndarray]], steps: range, num_workers: int
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield the batches of `steps`; closing the generator ends the workers."""
    if len(steps) == 0:
        return
    # A batch is tens of megabytes; Grain's defaults would read 500 ahead in 16 threads.
    plain = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = grain.MapDataset.range(steps.start, steps.stop).map(batches).to_iter_dataset(plain)
    if num_workers > 0:
        if not flags.FLAGS.is_parsed():
            # Grain passes the flags on to its workers; a notebook never parses any.
            flags.FLAGS.mark_as_parsed()
        options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_start_worker)
    iterator = iter(dataset)
    try:
        if num_workers > 0:
            with _stop_signals_held():
                first = next(iterator)  # starts the workers
            yield first
        yield from iterator
    finally:
        iterator.close()  # ends the workers and frees the memory that they share


@contextlib.contextmanager
def _stop_signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back for the block; processes that it starts hold them for good.

    A worker that is still importing would die of a signal to the group, before `_start_worker`.
    """
    multiprocessing.resource_tracker.ensure_running()  # which must not hold them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(index: int, count: int) -> None:
    # Ctrl-C in a terminal and a scheduler's SIGTERM reach every process of the group, but the
    # parent alone decides: it finishes its step, which may need another batch, and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pool.end_with_parent()  # Grain's workers do not notice when it was killed
    cv2.setNumThreads(0)  # the workers share the cores already


def _host_rows(batch_size: int, process_index: int, process_count: int) -> range:
    """Return the places within a global batch that host `process_index` reads."""
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"The batch size {batch_size} cannot be shared by {process_count} hosts: choose a "
            f"multiple of {process_count}."
        )
    share = batch_size // process_count
    return range(process_index * share, (process_index + 1) * share)


def _checked_rows(rows: Int[np.ndarray, " N"]) -> np.ndarray:
    if len(rows) == 0:
        raise UserError("There are no clips to make batches of.")
    return np.ascontiguousarray(rows, np.int64)


def _rows_of_classes(
    prepared: Any, rows: Int[np.ndarray, " N"], class_balanced: float | int
) -> list[np.ndarray]:
    """The rows of each class that has any; none where no draw is class-balanced."""
    if not 0 <= class_balanced <= 1:
        raise UserError(
            f"class_balanced is {class_balanced}, but is a share of the draws: choose 0 to 1."
        )
    if not class_balanced:
        return []
    labels = prepared.labels[rows]
    return [rows[labels == label] for label in np.unique(labels)]


def _checked_order(frame_order: str) -> str:
    if frame_order not in FRAME_ORDERS:
        raise UserError(
            f'Unknown frame order "{frame_order}": choose one of {", ".join(FRAME_ORDERS)}.'
        )
    return frame_order
