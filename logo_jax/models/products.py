"""The product of a dense layer, with its gradient given on a CPU.

Left alone, XLA computes the gradient by the kernel on a CPU from the transposed gradient by the
output, which it writes for each layer anew; local attention takes a seventh longer by that.
"""

from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Float

Dimensions = tuple[tuple[Any, Any], tuple[Any, Any]]

_ROWS_BY_COLUMNS: Dimensions = (((1,), (0,)), ((), ()))
_ROWS_BY_ROWS: Dimensions = (((1,), (1,)), ((), ()))
_COLUMNS_BY_COLUMNS: Dimensions = (((0,), (0,)), ((), ()))


def dense_product(
    x: Float[Array, "*shape n"],
    kernel: Float[Array, "n m"],
    dimension_numbers: Dimensions,
    precision: Any = None,
) -> Float[Array, "*shape m"]:
    """x @ kernel, for the argument `dot_general` of flax's Dense.

    On CPU it goes over a matrix of all rows of x, in reverse mode only (`jax.jvp` raises).
    """
    if jax.default_backend() != "cpu" or precision is not None:
        return lax.dot_general(x, kernel, dimension_numbers, precision)
    return _multiply(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def _multiply(x: Array, kernel: Array) -> Array:
    return lax.dot_general(x, kernel, _ROWS_BY_COLUMNS)


def _multiply_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _multiply(x, kernel), (x, kernel)


def _multiply_backward(kept: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    x, kernel = kept
    of_x = lax.dot_general(grad, kernel, _ROWS_BY_ROWS)
    return of_x, lax.dot_general(x, grad, _COLUMNS_BY_COLUMNS)


_multiply.defvjp(_multiply_forward, _multiply_backward)
