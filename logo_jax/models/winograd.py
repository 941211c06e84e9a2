"""Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray 2016, section 4), and its gradients.

A convolution of 3 x 3, stride 1 and zeros around the images, in 36 products by the kernel for each
4 x 4 outputs in place of 144. Each tile d of 6 x 6 pixels, four apart, and the kernel g give

    A^T [(G g G^T) * (B^T d B)] A.

The 6 x 6 parts of tiles and kernel are lists of lists: XLA then writes each where a product reads
it. Every step is linear, so that a gradient is the adjoints of the steps in reverse.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Parts = list[list[Array]]


def cook_toom(
    points: Sequence[float],
) -> tuple[Float[np.ndarray, "m n"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n n"]]:
    """The matrices A^T, G and B^T of minimal filtering by 3 weights, at `points` and infinity.

    A^T [(G g) * (B^T d)] is the product of the weights g with each three neighbours of d. The
    construction is Cook's and Toom's. The rows of G and B^T are scaled by powers of two, so that
    both are about as large.
    """
    p, count = np.asarray(points), len(points)
    others = [np.delete(p, i) for i in range(count)]
    norms = np.array([np.prod(p[i] - others[i]) for i in range(count)])
    infinity = np.eye(count - 1)[:, -1:]
    a_t = np.hstack([np.vander(p, count - 1, increasing=True).T, infinity])
    g = np.vstack([np.vander(p, 3, increasing=True) / norms[:, None], [0, 0, 1]])
    b_t = np.array([[*np.poly(zeros)[::-1], 0] for zeros in others] + [np.poly(p)[::-1]])
    scale = 2 ** np.round(np.log2(np.abs(g).sum(1) / np.abs(b_t).sum(1)) / 2)[:, None]
    return a_t, g / scale, b_t * scale


# At these points rounding costs a fifth of what it does at the usual 0, 1, -1, 2, -2.
A_T, G, B_T = cook_toom((0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2))
TILE = len(A_T)  # outputs along an axis


def entries(height: int, width: int) -> int:
    """Numbers that the parts of an image have for each channel."""
    return -(-height // TILE) * -(-width // TILE) * len(B_T) ** 2


def saves(height: int, width: int) -> bool:
    """Whether images of this size take fewer products than the 9 of the kernel for each pixel."""
    return entries(height, width) < 9 * height * width


def convolve(
    x: Float[Array, "N H W C"], kernel: Float[Array, "3 3 C K"]
) -> Float[Array, "N H W K"]:
    """Convolve with stride 1, and with zeros around the images."""
    outputs = _assemble(_each(_product, _pixels(x), _weights(kernel)), A_T)
    return outputs[:, : x.shape[1], : x.shape[2]]


def gradients(
    x: Float[Array, "N H W C"], kernel: Float[Array, "3 3 C K"], grad: Float[Array, "N H W K"]
) -> tuple[Float[Array, "N H W C"], Float[Array, "3 3 C K"]]:
    """The gradients of `convolve` by its arguments, given that by its result."""
    weights = _weights(kernel)
    of_products = _tiles(grad, A_T.T, 0)
    of_x = _assemble(_each(lambda g, w: _product(g, w.T), of_products, weights), B_T.T)
    of_weights = _each(lambda d, g: _rows(d).T @ _rows(g), _pixels(x), of_products)
    of_kernel = jnp.stack([jnp.stack(row) for row in _sandwich(G.T, of_weights)])
    return of_x[:, 1 : x.shape[1] + 1, 1 : x.shape[2] + 1], of_kernel


def _pixels(x: Array) -> Parts:
    """B^T d B, each part [N, tiles high, tiles wide, C]; a tile starts one pixel early."""
    return _tiles(x, B_T, 1)


def _weights(kernel: Array) -> Parts:
    """G g G^T, each part [C, K]."""
    return _sandwich(G, [list(row) for row in kernel])


def _product(part: Array, weight: Array) -> Array:
    return (_rows(part) @ weight).reshape(*part.shape[:3], weight.shape[1])


def _rows(part: Array) -> Array:
    return part.reshape(-1, part.shape[3])


def _tiles(x: Array, matrix: np.ndarray, early: int) -> Parts:
    """Cut images into tiles and multiply each by the matrix from the left, its transpose right."""
    return [_cut(rows, 2, matrix, early) for rows in _cut(x, 1, matrix, early)]


def _assemble(parts: Parts, matrix: np.ndarray) -> Array:
    """The adjoint of `_tiles` with the transposed matrix: tiles are added where they overlap."""
    return _uncut([_uncut(row, 2, matrix) for row in parts], 1, matrix)


def _cut(x: Array, axis: int, matrix: np.ndarray, early: int) -> list[Array]:
    """Multiply the matrix with tiles of an axis, TILE apart, the first one starting `early`.

    Outside the axis stand zeros. XLA writes a padded array to memory once, where it would compute
    any other, such as the gradient of a batch norm, anew for each part. Hence a whole tile of them,
    where the tiles of a gradient need none.
    """
    size = x.shape[axis]
    count = -(-size // TILE)
    x = _pad(x, axis, early, TILE * (count + 1) - early - size)
    x = x.reshape(*x.shape[:axis], count + 1, TILE, *x.shape[axis + 1 :])
    entries = []
    for entry in range(matrix.shape[1]):
        later, place = divmod(entry, TILE)
        part = lax.index_in_dim(x, place, axis + 1, keepdims=False)
        entries.append(lax.slice_in_dim(part, later, later + count, axis=axis))
    return _combine(matrix, entries)


def _uncut(parts: list[Array], axis: int, matrix: np.ndarray) -> Array:
    """The adjoint of `_cut` with the transposed matrix."""
    entries = _combine(matrix, parts)
    last = (len(entries) - 1) // TILE
    sums = [
        reduce(jnp.add, [_pad(part, axis, i, last - i) for i, part in enumerate(entries[k::TILE])])
        for k in range(TILE)
    ]
    x = jnp.stack(sums, axis + 1)
    return x.reshape(*x.shape[:axis], x.shape[axis] * TILE, *x.shape[axis + 2 :])


def _pad(x: Array, axis: int, before: int, behind: int) -> Array:
    ends = [(before, behind) if i == axis else (0, 0) for i in range(x.ndim)]
    return jnp.pad(x, ends)


def _sandwich(matrix: np.ndarray, parts: Parts) -> Parts:
    """The matrix times the parts times the transposed matrix."""
    half = [_combine(matrix, row) for row in parts]
    columns = [_combine(matrix, list(column)) for column in zip(*half, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _combine(matrix: np.ndarray, parts: list[Array]) -> list[Array]:
    """The matrix times a vector of parts, without its zeros."""
    terms = (
        [part * factor for part, factor in zip(parts, row.tolist(), strict=True) if factor]
        for row in matrix
    )
    return [reduce(jnp.add, row) for row in terms]


def _each(function: Callable[[Array, Array], Array], left: Parts, right: Parts) -> Parts:
    return [
        [function(a, b) for a, b in zip(*rows, strict=True)]
        for rows in zip(left, right, strict=True)
    ]
