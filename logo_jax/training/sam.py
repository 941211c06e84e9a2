"""Sharpness-aware minimization (SAM, Foret et al. 2021, arXiv 2010.01412) as an optax transform.

SAM minimizes the largest loss within a distance rho of the parameters w. One step takes the
gradient g at w, climbs to w + e, and hands the gradient found there to the base optimizer, which
moves w (Algorithm 1 of the paper; e is equation 2 for p = 2):

    SAM:   e = rho * g / ||g||
    ASAM:  e = rho * |w|^2 g / || |w| g ||

the norms being over all parameters together. ASAM (Kwon et al. 2021, arXiv 2102.11600, section 3)
measures distance in proportion to each weight, so that rescaling a layer whose next layer undoes it
changes nothing. It is taken here with T_w = |w| for every parameter and without the stabilizer that
the authors' code adds to |w|, so a parameter that is 0 is not perturbed.

Clipping, weight decay and the schedule belong inside `base`: in a chain *before* `sam` they would
act on the gradient that only climbs, and what the parameters follow is the other one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.contract import at_least_float32

GradFn = Callable[[optax.Params, int], optax.Updates]


class SamState(NamedTuple):
    """State of `sam`.

    Attributes:
        base: state of the base optimizer.
        perturbation_norm: ||e|| of the last step, over all parameters; 0 before the first.
    """

    base: optax.OptState
    perturbation_norm: Float[Array, ""]


def sam(
    base: optax.GradientTransformation, rho: float | int, adaptive: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Let `base` follow the gradient at the worst point within `rho` of the parameters.

    The result's `update(grads, state, params, grad_fn=...)` takes the gradients at `params` and
    calls `grad_fn(perturbed_params, 0)` once for those at the perturbed ones, so that a step costs
    two gradients. `grad_fn` must use the same batch and the same dropout key as the first pass and
    throw away new batch statistics. It is `optax.contrib.sam(base, chain(normalize(), sgd(rho)),
    opaque_mode=True)`, and unlike that leaves the parameters where they are when the gradient is 0.

    Args:
        base: the optimizer that moves the parameters, with clipping, weight decay and schedule.
        rho: radius of the neighbourhood, 0.05 in the presets; 0 makes this `base` itself, and
            `grad_fn` is then neither needed nor called.
        adaptive: ASAM; its paper takes a rho ten times as large (0.5 on CIFAR-10 against 0.05).

    Raises:
        UserError: `rho` is negative or not finite.
    """
    require_rho(rho)
    base = optax.with_extra_args_support(base)

    def init(params: optax.Params) -> SamState:
        return SamState(base.init(params), jnp.zeros((), jnp.float32))

    def update(
        grads: optax.Updates,
        state: SamState,
        params: optax.Params | None = None,
        *,
        grad_fn: GradFn | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, SamState]:
        norm = state.perturbation_norm
        if rho > 0:
            if params is None or grad_fn is None:
                missing = "params" if params is None else "grad_fn"
                raise ValueError(
                    f"sam needs {missing}: call update(grads, state, params, grad_fn=grad_fn), "
                    "where grad_fn(params, step) returns the gradients of the same batch."
                )
            perturbation, norm = perturbation_of(grads, params, rho, adaptive)
            grads = grad_fn(optax.apply_updates(params, perturbation), 0)
        updates, base_state = base.update(grads, state.base, params, **extra_args)
        return updates, SamState(base_state, norm)

    return optax.GradientTransformationExtraArgs(init, update)


def require_rho(rho: float | int) -> None:
    """Raise a UserError where `rho` is no radius."""
    if not (math.isfinite(rho) and rho >= 0):
        raise UserError(f"rho is {rho}, but must be 0 (no SAM) or more; 0.05 is usual.")


def perturbation_of(
    grads: optax.Updates, params: optax.Params, rho: float | int, adaptive: bool
) -> tuple[optax.Updates, Float[Array, ""]]:
    """Return e, in float32 or wider, and its norm; both 0 where the gradient is 0."""
    grads = jax.tree.map(at_least_float32, grads)
    if adaptive:
        scales = jax.tree.map(lambda w: jnp.abs(at_least_float32(w)), params)
        scaled = jax.tree.map(jnp.multiply, scales, grads)  # |w| g
        direction = jax.tree.map(jnp.multiply, scales, scaled)  # |w|^2 g
    else:
        scaled = direction = grads
    norm = optax.tree.norm(scaled)
    # A gradient of 0 has no direction: divide by 1 instead, which leaves e = 0 and no NaN.
    divisor = jnp.where(norm > 0, norm, 1.0)
    perturbation = jax.tree.map(lambda d: rho * (d / divisor), direction)
    return perturbation, optax.tree.norm(perturbation).astype(jnp.float32)
