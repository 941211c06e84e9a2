"""Prepared sets: what comes back, and validation cuts."""

import functools
import json
import pickle
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logo_jax.data
from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, cut_validation, pipeline, shards
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.sampling import dynamic_sampling


def test_the_table_comes_back(noise_set):
    assert len(noise_set) == 21 and noise_set.classes == ("calm", "moved")
    assert noise_set.labels.dtype == noise_set.num_frames.dtype == np.int32
    assert noise_set.groups[:4] == ["person 0"] * 3 + ["person 1"]
    factors = noise_set.factors
    np.testing.assert_array_equal(factors["amplitude"], np.arange(21) / 7)  # to the last bit
    assert factors["turns"].dtype == np.int64 and factors["kind"][1] == "odd"
    assert noise_set.rows("test").tolist() == list(range(2, 21, 3))


def test_a_clip_comes_back(noise_set, noise_builder):
    clip = noise_set[np.int64(4)]
    assert clip["frames"] == noise_builder.make_frames((4, 7, False))
    assert (clip["num_frames"], clip["clip_id"], clip["label"]) == (7, "clip 4", 0)


def test_it_travels_to_other_processes(noise_set):
    noise_set[0]
    data = pickle.dumps(noise_set)
    assert len(data) < 20_000
    assert pickle.loads(data)[3]["frames"] == noise_set[3]["frames"]


def test_the_fingerprint_tells_sets_apart(noise_builder, noise_set, tmp_path):
    def fingerprint(name, **options):
        return PreparedSet(noise_builder(data_dir=tmp_path / name, **options).prepare()).fingerprint

    assert fingerprint("same") == noise_set.fingerprint
    assert len({fingerprint("same"), fingerprint("a", clips=12), fingerprint("b", frames=4)}) == 3


