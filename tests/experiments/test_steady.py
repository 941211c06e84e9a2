"""A long run: nothing compiles after the first epoch, and memory does not grow."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from logo_jax.common import heap
from logo_jax.experiments.train import train
from logo_jax.training.log import TrainingLog
from tests.common.memory import resident

ROOT = Path(__file__).parents[2]
COMPILED = "/jax/core/compile/backend_compile_duration"


@pytest.mark.slow
def test_nothing_compiles_after_the_first_epoch(config, tmp_path, monkeypatch):
    """15 clips in batches of 4: an epoch ends within the fourth step."""
    config.num_epochs = 4
    config.log_every = 1
    config.checkpoint_every = 3
    config.selection = "best_on_val"
    config.ema_decay = 0.9
    compiled, at_step = [], {}
    listen = lambda name, seconds, **_: compiled.append(name) if name == COMPILED else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listen)
    real = TrainingLog.write

    def write(log, step, values):
        at_step[step] = len(compiled)
        real(log, step, values)

    monkeypatch.setattr(TrainingLog, "write", write)
    train(config, tmp_path)
    steps = max(at_step)
    assert steps == 15 and compiled
    assert at_step[steps] == at_step[4], at_step  # step 4: the epoch's end and its evaluation


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_is_flat_over_4000_steps(config, tmp_path):
    """From step 1,000 to step 4,000, with checkpoints and evaluations, by less than 24 MiB.

    In a process of its own, with the heap as launch.py has it.
    """
    config.num_epochs = 2000
    config.max_steps = 4000
    config.log_every = 50
    config.checkpoint_every = 200
    config.selection = "best_on_val"
    config.select_every_epochs = 50
    config.model.backbone = "patch"  # the steps themselves are not the point
    config.model.patch_size = 4
    config.model.stage = config.model.width = None
    recipe = tmp_path / "config.pickle"
    recipe.write_bytes(pickle.dumps(config))
    program = [sys.executable, __file__, str(recipe), str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    held = {int(step): size for step, size in json.loads(done.stdout.splitlines()[-1]).items()}
    print({step: round(held[step]) for step in held if step % 250 == 0})
    assert max(held) == 4000
    assert held[4000] - held[1000] < 24, held


def train_and_measure(recipe: Path, workdir: Path) -> dict[int, float]:
    """Memory of this process in MiB, by step."""
    held = {}
    real = TrainingLog.write

    def write(log, step, values):
        held[step] = resident() / 2**20
        real(log, step, values)

    TrainingLog.write = write
    train(pickle.loads(recipe.read_bytes()), workdir)
    return held


if __name__ == "__main__":
    heap.keep_freed_memory()
    print(json.dumps(train_and_measure(*map(Path, sys.argv[1:]))))
