"""`python -m logo_jax.data`: the flags of a set, and its ends."""

import inspect

import cv2
import numpy as np
import pytest

from logo_jax.data import __main__ as command_line
from logo_jax.data import pool
from logo_jax.data.datasets.dfew import Dfew
from logo_jax.data.prepared import BUILDERS, PreparedSet


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
    [("1,2", (1, 2)), ("3", (3,)), ("a,b", ("a", "b")), ("(1, 2)", (1, 2)), ("a", ("a",))],
)
def test_tuples(text, wanted):
    assert command_line.values(text) == wanted


def test_all_sets_have_a_command():
    assert {"dfew", "ferv39k", "afew", "mafw", "frame_folders", "synthetic_faces"} == set(BUILDERS)
