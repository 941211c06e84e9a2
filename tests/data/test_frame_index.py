"""Single frames of a prepared set: the bytes that lie on disk, wherever they stand in a shard."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, builder, frame_index, shards
from logo_jax.data.prepared import RECORD

# Around the 65,512 bytes that a block of a shard holds, one to some blocks, and nearly none.
SIZES = (1, 7, 8, 65_488, 65_511, 65_512, 65_513, 65_536, 131_024, 131_025, 300_000, 11_000)


def random_bytes(payload):
    """Frames of random bytes; every third is the one before it."""
    rng = np.random.default_rng(payload)
    frames = [
        rng.bytes(int(size)) for size in rng.permutation([*SIZES, *rng.integers(1, 2**17, 9)])
    ]
    return [frames[i - (i % 3 == 2)] for i in range(len(frames))]


class RandomClips(builder.ClipBuilder):
    """Twelve clips of random bytes."""

    needs_source = False
    classes = ("one",)
    make_frames = staticmethod(random_bytes)

    @classmethod
    def configure(cls):
        return "x", {}

    def entries(self):
        return [
            builder.ClipEntry(f"clip {i}", label=0, payload=i, partitions={"split": "train"})
            for i in range(12)
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "CLIPS_PER_SHARD", 5)
        return RandomClips(data_dir=tmp_path_factory.mktemp("data"), num_workers=0).prepare()


@pytest.fixture
def copy(folder, tmp_path):
    """Of a set without sizes of its files, as they were once: damage is found when it is read."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    record = json.loads((copy / RECORD).read_text("utf-8"))
    del record["files"]
    (copy / RECORD).write_text(json.dumps(record))
    return copy


def shard(number):
    return f"random_clips-clips.array_record-{number:05d}-of-00003"


def test_every_frame_is_the_one_that_was_given(folder):
    prepared = PreparedSet(folder)
    rng = np.random.default_rng(0)
    for row in rng.permutation(12):
        frames = random_bytes(row)
        chosen = rng.permutation(len(frames))
        assert prepared.read(int(row), chosen) == [frames[index] for index in chosen]
        assert prepared[row]["frames"] == frames


def test_the_fields_of_a_record_stand_in_the_order_of_their_names(folder):
    record = tfds.builder_from_directory(folder).as_data_source("clips").data_source[0]
    places = [record.index(name) for name in (b"clip_id", b"frames", b"label", b"num_frames")]
    assert places == sorted(places)


def test_a_set_without_an_index_is_read_as_before(copy):
    (copy / frame_index.INDEX).unlink()
    prepared = PreparedSet(copy)
    assert prepared.read(7, np.array([4, 2])) == [random_bytes(7)[4], random_bytes(7)[2]]


def with_a_changed_bit(data):
    place = data.index(random_bytes(7)[4][-100:])
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGES = {
    "a frame that has changed": (shard(1), with_a_changed_bit),
    "half a shard": (shard(1), lambda data: data[: len(data) // 2]),
    "an empty shard": (shard(1), lambda data: b""),
    "half an index": (frame_index.INDEX, lambda data: data[: len(data) // 2]),
    "no index": (frame_index.INDEX, lambda data: b"none"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_an_error_that_names_the_file(copy, damage):
    name, change = DAMAGES[damage]
    (copy / name).write_bytes(change((copy / name).read_bytes()))
    prepared = PreparedSet(copy)
    with pytest.raises(UserError) as error:
        for row in range(5, 10):  # the clips of the second shard
            prepared.read(row, np.arange(len(random_bytes(row))))
    assert str(error.value).startswith(f"{copy / name} cannot be read (")


def test_a_missing_and_an_exchanged_shard_are_named(copy):
    shutil.copy(copy / shard(0), copy / shard(1))
    (copy / shard(2)).unlink()
    prepared = PreparedSet(copy)
    assert prepared.read(4, np.array([3])) == [random_bytes(4)[3]]
    with pytest.raises(UserError, match=rf"{shard(1)} cannot .*is not the one that was stored"):
        prepared.read(5, np.array([3]))
    with pytest.raises(UserError, match=rf"{shard(2)} cannot be read \(No such file"):
        prepared.read(10, np.array([3]))


def test_an_index_of_other_clips_is_refused(copy, noise_set):
    shutil.copy(noise_set.folder / frame_index.INDEX, copy / frame_index.INDEX)
    with pytest.raises(UserError, match=r"frames.npy cannot be read \(it has 273 frames of 252\)"):
        PreparedSet(copy).read(0, np.array([0]))
