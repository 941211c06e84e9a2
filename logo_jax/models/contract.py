"""What every system takes and gives.

A system is a `flax.linen.Module` that maps clips `[B T H W 3]` to an `Output`. Its parameters have
a top level that other rooms rely on: `backbone` and `head`.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError, pick

# The types a model may compute in. Parameters, batch statistics and softmax stay float32.
# float64 needs `jax.enable_x64` and parameters cast to it: the parity tests use it.
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float64": jnp.float64}


@flax.struct.dataclass
class Output:
    """What a system gives for a batch of clips; a pytree.

    The fields are arrays, or what a tree of arrays is mapped to: shapes, shardings, numpy arrays.
    """

    logits: Any  # Float32[B C], before the softmax
    features: Any  # Float32[B D], what the head reads


def compute_dtype(name: str) -> jnp.dtype:
    """Turn the config field `dtype` into a type.

    Raises:
        UserError: an unknown name, or float64 while JAX has it switched off.
    """
    dtype = pick(DTYPES, name, "dtype")
    if name == "float64" and not jax.config.read("jax_enable_x64"):
        raise UserError('dtype "float64" needs 64-bit numbers: set JAX_ENABLE_X64=1.')
    return jnp.dtype(dtype)


def at_least_float32(array: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Raise bfloat16 to float32 and leave wider types as they are."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def check_clips(shape: tuple[int, ...]) -> None:
    """Refuse what is no batch of RGB clips.

    Raises:
        UserError: `shape` is not `[B, T, H, W, 3]`.
    """
    if len(shape) != 5 or shape[-1] != 3:
        raise UserError(
            f"A model takes clips of shape [batch, frames, height, width, 3], not {list(shape)}: "
            "add the batch axis to a single clip and give colour frames."
        )
