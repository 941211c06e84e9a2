"""Remedies for classes of unequal size, from the numbers of training clips of each class."""

import math

import numpy as np
from jaxtyping import Float, Int

from logo_jax.common.errors import UserError, pick


def class_weights(
    counts: Int[np.ndarray, " C"], method: str, beta: float | int = 0.999
) -> Float[np.ndarray, " C"]:
    """How much a clip of each class counts in the loss; 1 on average over the training clips.

    - `"none"`: 1.
    - `"inverse"`: in proportion to 1 / n, n the class's number of training clips.
    - `"effective"`: in proportion to (1 - beta) / (1 - beta^n), the inverse of the effective
      number of clips (Cui et al. 2019, proposition 1): "none" for beta = 0, and "inverse" in the
      limit of 1. The paper tries 0.9 to 0.9999.

    Cui et al. scale the weights so that they sum to C over the classes. Here their mean over the
    training clips is 1, so that the loss keeps its size beside others and the learning rate.

    Returns:
        float64; 0 for a class without clips, which no label asks for.

    Raises:
        UserError: an unknown method, or beta outside [0, 1).
    """
    formula = pick(_FORMULAS, method, "class_weights")
    if not 0.0 <= beta < 1.0:
        raise UserError(
            f"class_weight_beta is {beta}, but must be at least 0 and less than 1; 0.999 is usual."
        )
    present = counts > 0
    weights = np.where(present, formula(np.where(present, counts, 1), beta), 0.0)
    return weights * counts.sum() / (weights * counts).sum()


def log_prior(counts: Int[np.ndarray, " C"]) -> Float[np.ndarray, " C"]:
    """Log of the share of each class among the training clips, float64, for logit adjustment.

    Menon et al. 2021 (equation 10) train on `logits + tau * log_prior` and predict from the bare
    logits, which then rank the classes as if they were equally frequent.

    Raises:
        UserError: a class has no clip, so that its prior has no logarithm.
    """
    if not counts.all():
        empty = ", ".join(str(label) for label in np.flatnonzero(counts == 0))
        raise UserError(
            f"logit_adjustment needs a training clip of every class, but the classes numbered "
            f"{empty} (from 0) have none: set it to 0 or give clips."
        )
    return np.log(counts / counts.sum())


def _effective(counts: Int[np.ndarray, " C"], beta: float | int) -> Float[np.ndarray, " C"]:
    if beta == 0:
        return np.ones(len(counts))
    return (1 - beta) / -np.expm1(counts * math.log(beta))


_FORMULAS = {
    "none": lambda counts, beta: np.ones(len(counts)),
    "inverse": lambda counts, beta: 1 / counts,
    "effective": _effective,
}
