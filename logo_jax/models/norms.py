"""Layer norm as a function, with a gradient written by hand for the CPU."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def layer_norm(
    x: Float[Array, "*shape D"],
    scale: Float[Array, " D"],
    bias: Float[Array, " D"],
    epsilon: float,
) -> Float[Array, "*shape D"]:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over the last axis, in one type.

    On CPU the gradient is written by hand, and it is taken over a matrix of all tokens: XLA needs
    many times as long there for the sum of a product over the last of three axes as of two.
    """
    if jax.default_backend() != "cpu":
        return _normalize_forward(x, scale, bias, epsilon)[0]
    return _normalize(x.reshape(-1, x.shape[-1]), scale, bias, epsilon).reshape(x.shape)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize(x: Array, scale: Array, bias: Array, epsilon: float) -> Array:
    return _normalize_forward(x, scale, bias, epsilon)[0]


def _normalize_forward(x: Array, scale: Array, bias: Array, epsilon: float) -> tuple[Array, Any]:
    mean = x.mean(-1, keepdims=True)
    rate = jax.lax.rsqrt(jnp.square(x - mean).mean(-1, keepdims=True) + epsilon)
    return (x - mean) * rate * scale + bias, (x, scale, mean, rate)


def _normalize_backward(epsilon: float, kept: Any, grad: Array) -> tuple[Array, Array, Array]:
    x, scale, mean, rate = kept
    normed = (x - mean) * rate
    scaled = grad * scale
    along = (scaled * normed).mean(-1, keepdims=True)
    of_x = rate * (scaled - scaled.mean(-1, keepdims=True) - normed * along)
    return of_x, (grad * normed).sum(0), grad.sum(0)


_normalize.defvjp(_normalize_forward, _normalize_backward)
