"""The doctor's command: exit status, what it prints, and files that hold hostile names."""

import argparse
import json
import os

import pytest

from logo_jax.common.errors import UserError
from logo_jax.data.doctor import add_arguments, run
from tests.data import doctor_trees


def doctor(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args([*words, "--num_workers=0"]))


def test_reports_of_a_clean_and_a_broken_copy(tmp_path, capsys):
    root, out = tmp_path / "mine", tmp_path / "out"
    doctor_trees.frame_folders(root)
    words = ("frame_folders", f"--source={root}", f"--output={out}")
    assert doctor(*words) == 0
    assert "Nothing was found that makes training wrong." in capsys.readouterr().out
    evil = root / "train" / "calm" / "<script>alert(1)</script>"  # "/" makes a folder of it
    doctor_trees.clip(evil, 5)
    doctor_trees.clip(root / "train" / "calm" / "a\nb <i>", 6)
    with open(os.fsencode(root / "train" / "calm" / "a\nb <i>") + b"/\xff 4.jpg", "wb"):
        pass
    assert doctor(*words) == 1
    said = capsys.readouterr().out
    assert "Training on this copy would be wrong" in said and r"a\nb <i>/\udcff 4.jpg" in said
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["training_would_be_wrong"] and report["clips"] == 10
    assert {"empty_frame", "nested_folder"} & {found["code"] for found in report["findings"]}
    page = (out / "report.html").read_text("utf-8")
    assert "<script" not in page and "<i>" not in page and "data:image/jpeg" in page


def test_bad_arguments(tmp_path):
    with pytest.raises(UserError, match="There is no folder .*nowhere"):
        doctor("dfew", f"--source={tmp_path}/nowhere")
    with pytest.raises(UserError, match="There is no file .*none.onnx"):
        doctor("dfew", f"--source={tmp_path}", "--face_detector=none.onnx")
    with pytest.raises(UserError, match="Unknown way to write labels"):
        doctor("dfew", f"--source={tmp_path}", f"--output={tmp_path}/o", "--labels=two_based")


def test_own_clips_are_examined_from_within(tmp_path, monkeypatch, capsys):
    root = tmp_path / "mine"
    doctor_trees.frame_folders(root)
    monkeypatch.chdir(root)
    with pytest.raises(UserError, match="would lie in the data set, at .*doctor/frame_folders"):
        doctor("frame_folders", "--source=.")
    assert not (root / "doctor").exists()
    (root / "data" / "frame_folders").mkdir(parents=True)  # the usual data_dir
    words = ("frame_folders", "--source=.", f"--output={tmp_path / 'out'}")
    assert doctor(*words) == 0, capsys.readouterr().out


def test_an_empty_folder(tmp_path, capsys):
    assert doctor("dfew", f"--source={tmp_path}", f"--output={tmp_path}/out") == 1
    assert "The frames of DFEW were not found." in capsys.readouterr().out
