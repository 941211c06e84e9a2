"""Pooling of tokens: one for each window of a grid, as pure functions.

Those with parameters take them as arguments; `PooledTokens` in windowed.py owns the parameters.
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.models.windows import Window, pad_grid, to_windows, window_occupancy


def average_pool(x: Float[Array, "B T H W D"], window: Window) -> Float[Array, "B nW D"]:
    """Mean of the tokens of each window; padding does not count."""
    ones = jnp.ones((math.prod(window), x.shape[-1]), x.dtype)
    return weighted_pool(x, ones, window) / math.prod(window)


def max_pool(x: Float[Array, "B T H W D"], window: Window) -> Float[Array, "B nW D"]:
    """Largest value of each channel in each window; padding does not count."""
    real = window_occupancy(x.shape[1:4], window)  # [nW, fhw]
    windows = to_windows(pad_grid(x, window), window)
    return jnp.where(real[..., None], windows, -jnp.inf).max(2)


def weighted_pool(
    x: Float[Array, "B T H W D"], weights: Float[Array, "fhw D"], window: Window
) -> Float[Array, "B nW D"]:
    """Weighted sum of the tokens of each window, one weight per position in it and channel.

    This is a depthwise convolution with kernel = stride = window, without bias. It is written as
    multiply and sum over the grid as it lies: on a CPU the convolution is hundreds of times slower
    in XLA, and cutting windows first makes the gradient nine times slower. A window that padding
    fills up is scaled by fhw / (tokens in it), so that weights of 1 / fhw are the average there
    too. The columns of a window stand beside the channels, for six axes: with eight the gradient by
    the weights can end the process (docs/decisions.md).
    """
    counts = window_occupancy(x.shape[1:4], window).sum(-1)  # [nW]
    scale = (math.prod(window) / counts)[:, None].astype(x.dtype)
    x = pad_grid(x, window)
    batch, t, h, w, dim = x.shape
    f, a, b = window
    x = x.reshape(batch * t // f, f, h // a, a, w // b, b * dim)
    weighted = (x * weights.reshape(f, 1, a, 1, b * dim)).sum((1, 3))
    return weighted.reshape(batch, -1, b, dim).sum(2) * scale


def conv_pool(
    x: Float[Array, "B T H W D"],
    kernel: Float[Array, "fhwD D2"],
    bias: Float[Array, " D2"],
    window: Window,
) -> Float[Array, "B nW D2"]:
    """Full convolution with kernel = stride = window; padding counts as zeros, as in a CNN."""
    windows = to_windows(pad_grid(x, window), window)  # [B, nW, fhw, D]
    return windows.reshape(*windows.shape[:2], -1) @ kernel + bias
