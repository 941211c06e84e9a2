"""A short training with SAM, dropout, EMA and a checkpoint after every step, to be killed.

    python -m tests.training.killed_run WORKDIR STEPS

Its input is a function of the step alone, as that of the real training is. Imported and forked by
`multiprocessing`'s fork server, a start costs the test a fraction of a second.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from logo_jax.common.mesh import data_mesh
from logo_jax.experiments import config as configs
from logo_jax.training import loop
from logo_jax.training.checkpoint import Checkpoints
from logo_jax.training.damage import set_aside_damaged
from logo_jax.training.log import TrainingLog
from logo_jax.training.objective import Objective
from logo_jax.training.sharpness import Sharpness
from logo_jax.training.state import create_state
from logo_jax.training.step import make_train_step
from tests.training.small_run import META
from tests.training.small_step import LABELS, NUM_CLASSES, Net, clips, variables


def batches(start, stop):
    for step in range(start, stop):
        yield {"clips": clips(step), "label": LABELS.astype(np.int32)}


def run(workdir: Path, steps: int, started=lambda: None) -> None:
    """Train to `steps` from where the run in `workdir` was; `started()` before the first step."""
    configs.quiet_libraries()
    jax.config.update("jax_compilation_cache_dir", str(workdir.parent / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    set_aside_damaged(workdir)
    form = Sharpness(form="looksam", rho=0.1, look_every=3)
    tx = form.around(optax.adam(0.01))
    mesh, model = data_mesh(), Net(norm=True, dropout=0.3)
    objective = Objective(class_counts=np.bincount(LABELS), center_loss=0.1)
    loss_state = {"center_loss": {"centers": jnp.zeros((NUM_CLASSES, 4))}}
    state = create_state(variables(model), tx, 0, mesh, loss_state, keep_ema=True)
    checkpoints = Checkpoints(workdir)
    if checkpoints.latest_step() is not None:
        state, _ = checkpoints.restore(state)
    first = int(state.step)
    log = TrainingLog(workdir, first)
    step = make_train_step(
        model, tx, objective, lambda batch: batch["clips"], lambda _: 0.01, mesh,
        sharpness=form, ema_decay=0.9,
    )  # fmt: skip
    started()
    loop.fit(
        state, step, batches(first, steps), loop.Schedule(steps, 1, 1, 0),
        mesh=mesh, checkpoints=checkpoints, log=log, meta=META,
    )  # fmt: skip
    log.close()
    checkpoints.close()


def forked(workdir: str, steps: int, started) -> None:
    run(Path(workdir), steps, started.set)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
