"""Prepared sets: what comes back, and validation cuts."""

import pickle
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import logo_jax.data
from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, cut_validation


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


def test_a_damaged_set_is_refused(noise_set, tmp_path):
    with pytest.raises(UserError, match=r"prepared.json cannot be read"):
        PreparedSet(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(noise_set.folder, copy)
    (copy / "prepared.json").write_text("{")
    with pytest.raises(UserError, match="this is no prepared set; delete its folder"):
        PreparedSet(copy)


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


def test_impossible_cuts_are_refused():
    prepared = table([0, 1, 1], ["", "", ""])
    for fraction in (0.0, 1.0, -0.5):
        with pytest.raises(UserError, match="must lie between 0 and 1"):
            cut_validation(prepared, np.arange(3), fraction, seed=0)
    with pytest.raises(UserError, match="moves no clip of 3"):
        cut_validation(prepared, np.arange(3), 0.1, seed=0)
