"""The same run on one device, on several, and in two processes: the same numbers."""

import csv
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from logo_jax.training.checkpoint import find_checkpoint, load_variables

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "one_process.py"
KILLED = Path(__file__).parent / "killed_while_saving.py"


def start(config, workdir, processes=1, devices=1, scripts=(SCRIPT, SCRIPT)):
    """Start the processes of one job; their output is text. `config` may be one for each."""
    workdir.parent.mkdir(parents=True, exist_ok=True)
    own = config if isinstance(config, list) else [config] * processes
    recipes = [workdir.with_suffix(f".{number}.pickle") for number in range(processes)]
    for recipe, content in zip(recipes, own, strict=True):
        recipe.write_bytes(pickle.dumps(content))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return [
        subprocess.Popen(
            [sys.executable, scripts[number], recipes[number], workdir, str(devices)]
            + ([address, str(processes), str(number)] if processes > 1 else []),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(processes)
    ]


def run(config, workdir, processes=1, devices=1):
    jobs = start(config, workdir, processes, devices)
    outputs = [job.communicate(timeout=240)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * processes, "\n".join(outputs)
    return outputs


def tensors(workdir):
    leaves = jax.tree_util.tree_leaves_with_path(load_variables(find_checkpoint(workdir)))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def distance(found, reference, leaves):
    """Norm of the difference by the norm of the reference, over all of these leaves."""
    difference = np.concatenate([(found[leaf] - reference[leaf]).ravel() for leaf in leaves])
    return np.linalg.norm(difference) / np.linalg.norm(
        [np.linalg.norm(reference[leaf]) for leaf in leaves]
    )


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


def probabilities(workdir):
    rows = list(csv.DictReader((workdir / "predictions.csv").open(newline="")))
    names = [name for name in rows[0] if name.startswith("p:")]
    return {row["clip_id"]: np.array([float(row[name]) for name in names]) for row in rows}


@pytest.fixture
def five_steps(config):
    config.batch_size = config.evaluation.batch_size = 8
    config.max_steps = 5
    config.log_every = 1
    config.num_epochs = 5  # of 15 clips: ten steps
    return config


@pytest.mark.slow
def test_layouts_agree(five_steps, tmp_path):
    layouts = {"1 x 1": (1, 1), "1 x 2": (1, 2), "1 x 8": (1, 8), "2 x 1": (2, 1)}
    for name, (processes, devices) in layouts.items():
        run(five_steps, tmp_path / name, processes, devices)
    reference = tensors(tmp_path / "1 x 1")
    assert any("batch_stats" in name for name in reference)
    for name in list(layouts)[1:]:
        np.testing.assert_allclose(
            losses(tmp_path / name), losses(tmp_path / "1 x 1"), rtol=1e-5, err_msg=name
        )
        found = tensors(tmp_path / name)
        assert found.keys() == reference.keys()
        for part in ("params", "batch_stats"):
            leaves = [leaf for leaf in found if leaf.startswith(f"['{part}']")]
            assert distance(found, reference, leaves) < 1e-5, (name, part)
            # Biases began at 0 and are sums of terms that nearly cancel: fewer digits agree.
            for leaf in leaves:
                assert distance(found, reference, [leaf]) < 1e-4, (name, leaf)
        ours, theirs = probabilities(tmp_path / name), probabilities(tmp_path / "1 x 1")
        assert ours.keys() == theirs.keys()
        for clip, row in ours.items():
            np.testing.assert_allclose(row, theirs[clip], atol=1e-5, err_msg=f"{name}, {clip}")


@pytest.mark.slow
def test_a_checkpoint_restores_in_another_layout(five_steps, tmp_path):
    five_steps.max_steps = 8
    run(five_steps, tmp_path / "whole")
    five_steps.checkpoint_every = 5
    run(five_steps, tmp_path / "moved", processes=2)
    shutil.rmtree(tmp_path / "moved" / "checkpoints" / "last" / "8")
    (output,) = run(five_steps, tmp_path / "moved", devices=2)
    assert "after step 5 of 8" in output
    whole = tensors(tmp_path / "whole")
    for leaf, value in tensors(tmp_path / "moved").items():
        assert np.linalg.norm(value - whole[leaf]) < 1e-4 * np.linalg.norm(whole[leaf]), leaf


@pytest.mark.slow
def test_one_checkpoint_is_judged_alike_in_all_layouts(five_steps, tmp_path):
    """A finished run is only judged again by the same command."""
    run(five_steps, tmp_path / "1 x 8", devices=8)
    wanted = probabilities(tmp_path / "1 x 8")
    for name, (processes, devices) in {"1 x 1": (1, 1), "2 x 1": (2, 1)}.items():
        shutil.copytree(tmp_path / "1 x 8", tmp_path / name)
        (tmp_path / name / "predictions.csv").unlink()
        run(five_steps, tmp_path / name, processes, devices)
        found = probabilities(tmp_path / name)
        assert found.keys() == wanted.keys()
        for clip, row in found.items():
            np.testing.assert_allclose(row, wanted[clip], atol=1e-6, err_msg=f"{name}, {clip}")


@pytest.mark.slow
def test_a_killed_process_ends_the_job_with_a_sentence(five_steps, tmp_path):
    five_steps.max_steps = 2000
    five_steps.num_epochs = 2000
    five_steps.checkpoint_every = 10
    workdir = tmp_path / "run"
    first, second = start(five_steps, workdir, processes=2)
    end = time.monotonic() + 120
    while not list(workdir.glob("checkpoints/last/10/meta")) and time.monotonic() < end:
        time.sleep(0.1)
    second.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    output, _ = first.communicate(timeout=60)
    second.communicate()
    assert time.monotonic() - killed < 60
    assert first.returncode == 1, output
    assert "cannot go on" in output and "last checkpoint" in output
    five_steps.max_steps = 2000
    again = start(five_steps, workdir, processes=2)
    line = ""
    while "resuming" not in line:
        line = again[0].stdout.readline()
        assert line, "it ended without resuming"
    for job in again:
        job.kill()
        job.communicate()


@pytest.mark.slow
def test_a_process_killed_while_saving_is_no_fault_of_the_disk(five_steps, tmp_path):
    five_steps.max_steps = five_steps.num_epochs = 10
    five_steps.checkpoint_every = 2
    # Before the second checkpoint has its name, and after it.
    moments = {"Checkpointer:save": 2, "CheckpointManager:old_steps_to_remove": 4}
    for number, (meeting, last) in enumerate(moments.items()):
        workdir = tmp_path / f"run{number}"
        workdir.with_suffix(".meeting").write_text(meeting)
        first, second = start(five_steps, workdir, processes=2, scripts=(SCRIPT, KILLED))
        output, _ = first.communicate(timeout=200)
        second.communicate()
        assert (first.returncode, second.returncode) == (1, -signal.SIGKILL), output
        assert "cannot go on" in output and "last checkpoint" in output
        assert "free some space" not in output
        outputs = run(five_steps, workdir, processes=2)
        assert f"after step {last} of 10" in outputs[0]


@pytest.mark.slow
def test_a_stop_signal_on_one_host_stops_all_after_the_same_step(five_steps, tmp_path):
    five_steps.max_steps = five_steps.num_epochs = 2000
    five_steps.checkpoint_every = 10
    workdir = tmp_path / "run"
    jobs = start(five_steps, workdir, processes=2)
    end = time.monotonic() + 120
    while not list(workdir.glob("checkpoints/last/10/meta")) and time.monotonic() < end:
        time.sleep(0.1)
    jobs[1].send_signal(signal.SIGTERM)
    outputs = [job.communicate(timeout=60)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [2, 2], outputs  # the script's, for Interrupted
    assert "A stop signal on another host: stopped after step" in outputs[0]
    assert "SIGTERM: stopped after step" in outputs[1]
    steps = {re.search(r"stopped after step (\d+)", output)[1] for output in outputs}
    assert len(steps) == 1 and find_checkpoint(workdir).name in steps
