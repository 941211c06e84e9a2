"""One pass over a batch in several micro-batches, whose activations are never there together.

The gradient of a mean over clips is the mean of the gradients of equal parts, so a swept pass
equals the plain one up to rounding, except where clips of a batch see each other or draw at random:

- Batch norm normalizes each micro-batch by its own statistics. The running statistics move towards
  the mean of theirs. In the first batch norm that is exact for the means, while the variances lack
  what lies between micro-batches; deeper ones read activations that were normalized otherwise, so
  their means differ too. With `freeze_bn`, or in a model without batch norm, nothing differs.
- Dropout and drop path draw other masks: those of micro-batch i come from `fold_in(key, i)`. Both
  SAM passes draw the same ones.
- A loss over pairs of clips (EC-STFL) has fewer pairs: refused where a run is set up.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from logo_jax.common.errors import UserError

Batch = dict[str, Array]


class Found(NamedTuple):
    """What a pass leaves beside its gradient.

    Attributes:
        means: a tree of numbers and statistics that are means over the clips.
        clips: a tree of arrays with one row for each clip.
    """

    means: Any
    clips: Any


GradientOf = Callable[[Batch, Array], tuple[Found, Any]]


def sweep(gradient: GradientOf, batch: Batch, key: Array, parts: int) -> tuple[Found, Any]:
    """Compute `gradient(part, key)` of every part of a batch, one after the other.

    Part i has the clips i, i + parts, ..., so that each device keeps the clips that it has.

    Args:
        gradient: what a pass finds, and the gradient.
        key: of the dropout masks; of part i it is `fold_in(key, i)`, of a single part `key` itself.
        parts: number of parts; 1 is one call of `gradient`.

    Returns:
        The mean over parts of `means` and of the gradient, and `clips` of all parts, part by part.
    """
    if parts == 1:
        return gradient(batch, key)

    def cut(rows: Array) -> Array:
        return jnp.moveaxis(rows.reshape(-1, parts, *rows.shape[1:]), 1, 0)

    def add(total: Any, item: tuple[Batch, Array]) -> tuple[Any, Any]:
        part, index = item
        found, grads = gradient(part, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, total, (found.means, grads)), found.clips

    pieces = {name: cut(rows) for name, rows in batch.items()}
    found, grads = jax.eval_shape(gradient, {name: p[0] for name, p in pieces.items()}, key)
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (found.means, grads))
    total, clips = jax.lax.scan(add, zero, (pieces, jnp.arange(parts)))
    means, grads = jax.tree.map(lambda x: x / parts, total)
    return Found(means, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), clips)), grads


def half(batch: Batch) -> Batch:
    """Every second clip of a batch, so that each device keeps half of its clips."""
    return {name: rows[::2] for name, rows in batch.items()}


def check_parts(batch_size: int, parts: int, devices: int, field: str) -> None:
    """Refuse a number of parts into which the devices cannot cut their clips.

    Raises:
        UserError: `parts` parts on `devices` devices do not divide the batch.
    """
    if parts < 1 or batch_size % (parts * devices):
        raise UserError(
            f"{field} cuts config.batch_size={batch_size} into {parts} parts on {devices} "
            f"{'device' if devices == 1 else 'devices'}, which does not come out even: the batch "
            f"size must be a multiple of {max(parts, 1) * devices}."
        )
