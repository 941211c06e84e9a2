"""Batches: order, resumption, hosts, workers, padding, and what a broken frame says."""

import functools
from collections import Counter

import numpy as np
import pytest
from absl import flags

from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, decode, pipeline, reader
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


@pytest.mark.parametrize("count", [2, 4])
def test_a_resumed_run_may_change_its_hosts(noise_set, count):
    rows = noise_set.rows("train")
    whole = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    hosts = [{"process_index": index, "process_count": count} for index in range(count)]
    shares = [pipeline.train_batches(noise_set, rows, **TRAIN, **h, start_step=5) for h in hosts]
    assert_same(glue(shares), whole[5:])  # step 5 is in the middle of an epoch


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


# Ten clips of one class (even rows) and two of the other.
UNEQUAL = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 1, 3])
ONE_FRAME = {
    "batch_size": 12,  # one batch is one epoch
    "sampler": functools.partial(dynamic_sampling, segments=1, duration=1),
    "frame_size": 8,
}


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_class_balanced_draws_are_uniform_over_classes_and_over_clips_of_a_class(noise_set, share):
    settings = TRAIN | ONE_FRAME | {"total_steps": 60, "class_balanced": share}
    batches = list(pipeline.train_batches(noise_set, UNEQUAL, **settings))
    rows = np.concatenate([batch["row"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    np.testing.assert_array_equal(labels, rows % 2)
    expected = (1 - share) * 2 / 12 + share / 2
    error = np.sqrt(expected * (1 - expected) / len(labels))
    assert abs(labels.mean() - expected) < 4 * error
    for label, clips in ((0, 10), (1, 2)):
        drawn = np.array([np.sum(rows == row) for row in UNEQUAL if row % 2 == label])
        assert len(drawn) == clips
        # Pearson's statistic has the mean clips - 1 and the variance 2 (clips - 1).
        statistic = ((drawn - drawn.mean()) ** 2).sum() / drawn.mean()
        assert statistic < clips - 1 + 4 * np.sqrt(2 * (clips - 1))


def test_class_balanced_batches_are_a_function_of_seed_and_step(noise_set):
    settings = TRAIN | {"class_balanced": 0.7}
    whole = list(pipeline.train_batches(noise_set, UNEQUAL, **settings))
    resumed = pipeline.train_batches(noise_set, UNEQUAL, **settings, start_step=5)
    assert_same(resumed, whole[5:])
    hosts = [
        pipeline.train_batches(noise_set, UNEQUAL, **settings, process_index=index, process_count=2)
        for index in range(2)
    ]
    assert_same(glue(hosts), whole)
    other = list(pipeline.train_batches(noise_set, UNEQUAL, **settings | {"seed": 4}))
    assert any((a["row"] != b["row"]).any() for a, b in zip(other, whole, strict=True))
    epochs = np.concatenate([batch["row"] for batch in whole]).reshape(3, 12)
    assert len({tuple(epoch) for epoch in epochs}) == 3  # each with draws of its own


def test_a_clip_that_comes_again_in_an_epoch_is_augmented_anew(noise_set):
    settings = TRAIN | ONE_FRAME | {"class_balanced": 1.0, "total_steps": 5}
    crops = [
        (int(row), tuple(crop))
        for batch in pipeline.train_batches(noise_set, UNEQUAL, **settings)
        for row, crop in zip(batch["row"], batch["crop"], strict=True)
    ]
    assert max(Counter(row for row, _ in crops).values()) > 5
    assert len(set(crops)) == len(crops)


def test_without_class_balanced_draws_nothing_changes(noise_set):
    rows = noise_set.rows("train")
    expected = pipeline.train_batches(noise_set, rows, **TRAIN)
    assert_same(pipeline.train_batches(noise_set, rows, **TRAIN, class_balanced=0.0), expected)
    seen = [batch["row"] for batch in pipeline.train_batches(noise_set, rows, **TRAIN)]
    # The order as it was before there were class-balanced draws: runs recorded then can resume.
    first = np.random.default_rng((TRAIN["seed"], 0, 0)).permutation(rows)
    np.testing.assert_array_equal(np.concatenate(seen)[: len(rows)], first)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_share_of_class_balanced_draws_is_refused(noise_set, share):
    with pytest.raises(UserError, match="class_balanced is"):
        pipeline.train_batches(noise_set, UNEQUAL, **TRAIN, class_balanced=share)


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
    thinned = frames("thinned")
    np.testing.assert_array_equal(thinned[0::2], natural[0::2])
    np.testing.assert_array_equal(thinned[1::2], natural[0::2])
    frozen = frames("frozen")
    farthest = max(natural, key=lambda f: np.linalg.norm(np.ravel(f - 1.0 * natural[0]), ord=1))
    np.testing.assert_array_equal(frozen, np.repeat(farthest[None], 8, axis=0))
    with pytest.raises(UserError, match=r'Unknown frame order "random"'):
        frames("random")


def test_the_apex_is_the_frame_farthest_from_the_first():
    clip = np.full((5, 2, 2, 3), 100, np.uint8)
    assert reader.apex(clip) == 0  # nothing moves
    clip[2] = 180
    clip[3] = 0  # darker by more: differences of bytes must not wrap around
    assert reader.apex(clip) == 3


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
