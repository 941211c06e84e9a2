"""A preparation that ended early goes on: finished clips are not read again, none is stale."""

import errno
import os
import shutil
from typing import ClassVar

import pytest

from logo_jax.common import files
from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, builder, outcome, shards


class Counting(builder.ClipBuilder):
    """Eleven clips of which some are broken; notes which ones are read."""

    needs_source = False
    classes = ("a", "b")
    read: ClassVar[list[int]] = []
    broken: ClassVar[set[int]] = set()
    killed_at = -1

    @staticmethod
    def make_frames(payload):
        Counting.read.append(payload)
        if payload == Counting.killed_at:
            raise KeyboardInterrupt
        if payload in Counting.broken:
            raise UserError("it is broken")
        return [bytes([payload])] * (payload + 1)

    @classmethod
    def configure(cls, clips=11):
        return "x", {"clips": clips}

    def entries(self):
        return [
            builder.ClipEntry(f"c{i}", i % 2, i, partitions={"split": "train"})
            for i in range(self.options["clips"])
        ]


@pytest.fixture
def counting(tmp_path, monkeypatch):
    """Prepare with shards of 4 clips; returns the clips that were read."""
    monkeypatch.setattr(shards, "CLIPS_PER_SHARD", 4)

    def prepare(broken=(), killed_at=-1, error=None, **options):
        Counting.read, Counting.broken, Counting.killed_at = [], set(broken), killed_at
        made = Counting(data_dir=tmp_path, num_workers=0, **options)
        if error is None:
            made.prepare()
        else:
            with pytest.raises(error):
                made.prepare()
        return Counting.read

    return prepare


@pytest.mark.parametrize("write", ["table", "record"])
def test_a_failure_after_the_last_shard_loses_none(counting, tmp_path, monkeypatch, capsys, write):
    def fails(folder, *_):
        with files.atomic_writer(tmp_path / "counting" / "x" / "any") as file:
            file.write("half")
            raise OSError(errno.ENOSPC, "No space left on device", "incomplete.0/clips.csv")

    with monkeypatch.context() as patch:
        patch.setattr(outcome, f"write_{write}", fails)
        with pytest.raises(UserError, match=r"Cannot write .*No space.*it goes on from here"):
            made = Counting(data_dir=tmp_path, num_workers=0)
            made.prepare()
    assert "Prepared" not in capsys.readouterr().err
    assert counting() == []  # nothing is read again
    assert "Prepared" in capsys.readouterr().err
    whole(tmp_path / "counting/x/1.0.0")


def test_without_hard_links_shards_are_moved(counting, tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    counting()
    whole(tmp_path / "counting/x/1.0.0")


def test_a_folder_without_record_is_no_set(counting, tmp_path):
    counting(killed_at=9, error=KeyboardInterrupt)
    folder = tmp_path / "counting/x/1.0.0"
    folder.mkdir()
    with pytest.raises(UserError, match=r"1\.0\.0 is there without prepared.json.*delete it"):
        Counting(data_dir=tmp_path, num_workers=0).prepare()
    folder.rmdir()
    assert counting() == [8, 9, 10]  # what was finished is still there


def whole(folder):
    prepared = PreparedSet(folder)
    assert [prepared[i]["frames"] for i in range(11)] == [[bytes([i])] * (i + 1) for i in range(11)]


def test_an_interrupted_preparation_goes_on(counting, tmp_path, capsys):
    assert counting(killed_at=9, error=KeyboardInterrupt) == list(range(10))
    assert counting() == [8, 9, 10]
    assert "8 of 11 clips are there from an earlier attempt" in capsys.readouterr().err
    whole(tmp_path / "counting/x/1.0.0")
    assert sorted(p.name for p in (tmp_path / "counting/x").iterdir()) == [".lock", "1.0.0"]
    assert counting() == []


def test_an_uninterrupted_set_is_the_same_bytes(counting, tmp_path):
    counting(killed_at=9, error=KeyboardInterrupt)
    counting()
    counting_folder = tmp_path / "counting"
    first = {p.name: p.read_bytes() for p in counting_folder.glob("x/1.0.0/*record*")}
    fingerprint = PreparedSet(counting_folder / "x/1.0.0").fingerprint
    shutil.rmtree(counting_folder)
    counting()
    assert {p.name: p.read_bytes() for p in counting_folder.glob("x/1.0.0/*record*")} == first
    assert PreparedSet(counting_folder / "x/1.0.0").fingerprint == fingerprint


def test_mended_clips_are_read_again_and_their_neighbours(counting, tmp_path):
    assert counting(broken=[5], error=UserError) == list(range(11))
    assert (tmp_path / "counting/x/problems.txt").read_text() == "clip c5: it is broken\n"
    assert counting() == [5, 4, 5, 6, 7]
    whole(tmp_path / "counting/x/1.0.0")
    assert not (tmp_path / "counting/x/problems.txt").exists()


def test_whole_shards_of_broken_clips_can_be_left_out(counting, tmp_path):
    counting(broken=[4, 5, 6, 7, 8], error=UserError)
    counting(broken=[4, 5, 6, 7, 8], allow_missing=True)
    prepared = PreparedSet(tmp_path / "counting/x/1.0.0")
    assert prepared.clip_ids == ["c0", "c1", "c2", "c3", "c9", "c10"]
    assert prepared[5]["frames"] == [bytes([10])] * 11 and len(prepared.left_out) == 5


def test_a_clip_that_was_mended_is_not_left_out_beside_one_that_was_not(counting, tmp_path):
    counting(broken=[1, 5], error=UserError)
    assert counting(broken=[1], allow_missing=True) == [1, 5, 4, 5, 6, 7]
    prepared = PreparedSet(tmp_path / "counting/x/1.0.0")
    assert prepared.clip_ids == ["c0", *(f"c{i}" for i in range(2, 11))]
    assert prepared.left_out == ["clip c1: it is broken"]
    assert prepared.caveats == [
        "CLIPS LEFT OUT (allow_missing=True): 1. Results on the others are not comparable with "
        "those on the whole set."
    ]


def test_what_was_left_of_another_plan_is_not_taken(counting, tmp_path):
    counting(killed_at=9, error=KeyboardInterrupt, clips=12)
    assert counting() == list(range(11))
    whole(tmp_path / "counting/x/1.0.0")


def test_a_clip_that_has_changed_since_is_read_again(counting, tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "needs_source", True)
    monkeypatch.setattr(Counting, "count_frames", staticmethod(lambda i: i + 1 + (i == 5)))
    counting(killed_at=9, error=KeyboardInterrupt, source=tmp_path)
    assert counting(source=tmp_path) == [4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("damage", ["truncate", "note", "remove"])
def test_a_damaged_shard_is_made_anew(counting, tmp_path, damage):
    counting(killed_at=9, error=KeyboardInterrupt)
    records = tmp_path / "counting/x/unfinished/00001.array_record"
    if damage == "truncate":
        records.write_bytes(records.read_bytes()[:-1])
    elif damage == "note":
        records.with_suffix(".json").write_text("{")
    else:
        records.unlink()
    assert counting() == list(range(4, 11))
    whole(tmp_path / "counting/x/1.0.0")
