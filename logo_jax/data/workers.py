"""Batches by number, made here or in worker processes, with Grain."""

import contextlib
import functools
import math
import multiprocessing.resource_tracker
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator

import cv2
import grain
import numpy as np
from absl import flags
from jaxtyping import UInt8

from logo_jax.common import heap
from logo_jax.common.errors import STOP_SIGNALS
from logo_jax.data import pool, shared_frames

# The alignment that JAX asks for: on a CPU, a batch that has it becomes a device array uncopied.
_ALIGNMENT = 64

# In a worker: memory that the parent reads.
_slots: shared_frames.Slots | None = None


def iterate(
    batches: Callable[[int], dict[str, np.ndarray]], steps: range, num_workers: int
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield `batches(step)` for each of `steps`; closing the generator ends the workers."""
    if len(steps) == 0:
        return
    # A batch is tens of megabytes; Grain's defaults would read 500 ahead in 16 threads.
    plain = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = grain.MapDataset.range(steps.start, steps.stop).map(batches).to_iter_dataset(plain)
    with contextlib.ExitStack() as stack:
        if num_workers > 0:
            file = None
            if shared_frames.AVAILABLE:
                file = os.getpid(), stack.enter_context(shared_frames.shared_file(num_workers))
                # Frames are shared already, and Grain need not make shared memory for the rest.
                sent_as_they_are = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
                dataset = grain.experimental.WithOptionsIterDataset(dataset, sent_as_they_are)
            if not flags.FLAGS.is_parsed():
                # Grain passes the flags on to its workers; a notebook never parses any.
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(
                num_workers=num_workers, per_worker_buffer_size=2
            )
            dataset = dataset.mp_prefetch(options, functools.partial(_start_worker, file))
        iterator = iter(dataset)
        stack.callback(iterator.close)  # ends the workers
        if num_workers > 0:
            with _stop_signals_held():
                first = next(iterator)  # starts the workers
            yield first
        yield from iterator


@contextlib.contextmanager
def new_frames(shape: tuple[int, ...]) -> Iterator[UInt8[np.ndarray, "..."]]:
    """Give memory for the frames of a batch, to be filled in the block."""
    if _slots is not None:
        with _slots.frames(shape) as frames:
            yield frames
        return
    size = math.prod(shape)
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    yield memory[start : start + size].reshape(shape)


@contextlib.contextmanager
def _stop_signals_held() -> Iterator[None]:
    """Hold stop signals back for the block; processes that it starts hold them for good.

    A worker that is still importing would die of a signal to the group, before `_start_worker`.
    """
    multiprocessing.resource_tracker.ensure_running()  # which must not hold them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(file: tuple[int, int] | None, index: int, count: int) -> None:
    global _slots
    if file is not None:
        _slots = shared_frames.Slots(*file, index)
    # Ctrl-C in a terminal, its end, and a scheduler's SIGTERM reach every process of the group, but
    # the parent alone decides: it finishes its step, which may need another batch, and ends us.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    heap.keep_freed_memory()
    pool.end_with_parent()  # Grain's workers do not notice when it was killed
    cv2.setNumThreads(0)  # the workers share the cores already
