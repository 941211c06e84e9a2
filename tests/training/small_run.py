"""A training loop whose model is one number, so that its files and stops are tested in no time."""

import jax.numpy as jnp
import numpy as np
import optax

from logo_jax.common.mesh import data_mesh
from logo_jax.training import loop
from logo_jax.training.checkpoint import Checkpoints
from logo_jax.training.log import TrainingLog
from logo_jax.training.state import create_state

META = {"config": {}, "classes": ["a", "b"], "fingerprint": "0", "train_clips": 2}


def state_of_step_0():
    variables = {"params": {"w": jnp.zeros(3)}, "batch_stats": {}}
    return create_state(variables, optax.sgd(1.0), 0, data_mesh(), {})


def add_one(state, batch):
    """A step after which `w` is the number of steps."""
    metrics = {"loss": 1.0, "gradient_norm": 1.0, "learning_rate": 0.1, "finite": True}
    new = state.replace(step=state.step + 1, params={"w": state.params["w"] + 1})
    return new, {name: jnp.asarray(value) for name, value in metrics.items()}


def endless():
    while True:
        yield {"label": np.zeros(2, np.int32)}


def fit(
    workdir, total_steps, batches=None, log=None, step=add_one, log_every=1, checkpoint_every=100,
    **options,
):  # fmt: skip
    """Start, or start again, in `workdir`."""
    state, checkpoints = state_of_step_0(), Checkpoints(workdir)
    if checkpoints.latest_step() is not None:
        state, _ = checkpoints.restore(state)
    log = log or TrainingLog(workdir, int(state.step))
    schedule = loop.Schedule(total_steps, log_every, checkpoint_every, evaluate_every=2)
    try:
        return loop.fit(
            state,
            step,
            batches or endless(),
            schedule,
            mesh=data_mesh(),
            checkpoints=checkpoints,
            log=log,
            meta=META,
            **options,
        )
    finally:
        log.close()
        checkpoints.close()
