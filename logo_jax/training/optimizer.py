"""Optimizers by name: SGD or AdamW with schedule, weight decay and clipping, SAM around them.

The order of one step, from the gradient to the new parameters (SAM, if any, comes before all):

    sgd:    clip -> + weight_decay * w -> momentum               -> * -rate -> * backbone_lr_scale
    adamw:  clip -> Adam's moments     -> + weight_decay * w     -> * -rate -> * backbone_lr_scale

So the weight decay of SGD passes through the momentum, as in `torch.optim.SGD`, and that of AdamW
does not, as in `torch.optim.AdamW`; both are multiplied by the learning rate.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError, pick
from logo_jax.training.sharpness import Sharpness

Schedule = Callable[[Any], Float[Array, ""]]

# Ends of the names of parameters that weight decay leaves alone: biases, the scales of norms, and
# what is added to tokens or stands for one (by PyTorch's names in Former-DFER), and what a softmax
# turns into shares (M3DFEL). Shrinking these does not make a function smoother.
UNDECAYED = ("bias", "scale", "position", "class_token", "pos_embedding", "cls_token",
             "mean_weight", "var_weight")  # fmt: skip


def make_optimizer(
    *,
    base: str = "sgd",
    learning_rate: float | int,
    momentum: float | int = 0.9,
    weight_decay: float | int = 1e-4,
    rho: float | int = 0.05,
    adaptive: bool = False,
    sharpness: Sharpness | None = None,
    schedule: str = "constant",
    warmup_steps: int = 0,
    decay_every_steps: int = 0,
    decay_factor: float | int = 0.1,
    total_steps: int,
    clip_norm: float | int | None = None,
    backbone_lr_scale: float | int = 1.0,
) -> tuple[optax.GradientTransformationExtraArgs, Schedule]:
    """Build the optimizer of a run, and the schedule alone for the log.

    Args:
        base: "sgd" or "adamw".
        learning_rate: the peak, before warm-up and decay.
        momentum: SGD's momentum, not dampened, no Nesterov; AdamW's beta_1 (its beta_2 is 0.999,
            its epsilon 1e-8).
        weight_decay: for the parameters that `decay_mask` names.
        rho, adaptive: see `sam`; rho 0 is plain SGD or AdamW.
        sharpness: another form than SAM, with its own rho and adaptive; the two above are unused.
        schedule, warmup_steps, decay_every_steps, decay_factor, total_steps: see `make_schedule`.
        clip_norm: largest norm, over all parameters, of the gradient that is followed; None or 0
            for no clipping.
        backbone_lr_scale: factor on every update of `params["backbone"]`, its weight decay
            included; 0 freezes it bit for bit. (SAM still climbs along it, and its batch statistics
            are the model's affair: `freeze_bn`.)

    Returns:
        The transform, whose state is a `SamState` (of "looksam" a `LookSamState`), and the
        schedule: step (from 0) -> rate.

    Raises:
        UserError: a name is unknown or a number out of range; the message names both and the mend.
    """
    rate = make_schedule(
        schedule,
        learning_rate=learning_rate,
        warmup_steps=warmup_steps,
        decay_every_steps=decay_every_steps,
        decay_factor=decay_factor,
        total_steps=total_steps,
    )
    _require(0 <= momentum < 1, "momentum", momentum, "at least 0 and less than 1")
    _require(0 <= weight_decay < math.inf, "weight_decay", weight_decay, "at least 0")
    _require(
        0 <= backbone_lr_scale < math.inf, "backbone_lr_scale", backbone_lr_scale, "at least 0"
    )
    if clip_norm is not None:
        _require(0 <= clip_norm < math.inf, "clip_norm", clip_norm, "above 0, or 0 for no clipping")
    steps = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    steps += pick(_BASES, base, "optimizer")(momentum, weight_decay)
    steps.append(optax.scale_by_learning_rate(rate))
    if backbone_lr_scale != 1:
        steps.append(_scale_backbone(backbone_lr_scale))
    form = sharpness or Sharpness(rho=rho, adaptive=adaptive)
    return form.around(optax.chain(*steps)), rate


def _sgd(momentum: float | int, weight_decay: float | int) -> list[optax.GradientTransformation]:
    return [optax.add_decayed_weights(weight_decay, decay_mask), optax.trace(momentum)]


def _adamw(momentum: float | int, weight_decay: float | int) -> list[optax.GradientTransformation]:
    return [
        optax.scale_by_adam(b1=momentum, b2=0.999, eps=1e-8),
        optax.add_decayed_weights(weight_decay, decay_mask),
    ]


_BASES = {"sgd": _sgd, "adamw": _adamw}


def decay_mask(params: optax.Params) -> Any:
    """A tree like `params`: True where weight decay acts.

    It leaves alone every parameter whose own name ends in one of `UNDECAYED`: biases, the scales of
    norms, position embeddings, class tokens, the shares of M3DFEL's norm. The name decides and
    not the number of dimensions, since embeddings have as many as kernels.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: not jax.tree_util.keystr(path[-1:], simple=True).endswith(UNDECAYED), params
    )


