"""One training step and one evaluation step, as jitted functions over a mesh.

`jax.jit` over a mesh with NamedSharding: the program is written for the global batch, so batch
statistics, the loss and SAM's perturbation are those of the global batch, whatever the number of
devices.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from logo_jax.common.errors import UserError
from logo_jax.common.mesh import replicated, split_over_devices
from logo_jax.models.contract import Output
from logo_jax.training import ema
from logo_jax.training.accumulate import Batch, Found, half, sweep
from logo_jax.training.objective import Targets, targets_of
from logo_jax.training.sam import perturbation_of
from logo_jax.training.sharpness import Sharpness, trajectory_loss
from logo_jax.training.state import TrainState

Prepare = Callable[[Batch], Float[Array, "B T H W 3"]]
Loss = Callable[
    [Output, Int[Array, " B"] | Targets, Any],
    tuple[Float[Array, ""], dict[str, Float[Array, ""]], Any],
]


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformationExtraArgs,
    loss: Loss,
    prepare: Prepare,
    schedule: optax.Schedule,
    mesh: Mesh,
    *,
    sharpness: Sharpness | None = None,
    accumulate: int = 1,
    ema_decay: float | int = 0.0,
    skip_nonfinite: bool = False,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Return `step(state, batch) -> (state, metrics)`; the given state is donated.

    Args:
        tx: takes `grad_fn`, as SAM does for its second gradient; of the same form as `sharpness`.
        loss: the loss, its parts for the log and the new state of the losses, from the model's
            output, labels [B] (or `Targets`) and the state of the losses: an `Objective`.
        prepare: makes clips of a batch on the device: crop, flip, jitter, scaling.
        schedule: learning rate of a step, for the log.
        sharpness: the form of sharpness-aware training; None = what `tx` does by itself.
        accumulate: micro-batches into which every pass cuts the batch (accumulate.py).
        ema_decay: of the moving average that the state keeps; 0 = none.
        skip_nonfinite: leave everything but the step number as it is where the loss, the gradient
            or a number of the new state is not finite. The metric `finite` tells in any case.

    Raises:
        UserError: MESA without a moving average, m-SAM with micro-batches; when called, m-SAM with
            a batch that its shards do not divide.
    """
    form = sharpness or Sharpness()
    if form.form == "mesa" and not ema_decay:
        raise UserError(
            "config.optimizer.sharpness=mesa compares the model with its moving average: set "
            "config.ema_decay, such as 0.999."
        )
    if form.climbs("msam") and accumulate > 1:
        raise UserError(
            f"config.optimizer.sharpness=msam takes m={form.m} clips at a time already: leave "
            "config.accumulate at 1."
        )

    def train_step(
        state: TrainState, batch: Batch, **look: bool
    ) -> tuple[TrainState, dict[str, Array]]:
        # All passes of a step see the same dropout masks.
        dropout_key = jax.random.fold_in(state.dropout_key, state.step)

        def output(params: Any, clips: Array, key: Array) -> tuple[Output, dict[str, Any]]:
            result: Any = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                clips,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return result

        def loss_of(params: Any, part: Batch, key: Array) -> tuple[Float[Array, ""], Found]:
            clips = prepare(part)
            out, updated = output(params, clips, key)
            value, parts, _ = loss(out, targets_of(part), state.loss_state)
            if form.form == "mesa":
                # The average sees the batch as the model does, with its statistics and masks, so
                # that the loss is 0 where the two agree.
                average, _ = output(state.ema["params"], clips, key)
                away = trajectory_loss(out.logits, average.logits, form.mesa_temperature).mean()
                parts = {**parts, "trajectory_loss": away}
                value = value + form.mesa_weight * away
            means = {
                "batch_stats": updated.get("batch_stats", {}),
                "metrics": {
                    "loss": value,
                    **parts,
                    "accuracy": (out.logits.argmax(-1) == part["label"]).mean(),
                },
            }
            return value, Found(means, (out, targets_of(part)))

        def gradient(params: Any, rows: Batch) -> tuple[Found, Any]:
            def of_part(part: Batch, key: Array) -> tuple[Found, Any]:
                (_, found), grads = jax.value_and_grad(loss_of, has_aux=True)(params, part, key)
                return found, grads

            return sweep(of_part, rows, dropout_key, accumulate)

        def shard_gradient(part: Batch, key: Array) -> tuple[Found, Any]:
            """m-SAM: the gradient of a shard at the worst point for this shard."""
            of_params = jax.value_and_grad(loss_of, has_aux=True)
            (_, found), grads = of_params(state.params, part, key)
            perturbation, norm = perturbation_of(grads, state.params, form.rho, form.adaptive)
            climbed = optax.apply_updates(state.params, perturbation)
            followed = of_params(climbed, part, key)[1]
            found.means["metrics"]["perturbation_norm"] = norm
            return found, followed

        if form.climbs("msam"):
            shards = form.shards(len(batch["label"]))
            found, grads = sweep(shard_gradient, batch, dropout_key, shards)
        else:
            found, grads = gradient(state.params, half(batch) if form.climbs("esam") else batch)
        # Batch statistics and loss state are those of the first pass: later ones are ignored, and
        # all begin with the old ones, so that they see the same function. What losses keep is made
        # of all clips of the pass together, whatever the micro-batches.
        out, targets = found.clips
        loss_state = loss(out, targets, state.loss_state)[2]

        updates, opt_state = tx.update(
            grads,
            state.opt_state,
            state.params,
            grad_fn=lambda params, _: gradient(params, batch)[1],
            **look,
        )
        params = optax.apply_updates(state.params, updates)
        new = state.replace(
            params=params,
            batch_stats=found.means["batch_stats"],
            opt_state=opt_state,
            loss_state=loss_state,
        )
        if ema_decay:
            new = new.replace(ema=ema.moved(state.ema, params, new.batch_stats, ema_decay))
        metrics = {
            "perturbation_norm": _perturbation_norm(opt_state),
            **found.means["metrics"],
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "gradient_norm": optax.tree.norm(grads),
        }
        # A finite loss does not show that all is well: where the gradient overflows, its square in
        # Adam's state may be infinite while the parameters stand still.
        finite = _all_finite((metrics["loss"], metrics["gradient_norm"], new))
        if skip_nonfinite:
            new = _chosen(finite, new, state)
        return new.replace(step=state.step + 1), {**metrics, "finite": finite}

    compiled = functools.partial(
        jax.jit,
        in_shardings=(replicated(mesh), split_over_devices(mesh)),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )
    if form.climbs("looksam") and mesh.devices.flat[0].platform == "cpu":
        # XLA on CPU computes what stands in a condition several times slower, so two programs and
        # a number that the host waits for. An accelerator would be idle while the host waits.
        steps = {
            ascend: compiled(functools.partial(train_step, ascend=ascend))
            for ascend in (True, False)
        }
        return lambda state, batch: steps[int(state.opt_state.steps) % form.look_every == 0](
            state, batch
        )
    return compiled(train_step)


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


def _all_finite(tree: Any) -> Array:
    numbers = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(x).all() for x in numbers]).all()


def _chosen(finite: Array, new: TrainState, old: TrainState) -> TrainState:
    """`new` where it is finite and `old` elsewhere; the schedule goes on in any case."""

    def choose(after: Any, before: Any) -> Any:
        if isinstance(after, optax.ScaleByScheduleState):
            return after
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), after, before)

    is_schedule = lambda node: isinstance(node, optax.ScaleByScheduleState)  # noqa: E731
    return jax.tree.map(choose, new, old, is_leaf=is_schedule)


def _perturbation_norm(opt_state: Any) -> Array:
    """The norm that SAM recorded; 0 where the optimizer is not SAM."""
    norm = optax.tree_utils.tree_get(opt_state, "perturbation_norm")
    return jnp.zeros(()) if norm is None else norm
