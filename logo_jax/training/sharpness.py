"""Cheaper or finer forms of sharpness-aware training, by name, and what each does to a step.

With w the parameters, L_S(w) the mean loss over the clips S, B the batch, and e_S(w) SAM's or
ASAM's perturbation (sam.py) from the gradient of L_S at w, the base optimizer follows

    sam       grad L_B(w + e_B)                                   two passes
    asam      the same with ASAM's e, which `adaptive` gives every form that climbs
    looksam   SAM's gradient every k steps, a reuse of its direction between   1 + 1 / k passes
    esam      grad L_B(w + e_H), H every second clip of B         one pass and a half
    msam      mean over shards S of m clips: grad L_S(w + e_S)    two passes
    mesa      grad (L_B + weight * KL to the EMA model)(w)        one pass, one forward

Sources: Foret et al. 2021 (arXiv 2010.01412; SAM, and m-SAM in its section 4), Liu et al. 2022
(arXiv 2203.02714; LookSAM, algorithm 1), Du et al. 2022 (arXiv 2110.03141; ESAM) and Du et al. 2022
(arXiv 2205.14083; MESA). `esam` shares with ESAM that half of the batch does one of the passes, and
not more: ESAM climbs with all clips along a random part of the parameters, and descends with the
clips whose loss rose most.

rho = 0 makes every form that climbs the base optimizer itself.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from logo_jax.common.errors import UserError, pick
from logo_jax.models.contract import at_least_float32
from logo_jax.training.sam import GradFn, perturbation_of, require_rho, sam

FORMS = ("sam", "asam", "looksam", "esam", "msam", "mesa")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sharpness:
    """The form of sharpness-aware training, and its numbers; each form ignores those of others.

    Attributes:
        form: a name of `FORMS`.
        rho: radius of the neighbourhood; 0 = the base optimizer alone. Not of "mesa".
        adaptive: ASAM's neighbourhood; refused for "mesa", which does not climb.
        look_every: of "looksam", k: steps from one ascent to the next; 1 is SAM.
        look_alpha: of "looksam", alpha: how far the reused direction is followed.
        m: of "msam", clips that share a perturbation.
        mesa_weight, mesa_temperature: of "mesa", see `trajectory_loss`.

    Raises:
        UserError: an unknown form, or a number out of range.
    """

    form: str = "sam"
    rho: float | int = 0.05
    adaptive: bool = False
    look_every: int = 5
    look_alpha: float | int = 0.7
    m: int = 8
    mesa_weight: float | int = 1.0
    mesa_temperature: float | int = 1.0

    def __post_init__(self) -> None:
        pick(dict.fromkeys(FORMS), self.form, "sharpness")
        require_rho(self.rho)
        for name, least in (("look_every", 1), ("m", 1), ("look_alpha", 0), ("mesa_weight", 0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise UserError(f"{name} is {value}, but must be at least {least}.")
        if not 0 < self.mesa_temperature < math.inf:
            raise UserError(f"mesa_temperature is {self.mesa_temperature}, but must be above 0.")
        if self.form == "mesa" and self.adaptive:
            raise UserError(
                'adaptive=True measures the distance of an ascent, and sharpness="mesa" has none: '
                "leave adaptive at False."
            )

    def climbs(self, form: str) -> bool:
        """Whether this is `form` and its radius is not 0."""
        return self.form == form and self.rho > 0

    def shards(self, batch_size: int) -> int:
        """Number of shards of m clips that "msam" cuts a batch into.

        Raises:
            UserError: they do not come out even.
        """
        if batch_size % self.m:
            raise UserError(
                f"config.optimizer.m={self.m} does not divide config.batch_size={batch_size}: the "
                "clips that share a perturbation must."
            )
        return batch_size // self.m

    def around(self, base: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
        """The transform of this form; what "esam", "msam" and "mesa" need besides is the step's."""
        if self.form in ("msam", "mesa"):
            return sam(base, 0)
        adaptive = self.adaptive or self.form == "asam"
        if self.climbs("looksam"):
            return looksam(base, self.rho, self.look_every, self.look_alpha, adaptive)
        return sam(base, self.rho, adaptive)


