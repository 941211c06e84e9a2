"""A long run: nothing compiles after the first epoch, and memory does not grow."""

import resource

import jax
import pytest

from logo_jax.experiments.train import train
from logo_jax.training.log import TrainingLog

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
def test_memory_is_flat_over_2000_steps(config, tmp_path, monkeypatch):
    """From step 500 to step 2,000, with checkpoints and evaluations, by less than 24 MiB."""
    config.num_epochs = 1000
    config.max_steps = 2000
    config.log_every = 50
    config.checkpoint_every = 200
    config.selection = "best_on_val"
    config.select_every_epochs = 50
    config.model.backbone = "patch"  # the steps themselves are not the point
    config.model.patch_size = 4
    config.model.stage = config.model.width = None
    resident = {}
    real = TrainingLog.write

    def write(log, step, values):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        resident[step] = pages * resource.getpagesize() / 2**20
        real(log, step, values)

    monkeypatch.setattr(TrainingLog, "write", write)
    train(config, tmp_path)
    steps = sorted(resident)
    assert steps[-1] == 2000
    growth = resident[2000] - resident[500]
    print({step: round(resident[step]) for step in steps if step % 250 == 0})
    assert growth < 24, resident
