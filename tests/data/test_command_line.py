"""`python -m logo_jax.data`: the flags of a set, and its ends."""

import inspect
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data import __main__ as command_line
from logo_jax.data import pool
from logo_jax.data.datasets.dfew import Dfew
from logo_jax.data.prepared import BUILDERS, PreparedSet, load


@pytest.fixture
def source(tmp_path):
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("calm", "joy"):
            folder = tmp_path / "clips" / part / name / f"{part}1"
            folder.mkdir(parents=True)
            for number in (1, 2):
                cv2.imwrite(str(folder / f"{number}.jpg"), rng.integers(0, 255, (20, 20, 3)))
    return tmp_path / "clips"


def run(*words):
    return command_line.main([str(word) for word in words])


def test_prepares_and_says_where(source, tmp_path, capsys):
    flags = ("--source", source, "--data_dir", tmp_path / "data", "--stored_size=10")
    assert run("prepare", "frame_folders", *flags, "--num_workers=0") == 0
    folder = capsys.readouterr().out.removeprefix("4 clips in ").strip()
    assert PreparedSet(folder).options["stored_size"] == 10
    assert run("prepare", "frame_folders", *flags) == 0  # it is there


def test_prepares_what_has_no_source(tmp_path, capsys):
    sizes = ("--num_train=7", "--num_val=7", "--num_test=7", "--stored_size=32")
    flags = ("--data_dir", tmp_path, *sizes, "--num_workers=0")
    assert run("prepare", "synthetic_faces", *flags) == 0
    assert capsys.readouterr().out.startswith("21 clips in ")


def test_a_wrong_source_is_a_sentence(tmp_path, capsys):
    assert run("prepare", "frame_folders", "--source", tmp_path / "none") == 2
    assert capsys.readouterr().err.startswith("error: There is no folder")
    with pytest.raises(SystemExit, match="2"):
        run("prepare", "dfw")
    assert "invalid choice: 'dfw'" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(source, tmp_path, capsys, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pool, "ordered_map", stop)
    flags = ("--source", source, "--data_dir", tmp_path / "data")
    assert run("prepare", "frame_folders", *flags) == 130
    assert "it goes on from here" in capsys.readouterr().err


def test_every_option_of_a_set_is_a_flag_that_is_explained(capsys):
    with pytest.raises(SystemExit, match="0"):
        run("prepare", "dfew", "--help")
    shown = capsys.readouterr().out
    for option in inspect.signature(Dfew.configure).parameters:
        assert f"--{option}" in shown
    assert "which of the five folds to read" in shown


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,2", (1, 2)),
        ("3", (3,)),
        ("a,b", ("a", "b")),
        ("(1, 2)", (1, 2)),
        ("[1, 2]", (1, 2)),
        ("a", ("a",)),
    ],
)
def test_tuples(text, wanted):
    assert command_line.values(text) == wanted


def test_a_flag_may_be_written_as_messages_write_it(source, tmp_path, capsys):
    (source / "train" / "joy" / "train1" / "2.jpg").write_bytes(b"")
    for folder, flag, status in (
        ("a", "--allow_missing=False", 2),
        ("b", "--allow_missing=True", 2),  # joy has no clip then
        ("b", "--allow_empty_classes", 2),
    ):
        flags = ("--source", source, "--data_dir", tmp_path / folder, "--num_workers=0")
        assert run("prepare", "frame_folders", *flags, flag) == status
    flags = (*flags, "--allow_missing=true", "--allow_empty_classes")
    assert run("prepare", "frame_folders", *flags) == 0
    assert capsys.readouterr().out.startswith("3 clips in ")
    with pytest.raises(SystemExit, match="2"):
        run("prepare", "frame_folders", "--allow_missing=perhaps")
    assert '"perhaps" is neither True nor False' in capsys.readouterr().err


def test_all_sets_have_a_command():
    assert {"dfew", "ferv39k", "afew", "mafw", "frame_folders", "synthetic_faces"} == set(BUILDERS)


def test_a_name_may_be_a_number(source, tmp_path, capsys):
    flags = ("--source", source, "--data_dir", tmp_path / "data", "--num_workers=0")
    assert run("prepare", "frame_folders", *flags, "--set_name=2024") == 0
    assert "2024/1.0.0" in capsys.readouterr().out
    assert run("prepare", "frame_folders", *flags[:-1], "--num_workers=-1") == 2
    assert capsys.readouterr().err == "error: num_workers=-1: give 0 or more processes.\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"set_name": 2024}, "set_name=2024: give a text"),
        ({"allow_frame_counts": "False"}, "allow_frame_counts='False': give True or False"),
    ],
)
def test_options_of_a_wrong_type(source, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        load("frame_folders", tmp_path, source, **options)


def test_names_that_are_not_utf8(source, tmp_path, capsys):
    flags = ("--data_dir", tmp_path / "data", "--num_workers=0")
    with open(os.fsencode(source / "train" / "calm" / "train1") + b"/\xff\n.jpg", "wb"):
        pass
    assert run("prepare", "frame_folders", "--source", source, *flags) == 2
    assert capsys.readouterr().err.count("\\udcff\\n.jpg: the file is empty\n") == 1
    problems = tmp_path / "data" / "frame_folders" / "default" / "problems.txt"
    assert len(problems.read_text("utf-8").splitlines()) == 1
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xfe")
    os.rename(source, odd)
    assert run("prepare", "frame_folders", "--source", odd, *flags) == 2
    assert "is not UTF-8; rename it" in capsys.readouterr().err


def test_frames_that_are_no_files(source, tmp_path, capsys):
    clip = source / "train" / "calm" / "train1"
    os.mkfifo(clip / "3.jpg")  # nobody writes to it: reading would wait for ever
    with (source / "test" / "joy" / "test1" / "1.jpg").open("r+b") as file:
        file.truncate(2**31)  # takes no room on the disk, and would take all of the memory
    flags = ("--source", source, "--data_dir", tmp_path / "data", "--num_workers=0")
    assert run("prepare", "frame_folders", *flags) == 2
    said = capsys.readouterr().err
    assert "3.jpg: it is no regular file" in said
    assert "1.jpg: a file of 2,147,483,648 bytes is no frame" in said


@pytest.mark.parametrize("hidden", ["", "train", "train/calm"])
def test_a_source_that_may_not_be_read(source, tmp_path, capsys, monkeypatch, hidden):
    listed = Path.iterdir

    def iterdir(path):
        if path == source / hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert run("prepare", "frame_folders", "--source", source, "--data_dir", tmp_path / "d") == 2
    said = capsys.readouterr().err
    assert f"error: {source / hidden} cannot be read: Permission denied; give this user" in said
