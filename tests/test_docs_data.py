"""Every command of docs/data.md is run, on small trees in the real layouts."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from logo_jax.data import __main__ as command_line
from logo_jax.data import videos
from logo_jax.data.faces import FaceDetector
from tests.data import doctor_trees

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "data.md").read_text("utf-8")
SETS = {
    "DFEW": "dfew", "FERV39k": "ferv39k", "AFEW": "afew", "MAFW": "mafw",
    "my_clips": "frame_folders",
}  # fmt: skip
# What makes a run of the full-size configs one of seconds.
SMALL = """
    --config.max_steps=1 --config.batch_size=2 --config.evaluation.batch_size=8
    --config.data.num_workers=0 --config.data.frame_size=16 --config.input.image_size=16
    --config.model.width=4 --config.model.stage=1 --config.model.dim=16 --config.model.mlp_dim=16
    --config.model.num_heads=2 --config.model.num_blocks=1 --config.model.window=(2,2,2)
""".split()


def blocks(kind):
    """The fenced blocks of a language; that of commands is ""."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return [text for language, text in fences if language == kind]


def commands():
    """All commands, from blocks of code and from the text, each once."""
    lines = [line for block in blocks("") for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`(python [^`]+)`", TEXT)
    return list(dict.fromkeys(line for line in [*lines, *inline] if line.startswith("python ")))


def written_for_a_command(line):
    return "python -m logo_jax.data" in line


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """The folder that stands for /disks."""
    root = tmp_path_factory.mktemp("disks")
    for name, tree in SETS.items():
        doctor_trees.TREES[tree](root / name)
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    (root / "DFEW" / "Clip" / "original").mkdir()
    (root / "DFEW" / "lists").mkdir()
    for number in range(1, 36):
        path = root / "DFEW" / "Clip" / "original" / f"{number:05d}.mp4"
        writer = cv2.VideoWriter(str(path), codec, 25, (64, 48))
        for frame in range(3):
            writer.write(np.full((48, 64, 3), 5 * number + frame, np.uint8))
        writer.release()
    for fold in range(1, 6):
        for part in ("train", "test"):
            official = root / "DFEW" / "EmoLabel_DataSplit" / f"{part}(single-labeled)"
            rows = (official / f"set_{fold}.csv").read_text().split()[1:]
            names = [row.split(",") for row in rows]
            lines = [f"Clip/clip_224x224/{int(n):05d} {int(label) - 1}\n" for n, label in names]
            (root / "DFEW" / "lists" / f"{part}_{fold}.txt").write_text("".join(lines))
    (root / "yunet.onnx").write_bytes(b"stands for the weights")
    return root


class OneFace(FaceDetector):
    """A detector that finds one face in the middle of every frame."""

    def __init__(self, weights):
        assert Path(weights).is_file()

    def largest(self, image):
        height, width = image.shape[:2]
        return width / 4, height / 4, width / 2, height / 2, 0.9


def words_of(line, disks, tmp_path):
    words = [word.replace("/disks", str(disks)) for word in shlex.split(line)]
    return [f"--data_dir={tmp_path}/data" if word == "--data_dir=data" else word for word in words]


@pytest.mark.parametrize("line", [line for line in commands() if written_for_a_command(line)])
def test_data_commands(line, disks, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for module in (videos, sys.modules["logo_jax.data.datasets.dfew.builder"]):
        monkeypatch.setattr(module, "FaceDetector", OneFace)
    words = words_of(line, disks, tmp_path)[3:]
    if words[-1] == "--help":
        with pytest.raises(SystemExit, match="0"):
            command_line.main(words)
        return
    status = command_line.main([*words, "--num_workers=0"])
    # The doctor says that a tree of a few clips is not the whole set.
    assert status == (1 if words[0] == "doctor" else 0), capsys.readouterr()


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in commands() if "launch.py" in line])
def test_launch_commands(line, disks, tmp_path):
    flags = [f"--config.data.data_dir={tmp_path}/data", f"--workdir={tmp_path}/run", *SMALL]
    words = words_of(line, disks, tmp_path)[1:]
    result = subprocess.run(
        [sys.executable, *words, *flags],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "run" / "results.json").is_file()


def test_python_blocks(disks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert blocks("python")
    for block in blocks("python"):
        exec(block.replace("/disks", str(disks)), {})


def test_the_commands_are_found():
    found = commands()
    assert len(found) >= 8
    for name in SETS.values():
        assert any(name in line for line in found), name
