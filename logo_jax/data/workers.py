"""Batches by number, made here or in worker processes, with Grain."""

import contextlib
import ctypes
import math
import multiprocessing.resource_tracker
import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import cv2
import grain
import grain.multiprocessing
import numpy as np
from absl import flags
from jaxtyping import UInt8

from logo_jax.common.errors import UserError
from logo_jax.data import pool

# The alignment that JAX asks for: on a CPU, a batch that has it becomes a device array uncopied.
_ALIGNMENT = 64
_SHARED_MEMORY = Path("/dev/shm")

# Options of glibc's mallopt, see malloc.h, and the size below which freed memory is kept.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT = 2**30

_in_worker = False


def iterate(
    batches: Callable[[int], dict[str, np.ndarray]], steps: range, num_workers: int
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield `batches(step)` for each of `steps`; closing the generator ends the workers."""
    if len(steps) == 0:
        return
    if num_workers == 0:
        _keep_freed_memory()
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
def new_frames(shape: tuple[int, ...]) -> Iterator[UInt8[np.ndarray, "..."]]:
    """Give memory for the frames of a batch, to be filled in the block.

    In a worker it is memory that the parent reads, so that Grain need not copy the frames there.

    Raises:
        UserError: the machine's shared memory is full.
    """
    if not _in_worker:
        size = math.prod(shape)
        memory = np.empty(size + _ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        yield memory[start : start + size].reshape(shape)
        return
    shared = grain.multiprocessing.SharedMemoryArray(shape, np.uint8)
    try:
        _reserve(shared.shm.name, shared.nbytes)
        yield shared
    except BaseException:
        shared.unlink_on_del()  # nobody else will free it
        raise


def _reserve(name: str, size: int) -> None:
    """Make sure that shared memory is there: writing to what is not would kill the process."""
    path = _SHARED_MEMORY / name
    if not path.exists():  # another system than Linux
        return
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise UserError(
            f"A batch of {size / 2**20:,.0f} MiB does not fit into {_SHARED_MEMORY} "
            f"({error.strerror}): give the machine or container more of it (docker run "
            "--shm-size=8g), or set config.data.num_workers=0."
        ) from error


def _keep_freed_memory() -> None:
    """Let the next batch have the memory of the last one, where glibc is the C library.

    By default memory of this size goes back to the system when it is freed, and the system clears
    each page of it before it gives it out again, which can take as long as decoding.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


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
    global _in_worker
    _in_worker = True
    # Ctrl-C in a terminal and a scheduler's SIGTERM reach every process of the group, but the
    # parent alone decides: it finishes its step, which may need another batch, and ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _keep_freed_memory()
    pool.end_with_parent()  # Grain's workers do not notice when it was killed
    cv2.setNumThreads(0)  # the workers share the cores already
