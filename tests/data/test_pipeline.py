"""Batches: order, resumption, hosts, workers, padding, and what a broken frame says."""

import functools
from collections import Counter

import numpy as np
import pytest
from absl import flags

from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, decode, pipeline
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.sampling import dynamic_sampling

SAMPLER = functools.partial(dynamic_sampling, segments=4, duration=2)
TRAIN = {
    "batch_size": 4,
    "total_steps": 9,
    "seed": 3,
    "sampler": SAMPLER,
    "frame_size": 16,
    "augment": AugmentConfig(brightness=0.3, contrast=0.2),
}
EVAL = {"batch_size": 4, "sampler": SAMPLER, "frame_size": 16}


@pytest.fixture(scope="module", autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()


def assert_same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def glue(hosts):
    """Put the shares of all hosts together to global batches."""
    return [
        {name: np.concatenate([share[name] for share in shares]) for name in shares[0]}
        for shares in zip(*hosts, strict=True)
    ]


def test_a_batch_has_the_promised_arrays(noise_set):
    batch = next(pipeline.train_batches(noise_set, noise_set.rows("train"), **TRAIN))
    found = {name: (value.dtype.name, value.shape) for name, value in batch.items()}
    assert found == {
        "frames": ("uint8", (4, 8, 16, 16, 3)),
        "label": ("int32", (4,)),
        "row": ("int32", (4,)),
        "mask": ("float32", (4,)),
        "crop": ("float32", (4, 4)),
        "flip": ("bool", (4,)),
        "brightness": ("float32", (4,)),
        "contrast": ("float32", (4,)),
    }
    np.testing.assert_array_equal(batch["label"], noise_set.labels[batch["row"]])
    np.testing.assert_array_equal(batch["mask"], 1)


def test_frames_are_those_that_the_sampler_chose(noise_set):
    (batch,) = pipeline.eval_batches(noise_set, np.array([20]), **{**EVAL, "batch_size": 1})
    clip = noise_set[20]
    expected = [clip["frames"][i] for i in SAMPLER(clip["num_frames"])]
    np.testing.assert_array_equal(batch["frames"][0], decode.decode_frames(expected, 16))


# A worker takes seconds to start, most of them for importing Grain.
@pytest.mark.parametrize(
    "num_workers",
    [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)],
)
def test_workers_change_nothing(noise_set, num_workers):
    rows = noise_set.rows("train")
    with_workers = pipeline.train_batches(noise_set, rows, **TRAIN, num_workers=num_workers)
    assert_same(with_workers, pipeline.train_batches(noise_set, rows, **TRAIN))


@pytest.mark.slow
def test_a_resumed_run_may_change_its_workers(noise_set):
    rows = noise_set.rows("train")
    whole = list(pipeline.train_batches(noise_set, rows, **TRAIN, num_workers=2))
    resumed = pipeline.train_batches(noise_set, rows, **TRAIN, start_step=5, num_workers=3)
    assert_same(resumed, whole[5:])


@pytest.mark.slow
def test_workers_change_nothing_in_evaluation(noise_set):
    rows = noise_set.rows("test")
    with_workers = pipeline.eval_batches(noise_set, rows, **EVAL, num_workers=2)
    assert_same(with_workers, pipeline.eval_batches(noise_set, rows, **EVAL))


@pytest.mark.parametrize("start", [1, 4, 8])
def test_a_resumed_run_gets_the_batches_that_would_have_come(noise_set, start):
    rows = noise_set.rows("train")
    whole = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    assert_same(pipeline.train_batches(noise_set, rows, **TRAIN, start_step=start), whole[start:])


def test_a_finished_run_gets_no_batch(noise_set):
    rows = noise_set.rows("train")
    assert list(pipeline.train_batches(noise_set, rows, **TRAIN, start_step=9)) == []


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_share_the_global_batches(noise_set, count):
    train, test = noise_set.rows("train"), noise_set.rows("test")
    hosts = [{"process_index": index, "process_count": count} for index in range(count)]
    shares = [pipeline.train_batches(noise_set, train, **TRAIN, **host) for host in hosts]
    assert_same(glue(shares), pipeline.train_batches(noise_set, train, **TRAIN))
    shares = [pipeline.eval_batches(noise_set, test, **EVAL, **host) for host in hosts]
    assert_same(glue(shares), pipeline.eval_batches(noise_set, test, **EVAL))


