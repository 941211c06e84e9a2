"""Sweeps: what the values mean, one CSV line a run, going on where it stopped."""

import csv
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from configs import default
from logo_jax.common.errors import UserError
from logo_jax.common.files import write_json
from logo_jax.experiments.config import plain
from logo_jax.experiments.sweep import parse_field, sweep
from logo_jax.training.signals import Stopped

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("model.num_blocks=1,2,4", [1, 2, 4]),
        ("config.optimizer.rho=0,0.05", [0, 0.05]),
        ("model.window=(2,2,2),(4,2,2)", [(2, 2, 2), (4, 2, 2)]),
        ("model.attention=full,local_global", ["full", "local_global"]),
        ("model.pad_windows=True", [True]),
        ("optimizer.base=adamw", ["adamw"]),
    ],
)
def test_values(text, values):
    field = text.partition("=")[0].removeprefix("config.")
    assert parse_field(default.get_config(), text) == [(field, value) for value in values]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.num_blcks=1", r'no field "model.num_blcks". Did you mean "model.num_blocks"\?'),
        ("model.num_blocks", "give field=value,value"),
        ("model.num_blocks=", "give field=value,value"),
        ("model.num_blocks=two", "model.num_blocks='two' is of the wrong type"),
        ("batch_size=1.5", "batch_size=1.5 is of the wrong type"),
    ],
)
def test_what_cannot_be_swept(text, message):
    with pytest.raises(UserError, match=message):
        parse_field(default.get_config(), text)


@pytest.fixture
def trained(monkeypatch):
    """Stands for training: writes results and record as `train` does, and keeps the configs."""
    configs = []

    def train(config, workdir):
        configs.append(config)
        workdir.mkdir(parents=True, exist_ok=True)
        results = {"test": {"war": config.seed / 10, "uar": 0.5}, "step": 1}
        write_json(workdir / "results.json", results)
        write_json(workdir / "config.json", plain(config))
        return results

    monkeypatch.setattr("logo_jax.experiments.sweep.train", train)
    return configs


def test_seeds_follow_that_of_the_config(trained, tmp_path):
    config = default.get_config()
    config.seed = 3
    sweep(config, tmp_path, ["model.num_blocks=1,2"], 2)
    assert [(c.model.num_blocks, c.seed) for c in trained] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert [row["war"] for row in lines(tmp_path / "sweep.csv")] == ["0.3", "0.4", "0.3", "0.4"]


def test_other_fields_add_their_lines(trained, tmp_path):
    config = default.get_config()
    sweep(config, tmp_path, ["model.num_blocks=1,2"], 1)
    sweep(config, tmp_path, ["model.dim=64"], 1)
    rows = lines(tmp_path / "sweep.csv")
    assert [(row["model.num_blocks"], row["model.dim"]) for row in rows] == [
        ("1", ""), ("2", ""), ("", "64"),
    ]  # fmt: skip


def test_other_views_judge_a_finished_run_again(trained, tmp_path):
    config = default.get_config()
    sweep(config, tmp_path, ["model.dim=64"], 1)
    sweep(config, tmp_path, ["model.dim=64"], 1)
    assert len(trained) == 1
    config.evaluation.temporal_views = 5
    sweep(config, tmp_path, ["model.dim=64"], 1)
    assert len(trained) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["seed=1,2"], "seeds are --seeds=<number>"),
        (["model.dim=64", "config.model.dim=128"], "names a field twice"),
        (["model.dim=64,64"], 'would share the folder "model.dim=64-seed=0": give each value once'),
        (["init_from=a/b,a_b"], 'would share the folder "init_from=a_b-seed=0"'),
    ],
)
def test_fields_that_cannot_be_combined(trained, tmp_path, fields, message):
    with pytest.raises(UserError, match=message):
        sweep(default.get_config(), tmp_path, fields, 1)
    assert not trained


