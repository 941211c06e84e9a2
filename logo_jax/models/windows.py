"""Windows over a grid of tokens: their check, and cutting a grid into them and back.

Names of axes: `T H W` is the grid (frames, height, width). A window is `(frames, height, width)` in
tokens; windows and the tokens in each are in row-major order.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Shaped

from logo_jax.common.errors import UserError

Window = tuple[int, int, int]


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


def by(shape: Sequence[int]) -> str:
    """Write a shape as people do: (4, 2, 2) is `4 x 2 x 2`."""
    return " x ".join(str(size) for size in shape)


def padding(grid: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Tokens to add at the end of each axis until the window divides it."""
    return tuple(-size % side for size, side in zip(grid, window, strict=True))


def moved_by(grid: tuple[int, ...], window: Window, shift: Window) -> tuple[int, ...]:
    """Tokens by which windows are moved along each axis: 0 on one that is one window long."""
    return tuple(
        s if n + extra > w else 0
        for s, n, extra, w in zip(shift, grid, padding(grid, window), window, strict=True)
    )


def pad_grid(
    x: Shaped[Array, "B T H W *rest"], window: Window
) -> Shaped[Array, "B T2 H2 W2 *rest"]:
    """Append zeros (False) to the ends of the grid until the window divides it."""
    ends = [(0, extra) for extra in padding(x.shape[1:4], window)]
    return jnp.pad(x, [(0, 0), *ends, *[(0, 0)] * (x.ndim - 4)])


def to_windows(
    x: Shaped[Array, "B T H W *rest"], window: Window
) -> Shaped[Array, "B nW fhw *rest"]:
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