@pytest.mark.parametrize(("num_clips", "batch_size"), [(14, 4), (14, 7), (3, 8), (1, 4)])
def test_every_clip_once_per_epoch(noise_set, num_clips, batch_size):
    rows = noise_set.rows("train")[:num_clips]
    steps = -(-3 * num_clips // batch_size)
    settings = TRAIN | {"batch_size": batch_size, "total_steps": steps}
    seen = np.concatenate([b["row"] for b in pipeline.train_batches(noise_set, rows, **settings)])
    epochs = [seen[i * num_clips : (i + 1) * num_clips] for i in range(3)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), rows)
    if num_clips == 14:
        assert len({tuple(epoch) for epoch in epochs}) == 3  # each in an order of its own


@pytest.mark.parametrize(("num_clips", "hosts"), [(7, 1), (7, 2), (5, 4), (1, 4), (4, 2)])
def test_evaluation_sees_every_clip_once(noise_set, num_clips, hosts):
    rows = noise_set.rows("test")[:num_clips]
    batches = glue(
        pipeline.eval_batches(noise_set, rows, **EVAL, process_index=index, process_count=hosts)
        for index in range(hosts)
    )
    row = np.concatenate([batch["row"] for batch in batches])
    mask = np.concatenate([batch["mask"] for batch in batches])
    np.testing.assert_array_equal(row[mask == 1], rows)
    np.testing.assert_array_equal(row[mask == 0], -1)
    assert all(len(batch["row"]) == 4 for batch in batches)


def test_draws_depend_on_seed_epoch_and_row_alone(noise_set):
    rows = noise_set.rows("train")[:6]

    def draws(**changes):
        found = {}
        for step, batch in enumerate(
            pipeline.train_batches(noise_set, rows, **(TRAIN | {"total_steps": 6} | changes))
        ):
            for i, row in enumerate(batch["row"]):
                size = len(batch["row"])
                key = ((step * size + i) // len(rows), int(row))
                found[key] = tuple(batch["crop"][i]), batch["frames"][i].tobytes()
        return found

    assert draws(batch_size=3, total_steps=4) == draws(batch_size=6, total_steps=2)
    assert not set(draws().values()) & set(draws(seed=4).values())
    assert max(Counter(crop for crop, _ in draws().values()).values()) == 1


def test_frame_orders(noise_set):
    rows = np.array([20])  # 23 frames, all sampled frames differ

    def frames(order, **more):
        settings = EVAL | {"batch_size": 1} | more
        (batch,) = pipeline.eval_batches(noise_set, rows, frame_order=order, **settings)
        return batch["frames"][0]

    natural = frames("natural")
    np.testing.assert_array_equal(frames("reversed"), natural[::-1])
    shuffled = frames("shuffled")
    assert sorted(f.tobytes() for f in shuffled) == sorted(f.tobytes() for f in natural)
    assert not np.array_equal(shuffled, natural)
    np.testing.assert_array_equal(shuffled, frames("shuffled"))
    assert not np.array_equal(shuffled, frames("shuffled", seed=1))
    centre = decode.decode_frames([noise_set[20]["frames"][11]], 16)
    np.testing.assert_array_equal(frames("single"), np.repeat(centre, 8, axis=0))
    with pytest.raises(UserError, match=r'Unknown frame order "random"'):
        frames("random")


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_broken_frame_is_named(noise_builder, tmp_path, num_workers):
    folder = noise_builder(data_dir=tmp_path, broken=True).prepare()
    rows = np.array([5])
    batches = pipeline.eval_batches(PreparedSet(folder), rows, **EVAL, num_workers=num_workers)
    with pytest.raises(UserError, match=r"Frame 1 of clip clip 5 cannot be decoded: .*1\.0\.0"):
        list(batches)


def test_wrong_arguments_are_refused(noise_set):
    rows = noise_set.rows("train")
    with pytest.raises(UserError, match="batch size 4 cannot be shared by 3 hosts"):
        pipeline.train_batches(noise_set, rows, **TRAIN, process_count=3)
    with pytest.raises(UserError, match="no clips"):
        pipeline.train_batches(noise_set, rows[:0], **TRAIN)
