"""Attention as pure functions over arrays, for any framework: no parameters, no randomness.

Names of axes: `T H W` is the grid of tokens (frames, height, width), `heads` the attention heads
and `d` the channels of one head. A window is `(frames, height, width)` in tokens.

The local attention of the paper groups tokens into windows by reshape and transpose. A mask over
all tokens would give the same numbers at (THW)^2 cost; the tests use it as the definition.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from logo_jax.common.errors import UserError

Window = tuple[int, int, int]
Observe = Callable[[Array], object]


def full_attention(
    q: Float[Array, "*batch n heads d"],
    k: Float[Array, "*batch m heads d"],
    v: Float[Array, "*batch m heads d"],
    mask: Bool[Array, "*#batch #n m"] | None = None,
    observe: Observe | None = None,
) -> Float[Array, "*batch n heads d"]:
    """softmax(q k^T / sqrt(d)) v: every query attends to every key.

    Queries and keys may be of different number: the global attention of the paper (equation 6) is
    this function over the keys and values of pooled tokens.

    Args:
        mask: True where a query may attend to a key; None allows all. Each query needs one key.
        observe: called with the weights `[*batch heads n m]`, whose rows sum to 1.

    Returns:
        The mixed values in the type of `v`. The softmax runs in float32 at least.
    """
    scores = jnp.einsum("...nhd,...mhd->...hnm", q * q.shape[-1] ** -0.5, k)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if mask is not None:
        scores = jnp.where(mask[..., None, :, :], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1)
    if observe is not None:
        observe(weights)
    return jnp.einsum("...hnm,...mhd->...nhd", weights.astype(v.dtype), v)


def local_attention(
    q: Float[Array, "B T H W heads d"],
    k: Float[Array, "B T H W heads d"],
    v: Float[Array, "B T H W heads d"],
    window: Window,
    pad: bool = False,
    observe: Observe | None = None,
) -> Float[Array, "B T H W heads d"]:
    """Every token attends to the tokens of its own window.

    Args:
        window: frames, height and width of a window, in tokens.
        pad: fill a grid that the window does not divide with tokens that nobody attends to. The
            windows at the far ends then hold fewer tokens; the result is exact.
        observe: called with the weights `[B windows heads fhw fhw]`.

    Raises:
        UserError: the window does not divide the grid and `pad` is False.
    """
    check_window(q.shape[1:4], window, pad)
    grid = q.shape[1:4]
    q, k, v = (to_windows(pad_grid(x, window), window) for x in (q, k, v))
    mask = None
    if pad and padding(grid, window) != (0, 0, 0):
        mask = window_occupancy(grid, window)[:, None, :]  # [nW, 1, fhw]
    mixed = full_attention(q, k, v, mask, observe)  # [B, nW, fhw, heads, d]
    padded = tuple(size + extra for size, extra in zip(grid, padding(grid, window), strict=True))
    mixed = from_windows(mixed, padded, window)
    return mixed[:, : grid[0], : grid[1], : grid[2]]


def check_window(grid: tuple[int, ...], window: Window, pad: bool) -> None:
    """Refuse a window that does not divide the grid, unless the grid is padded.

    Raises:
        UserError: names both shapes and the mend.
    """
    if not pad and padding(grid, window) != (0, 0, 0):
        raise UserError(
            f"The attention window {by(window)} does not divide the token grid {by(grid)} (frames "
            "x height x width): choose a window that divides it, or set pad_windows=True."
        )


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as people do: (4, 2, 2) is `4 x 2 x 2`."""
    return " x ".join(str(size) for size in shape)


def padding(grid: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Tokens to add at the end of each axis until the window divides it."""
    return tuple(-size % side for size, side in zip(grid, window, strict=True))


def pad_grid(x: Float[Array, "B T H W *rest"], window: Window) -> Float[Array, "B T2 H2 W2 *rest"]:
    """Append zeros to the ends of the grid until the window divides it."""
    ends = [(0, extra) for extra in padding(x.shape[1:4], window)]
    return jnp.pad(x, [(0, 0), *ends, *[(0, 0)] * (x.ndim - 4)])


def to_windows(x: Float[Array, "B T H W *rest"], window: Window) -> Float[Array, "B nW fhw *rest"]:
    """Cut a grid that the window divides into windows, both in row-major order."""
    batch, t, h, w, *rest = x.shape
    f, a, b = window
    x = x.reshape(batch, t // f, f, h // a, a, w // b, b, *rest)
    x = jnp.moveaxis(x, (2, 4, 6), (4, 5, 6))  # [B, T/f, H/a, W/b, f, a, b, *rest]
    return x.reshape(batch, -1, f * a * b, *rest)


def from_windows(
    x: Float[Array, "B nW fhw *rest"], grid: tuple[int, ...], window: Window
) -> Float[Array, "B T H W *rest"]:
    """Undo `to_windows`; `grid` is (T, H, W)."""
    batch, _, _, *rest = x.shape
    (t, h, w), (f, a, b) = grid, window
    x = x.reshape(batch, t // f, h // a, w // b, f, a, b, *rest)
    x = jnp.moveaxis(x, (4, 5, 6), (2, 4, 6))  # [B, T/f, f, H/a, a, W/b, b, *rest]
    return x.reshape(batch, t, h, w, *rest)


def window_occupancy(grid: tuple[int, ...], window: Window) -> Bool[Array, "nW fhw"]:
    """True for the tokens of the grid, False for those that padding adds to its windows."""
    real = pad_grid(jnp.ones((1, *grid)), window)
    return to_windows(real, window)[0] > 0


# Pooling: one token per window. Those with parameters take them as arguments; PooledTokens in
# blocks.py owns the parameters.


def average_pool(x: Float[Array, "B T H W D"], window: Window) -> Float[Array, "B nW D"]:
    """Mean of the tokens of each window; padding does not count."""
    counts = window_occupancy(x.shape[1:4], window).sum(-1)  # [nW]
    return to_windows(pad_grid(x, window), window).sum(2) / counts[:, None].astype(x.dtype)


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
    multiply and sum because the convolution is hundreds of times slower in XLA on CPU, and a
    dot_general batched over channels twice as slow. A window that padding fills up is scaled by
    fhw / (tokens in it), so that weights of 1 / fhw are the average there too.
    """
    counts = window_occupancy(x.shape[1:4], window).sum(-1)  # [nW]
    scale = (math.prod(window) / counts)[:, None].astype(x.dtype)
    return (to_windows(pad_grid(x, window), window) * weights).sum(2) * scale


def conv_pool(
    x: Float[Array, "B T H W D"],
    kernel: Float[Array, "fhwD D2"],
    bias: Float[Array, " D2"],
    window: Window,
) -> Float[Array, "B nW D2"]:
    """Full convolution with kernel = stride = window; padding counts as zeros, as in a CNN."""
    windows = to_windows(pad_grid(x, window), window)  # [B, nW, fhw, D]
    return windows.reshape(*windows.shape[:2], -1) @ kernel + bias
