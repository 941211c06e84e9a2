"""Frames that workers leave in shared memory: nobody's memory is given away, and none piles up."""

import functools
import multiprocessing
import os
import pickle

import numpy as np
import pytest

from logo_jax.data import pipeline, shared_frames
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.sampling import dynamic_sampling

pytestmark = pytest.mark.skipif(not shared_frames.AVAILABLE, reason="this system has no memfd")

SHAPE = (2, 3, 40, 40, 3)


def send(slots, value):
    """Fill a slot as a worker does, and receive it as the parent does."""
    with slots.frames(SHAPE) as frames:
        frames.view(np.ndarray)[:] = value
    message = pickle.dumps(frames)
    assert len(message) < 300  # the place alone
    return pickle.loads(message)


def test_a_slot_is_filled_again_once_nobody_refers_to_it():
    with shared_frames.shared_file(2) as number:
        workers = [shared_frames.Slots(os.getpid(), number, index) for index in range(2)]
        batches = [send(workers[value % 2], value) for value in range(6)]
        view = batches[2][1, :, 5:9, ::-1].view()
        buffer = memoryview(batches[4])
        places = [batch.ctypes.data for batch in batches]
        assert len(set(places)) == 6 and all(place % 64 == 0 for place in places)
        size = os.fstat(number).st_blocks
        del batches[2], batches[3]  # those of the values 2 and 4; parts of both are still in use
        for value in (10, 12, 14):
            send(workers[0], value)  # let go of at once: all three in the same fourth slot
        assert (view == 2).all() and (np.asarray(buffer) == 4).all()
        assert os.fstat(number).st_blocks == size * 7 // 6
        del view, buffer
        more = [send(workers[0], value) for value in (20, 21, 22)]
        assert os.fstat(number).st_blocks == size * 7 // 6
        for batch, value in zip([*batches, *more], (0, 1, 3, 5, 20, 21, 22), strict=True):
            assert (batch == value).all()
    assert all((batch == value).all() for batch, value in zip(more, (20, 21, 22), strict=True))


def test_a_slot_whose_filling_failed_is_free():
    with shared_frames.shared_file(1) as number:
        slots = shared_frames.Slots(os.getpid(), number, 0)
        with pytest.raises(KeyError), slots.frames(SHAPE):
            raise KeyError
        send(slots, 1)
        assert os.fstat(number).st_blocks * 512 < 2 * np.prod(SHAPE)


def test_batches_that_are_kept_stay_what_they_were(noise_set):
    settings = {
        "batch_size": 4,
        "total_steps": 40,
        "seed": 3,
        "sampler": functools.partial(dynamic_sampling, segments=4, duration=2),
        "frame_size": 16,
        "augment": AugmentConfig(),
    }
    rows = noise_set.rows("train")
    expected = list(pipeline.train_batches(noise_set, rows, **settings))
    found = list(pipeline.train_batches(noise_set, rows, **settings, num_workers=1))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["frames"], other["frames"])


def test_a_worker_can_empty_its_own_queue():
    """Grain has it do so when training ends; the slots are open in the parent only."""
    with shared_frames.shared_file(1) as number:
        slots = shared_frames.Slots(os.getpid(), number, 0)
        with slots.frames(SHAPE) as frames:
            message = pickle.dumps(frames)
        unseen = functools.partial(pickle.loads, message)
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            assert pool.apply(unseen).size == 0
