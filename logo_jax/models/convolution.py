"""Convolutions of images in forms that suit a CPU; on accelerators the plain one.

On a CPU XLA's convolutions take up to four times as long as PyTorch's (docs/performance.md). There,
and nowhere else, for 64 channels and more and padded by half a kernel,

- a 3 x 3 convolution with stride 1 is Winograd's minimal filtering F(2 x 2, 3 x 3) (Lavin and Gray
  2016, section 4.1): 16 products by the kernel in place of 36 for 2 x 2 outputs. Images of one row
  or column, and large batches of large ones, for which it takes much memory, are left out;
- one of 1 x 1, or with a stride, is a product of matrices for each position of the kernel.

Both equal the plain convolution up to rounding: 1e-5 of the largest entry in a test, gradients too.
bfloat16 keeps the plain form: Winograd's sums would lose digits that it does not have.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# With fewer channels the transforms around the products cost more than they save (measured).
LEAST_CHANNELS = 64
# Winograd's form holds up to 13 times the images, and a larger share of the machine's memory is not
# worth the time. Stage 1 of ResNet-18 has 25 MiB for 8 clips of 16 frames of 112 px.
LARGEST_IMAGES = 2**27  # bytes

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve(
    x: Float[Array, "N H W C"],
    kernel: Float[Array, "k k2 c K"],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    dimension_numbers: Any,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Float[Array, "N H2 W2 K"]:
    """Convolve as `lax.conv_general_dilated` does; for `nn.Conv(conv_general_dilated=convolve)`.

    The arguments are those of that function, in flax's layout with the channels last. In a form of
    its own, gradients go in reverse mode only (`jax.jvp` raises).
    """
    side, stride = kernel.shape[0], strides[0]
    layout, own_layout = (
        lax.conv_dimension_numbers(x.shape, kernel.shape, names)
        for names in (dimension_numbers, _LAYOUT)
    )
    own = (
        min(kernel.shape[2:]) >= LEAST_CHANNELS
        and x.dtype == kernel.dtype
        and x.dtype in (jnp.float32, jnp.float64)
        and kernel.shape[:2] in ((1, 1), (3, 3))
        and tuple(strides) == (stride, stride)
        and [tuple(ends) for ends in padding] == [(side // 2, side // 2)] * 2
        and all(dilation in (None, (1, 1)) for dilation in (lhs_dilation, rhs_dilation))
        and feature_group_count == 1
        and precision is None
        and all(isinstance(size, int) for size in x.shape[1:3])  # not of a symbolic export
        and layout == own_layout
    )
    if own:
        return _convolve(x, kernel, stride)
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        padding,
        lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation,
        dimension_numbers=dimension_numbers,
        feature_group_count=feature_group_count,
        precision=precision,
    )


# The gradient is given, so that it keeps nothing but the arguments: the transformed images are four
# times as large as the images, and cost little to compute again.
@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    return lax.platform_dependent(
        x, kernel, cpu=partial(_on_cpu, stride=stride), default=partial(_plain, stride=stride)
    )


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    def gradients(form: Any) -> Any:
        return lambda x, kernel, grad: jax.vjp(partial(form, stride=stride), x, kernel)[1](grad)

    return lax.platform_dependent(*kept, grad, cpu=gradients(_on_cpu), default=gradients(_plain))


_convolve.defvjp(_forward, _backward)


def _plain(x: Array, kernel: Array, stride: int) -> Array:
    ends = (kernel.shape[0] // 2, kernel.shape[0] // 2)
    return lax.conv_general_dilated(x, kernel, (stride, stride), (ends, ends), None, None, _LAYOUT)


# A function of its own in the program: the 20 layers of a backbone have few shapes, and each is
# traced once.
@partial(jax.jit, static_argnames="stride")
def _on_cpu(x: Array, kernel: Array, stride: int) -> Array:
    if kernel.shape[0] == 1 or stride > 1 or min(x.shape[1:3]) == 1:
        return _by_position(x, kernel, stride)
    large = x.size * x.dtype.itemsize > LARGEST_IMAGES
    return _plain(x, kernel, stride) if large else _winograd(x, kernel)


def _by_position(x: Array, kernel: Array, stride: int) -> Array:
    """The sum over the positions of the kernel of the pixels under it times its matrix there."""
    side, _, channels, features = kernel.shape
    batch, height, width, _ = x.shape
    tall, wide = ((size - 1) // stride + 1 for size in (height, width))
    ends = (side // 2, side // 2)
    x = jnp.pad(x, ((0, 0), ends, ends, (0, 0)))
    total = jnp.zeros((), x.dtype)
    for row in range(side):
        for column in range(side):
            end = (batch, row + stride * (tall - 1) + 1, column + stride * (wide - 1) + 1, channels)
            under = lax.slice(x, (0, row, column, 0), end, (1, stride, stride, 1))
            total += under.reshape(-1, channels) @ kernel[row, column]
    return total.reshape(batch, tall, wide, features)


def _winograd(x: Array, kernel: Array) -> Array:
    """A^T [(G g G^T) * (B^T d B)] A over tiles d of 4 x 4 pixels, two apart.

    The 16 parts of tiles and kernel are lists: XLA then writes each where a product reads it.
    """
    batch, height, width, channels = x.shape
    tall, wide = -(-height // 2), -(-width // 2)  # tiles
    x = jnp.pad(x, ((0, 0), (1, 2 * tall + 1 - height), (1, 2 * wide + 1 - width), (0, 0)))
    pixels = [part for rows in _tiles(x, 1, tall) for part in _tiles(rows, 2, wide)]
    weights = [part for rows in _kernel(kernel) for part in _kernel(rows)]
    products = [
        (part.reshape(-1, channels) @ weight).reshape(batch, tall, wide, kernel.shape[3])
        for part, weight in zip(pixels, weights, strict=True)
    ]
    columns = zip(*(_outputs(products[4 * row : 4 * row + 4]) for row in range(4)), strict=True)
    left, right = (_outputs(list(column)) for column in columns)  # each: upper, lower
    rows = [jnp.stack(pair, 3) for pair in zip(left, right, strict=True)]  # [B, tall, wide, 2, K]
    return jnp.stack(rows, 2).reshape(batch, 2 * tall, 2 * wide, kernel.shape[3])[
        :, :height, :width
    ]


def _tiles(x: Array, axis: int, count: int) -> list[Array]:
    """B^T d along an axis: of tiles of four pixels that start at every second one."""
    shape = (*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(x.reshape(shape), i, axis + 1, keepdims=False) for i in (0, 1))
    d0, d1, d2, d3 = (
        lax.slice_in_dim(part, start, start + count, axis=axis)
        for start in (0, 1)
        for part in (even, odd)
    )
    return [d0 - d2, d1 + d2, d2 - d1, d1 - d3]


def _kernel(g: Array) -> list[Array]:
    """G g along the first axis."""
    ends, middle = (g[0] + g[2]) / 2, g[1] / 2
    return [g[0], ends + middle, ends - middle, g[2]]


def _outputs(m: list[Array]) -> tuple[Array, Array]:
    """A^T m."""
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]
