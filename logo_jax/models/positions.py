"""Position embeddings for clips of another size than the one they were trained at."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError

SPACE, TIME = "space_position", "time_position"


def fit_positions(
    variables: Mapping[str, Any], like: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Interpolate the position embeddings of `variables` to the shapes that they have in `like`.

    `space_position` `[1, 1, HW, D]` of a square grid is resized bilinearly, `time_position`
    `[1, F + 1, 1, D]` linearly, its slot 0 (the class token's) staying as it is. The centres of the
    outer cells keep their places at the ends of the frame and of the clip.

    Args:
        variables: {"params": ...} and more, as loaded.
        like: variables, or their shapes, of the model that will take them.

    Returns:
        New variables, and a line for each embedding that was resized, for the log.

    Raises:
        UserError: a grid that is not square has to change: its sides are not known.
    """
    found = flatten_dict(dict(variables))
    wanted = flatten_dict(dict(like))
    report = []
    for path, value in found.items():
        if path[-1] not in (SPACE, TIME) or path not in wanted:
            continue
        old, new = value.shape, wanted[path].shape
        if old == new or old[-1] != new[-1]:
            continue  # a change of width is another model, and the loader says so
        found[path] = resize_position(path[-1], jnp.asarray(value), new)
        report.append(f"{'.'.join(path[1:])} interpolated from {old[1:3]} to {new[1:3]}")
    return unflatten_dict(found), report


def resize_position(
    name: str, value: Float[Array, "1 a b D"], shape: tuple[int, ...]
) -> Float[Array, "1 c d D"]:
    """Interpolate one position embedding, `SPACE` or `TIME`, to `shape`; see `fit_positions`."""
    return (_resize_space if name == SPACE else _resize_time)(value, shape)


def _resize_space(value: Float[Array, "1 1 N D"], shape: tuple[int, ...]) -> Array:
    old, new = (math.isqrt(count) for count in (value.shape[2], shape[2]))
    if old**2 != value.shape[2] or new**2 != shape[2]:
        raise UserError(
            f"The model's {SPACE} has {value.shape[2]} places and {shape[2]} are needed, which is "
            "not a square grid both times: give square frames."
        )
    grid = value.reshape(old, old, -1)
    return jax.image.resize(grid, (new, new, shape[-1]), "linear", antialias=False).reshape(shape)


def _resize_time(value: Float[Array, "1 F 1 D"], shape: tuple[int, ...]) -> Array:
    cls, frames = value[:, :1], value[:, 1:]
    new = (1, shape[1] - 1, 1, shape[-1])
    return jnp.concatenate([cls, jax.image.resize(frames, new, "linear", antialias=False)], axis=1)
