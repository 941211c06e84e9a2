"""Attention as pure functions over arrays, for any framework: no parameters, no randomness.

Names of axes: `T H W` is the grid of tokens (frames, height, width), `heads` the attention heads
and `d` the channels of one head. A window is `(frames, height, width)` in tokens.

The local attention of the paper groups tokens into windows by reshape and transpose. A mask over
all tokens would give the same numbers at (THW)^2 cost; the tests use it as the definition.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from logo_jax.common.errors import UserError, pick
from logo_jax.models.windows import (
    Window,
    check_window,
    from_windows,
    moved_by,
    pad_grid,
    padding,
    to_windows,
)

Observe = Callable[[Array], object]
Attend = Callable[[Array, Array, Array, Array | None], Array]


def full_attention(
    q: Float[Array, "*batch n heads d"],
    k: Float[Array, "*batch m heads d"],
    v: Float[Array, "*batch m heads d"],
    mask: Bool[Array, "*#batch #n m"] | None = None,
    observe: Observe | None = None,
    impl: str = "xla",
) -> Float[Array, "*batch n heads d"]:
    """softmax(q k^T / sqrt(d)) v: every query attends to every key.

    Queries and keys may be of different number: the global attention of the paper (equation 6) is
    this function over the keys and values of pooled tokens.

    Args:
        mask: True where a query may attend to a key; None allows all. Each query needs one key.
        observe: called with the weights `[*batch heads n m]`, whose rows sum to 1. Only the plain
            form has them, and is then taken whatever `impl` says.
        impl: "xla", the plain form; "chunked", which holds the weights of about `CHUNK` queries
            and computes them again for the gradient; "cudnn", a fused kernel for bfloat16 on GPU.

    Returns:
        The mixed values in the type of `v`. The softmax runs in float32 at least.

    Raises:
        UserError: `impl` is unknown, or "cudnn" where there is no GPU, the type is float32, or JAX
            refuses the shapes.
    """
    attend = pick(IMPLEMENTATIONS, impl, "attention_impl")
    if observe is None:
        return attend(q, k, v, mask)
    # What is observed must not leave a function whose gradient is given.
    return _heads_first(
        lambda q, k, v, mask: _weigh(_scores(q, k, mask), v, observe)[0].astype(v.dtype),
        *(q, k, v, mask),
        merge=False,
    )


def _heads_first(
    attend: Attend, q: Array, k: Array, v: Array, mask: Array | None, merge: bool = True
) -> Array:
    """Attend over [*batch heads n d], or, without a mask, over [batch * heads n d].

    With one leading axis XLA computes the gradient by the scores in the place of the weights; with
    an axis of length 1 before it, it does not.
    """
    *batch, _, heads, _ = q.shape
    leading = (math.prod(batch) * heads,) if merge and mask is None else (*batch, heads)

    def turn(x: Array) -> Array:
        x = jnp.swapaxes(x, -3, -2)
        return x.reshape(*leading, *x.shape[-2:])

    mixed = attend(turn(q), turn(k), turn(v), mask)
    return jnp.swapaxes(mixed.reshape(*batch, heads, *mixed.shape[-2:]), -3, -2)


# The gradient is given because the automatic one holds a second n x m array beside the weights. It
# goes in reverse mode only (`jax.jvp` raises).
@jax.custom_vjp
def _attend(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    return _weigh(_scores(q, k, mask), v)[0].astype(v.dtype)


def _attend_forward(q: Array, k: Array, v: Array, mask: Array | None) -> tuple[Array, Any]:
    mixed, weights, total = _weigh(_scores(q, k, mask), v)
    return mixed.astype(v.dtype), (q, k, v, mixed, weights, total)


def _attend_backward(kept: Any, grad: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, mixed, weights, total = kept
    # Without the barrier XLA would hold the sums spread over all channels, from the first pass on.
    grad = grad / jax.lax.optimization_barrier(total)
    of_q, of_k, of_v = _gradients(q, k, v, mixed, weights, grad)
    return of_q.astype(q.dtype), of_k.astype(k.dtype), of_v.astype(v.dtype), None


_attend.defvjp(_attend_forward, _attend_backward)


def _scores(q: Array, k: Array, mask: Array | None) -> Array:
    """Scaled products of q [..., n, d] and k [..., m, d]; with a mask, of [..., heads, n, d]."""
    scores = jnp.einsum("...nd,...md->...nm", q * q.shape[-1] ** -0.5, k)
    scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
    if mask is not None:
        scores = jnp.where(mask[..., None, :, :], scores, -jnp.inf)
    return scores


def _weigh(scores: Array, v: Array, observe: Observe | None = None) -> tuple[Array, Array, Array]:
    """Mix v [..., m, d] by the softmax of the scores [..., n, m].

    Returns the mixed values [..., n, d], the weights [..., n, m] before they are divided by their
    sums, and the sums. Only the mixed values are divided, not the n x m weights; and the heads come
    first, so that no product has to turn an n x m array. On a CPU both together take a third of the
    time of softmax and einsum over [..., n, heads, d].
    """
    # A shift of a row cancels out, so that its derivative is 0.
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    total = weights.sum(-1, keepdims=True)
    if observe is not None:
        observe(weights / total)
    mixed = jnp.einsum(
        "...nm,...md->...nd", weights.astype(v.dtype), v, preferred_element_type=total.dtype
    )
    return mixed / total, weights, total


def _gradients(
    q: Array, k: Array, v: Array, mixed: Array, weights: Array, grad: Array
) -> tuple[Array, Array, Array]:
    """Gradients by q, k and v, in the type of the weights.

    That by the scores s = q k^T / sqrt(d) is p (g v^T - g . mixed), with p the softmax and g the
    gradient by the mixed values. `weights` and `grad` are p and g; or p c and g / c, with a c > 0
    for each query.
    """
    product = partial(jnp.einsum, preferred_element_type=weights.dtype)
    grad = grad.astype(v.dtype)
    # Of the same rounded numbers as the product below, from which it is taken.
    along = (grad.astype(weights.dtype) * mixed).sum(-1, keepdims=True)
    of_v = _over_queries(product, weights.astype(v.dtype), grad)
    of_scores = weights * (product("...nd,...md->...nm", grad, v) - along)
    of_scores = of_scores.astype(q.dtype)
    scale = q.shape[-1] ** -0.5
    of_q = product("...nm,...md->...nd", of_scores, k) * scale
    of_k = _over_queries(product, of_scores, q * scale)
    return of_q, of_k, of_v


def _over_queries(product: Callable[..., Array], pairs: Array, x: Array) -> Array:
    """Products of [..., n, m] and [..., n, d], summed over the queries: [..., m, d].

    XLA turns the large array for that on a CPU. Where the keys are many, the small result is turned
    instead; without the barrier XLA would undo it.
    """
    if jax.default_backend() != "cpu" or pairs.shape[-1] < MANY_KEYS:
        return product("...nm,...nd->...md", pairs, x)
    turned = jax.lax.optimization_barrier(product("...nd,...nm->...dm", x, pairs))
    return jnp.swapaxes(turned, -1, -2)


def _attend_in_chunks(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    return (_attend if _chunk_count(q.shape[-2]) == 1 else _attend_chunks)(q, k, v, mask)


# The gradient is given here as well: of each query it keeps the mixed values and two numbers.
@jax.custom_vjp
def _attend_chunks(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    return _chunks_forward(q, k, v, mask)[0]


def _chunks_forward(q: Array, k: Array, v: Array, mask: Array | None) -> tuple[Array, Any]:
    def attend(chunk: list[Array]) -> tuple[Array, Array, Array]:
        q, *mask = chunk
        scores = _scores(q, k, mask[0] if mask else None)
        mixed, _, total = _weigh(scores, v)
        return mixed, scores.max(-1, keepdims=True), total

    chunks = jax.lax.map(attend, _query_chunks(mask, q))
    mixed, highest, total = (_from_chunks(x, q.shape[-2]) for x in chunks)
    return mixed.astype(v.dtype), (q, k, v, mask, mixed, highest, total)


def _chunks_backward(kept: Any, grad: Array) -> tuple[Array, Array, Array, None]:
    q, k, v, mask, mixed, highest, total = kept

    def attend(sums: tuple[Array, Array], chunk: list[Array]) -> tuple[tuple[Array, Array], Array]:
        q, mixed, highest, grad, *mask = chunk
        weights = jnp.exp(_scores(q, k, mask[0] if mask else None) - highest)
        of_q, of_k, of_v = _gradients(q, k, v, mixed, weights, grad)
        return (sums[0] + of_k, sums[1] + of_v), of_q

    start = jnp.zeros_like(k, total.dtype), jnp.zeros_like(v, total.dtype)
    chunks = _query_chunks(mask, q, mixed, highest, grad / total)
    (of_k, of_v), of_q = jax.lax.scan(attend, start, chunks)
    of_q = _from_chunks(of_q, q.shape[-2])
    return of_q.astype(q.dtype), of_k.astype(k.dtype), of_v.astype(v.dtype), None


_attend_chunks.defvjp(_chunks_forward, _chunks_backward)


def _query_chunks(mask: Array | None, *arrays: Array) -> list[Array]:
    """Cut [..., n, last] of the queries into [count, ..., size, last]; the mask comes last.

    The chunks are equal, so that little is added to the last one; what is added allows all keys,
    since a query needs one.
    """
    n = arrays[0].shape[-2]
    count = _chunk_count(n)
    size = math.ceil(n / count)

    def cut(x: Array) -> Array:
        ends = [(0, 0)] * (x.ndim - 2) + [(0, count * size - n), (0, 0)]
        x = jnp.pad(x, ends, constant_values=x.dtype == bool)
        return jnp.moveaxis(x.reshape(*x.shape[:-2], count, size, x.shape[-1]), -3, 0)

    if mask is not None:
        arrays = (*arrays, jnp.broadcast_to(mask, (*mask.shape[:-2], n, mask.shape[-1])))
    return [cut(x) for x in arrays]


def _chunk_count(n: int) -> int:
    return max(1, round(n / CHUNK))


def _from_chunks(chunks: Array, n: int) -> Array:
    """Undo the cut: [count, ..., size, last] -> [..., n, last]."""
    x = jnp.moveaxis(chunks, 0, -3)
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])[..., :n, :]


def _cudnn_attention(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    if jax.default_backend() != "gpu" or q.dtype not in (jnp.bfloat16, jnp.float16):
        raise UserError(
            f'attention_impl="cudnn" needs a GPU and dtype="bfloat16", not {q.dtype} on '
            f'{jax.default_backend()}: choose "xla" or "chunked".'
        )
    odd = mask is not None and (mask.shape[-2] % 2 or mask.shape[-1] % 2)
    if q.shape[-1] % 8 or odd:
        raise UserError(
            f'attention_impl="cudnn" takes heads of a multiple of 8 channels, not {q.shape[-1]}, '
            "and with padded or shifted windows an even number of tokens in each: choose dim, "
            'num_heads and window so, or "xla" or "chunked".'
        )
    batch = q.shape[:-3]
    if mask is not None:
        mask = jnp.broadcast_to(mask, (*batch, *mask.shape[-2:]))
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
    flat_q, flat_k, flat_v = (x.reshape(-1, *x.shape[-3:]) for x in (q, k, v))
    try:
        mixed = jax.nn.dot_product_attention(
            flat_q, flat_k, flat_v, mask=mask, implementation="cudnn"
        )
    except (NotImplementedError, ValueError, RuntimeError) as error:  # of its size or this GPU
        raise UserError(
            f'attention_impl="cudnn" cannot compute heads of {q.shape[-1]} channels here, as JAX '
            f'says ({error}): choose dim and num_heads otherwise, or "xla" or "chunked".'
        ) from error
    return mixed.reshape(q.shape)


MANY_KEYS = 128  # with fewer, turning the result takes longer
CHUNK = 256  # queries, about: fewer take longer on a CPU, more take more memory
IMPLEMENTATIONS: dict[str, Attend] = {
    "xla": partial(_heads_first, _attend),
    "chunked": partial(_heads_first, _attend_in_chunks),
    "cudnn": _cudnn_attention,
}


def local_attention(
    q: Float[Array, "B T H W heads d"],
    k: Float[Array, "B T H W heads d"],
    v: Float[Array, "B T H W heads d"],
    window: Window,
    pad: bool = False,
    observe: Observe | None = None,
    impl: str = "xla",
    shift: Window = (0, 0, 0),
) -> Float[Array, "B T H W heads d"]:
    """Every token attends to the tokens of its own window.

    Args:
        window: frames, height and width of a window, in tokens.
        pad: fill a grid that the window does not divide with tokens that nobody attends to. The
            windows at the far ends then hold fewer tokens; the result is exact.
        observe: called with the weights `[B windows heads fhw fhw]`.
        impl: see `full_attention`.
        shift: tokens by which the windows are moved along each axis, less than a window: token i
            lies in window floor((i - shift) / window), the first one holding `shift` tokens (Swin
            Transformer, Liu et al. 2021). An axis that is one window long is not shifted.

    Raises:
        UserError: the window does not divide the grid and `pad` is False.
    """
    check_window(q.shape[1:4], window, pad)
    grid = q.shape[1:4]
    padded = tuple(size + extra for size, extra in zip(grid, padding(grid, window), strict=True))
    moved = moved_by(grid, window, shift)

    def move(x: Array, sign: int) -> Array:
        return jnp.roll(x, [sign * s for s in moved], (1, 2, 3)) if any(moved) else x

    def cut(x: Array) -> Array:  # into shifted windows; tokens before the first come in the last
        return to_windows(move(pad_grid(x, window), -1), window)

    mask = None
    if padded != grid or any(moved):
        inside = cut(jnp.ones((1, *grid), bool))[0]  # [nW, fhw]
        wrapped = [place < s for place, s in zip(jnp.indices(grid), moved, strict=True)]
        part = sum(2**axis * flag for axis, flag in enumerate(wrapped))
        part = cut(part[None])[0]  # [nW, fhw]: which ends a token came around
        mask = (part[:, :, None] == part[:, None, :]) & inside[:, None, :]
        # A token of the padding would have no key; its own row is cut off below.
        mask |= jnp.eye(mask.shape[-1], dtype=bool)
    mixed = full_attention(cut(q), cut(k), cut(v), mask, observe, impl)  # [B, nW, fhw, heads, d]
    mixed = move(from_windows(mixed, padded, window), 1)
    return mixed[:, : grid[0], : grid[1], : grid[2]]


def shift_frames(x: Float[Array, "B T n heads d"], share: int) -> Float[Array, "B T n heads d"]:
    """Take channels from neighbouring frames (X-ViT, Bulat et al. 2021, space-time mixing).

    Of the d channels of each head the first d / share come from the next frame and the second
    d / share from the previous one; zeros beyond the ends of the clip.
    """
    width = x.shape[-1] // share
    zeros = jnp.zeros_like(x[:, :1, ..., :width])
    following = jnp.concatenate([x[:, 1:, ..., :width], zeros], axis=1)
    previous = jnp.concatenate([zeros, x[:, :-1, ..., width : 2 * width]], axis=1)
    return jnp.concatenate([following, previous, x[..., 2 * width :]], axis=-1)
