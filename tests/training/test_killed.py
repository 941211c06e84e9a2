"""SIGKILL at random moments: every restart goes on, and nothing of the result shows it."""

import json
import multiprocessing
import os
import random
import signal
import time

import jax
import numpy as np
import pytest

from logo_jax.training.checkpoint import find_checkpoint
from logo_jax.training.damage import read_arrays
from tests.training import killed_run

MOMENTS, STEPS = 20, 60


def everything(workdir):
    """All arrays of the newest checkpoint: parameters, statistics, average, optimizer, keys."""
    checkpoint = find_checkpoint(workdir)
    assert int(checkpoint.name) == STEPS
    items = [read_arrays(checkpoint / name) for name in ("variables", "ema", "progress")]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(items)]


@pytest.mark.slow
def test_killed_at_20_random_moments_equals_undisturbed(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.killed_run"])

    def start(folder):
        started = context.Event()
        process = context.Process(target=killed_run.forked, args=(str(folder), STEPS, started))
        process.start()
        assert started.wait(120), "the run did not come to its first step"
        return process

    whole = tmp_path / "whole"
    whole.mkdir()
    began = time.monotonic()
    process = start(whole)
    process.join(300)
    assert process.exitcode == 0
    duration = time.monotonic() - began

    disturbed = tmp_path / "disturbed"
    disturbed.mkdir()
    rng = random.Random(0)
    reached = []
    for _ in range(MOMENTS):
        process = start(disturbed)
        # Most of a step's time is its checkpoint. The run is not over after all of these.
        process.join(rng.uniform(0, 1.5 * duration / MOMENTS))
        assert process.exitcode is None, f"the run ended by itself with status {process.exitcode}"
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        saved = disturbed / "checkpoints" / "last"
        steps = [int(p.name) for p in saved.iterdir() if p.name.isdigit()] if saved.is_dir() else []
        reached.append(max(steps, default=0))
    assert sorted(reached) == reached and len(set(reached)) > MOMENTS / 4  # nothing was lost
    process = start(disturbed)
    process.join(300)
    assert process.exitcode == 0
    for one, other in zip(everything(disturbed), everything(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    lines = [json.loads(line) for line in (disturbed / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
