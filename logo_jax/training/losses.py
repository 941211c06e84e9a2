"""Losses of the logits: cross entropy, focal loss, and LOGO-Former's compact regularizer.

All functions take logits of one batch and return one value per clip; the caller averages, so that
clips can be weighted. Everything is computed in float32 or wider, whatever the logits' type.
`objective.py` adds these losses and those of `feature_losses.py` to what is minimized.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from logo_jax.common.errors import UserError, pick
from logo_jax.models.contract import at_least_float32


def cross_entropy(
    logits: Float[Array, "B C"], labels: Int[Array, " B"], label_smoothing: float | int = 0.0
) -> Float[Array, " B"]:
    """Cross entropy against `(1 - label_smoothing) * onehot + label_smoothing / C`, in nats.

    Args:
        logits: any size up to the limits of float32.
        labels: the true classes, 0 to C - 1; a label of C or more gives NaN.
        label_smoothing: epsilon of Szegedy et al. 2016, in [0, 1). The smallest possible loss is
            then the entropy of the smoothed target, not 0.

    Raises:
        UserError: `label_smoothing` is outside [0, 1).
    """
    _require_smoothing(label_smoothing)
    log_p = jax.nn.log_softmax(at_least_float32(logits))  # [B C]
    loss = -jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]  # [B]
    if label_smoothing:
        loss = (1.0 - label_smoothing) * loss - label_smoothing * log_p.mean(axis=1)
    return loss


def soft_cross_entropy(
    logits: Float[Array, "B C"],
    targets: Float[Array, "B C"],
    label_smoothing: float | int = 0.0,
) -> Float[Array, " B"]:
    """Cross entropy against distributions over the classes, such as shares of votes, in nats.

    With a one-hot distribution it is `cross_entropy`; label smoothing mixes the distribution with
    the uniform one in the same way. The smallest possible loss is the entropy of the target.

    Args:
        logits: any size up to the limits of float32.
        targets: each row at least 0 and 1 in sum.
        label_smoothing: as for `cross_entropy`.

    Raises:
        UserError: `label_smoothing` is outside [0, 1).
    """
    _require_smoothing(label_smoothing)
    log_p = jax.nn.log_softmax(at_least_float32(logits))  # [B C]
    mixed = (1.0 - label_smoothing) * targets + label_smoothing / logits.shape[1]
    return -(mixed * log_p).sum(axis=1)


def _require_smoothing(label_smoothing: float | int) -> None:
    if not 0.0 <= label_smoothing < 1.0:
        raise UserError(
            f"label_smoothing is {label_smoothing}, but it is the share of the target that is "
            "spread over all classes: choose at least 0 and less than 1."
        )


def focal(
    logits: Float[Array, "B C"], labels: Int[Array, " B"], gamma: float | int = 2.0
) -> Float[Array, " B"]:
    """Focal loss `-(1 - p)^gamma log p`, p the target's probability (Lin et al. 2017, equation 4).

    The paper states it for two classes and calls the extension to more straightforward: p is the
    softmax. Its factor alpha is a class weight, see `class_balance.class_weights`.

    Args:
        logits: any size up to the limits of float32.
        labels: the true classes, 0 to C - 1; a label of C or more gives NaN.
        gamma: how much less a clip counts that is classified well already; 0 is cross entropy, 2
            the paper's best.

    Raises:
        UserError: `gamma` is negative or not finite, or there are fewer than two classes.
    """
    if not 0.0 <= gamma < math.inf:
        raise UserError(f"focal_gamma is {gamma}, but must be at least 0 (cross entropy).")
    loss = cross_entropy(logits, labels)
    if gamma:
        is_target = _targets(logits, labels, "The focal loss")
        logits = at_least_float32(logits)
        # log(1 - p) from the wrong logits: the power of 1 - p itself has no gradient at p = 1.
        wrong = jax.nn.logsumexp(jnp.where(is_target, -jnp.inf, logits), axis=1)
        loss = jnp.exp(gamma * (wrong - jax.nn.logsumexp(logits, axis=1))) * loss
    return loss


def compact_regularizer(
    logits: Float[Array, "B C"], labels: Int[Array, " B"], form: str = "definition"
) -> Float[Array, " B"]:
    """How far the predicted probabilities of the wrong classes are from being equal (equation 12).

    Let p' be the softmax over the C - 1 logits that are not the target's, u = 1 / (C - 1) the
    uniform distribution over them, and D the Kullback-Leibler divergence in nats:

    - `form="definition"`, what the paper's text defines, the symmetric divergence:
      `D(u||p') + D(p'||u) = sum_j u log(u / p'_j) + sum_j p'_j log(p'_j / u)`.
    - `form="as_printed"`, what equation (12) prints, where the second sum lacks the weight p':
      `sum_j u log(u / p'_j) + sum_j log(u / p'_j)`. The second sum is C - 1 times the first, so
      the whole is `C * D(u||p')`, with C the number of all classes.

    Both are at least 0, and 0 only where all wrong classes have the same logit (so always with two
    classes); they neither depend on the target's logit nor on a shift of all logits, and pull on
    nothing but the differences between wrong classes.

    Raises:
        UserError: `form` is neither of the two, or there are fewer than two classes.
    """
    divergence = pick(_DIVERGENCES, form, "form of the compact regularizer")
    num_classes = logits.shape[1]
    is_target = _targets(logits, labels, "The compact regularizer")
    logits = at_least_float32(logits)
    # y is 0 for the largest wrong logit, so that exp(y) neither overflows nor is 0 everywhere.
    largest = jnp.max(jnp.where(is_target, -jnp.inf, logits), axis=1, keepdims=True)  # [B 1]
    y = jnp.where(is_target, 0.0, logits - jax.lax.stop_gradient(largest))  # [B C]
    # ratio_j = log(p'_j / u) = y_j - log mean_k exp(y_k). With expm1 and log1p in place of exp and
    # log, nearly equal logits keep their digits and equal logits give exactly 0; expm1 is 0 at the
    # target's y, which therefore adds nothing to the sum.
    excess = jnp.expm1(y).sum(axis=1, keepdims=True) / (num_classes - 1)  # [B 1]
    ratio = jnp.where(is_target, 0.0, y - jnp.log1p(excess))  # [B C]
    return divergence(ratio)


def _symmetric_divergence(ratio: Float[Array, "B C"]) -> Float[Array, " B"]:
    """`D(u||p') + D(p'||u) = sum_j (p'_j - u) r_j = mean_j (exp(r_j) - 1) r_j`, r = log(p' / u).

    Both factors of each term have the same sign, so that rounding cannot make the sum negative.
    The target's r is 0 and adds nothing.
    """
    return (jnp.expm1(ratio) * ratio).sum(axis=1) / (ratio.shape[1] - 1)


def _printed_divergence(ratio: Float[Array, "B C"]) -> Float[Array, " B"]:
    """`C * D(u||p')` with `D(u||p') = -mean_j r_j = mean_j (exp(r_j) - 1 - r_j)`, r = log(p' / u).

    The terms added are 0 in sum, since p' sums to 1, and take the rounding errors of r out to
    first order. The target's r is 0 and adds nothing.
    """
    num_classes = ratio.shape[1]
    return num_classes * (jnp.expm1(ratio) - ratio).sum(axis=1) / (num_classes - 1)


def _targets(
    logits: Float[Array, "B C"], labels: Int[Array, " B"], loss: str
) -> Bool[Array, "B C"]:
    """Which logit is the target's, for a loss that looks at the others."""
    num_classes = logits.shape[1]
    if num_classes < 2:
        raise UserError(
            f"{loss} compares wrong classes, and a model with one class has none: set the number "
            "of classes to two or more."
        )
    return labels[:, None] == jnp.arange(num_classes)


_DIVERGENCES = {"definition": _symmetric_divergence, "as_printed": _printed_divergence}
