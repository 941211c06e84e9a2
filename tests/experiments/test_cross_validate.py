"""Which folds are trained, which are only read, and a whole run that is killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments import cross_validate as module
from logo_jax.experiments.cross_validate import cross_validate
from logo_jax.training.signals import Stopped
from tests.experiments.judged import FOLDS, settings, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trained(monkeypatch):
    """Stands for training: writes finished runs, and keeps the numbers of their folds."""
    folds = []

    def train(config, workdir):
        folds.append(config.data.fold)
        write_run(workdir, config)

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module.parts, "open_set", lambda config: SimpleNamespace(folds=FOLDS))
    return folds


def test_all_folds_are_trained_and_finished_ones_are_read(trained, tmp_path, capsys):
    config = settings(1)
    numbers = cross_validate(config, tmp_path)
    assert trained == [1, 2, 3] and numbers["missing_folds"] == []
    assert json.loads((tmp_path / "summary.json").read_text()) == numbers
    (tmp_path / "fold2" / "results.json").unlink()
    capsys.readouterr()
    assert cross_validate(config, tmp_path) == numbers
    assert trained == [1, 2, 3, 2]
    assert capsys.readouterr().out.count("finished before") == 2


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("train", r"; what came before fold 2 is saved; of fold 2 nothing was saved"),
        ("summarize", r"; the folds are saved, and --mode=summarize merges them"),
    ],
)
def test_a_stop_says_what_is_saved(trained, tmp_path, monkeypatch, stage, message):
    real = getattr(module, stage)

    def stop(*arguments):
        if stage == "summarize" or trained:
            raise Stopped(signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(module, stage, stop)
    with pytest.raises(Stopped, match=message):
        cross_validate(settings(1), tmp_path)


def test_some_folds(trained, tmp_path):
    numbers = cross_validate(settings(1), tmp_path, [3, 2])
    assert trained == [2, 3] and numbers["missing_folds"] == [1]
    with pytest.raises(UserError, match=r"--folds: dfew has no fold 4; its folds are 1, 2, 3"):
        cross_validate(settings(1), tmp_path, [2, 4])


def test_other_views_judge_again(trained, tmp_path):
    cross_validate(settings(1), tmp_path)
    cross_validate(settings(1, **{"evaluation.temporal_views": 2}), tmp_path)
    assert trained == [1, 2, 3, 1, 2, 3]


def test_another_config_is_refused_before_anything_is_trained(trained, tmp_path):
    write_run(tmp_path / "fold3", settings(3, **{"model.dim": 64}))
    with pytest.raises(UserError, match=r"fold3 holds a run with another config: config.model.dim"):
        cross_validate(settings(1), tmp_path)
    assert trained == []


def test_a_set_without_folds_is_told_apart(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(module.parts, "open_set", lambda config: SimpleNamespace(folds=()))
    with pytest.raises(UserError, match="has no folds but a split of its own: leave --mode"):
        cross_validate(settings(0), tmp_path)


TINY = {
    "data.segments": 2,
    "data.frame_size": 20,
    "data.num_workers": 0,
    "data.val_fraction": 0.2,
    "input.image_size": 16,
    "batch_size": 4,
    "max_steps": 8,
    "checkpoint_every": 1,
    "log_every": 1,
    "evaluation.batch_size": 8,
    "evaluation.controls": "reversed",
    "model.pretrained": "none",
    "model.stage": 1,
    "model.width": 4,
    "model.dim": 16,
    "model.mlp_dim": 16,
    "model.num_heads": 2,
    "model.num_blocks": 1,
    "model.window": "(2,2,2)",
}


def make_dfew(root):
    """70 clips of 5 frames in DFEW's folders and lists; brightness tells much of the class."""
    source, rng = root / "DFEW", np.random.default_rng(0)
    for clip in range(1, 71):
        folder = source / "Clip" / "clip_224x224" / f"{clip:05d}"
        folder.mkdir(parents=True)
        for frame in range(1, 6):
            noise = rng.integers(0, 60, (24, 24, 3)) + 30 * (clip % 7)
            cv2.imwrite(str(folder / f"{clip:05d}_{frame:05d}.jpg"), noise.astype(np.uint8))
    for part in ("train", "test"):
        folder = source / "EmoLabel_DataSplit" / f"{part}(single-labeled)"
        folder.mkdir(parents=True)
        for fold in range(1, 6):
            clips = [c for c in range(1, 71) if ((c - 1) // 7 % 5 == fold - 1) == (part == "test")]
            lines = "".join(f"{clip},{clip % 7 + 1}\n" for clip in clips)
            (folder / f"set_{fold}.csv").write_text("video_name,label\n" + lines)
    return source


@pytest.mark.slow
def test_five_folds_killed_and_resumed_equal_an_uninterrupted_run(tmp_path):
    source = make_dfew(tmp_path)
    command = [
        sys.executable,
        str(ROOT / "launch.py"),
        "--mode=cross_validate",
        f"--config={ROOT}/configs/dfew_scratch.py",
        f"--config.data.source={source}",
        *[f"--config.{field}={value}" for field, value in TINY.items()],
    ]
    options = {
        "cwd": tmp_path,
        "env": {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    parts = tmp_path / "runs" / "dfew_scratch-cv"  # the default name
    process = subprocess.Popen(command, start_new_session=True, **options)
    log = parts / "fold3" / "metrics.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= 4):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (parts / "fold3" / "results.json").exists()

    resumed = subprocess.run(command, timeout=400, **options)
    assert resumed.returncode == 0, resumed.stdout
    assert resumed.stdout.count("finished before") == 2
    assert "resuming runs/dfew_scratch-cv/fold3 after step" in resumed.stdout
    whole = subprocess.run([*command, "--workdir=whole"], timeout=400, **options)
    assert whole.returncode == 0, whole.stdout

    one, two = (summary_of(folder) for folder in (tmp_path / "whole", parts))
    assert one == two and one["missing_folds"] == [] and one["clips"] == 70
    for name in ("predictions.csv", *(f"fold{k}/predictions.csv" for k in range(1, 6))):
        assert (tmp_path / "whole" / name).read_bytes() == (parts / name).read_bytes()
    assert one["data"]["folds"] == [1, 2, 3, 4, 5] and len(one["folds"]) == 5
    assert all(run["calibration"]["validation_clips"] > 0 for run in one["runs"])


def summary_of(folder):
    numbers = json.loads((folder / "summary.json").read_text())
    for run in numbers["runs"]:
        run["folder"] = Path(run["folder"]).name
        del run["versions"]["git"]  # somebody may commit meanwhile
    return numbers