@pytest.fixture(scope="module")
def three_shards(noise_builder, tmp_path_factory):
    """Folder of a set of three shards, four clips in each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "CLIPS_PER_SHARD", 4)
        return noise_builder(data_dir=tmp_path_factory.mktemp("shards"), clips=12).prepare()


def shard(number):
    return f"noise_clips-clips.array_record-{number:05d}-of-00003"


DAMAGES = {
    "a file that is gone": (
        ("prepared.json", "clips.csv", "dataset_info.json", "features.json", shard(0), shard(2)),
        lambda data: None,
    ),
    "an empty file": (
        ("prepared.json", "clips.csv", "dataset_info.json", "features.json", shard(0), shard(2)),
        lambda data: b"",
    ),
    "half a file": (
        ("prepared.json", "clips.csv", "dataset_info.json", "features.json", shard(0), shard(2)),
        lambda data: data[: len(data) // 2],
    ),
    "no keys": (("prepared.json", "dataset_info.json", "features.json"), lambda data: b"{}"),
    "a list": (("prepared.json", "dataset_info.json", "features.json"), lambda data: b"[]"),
    "no text": (("prepared.json", "clips.csv", "features.json"), lambda data: b"\xff\x00"),
    "fewer clips": (("clips.csv",), lambda data: data[: data.index(b"clip 5")]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_set_is_refused(three_shards, tmp_path, damage):
    names, change = DAMAGES[damage]
    for name in names:
        copy = tmp_path / name
        shutil.copytree(three_shards, copy)
        data = change((copy / name).read_bytes())
        (copy / name).unlink()
        if data is not None:
            (copy / name).write_bytes(data)
        with pytest.raises(UserError) as error:
            prepared = PreparedSet(copy)
            for row in range(len(prepared)):
                assert prepared[row]["clip_id"] == f"clip {row}"
        message = str(error.value)
        assert message.startswith(f"{copy / name} cannot be read ("), message
        assert message.endswith("delete its folder and prepare again.") and "\n" not in message


@pytest.mark.parametrize("name", ["clips.csv", "frames.npy", shard(1)])
@pytest.mark.parametrize("kept", [None, 0, -4])
def test_a_lost_or_cut_file_is_noticed_when_the_set_is_opened(three_shards, tmp_path, name, kept):
    copy = tmp_path / "copy"
    shutil.copytree(three_shards, copy)
    data = (copy / name).read_bytes()
    (copy / name).unlink()
    if kept is not None:
        (copy / name).write_bytes(data[:kept])
    with pytest.raises(UserError, match=rf"{copy / name} cannot be read \("):
        PreparedSet(copy)


def test_an_edited_table_is_refused(three_shards, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(three_shards, copy)
    table = (copy / "clips.csv").read_bytes()
    swapped = table.replace(b"clip 0,0,", b"clip 0,1,").replace(b"clip 1,1,", b"clip 1,0,")
    (copy / "clips.csv").write_bytes(swapped)
    with pytest.raises(UserError, match=r"clips.csv cannot be read \(it is not the table that was"):
        PreparedSet(copy)
    # Sets of before there was a hash of the table.
    record = json.loads((copy / "prepared.json").read_text())
    del record["table"]
    (copy / "prepared.json").write_text(json.dumps(record))
    assert PreparedSet(copy).labels[:2].tolist() == [1, 0]
    (copy / "clips.csv").write_bytes(table.replace(b"clip 0,0,", b"clip 0,9,"))
    with pytest.raises(UserError, match=r"clips.csv cannot be read \(it has labels beside 0 to 1"):
        PreparedSet(copy)


def test_a_shard_of_other_clips_is_refused(three_shards, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(three_shards, copy)
    shutil.copy(copy / shard(0), copy / shard(1))
    prepared = PreparedSet(copy)
    assert prepared[3]["clip_id"] == "clip 3" and prepared[-1]["clip_id"] == "clip 11"
    with pytest.raises(UserError, match=rf"{shard(1)} cannot be read \(it does not hold .*clip 6"):
        prepared[6]


def test_a_row_that_is_not_there(noise_set):
    with pytest.raises(IndexError):
        noise_set[21]
    for row, frame in ((0, 3), (1, -1), (21, 0)):  # clip 0 has 3 frames
        with pytest.raises(IndexError):
            noise_set.read(row, np.array([frame]))
    assert noise_set.read(-1, np.array([22])) == list(noise_set[20]["frames"][22:])
    assert noise_set.read(0, np.array([], int)) == []


def test_a_folder_that_holds_no_set(tmp_path):
    with pytest.raises(UserError, match=r"prepared.json cannot be read .*this is no prepared set"):
        PreparedSet(tmp_path)


def test_a_set_may_be_moved(noise_set, tmp_path):
    shutil.copytree(noise_set.folder, tmp_path / "elsewhere")
    moved = PreparedSet(tmp_path / "elsewhere")
    assert moved.fingerprint == noise_set.fingerprint
    assert moved[20]["frames"] == noise_set[20]["frames"]


def test_preparing_leaves_no_temporary_files(noise_builder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    noise_builder(data_dir=tmp_path / "data").prepare()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["noise_clips"]


def test_unknown_names_are_suggested(tmp_path):
    with pytest.raises(UserError, match=r'Unknown data set "dfeww".*Did you mean "dfew"'):
        logo_jax.data.load("dfeww", tmp_path)


def table(labels, groups):
    """A set that is nothing but a table."""
    prepared = PreparedSet.__new__(PreparedSet)
    prepared.labels = np.array(labels, np.int32)
    prepared.groups = groups
    prepared.classes = tuple("abcde"[: max(labels) + 1])
    return prepared


labelled = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12)), min_size=1, max_size=80)


@given(clips=labelled, fraction=st.floats(0.05, 0.9), seed=st.integers(0, 9), grouped=st.booleans())
def test_cuts_keep_their_promises(clips, fraction, seed, grouped):
    labels = [label for label, _ in clips]
    groups = [f"g{group}" if grouped else "" for _, group in clips]
    prepared = table(labels, groups)
    rows = np.arange(len(labels))
    try:
        train, val = cut_validation(prepared, rows, fraction, seed)
    except UserError:
        return  # nothing can be moved, as with one clip or one group
    again = cut_validation(prepared, rows[::-1], fraction, seed)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), rows)
    assert set(prepared.labels[train]) == set(labels)
    if grouped:
        assert not {groups[i] for i in train} & {groups[i] for i in val}


def test_cuts_are_stratified():
    labels = [0] * 1000 + [1] * 100 + [2] * 10 + [3] * 1
    prepared = table(labels, [""] * len(labels))
    train, val = cut_validation(prepared, np.arange(len(labels)), 0.1, seed=0)
    assert np.bincount(prepared.labels[val], minlength=4).tolist() == [100, 10, 1, 0]
    other = cut_validation(prepared, np.arange(len(labels)), 0.1, seed=1)[1]
    assert not np.array_equal(val, other)
    assert len(train) + len(val) == len(labels)


def test_cuts_of_groups_are_near_the_fraction():
    rng = np.random.default_rng(0)
    groups = [f"g{i}" for i in rng.integers(0, 60, 900)]
    prepared = table(rng.integers(0, 5, 900).tolist(), groups)
    _, val = cut_validation(prepared, np.arange(900), 0.2, seed=0)
    shares = np.bincount(prepared.labels[val]) / np.bincount(prepared.labels)
    assert (abs(shares - 0.2) < 0.08).all()


def test_the_draw_of_a_cut_is_no_other_draw(noise_set, monkeypatch):
    keys = []
    real = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda key: keys.append(key) or real(key))
    cut_validation(noise_set, noise_set.rows("train"), 0.2, seed=3)
    (cut,) = keys
    keys.clear()
    # 21 clips of which each is a batch of its own: the draws of 6 epochs.
    settings = {
        "batch_size": 1,
        "total_steps": 6 * 21,
        "seed": 3,
        "sampler": functools.partial(dynamic_sampling, segments=1, duration=1),
        "frame_size": 8,
        "augment": AugmentConfig(),
        "class_balanced": 0.5,
    }
    for _ in pipeline.train_batches(noise_set, np.arange(21), **settings):
        pass
    assert len(keys) > 6 * 21

    def state(key):  # what a generator starts from: NumPy fills up short keys with zeros
        return np.random.SeedSequence(key).generate_state(4).tolist()

    assert state((3, 4)) == state((3, 4, 0))
    assert (3, 4, 0) in keys and state(cut) not in [state(key) for key in keys]


def test_impossible_cuts_are_refused():
    prepared = table([0, 1, 1], ["", "", ""])
    for fraction in (0.0, 1.0, -0.5):
        with pytest.raises(UserError, match="must lie between 0 and 1"):
            cut_validation(prepared, np.arange(3), fraction, seed=0)
    with pytest.raises(UserError, match="moves no clip of 3"):
        cut_validation(prepared, np.arange(3), 0.1, seed=0)
