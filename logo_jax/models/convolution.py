"""Convolutions of images in forms that suit a CPU; on accelerators the plain one.

On a CPU XLA's convolutions take up to four times as long as PyTorch's (docs/performance.md). There,
and nowhere else, for 64 channels and more and padded by half a kernel,

- a 3 x 3 convolution with stride 1 is Winograd's (winograd.py): a quarter of the multiplications.
  Large batches of large images, for which it takes much memory, are left out;
- one of 1 x 1, or with a stride, is a product of matrices for each position of the kernel, and so
  is one of 3 x 3 on images of a few pixels;
- the stem of ResNets, 7 x 7 with a stride of 2 on three colours, is XLA's but for the gradient by
  its kernel, for which XLA takes five times as long (`_kernel_gradient_of_few_channels`).

All equal the plain convolution up to rounding: 1e-5 of the largest entry in a test, gradients too.
bfloat16 is computed in float32 and rounded at the end, as Winograd's sums need digits that it does
not have; XLA's own form takes twice as long.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from logo_jax.models import winograd

# Narrower layers gain too (docs/performance.md), but a program of theirs is over soon, and these
# forms take longer to compile.
LEAST_CHANNELS = 64
FEW_CHANNELS = 4  # colours, with an alpha at most
# Winograd's form holds, output and gradients together, about three times the parts of its images. A
# larger share of the machine's memory is not worth the time. For 8 clips of 16 frames of 112 px the
# parts of stage 1 of ResNet-18 have 55 MiB.
LARGEST_PARTS = 2**29  # bytes

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_Form = Callable[[Array, Array], Array]
_Gradients = Callable[[Array, Array, Array], tuple[Array, Array]]


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
    wide = min(kernel.shape[2:]) >= LEAST_CHANNELS and kernel.shape[:2] in ((1, 1), (3, 3))
    own = (
        (wide or _is_stem(kernel, stride))
        and x.dtype == kernel.dtype
        and x.dtype in (jnp.bfloat16, jnp.float32, jnp.float64)
        and tuple(strides) == (stride, stride)
        and [tuple(ends) for ends in padding] == [(side // 2, side // 2)] * 2
        and all(dilation in (None, (1, 1)) for dilation in (lhs_dilation, rhs_dilation))
        and feature_group_count == 1
        and precision is None
        and all(isinstance(size, int) for size in x.shape)  # not of a symbolic export
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


# The gradient is given, so that it keeps nothing but the arguments: the parts of the images are
# more than twice as large as the images, and cost little to compute again.
@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x: Array, kernel: Array, stride: int) -> Array:
    return lax.platform_dependent(
        x, kernel, cpu=partial(_on_cpu, stride=stride), default=partial(_plain, stride=stride)
    )


def _forward(x: Array, kernel: Array, stride: int) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(x, kernel, stride), (x, kernel)


def _backward(stride: int, kept: tuple[Array, Array], grad: Array) -> tuple[Array, Array]:
    def plain(x: Array, kernel: Array, grad: Array) -> tuple[Array, Array]:
        return jax.vjp(partial(_plain, stride=stride), x, kernel)[1](grad)

    return lax.platform_dependent(
        *kept, grad, cpu=partial(_gradients_on_cpu, stride=stride), default=plain
    )


_convolve.defvjp(_forward, _backward)


def _is_stem(kernel: Array, stride: int) -> bool:
    channels, features = kernel.shape[2:]
    few = channels <= FEW_CHANNELS and features >= LEAST_CHANNELS
    return few and kernel.shape[:2] == (7, 7) and stride == 2


def _plain(x: Array, kernel: Array, stride: int) -> Array:
    ends = (kernel.shape[0] // 2, kernel.shape[0] // 2)
    return lax.conv_general_dilated(x, kernel, (stride, stride), (ends, ends), None, None, _LAYOUT)


# Functions of their own in the program: the 20 layers of a backbone have few shapes, and each is
# traced once.
@partial(jax.jit, static_argnames="stride")
def _on_cpu(x: Array, kernel: Array, stride: int) -> Array:
    dtype, (x, kernel) = x.dtype, _promoted(x, kernel)
    form, _ = _forms(x, kernel, stride)
    return form(x, kernel).astype(dtype)


@partial(jax.jit, static_argnames="stride")
def _gradients_on_cpu(x: Array, kernel: Array, grad: Array, stride: int) -> tuple[Array, Array]:
    dtype, (x, kernel, grad) = x.dtype, _promoted(x, kernel, grad)
    _, gradients = _forms(x, kernel, stride)
    of_x, of_kernel = gradients(x, kernel, grad)
    return of_x.astype(dtype), of_kernel.astype(dtype)


def _promoted(*arrays: Array) -> list[Array]:
    return [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in arrays]


def _forms(x: Array, kernel: Array, stride: int) -> tuple[_Form, _Gradients]:
    """The form for these shapes, and that of its gradients by image and kernel."""
    plain = partial(_plain, stride=stride)
    if _is_stem(kernel, stride):
        return plain, partial(_gradients_of_few_channels, stride=stride)
    if kernel.shape[0] == 1 or stride > 1 or not winograd.saves(*x.shape[1:3]):
        by_position = partial(_by_position, stride=stride)
        return by_position, _derived(by_position)
    parts = x.shape[0] * winograd.entries(*x.shape[1:3]) * max(kernel.shape[2:])
    if parts * x.dtype.itemsize > LARGEST_PARTS:
        return plain, _derived(plain)
    return winograd.convolve, winograd.gradients


def _derived(form: _Form) -> _Gradients:
    return lambda x, kernel, grad: jax.vjp(form, x, kernel)[1](grad)


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


def _gradients_of_few_channels(
    x: Array, kernel: Array, grad: Array, stride: int
) -> tuple[Array, Array]:
    by_image = jax.vjp(lambda x: _plain(x, kernel, stride), x)[1]
    return by_image(grad)[0], _kernel_gradient_of_few_channels(x, grad, kernel.shape[0], stride)


def _kernel_gradient_of_few_channels(
    x: Float[Array, "N H W C"], grad: Float[Array, "N H2 W2 K"], side: int, stride: int
) -> Float[Array, "side side C K"]:
    """The gradient of a convolution by its kernel, for so few channels that several pixels fit.

    The sum over 400,000 pixels of a batch is taken image by image, which also rounds less. In
    products of [shifts x channels x phases, pixels of the output] by [pixels, K] the pixels stand
    last, as a product reads them; a phase is a pixel's place within a stride. Shifts along a row
    are copied, shifts of rows are slices.
    """
    batch, height, width, channels = x.shape
    _, tall, wide, features = grad.shape
    shifts, early = -(-side // stride), side // 2
    rows, columns = (size + shifts - 1 for size in (tall, wide))
    ends = [(early, stride * count - early - size, 0) for count, size in
            ((rows, height), (columns, width))]  # fmt: skip
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    x = x.reshape(batch, rows, stride, columns, stride, channels).transpose(0, 5, 2, 4, 1, 3)
    x = jnp.stack([x[..., shift : shift + wide] for shift in range(shifts)], 1)
    # Few axes: docs/decisions.md, "No sum over more than six axes".
    x = x.reshape(batch, -1, rows, wide)
    grad = grad.reshape(batch, tall * wide, features)

    def product(shift: Array) -> Array:
        part = lax.dynamic_slice_in_dim(x, shift, tall, 2).reshape(batch, -1, tall * wide)
        return (part @ grad).sum(0)

    # In a loop, which holds one part at a time.
    total = lax.map(product, jnp.arange(shifts))
    # From [row shift, column shift, channel, row phase, column phase] to [row, column, channel].
    total = total.reshape(shifts, shifts, channels, stride, stride, features)
    whole = (shifts * stride, shifts * stride, channels, features)
    return total.transpose(0, 3, 1, 4, 2, 5).reshape(whole)[:side, :side]
