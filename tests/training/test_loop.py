"""Stops of the training loop, and what is there afterwards."""

import json
import os
import re
import shutil
import signal
import time
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import Interrupted, UserError
from logo_jax.common.mesh import data_mesh
from logo_jax.training import loop
from logo_jax.training.checkpoint import find_checkpoint, load_variables
from logo_jax.training.log import TrainingLog
from tests.training.small_run import add_one, endless, fit


def saved(workdir):
    """Step of the newest checkpoint, which its parameters must agree with."""
    checkpoint = find_checkpoint(workdir)
    np.testing.assert_array_equal(load_variables(checkpoint)["params"]["w"], int(checkpoint.name))
    return int(checkpoint.name)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").open()]


@pytest.mark.parametrize("step", [1, 3])
def test_ctrl_c_that_also_ends_the_workers_saves_the_last_finished_step(tmp_path, step):
    def batches():
        source = endless()
        for _ in range(step - 1):
            yield next(source)
        os.kill(os.getpid(), signal.SIGINT)  # the terminal sends it to the workers too
        raise RuntimeError("a worker is gone")

    with pytest.raises(Interrupted, match=f"SIGINT: stopped after step {step - 1} of 4 and saved"):
        fit(tmp_path, 4, batches())
    assert saved(tmp_path) == step - 1
    fit(tmp_path, 4)
    assert saved(tmp_path) == 4
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


def test_an_error_of_the_input_is_no_interruption(tmp_path):
    def batches():
        yield from ()
        raise RuntimeError("a broken file")

    with pytest.raises(RuntimeError, match="a broken file"):
        fit(tmp_path, 4, batches())


def test_a_log_that_cannot_be_written_saves_the_step(tmp_path):
    log = TrainingLog(tmp_path, 0)
    log._file.close()
    log._file = open("/dev/full", "w")  # every write fails as on a full disk
    with pytest.raises(UserError, match=r"Cannot write the training log .*No space.*Step 1 is sav"):
        fit(tmp_path, 4, log=log)
    assert saved(tmp_path) == 1


def test_tensorboard_on_a_full_disk_stops_with_a_sentence(tmp_path):
    log = TrainingLog(tmp_path, 0)
    log._tensorboard._py_recordio_writer._writer = open("/dev/full", "wb")
    with pytest.raises(UserError, match="Cannot write the training log"):
        fit(tmp_path, 4, log=log)


def test_each_step_is_selected_once(tmp_path):
    def evaluate(state):
        calls.append(int(state.step))
        return {"uar": 0.5, "war": 0.5}

    calls = []
    for total in (2, 2, 4):  # trained, finished before, trained longer
        fit(tmp_path, total, evaluate=evaluate)
    assert calls == [2, 4]
    assert [line["step"] for line in lines(tmp_path) if "selection_uar" in line] == [2, 4]


def test_a_run_that_is_killed_in_an_evaluation_has_lost_no_step(tmp_path):
    """As at the end of the grace period of a signal that the evaluation has outlasted."""

    def killed(state):
        raise SystemExit

    with pytest.raises(SystemExit):
        fit(tmp_path, 4, evaluate=killed)
    assert saved(tmp_path) == 2
    fit(tmp_path, 4, evaluate=lambda _: {"uar": 0.5, "war": 0.5})
    assert [line["step"] for line in lines(tmp_path) if "selection_uar" in line] == [2, 4]


@pytest.mark.parametrize("lost", ["best", "best and log"])
def test_a_lost_best_checkpoint_is_not_replaced_by_a_worse_one(tmp_path, lost):
    fit(tmp_path, 3, evaluate=lambda _: {"uar": 0.9, "war": 0.9})
    shutil.rmtree(tmp_path / "checkpoints" / "best")
    if lost != "best":
        (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(UserError, match=r"best checkpoint .*checkpoints/best.* is lost: put the"):
        fit(tmp_path, 4, evaluate=lambda _: {"uar": 0.1, "war": 0.1})
    assert find_checkpoint(tmp_path).name == "3"
    with pytest.raises(UserError, match="has lost its best checkpoint.*--checkpoint=last"):
        find_checkpoint(tmp_path, "best")


def test_an_evaluation_between_two_lines_takes_nothing_from_the_means(tmp_path, monkeypatch):
    """Steps of one second and two clips, evaluations of 100 seconds that no line may count."""
    clock = [0.0]
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))

    def step(state, batch):
        clock[0] += 1
        new, metrics = add_one(state, batch)
        return new, metrics | {"loss": new.step.astype(float)}

    def evaluate(state):
        clock[0] += 100
        return {"uar": 0.5, "war": 0.5}

    fit(tmp_path, 6, step=step, log_every=3, evaluate=evaluate)
    rows = [line for line in lines(tmp_path) if "loss" in line]
    assert [(row["loss"], row["clips_per_second"]) for row in rows] == [(2, 2), (5, 2)]


def slow(seconds, first=0.0):
    for number, batch in enumerate(endless()):
        time.sleep(seconds if number else first)
        yield batch


def test_input_wait_is_the_share_of_the_time_spent_waiting_for_batches(tmp_path):
    fit(tmp_path / "slow", 4, slow(0.2, first=0.2))
    assert all(line["input_wait"] > 0.5 for line in lines(tmp_path / "slow")[:3])
    fit(tmp_path / "fast", 4)
    assert all(0 <= line["input_wait"] < 0.5 for line in lines(tmp_path / "fast")[1:])


def test_a_batch_is_fetched_while_the_devices_work():
    """A batch that comes before the step is done costs no waiting; the next one is on its way."""
    upcoming = loop._Upcoming(slow(0.05), data_mesh())
    upcoming.fetch(None)
    upcoming.take()
    side = 1000 if jax.devices()[0].platform == "cpu" else 10_000
    matrix = jnp.ones((side, side))
    work = jax.jit(lambda m: jax.lax.fori_loop(0, 30, lambda _, x: x @ m / side, m)[0, 0])
    jax.block_until_ready(work(matrix))
    running = {"loss": work(matrix)}
    assert upcoming.fetch(running) == 0
    assert not running["loss"].is_ready()
    jax.block_until_ready(running)
    assert upcoming.fetch(running) >= 0.05


def test_the_console_says_how_much_of_the_time_was_waiting(tmp_path, monkeypatch):
    notes = []
    monkeypatch.setattr(loop.Progress, "update", lambda bar, steps, note="": notes.append(note))
    fit(tmp_path, 2, slow(0.05))
    assert len(notes) == 2
    assert all(re.search(r"clips/s, input_wait \d+%$", note) for note in notes)
