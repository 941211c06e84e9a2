"""One training step and one evaluation step, as jitted functions over a mesh.

`jax.jit` over a mesh with NamedSharding: the program is written for the global batch, so batch
statistics, the loss and SAM's perturbation are those of the global batch, whatever the number of
devices.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from logo_jax.common.mesh import replicated, split_over_devices
from logo_jax.models.contract import Output
from logo_jax.training.state import TrainState

Batch = dict[str, Array]
Prepare = Callable[[Batch], Float[Array, "B T H W 3"]]
Loss = Callable[
    [Output, Int[Array, " B"], Any],
    tuple[Float[Array, ""], dict[str, Float[Array, ""]], Any],
]


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformationExtraArgs,
    loss: Loss,
    prepare: Prepare,
    schedule: optax.Schedule,
    mesh: Mesh,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Return `step(state, batch) -> (state, metrics)`; the given state is donated.

    Args:
        tx: takes `grad_fn`, as SAM does for its second gradient.
        loss: the loss, its parts for the log and the new state of the losses, from the model's
            output, labels [B] and the state of the losses: an `Objective`.
        prepare: makes clips of a batch on the device: crop, flip, jitter, scaling.
        schedule: learning rate of a step, for the log.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        clips = prepare(batch)
        # Both SAM passes of a step see the same dropout masks.
        dropout_key = jax.random.fold_in(state.dropout_key, state.step)

        def loss_of(params: Any) -> tuple[Float[Array, ""], dict[str, Any]]:
            out, updated = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                clips,
                train=True,
                rngs={"dropout": dropout_key},
                mutable=["batch_stats"],
            )
            value, parts, loss_state = loss(out, batch["label"], state.loss_state)
            return value, {
                "batch_stats": updated.get("batch_stats", {}),
                "loss_state": loss_state,
                "parts": parts,
                "accuracy": (out.logits.argmax(-1) == batch["label"]).mean(),
            }

        (value, aux), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)

        def second_gradient(params: Any, _: int) -> Any:
            # SAM's second pass: its new batch statistics and loss state are ignored, those of the
            # first pass count. Both passes begin with the old ones, so they see the same function.
            return jax.grad(loss_of, has_aux=True)(params)[0]

        updates, opt_state = tx.update(
            grads, state.opt_state, state.params, grad_fn=second_gradient
        )
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss": value,
            **aux["parts"],
            "accuracy": aux["accuracy"],
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "gradient_norm": optax.tree.norm(grads),
            "perturbation_norm": _perturbation_norm(opt_state),
            # A finite loss does not show that the update was finite; the new parameters do.
            "finite": jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(params)),
        }
        state = state.replace(
            step=state.step + 1,
            params=params,
            batch_stats=aux["batch_stats"],
            opt_state=opt_state,
            loss_state=aux["loss_state"],
        )
        return state, metrics

    return jax.jit(
        train_step,
        in_shardings=(replicated(mesh), split_over_devices(mesh)),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )


def make_eval_step(
    model: nn.Module, prepare: Prepare, mesh: Mesh
) -> Callable[[Any, Any, Batch], Float[Array, "B C"]]:
    """Return `probabilities(params, batch_stats, batch) -> [B, C]`, the softmax of the logits."""

    def probabilities(params: Any, batch_stats: Any, batch: Batch) -> Float[Array, "B C"]:
        variables = {"params": params, "batch_stats": batch_stats}
        out: Any = model.apply(variables, prepare(batch), train=False)
        return jax.nn.softmax(out.logits)

    # The result is replicated so that every host can read all rows of it.
    return jax.jit(
        probabilities,
        in_shardings=(replicated(mesh), replicated(mesh), split_over_devices(mesh)),
        out_shardings=replicated(mesh),
    )


def _perturbation_norm(opt_state: Any) -> Array:
    """The norm that SAM recorded; 0 where the optimizer is not SAM."""
    norm = optax.tree_utils.tree_get(opt_state, "perturbation_norm")
    return jnp.zeros(()) if norm is None else norm
