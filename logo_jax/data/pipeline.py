"""Prepared sets to batches, with Grain.

Everything random about a clip is a function of (seed, epoch, row), and the clips of a batch are a
function of its number. So batches do not depend on the number of workers or hosts, and a run
resumes at any step without any saved state but that number.

With worker processes, a script needs the usual `if __name__ == "__main__":` guard.
"""

import dataclasses
import functools
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from logo_jax.common.errors import UserError
from logo_jax.data import augment as augmentation
from logo_jax.data import workers
from logo_jax.data.frame_cache import open_cache
from logo_jax.data.reader import FRAME_ORDERS, Choice, ClipSource, Reader
from logo_jax.data.sampling import Sampler

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
    cache_gib: float | int = 0.0,
    cache_dir: str | Path = "",
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
            "reversed", "frozen", "thinned", "single" (see `reader.FRAME_ORDERS`).
        class_balanced: share of the draws, 0 to 1, that are uniform over the classes of `rows`.
        cache_gib: bound of the cache of decoded frames, GiB; 0 is none. Of a clip that it does not
            know it decodes all frames, so that the second epoch need not decode any.
        cache_dir: folder of caches; "" is one beside the prepared set.
        process_index: number of this host.
        process_count: number of hosts.

    Yields:
        `frames` uint8 [b T S S 3], `label` int32 [b], `row` int32 [b], `mask` float32 [b] of
        ones, `crop` float32 [b 4], `flip` bool [b], `brightness` and `contrast` float32 [b], with
        b = batch_size / process_count.

    Raises:
        UserError: a frame cannot be decoded (names clip and frame), or an argument is wrong.
    """
    order = _checked_order(frame_order)
    cache = open_cache(prepared, frame_size, cache_gib, cache_dir)
    batches = _TrainBatches(
        reader=Reader(prepared, sampler, frame_size, order, cache, whole_clips=True),
        rows=_checked_rows(rows),
        rows_of_classes=_rows_of_classes(prepared, rows, class_balanced),
        class_balanced=class_balanced,
        batch_size=batch_size,
        host_rows=_host_rows(batch_size, process_index, process_count),
        seed=seed,
        augment=augment,
    )
    return workers.iterate(batches, range(start_step, total_steps), num_workers)


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
    cache_gib: float | int = 0.0,
    cache_dir: str | Path = "",
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield this host's share of batches that show every clip of `rows` once, in order.

    All hosts yield the same number of batches of the same size. The last is filled up with
    padding: `mask` 0, `row` -1, black frames. Arguments as for `train_batches`; the sampler is
    called with `rng=None`, and `seed` serves `frame_order="shuffled"` only. With a list of
    samplers, one for each temporal view, each batch comes once for each of them before the next.
    The cache takes the frames that are shown, not whole clips; where training has filled its bound
    it is left out, with a warning.

    Yields:
        `frames` uint8 [b T S S 3], `label` int32 [b], `row` int32 [b], `mask` float32 [b].

    Raises:
        UserError: a frame cannot be decoded (names clip and frame), or an argument is wrong.
    """
    samplers = sampler if isinstance(sampler, Sequence) else [sampler]
    order = _checked_order(frame_order)
    cache = open_cache(prepared, frame_size, cache_gib, cache_dir, beside=True)
    batches = _EvalBatches(
        readers=[
            Reader(prepared, view, frame_size, order, cache, whole_clips=False) for view in samplers
        ],
        rows=_checked_rows(rows),
        batch_size=batch_size,
        host_rows=_host_rows(batch_size, process_index, process_count),
        seed=seed,
    )
    steps = range(-(-len(rows) // batch_size) * len(samplers))
    return workers.iterate(batches, steps, num_workers)


@dataclasses.dataclass(frozen=True)
class _TrainBatches:
    reader: Reader
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
        choices, draws = [], []
        for place in places:
            epoch, within = divmod(place, len(self.rows))
            rows = order(epoch)
            # Only class-balanced draws repeat a clip within an epoch.
            repeat = int(np.count_nonzero(rows[:within] == rows[within]))
            words = (self.seed, epoch, int(rows[within])), (repeat,) if repeat else ()
            choice = self.reader.choose(
                int(rows[within]),
                _stream(_SAMPLING, *words),
                functools.partial(_stream, _SHUFFLING, *words),
            )
            choices.append(choice)
            draws.append(augmentation.draw(_stream(_AUGMENTATION, *words), self.augment))
        batch = self.reader.batch(choices, len(places), length=len(choices[0][1]))
        return batch | {name: np.stack([draw[name] for draw in draws]) for name in draws[0]}

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


@dataclasses.dataclass(frozen=True)
class _EvalBatches:
    readers: list[Reader]  # one for each temporal view
    rows: np.ndarray
    batch_size: int
    host_rows: range
    seed: int

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        number, view = divmod(int(step), len(self.readers))
        places = [number * self.batch_size + position for position in self.host_rows]
        rows = [int(self.rows[place]) for place in places if place < len(self.rows)]
        choices = [self._choose(view, row) for row in rows]
        # A host may have nothing but padding; its shape is that of any clip.
        _, shown = choices[0] if choices else self._choose(view, int(self.rows[0]))
        return self.readers[view].batch(choices, len(places), length=len(shown))

    def _choose(self, view: int, row: int) -> Choice:
        shuffling = functools.partial(_stream, _SHUFFLING, (self.seed, 0, row), ())
        return self.readers[view].choose(row, None, shuffling)


def _stream(purpose: int, key: tuple[int, ...], repeat: tuple[int, ...]) -> np.random.Generator:
    return np.random.default_rng((*key, purpose, *repeat))


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