class LookSamState(NamedTuple):
    """State of `looksam`.

    Attributes:
        base: state of the base optimizer.
        perturbation_norm: ||e|| of the last ascent.
        steps: number of steps done.
        orthogonal: g_v, the part of the last ascent's gradient that is orthogonal to the plain one.
    """

    base: optax.OptState
    perturbation_norm: Float[Array, ""]
    steps: Int[Array, ""]
    orthogonal: optax.Updates


def looksam(
    base: optax.GradientTransformation,
    rho: float | int,
    every: int,
    alpha: float | int,
    adaptive: bool = False,
) -> optax.GradientTransformationExtraArgs:
    """LookSAM (Liu et al. 2022, algorithm 1): SAM's ascent in step 0, every, 2 * every, ...

    With g the gradient at w, in a step with ascent

        g_s = grad L(w + e),    g_v = g_s - (<g_s, g> / ||g||^2) g

    and g_s is followed. In the steps between, g_v is what the last ascent left, and

        g_s = g + alpha * (||g|| / ||g_v||) * g_v.

    Norms are over all parameters together (the paper's LookLayerSAM is not here). Arguments of
    `update` as for `sam`; `grad_fn` is computed in the steps with ascent only. Who knows already
    whether a step is one may say `ascend=True` or `False`, and the other half is not compiled.
    """
    base = optax.with_extra_args_support(base)

    def init(params: optax.Params) -> LookSamState:
        zero = jnp.zeros((), jnp.int32)
        none = jax.tree.map(lambda w: jnp.zeros_like(at_least_float32(w)), params)
        return LookSamState(base.init(params), jnp.zeros((), jnp.float32), zero, none)

    def update(
        grads: optax.Updates,
        state: LookSamState,
        params: optax.Params | None = None,
        *,
        grad_fn: GradFn | None = None,
        ascend: bool | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, LookSamState]:
        if params is None or grad_fn is None:
            missing = "params" if params is None else "grad_fn"
            raise ValueError(f"looksam needs {missing}, as sam does.")
        plain = jax.tree.map(at_least_float32, grads)
        length = optax.tree.norm(plain)

        def climb() -> tuple[optax.Updates, Array, optax.Updates]:
            perturbation, norm = perturbation_of(grads, params, rho, adaptive)
            found = grad_fn(optax.apply_updates(params, perturbation), 0)
            found = jax.tree.map(at_least_float32, found)
            along = optax.tree.vdot(found, plain) / jnp.where(length > 0, length**2, 1.0)
            orthogonal = jax.tree.map(lambda s, g: s - along * g, found, plain)
            return found, norm, orthogonal

        def reuse() -> tuple[optax.Updates, Array, optax.Updates]:
            size = optax.tree.norm(state.orthogonal)
            ratio = alpha * length / jnp.where(size > 0, size, 1.0)
            found = jax.tree.map(lambda g, v: g + ratio * v, plain, state.orthogonal)
            return found, state.perturbation_norm, state.orthogonal

        if ascend is None:
            found, norm, orthogonal = jax.lax.cond(state.steps % every == 0, climb, reuse)
        else:
            found, norm, orthogonal = climb() if ascend else reuse()
        followed = jax.tree.map(lambda f, g: f.astype(g.dtype), found, grads)
        updates, base_state = base.update(followed, state.base, params, **extra_args)
        return updates, LookSamState(base_state, norm, state.steps + 1, orthogonal)

    return optax.GradientTransformationExtraArgs(init, update)


def trajectory_loss(
    logits: Float[Array | np.ndarray, "B C"],
    average_logits: Float[Array | np.ndarray, "B C"],
    temperature: float | int,
) -> Float[Array, " B"]:
    """KL(softmax(average_logits / t) || softmax(logits / t)), MESA's loss of each clip.

    How much the outputs have moved away from those of the averaged model; 0 where they are equal.
    No gradient flows into `average_logits`.
    """
    now = jax.nn.log_softmax(at_least_float32(jnp.asarray(logits)) / temperature)
    average = at_least_float32(jax.lax.stop_gradient(jnp.asarray(average_logits)))
    average = jax.nn.log_softmax(average / temperature)
    return (jnp.exp(average) * (average - now)).sum(-1)
