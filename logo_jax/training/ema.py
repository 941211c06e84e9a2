"""The exponential moving average of a model: of its parameters and of its batch statistics."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from logo_jax.common.errors import UserError, pick

JUDGED = ("trained", "ema")


def check_decay(decay: float | int) -> None:
    """Refuse what is no decay.

    Raises:
        UserError: `decay` is not 0 (no average) and not between 0 and 1.
    """
    if not (math.isfinite(decay) and 0 <= decay < 1):
        raise UserError(
            f"config.ema_decay={decay}: it must be 0 (no average) or below 1, such as 0.999."
        )


def judged(name: str | None, decay: float | int) -> str:
    """Which parameters of a run are judged, "trained" or "ema"; unset: the average, if any.

    Raises:
        UserError: an unknown name, or the average of a run that keeps none.
    """
    if name is None:
        return "ema" if decay else "trained"
    pick(dict.fromkeys(JUDGED), name, "config.judged_parameters")
    if name == "ema" and not decay:
        raise UserError(
            "config.judged_parameters=ema judges an average that the run does not keep: set "
            "config.ema_decay, such as 0.999."
        )
    return name


def start(params: Any, batch_stats: Any) -> dict[str, Any]:
    """The average before the first step: copies of what is averaged."""
    return {
        "params": jax.tree.map(jnp.copy, params),
        "batch_stats": jax.tree.map(jnp.copy, batch_stats),
    }


def moved(
    average: dict[str, Any], params: Any, batch_stats: Any, decay: float | int
) -> dict[str, Any]:
    """v <- decay * v + (1 - decay) * w, for every parameter and every batch statistic w.

    The statistics move with the parameters because those of the newest parameters do not fit an
    average that lags behind them.
    """
    new = {"params": params, "batch_stats": batch_stats}
    return jax.tree.map(lambda v, w: decay * v + (1 - decay) * w, average, new)
