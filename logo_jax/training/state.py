"""The train state: everything that a step changes, and nothing else."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh
from jaxtyping import Array, Int

from logo_jax.common.mesh import on_all_devices
from logo_jax.training import ema as averages


class TrainState(struct.PyTreeNode):
    """Step number, parameters, batch statistics, optimizer state, and the key of the dropout masks.

    `loss_state` is what losses keep from step to step, by their names: of the center loss
    `{"center_loss": {"centers": [C D]}}`; {} where no loss keeps anything. `ema` is the moving
    average {"params", "batch_stats"} of the model; {} where none is kept.

    A plain pytree: it is donated to the jitted step and saved whole in a checkpoint.
    """

    step: Int[Array, ""]
    params: Any
    batch_stats: Any
    opt_state: Any
    dropout_key: Array
    loss_state: Any
    ema: Any


def init_variables(model: nn.Module, clip_shape: tuple[int, int, int, int], seed: int) -> dict:
    """Draw the model's parameters and batch statistics for clips of `clip_shape` [T, H, W, 3]."""

    init = jax.jit(lambda key: model.init(key, jnp.zeros((1, *clip_shape)), train=False))
    variables = dict(init(jax.random.key(seed)))
    variables.setdefault("batch_stats", {})  # a model without batch norm
    return variables


def create_state(
    variables: dict,
    tx: optax.GradientTransformation,
    seed: int,
    mesh: Mesh,
    loss_state: dict[str, Any],
    keep_ema: bool = False,
) -> TrainState:
    """Make the state of step 0, the same copy on every device of `mesh`.

    Args:
        loss_state: of step 0, from `Objective.init_state`.
        keep_ema: keep a moving average of the model (ema.py).
    """
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=tx.init(variables["params"]),
        # Another stream than that of the parameters, which were drawn from `seed` itself.
        dropout_key=jax.random.fold_in(jax.random.key(seed), 1),
        loss_state=loss_state,
        ema=averages.start(variables["params"], variables["batch_stats"]) if keep_ema else {},
    )
    return on_all_devices(state, mesh)