def _scale_backbone(factor: float | int) -> optax.GradientTransformation:
    """Multiply the updates of `params["backbone"]` by `factor`."""

    def init(params: optax.Params) -> optax.EmptyState:
        if "backbone" not in params:
            raise UserError(
                f"backbone_lr_scale is {factor}, but the model has no part named backbone (its "
                f"parts: {', '.join(sorted(params))}): leave backbone_lr_scale at 1."
            )
        return optax.EmptyState()

    def scale(update: Array) -> Array:
        # Not 0 * update: that would be NaN where a gradient has overflowed.
        return update * jnp.asarray(factor, update.dtype) if factor else jnp.zeros_like(update)

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        return {**updates, "backbone": jax.tree.map(scale, updates["backbone"])}, state

    return optax.GradientTransformation(init, update)


def make_schedule(
    schedule: str,
    *,
    learning_rate: float | int,
    warmup_steps: int = 0,
    decay_every_steps: int = 0,
    decay_factor: float | int = 0.1,
    total_steps: int,
) -> Schedule:
    """Learning rate at step s = 0, 1, ...: `learning_rate * warm_up(s) * decay(s)`.

    - `warm_up(s) = min(1, (s + 1) / warmup_steps)`: the first step already moves, and the full rate
      is reached in the last step of the warm-up.
    - "constant": `decay(s) = 1`.
    - "step": `decay(s) = decay_factor ** (s // decay_every_steps)`, counted from the first step of
      training, so that "every 40 epochs" means epochs 40 and 80, with a warm-up or without.
    - "cosine": `decay(s) = (1 + cos(pi * x)) / 2`, x running from 0 at the end of the warm-up to 1
      after the last step.

    Raises:
        UserError: an unknown name, a rate that is negative, a warm-up longer than training, a step
            schedule without its interval.
    """
    _require(0 <= learning_rate < math.inf, "learning_rate", learning_rate, "at least 0")
    _require(total_steps >= 1, "total_steps", total_steps, "at least 1")
    _require(
        0 <= warmup_steps <= total_steps,
        "warmup_steps",
        warmup_steps,
        f"between 0 and the length of training, {total_steps} steps: shorten the warm-up or train "
        "longer",
    )

    def constant(step: Array) -> Array:
        return jnp.ones((), jnp.float32)

    def stepwise(step: Array) -> Array:
        every = min(decay_every_steps, 2**31 - 1)  # as people write "never"
        return jnp.power(jnp.float32(decay_factor), step // every)

    def cosine(step: Array) -> Array:
        after = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(after, 0.0, 1.0)))

    decays = {"constant": constant, "step": stepwise, "cosine": cosine}
    decay = pick(decays, schedule, "schedule")
    if schedule == "step":
        _require(decay_every_steps >= 1, "decay_every_steps", decay_every_steps, "at least 1")
        _require(0 < decay_factor <= 1, "decay_factor", decay_factor, "above 0 and at most 1")

    def rate(step: Any) -> Float[Array, ""]:
        step = jnp.asarray(step)
        warm_up = jnp.minimum(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
        return jnp.asarray(learning_rate * warm_up * decay(step), jnp.float32)

    return rate


def _require(holds: bool, name: str, value: float | int, allowed: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}, but must be {allowed}.")