def lines(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_stopped_sweep_says_that_the_runs_before_are_saved(trained, tmp_path, monkeypatch):
    config = default.get_config()
    sweep(config, tmp_path, [], 1)

    def stop(config, workdir):
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("logo_jax.experiments.sweep.train", stop)
    with pytest.raises(Stopped, match=r"; the runs before seed=1 are saved; of seed=1 nothing was"):
        sweep(config, tmp_path, [], 2)


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"workdir\nx,too many\n", "workdir\n\xe9\n".encode("latin-1")]
)
def test_a_table_that_is_none_of_a_sweep_is_refused_before_the_training(trained, tmp_path, content):
    (tmp_path / "sweep.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"sweep.csv is no table of a sweep .* move it away"):
        sweep(default.get_config(), tmp_path, [], 1)
    assert not trained


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_damaged_results_of_one_run_are_told_and_the_others_done(trained, tmp_path, content):
    config = default.get_config()
    sweep(config, tmp_path, [], 1)
    (tmp_path / "seed=0" / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"1 of 2 runs failed \(seed=0\)"):
        sweep(config, tmp_path, [], 2)
    first, second = lines(tmp_path / "sweep.csv")
    assert "results.json is damaged" in first["error"] and second["war"] == "0.1"


def test_a_failed_run_ends_the_sweep_of_several_processes(tmp_path, monkeypatch):
    """The other processes may be in the midst of that run, and would never meet this one again."""
    started = []

    def train(config, workdir):
        started.append(workdir.name)
        raise UserError("Another process trains here.")

    monkeypatch.setattr("logo_jax.experiments.sweep.train", train)
    monkeypatch.setattr("logo_jax.common.distributed.gather_texts", lambda text: [text] * 2)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"run model.dim=64-seed=0 failed: Another.* the same comm"):
        sweep(default.get_config(), tmp_path, ["model.dim=64"], 2)
    assert started == ["model.dim=64-seed=0"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["train", "cross_validate"])
def test_a_sweep_of_two_processes(tmp_path, mode):
    """Training is played; all that follows it is real."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).parent / "played_sweep.py"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, mode, str(tmp_path / "s"), f"127.0.0.1:{port}"]
    jobs = [
        subprocess.Popen([*command, number], env=environment, stdout=subprocess.PIPE, text=True)
        for number in "01"
    ]
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    rows = lines(tmp_path / "s" / "sweep.csv")
    assert [row["seed"] for row in rows] == ["0", "1"]
    assert all(float(row["war"]) > 0 and not row["error"] for row in rows)
    writers = [output.count("wrote sweep.csv") for output in outputs]
    assert writers == [2, 0]


@pytest.mark.slow
def test_a_sweep_writes_every_run_and_goes_on_where_it_stopped(config, tmp_path):
    config.max_steps = 2
    sweep(config, tmp_path / "s", ["model.attention=local_global,full"], 1)
    first = lines(tmp_path / "s" / "sweep.csv")
    assert [row["model.attention"] for row in first] == ["local_global", "full"]
    assert all(0 <= float(row["war"]) <= 1 and not row["error"] for row in first)
    assert all(float(row["seconds"]) > 0.5 for row in first)
    for seed in "01":  # where a workdir should be
        (tmp_path / "s" / f"model.attention=factorized-seed={seed}").write_text("")
    with pytest.raises(UserError, match=r"2 of 6 runs failed \(model.attention=factorized-seed=0"):
        sweep(config, tmp_path / "s", ["model.attention=local_global,full,factorized"], 2)
    second = lines(tmp_path / "s" / "sweep.csv")
    assert [(row["model.attention"], row["seed"]) for row in second] == [
        (scheme, seed) for scheme in ("local_global", "full", "factorized") for seed in "01"
    ]
    assert [second[0]["war"], second[2]["war"]] == [row["war"] for row in first]
    assert float(second[0]["seconds"]) < 0.5  # was finished before
    assert "Cannot write to the folder" in second[4]["error"]
    with pytest.raises(UserError, match='attention scheme "divded"'):  # before any run
        sweep(config, tmp_path / "t", ["model.attention=full,divded"], 1)
    assert not (tmp_path / "t").exists()
    config.model.mlp_dim = 32
    with pytest.raises(UserError, match="1 of 1 runs failed"):
        sweep(config, tmp_path / "s", ["model.attention=full"], 1)
    assert "another config" in lines(tmp_path / "s" / "sweep.csv")[-1]["error"]
