"""The schemes of LOGO-Former: attention inside windows, and to one pooled token per window.

Decisions where the paper is silent:
- One layer norm on the input of the queries; one after Pool, shared by keys and values (equations
  3 to 5). In `local` queries, keys and values share one.
- An output projection with bias in `local`; none in the global attention (equation 6) unless
  `global_out_proj`.
- `local_global` is the local step with its residual, then the global step with its own; with
  `parallel` both read the same tokens, and nothing reads the last block's local step. The class
  token skips the local step, and in the global one is a query like every other and a key and value
  beside the pooled tokens.
- `shift` moves the windows of the local attention, as Swin Transformer does; the tokens before the
  first whole window are a smaller window of their own. The pooling windows stay where they are.
"""

from math import prod

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.models import attention, pooling, windows
from logo_jax.models.layers import (
    AttentionOptions,
    Branch,
    LayerNorm,
    Linear,
    Tokens,
    attend,
    flatten_grid,
    heads,
    join,
    maps,
    merge_heads,
    split,
)

POOLS = ("weighted", "average", "max", "conv")


class Local(nn.Module):
    """Every grid token attends to the tokens of its window.

    As a scheme by itself, the class tokens query every token of the grid and themselves, and are
    nobody's key; without that the head would see no clip.
    """

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        of_grid, of_cls = LocalAttention(self.options, name="local")(grid, cls)
        assert of_cls is not None
        x = join(of_cls, of_grid)  # joined, so that drop path treats the branch of a clip as one
        return split(join(cls, grid) + Branch(self.options)(x, train=train), cls, grid)


class Global(nn.Module):
    """Every token attends to one pooled token per window and to the class tokens (equation 6)."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        x = GlobalAttention(self.options, name="global")(grid, cls)
        return split(join(cls, grid) + Branch(self.options)(x, train=train), cls, grid)


class LocalGlobal(nn.Module):
    """LOGO-Former: the local step over the grid, then the global step over all tokens."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        near, _ = LocalAttention(options, name="local")(grid)
        after_local = grid + Branch(options)(near, train=train)
        seen = grid if options.parallel else after_local
        far = GlobalAttention(options, name="global")(seen, cls)
        return split(join(cls, after_local) + Branch(options)(far, train=train), cls, grid)


class LocalAttention(nn.Module):
    """z -> softmax(q k^T / sqrt(d)) v W + b inside each window (equations 1 and 2)."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"] | None = None
    ) -> tuple[Float[Array, "B T H W D"], Float[Array, "B K D"] | None]:
        """Return what to add to the grid and, where class tokens are given, what to add to them."""
        options, dim = self.options, grid.shape[-1]
        norm = LayerNorm(dtype=options.dtype, name="norm")
        query, key, value = (heads(name, dim, options) for name in ("query", "key", "value"))
        out = Linear(dim, dtype=options.dtype, name="out")
        x = norm(grid)
        k, v = key(x), value(x)  # [B, T, H, W, heads, d]
        mixed = attention.local_attention(
            query(x),
            k,
            v,
            options.window,
            options.pad_windows,
            maps(self, "attention"),
            options.attention_impl,
            options.shift,
        )
        if cls is None:
            return out(merge_heads(mixed)), None
        c = norm(cls)
        k = jnp.concatenate([key(c), flatten_grid(k)], axis=1)  # [B, K + THW, heads, d]
        v = jnp.concatenate([value(c), flatten_grid(v)], axis=1)
        of_cls = attend(self, query(c), k, v, name="class_attention")
        return out(merge_heads(mixed)), out(of_cls)


class GlobalAttention(nn.Module):
    """Equations 3 to 6: q = LN(z) W_q, k = LN(Pool(z)) W_k, v = LN(Pool(z)) W_v, attention."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"]
    ) -> Float[Array, "B N D"]:
        """Return what to add to the joined tokens, N = K + THW."""
        options, dim = self.options, grid.shape[-1]
        pooled = PooledTokens(options, name="pool")(grid)
        x = LayerNorm(dtype=options.dtype, name="norm")(join(cls, grid))
        y = jnp.concatenate([cls, pooled], axis=1)  # [B, K + nW, D]
        y = LayerNorm(dtype=options.dtype, name="pooled_norm")(y)
        q = heads("query", dim, options)(x)
        k, v = (heads(name, dim, options)(y) for name in ("key", "value"))
        x = attend(self, q, k, v)  # equation 6
        return Linear(dim, dtype=options.dtype, name="out")(x) if options.global_out_proj else x


class PooledTokens(nn.Module):
    """One token per window, by `options.pool`; "weighted" and "conv" are learned.

    On request (`layers.maps`) it gives `shares` [B or 1, nW, fhw]: how much of a pooled token comes
    from each token of its window, summing to 1, 0 for padding. They are the absolute weights,
    summed over channels; of "max", the share of channels in which the token is the largest.
    """

    options: AttentionOptions

    @nn.compact
    def __call__(self, grid: Float[Array, "B T H W D"]) -> Float[Array, "B nW D"]:
        options, dim = self.options, grid.shape[-1]
        window = options.window
        windows.check_window(grid.shape[1:4], window, options.pad_windows)
        positions = prod(window)
        weight = jnp.ones(positions)
        if options.pool == "weighted":
            start = nn.initializers.constant(1 / positions)
            weights = self.param("weights", start, (positions, dim))
            pooled = pooling.weighted_pool(grid, weights.astype(grid.dtype), window)
            weight = jnp.abs(weights).sum(-1)
        elif options.pool == "conv":
            start = nn.initializers.lecun_normal()
            kernel = self.param("kernel", start, (positions * dim, dim))
            bias = self.param("bias", nn.initializers.zeros, (dim,)).astype(grid.dtype)
            pooled = pooling.conv_pool(grid, kernel.astype(grid.dtype), bias, window)
            weight = jnp.abs(kernel).reshape(positions, -1).sum(-1)
        elif options.pool == "max":
            pooled = pooling.max_pool(grid, window)
        else:
            pooled = pooling.average_pool(grid, window)
        observe = maps(self, "shares")
        if observe is None:
            return pooled
        real = windows.window_occupancy(grid.shape[1:4], window)  # [nW, fhw]
        if options.pool == "max":
            tokens = windows.to_windows(windows.pad_grid(grid, window), window)
            largest = jnp.where(real[..., None], tokens, -jnp.inf).argmax(2)  # [B, nW, D]
            observe(jax.nn.one_hot(largest, positions).mean(2))
        else:
            shares = weight * real
            observe((shares / shares.sum(-1, keepdims=True))[None])
        return pooled
