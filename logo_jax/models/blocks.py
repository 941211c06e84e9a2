"""Transformer blocks over a grid of tokens and class tokens: an attention scheme, then an MLP.

A scheme is a module `(grid [B T H W D], cls [B K D]) -> (grid, cls)` with its own layer norms and
residuals. To add one: write the class, enter it in `SCHEMES`, and state its rule for the class
token. A new field goes into `AttentionOptions`, so that all schemes keep one constructor.

Decisions where the paper is silent:
- One layer norm on the input of the queries; one after Pool, shared by keys and values (equations
  3 to 5). In `local` and `full` queries, keys and values share one. Epsilon 1e-5.
- q, k, v without bias; an output projection with bias in `local` and `full`; none in the global
  attention (equation 6) unless `global_out_proj`.
- `local_global` is the local step with its residual, then the global step with its own. The class
  token skips the local step, and in the global one is a query like every other and a key and value
  beside the pooled tokens.
- Exact GELU. Dropout acts on the output of every branch and inside the MLP, not on the attention
  weights. Drop path drops a branch for a whole clip, class token included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.common.errors import pick
from logo_jax.models import attention
from logo_jax.models.attention import Window

FLOAT32 = jnp.dtype(jnp.float32)
Tokens = tuple[Float[Array, "B T H W D"], Float[Array, "B K D"]]

# The usual start of vision transformers.
Linear = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform())
LayerNorm = partial(nn.LayerNorm, epsilon=1e-5)


@dataclass(frozen=True)
class AttentionOptions:
    """What the schemes need to know; each takes what concerns it."""

    num_heads: int = 8
    window: Window = (4, 2, 2)  # frames, height, width, in tokens; also the pooling window
    pool: str = "weighted"  # a name of POOLS
    pad_windows: bool = False  # pad and mask a grid that the window does not divide
    global_out_proj: bool = False  # an output projection in the global attention
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: jnp.dtype = FLOAT32


class Block(nn.Module):
    """One block: the attention scheme, then the MLP over grid and class tokens alike."""

    scheme: str
    mlp_dim: int
    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        scheme = pick(SCHEMES, self.scheme, "attention scheme")
        grid, cls = scheme(self.options, name="attention")(grid, cls, train=train)
        return MLP(self.mlp_dim, self.options, name="mlp")(grid, cls, train=train)


class MLP(nn.Module):
    """x + W2 GELU(W1 LN(x)), on every token by itself."""

    mlp_dim: int
    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        tokens = join(cls, grid)
        x = LayerNorm(dtype=options.dtype, name="norm")(tokens)
        x = Linear(self.mlp_dim, dtype=options.dtype, name="hidden")(x)
        x = nn.gelu(x, approximate=False)
        x = nn.Dropout(options.dropout)(x, deterministic=not train)
        x = Linear(tokens.shape[-1], dtype=options.dtype, name="out")(x)
        return split(tokens + Branch(options)(x, train=train), cls, grid)


class Full(nn.Module):
    """Every token attends to every token; class tokens are ordinary tokens."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        tokens = join(cls, grid)
        dim = tokens.shape[-1]
        x = LayerNorm(dtype=options.dtype, name="norm")(tokens)
        q, k, v = (heads(name, dim, options)(x) for name in ("query", "key", "value"))
        x = attention.full_attention(q, k, v, observe=maps(self, "attention"))
        x = Linear(dim, dtype=options.dtype, name="out")(merge_heads(x))
        return split(tokens + Branch(options)(x, train=train), cls, grid)


class Local(nn.Module):
    """Every grid token attends to the tokens of its window.

    As a scheme by itself, the class tokens query every token of the grid and themselves, and are
    nobody's key; without that the head would see no clip. With `with_class_token=False` they pass
    unchanged: the first step of `local_global`.
    """

    options: AttentionOptions
    with_class_token: bool = True

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        dim = grid.shape[-1]
        norm = LayerNorm(dtype=options.dtype, name="norm")
        query, key, value = (heads(name, dim, options) for name in ("query", "key", "value"))
        out = Linear(dim, dtype=options.dtype, name="out")
        branch = Branch(options)

        x = norm(grid)
        k, v = key(x), value(x)  # [B, T, H, W, heads, d]
        x = attention.local_attention(
            query(x), k, v, options.window, options.pad_windows, maps(self, "attention")
        )
        if not self.with_class_token:
            return grid + branch(out(merge_heads(x)), train=train), cls

        c = norm(cls)
        mixed = attention.full_attention(
            query(c),
            jnp.concatenate([key(c), flatten_grid(k)], axis=1),  # [B, K + THW, heads, d]
            jnp.concatenate([value(c), flatten_grid(v)], axis=1),
            observe=maps(self, "class_attention"),
        )
        # Joined, so that drop path treats the branch of a clip as one.
        x = join(out(merge_heads(mixed)), out(merge_heads(x)))
        return split(join(cls, grid) + branch(x, train=train), cls, grid)


class Global(nn.Module):
    """Every token attends to one pooled token per window and to the class tokens (equation 6)."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        tokens = join(cls, grid)
        dim = tokens.shape[-1]
        pooled = PooledTokens(options, name="pool")(grid)
        # Equations 3 to 5: q = LN(z) W_q, k = LN(Pool(z)) W_k, v = LN(Pool(z)) W_v.
        x = LayerNorm(dtype=options.dtype, name="norm")(tokens)
        y = jnp.concatenate([cls, pooled], axis=1)  # [B, K + nW, D]
        y = LayerNorm(dtype=options.dtype, name="pooled_norm")(y)
        q = heads("query", dim, options)(x)
        k, v = (heads(name, dim, options)(y) for name in ("key", "value"))
        # Equation 6.
        x = merge_heads(attention.full_attention(q, k, v, observe=maps(self, "attention")))
        if options.global_out_proj:
            x = Linear(dim, dtype=options.dtype, name="out")(x)
        return split(tokens + Branch(options)(x, train=train), cls, grid)


class LocalGlobal(nn.Module):
    """LOGO-Former: the local step over the grid, then the global step over all tokens."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        local = Local(self.options, with_class_token=False, name="local")
        grid, cls = local(grid, cls, train=train)
        return Global(self.options, name="global")(grid, cls, train=train)


class PooledTokens(nn.Module):
    """One token per window, by `options.pool`; "weighted" and "conv" are learned."""

    options: AttentionOptions

    @nn.compact
    def __call__(self, grid: Float[Array, "B T H W D"]) -> Float[Array, "B nW D"]:
        options, dim = self.options, grid.shape[-1]
        attention.check_window(grid.shape[1:4], options.window, options.pad_windows)
        positions = prod(options.window)
        if options.pool == "weighted":
            start = nn.initializers.constant(1 / positions)
            weights = self.param("weights", start, (positions, dim))
            return attention.weighted_pool(grid, weights.astype(grid.dtype), options.window)
        if options.pool == "conv":
            start = nn.initializers.lecun_normal()
            kernel = self.param("kernel", start, (positions * dim, dim)).astype(grid.dtype)
            bias = self.param("bias", nn.initializers.zeros, (dim,)).astype(grid.dtype)
            return attention.conv_pool(grid, kernel, bias, options.window)
        pool = {"average": attention.average_pool, "max": attention.max_pool}[options.pool]
        return pool(grid, options.window)


class Branch(nn.Module):
    """The end of a residual branch: dropout per entry, then drop path per clip (axis 0)."""

    options: AttentionOptions

    @nn.compact
    def __call__(self, x: Float[Array, "B *N D"], *, train: bool) -> Float[Array, "B *N D"]:
        x = nn.Dropout(self.options.dropout)(x, deterministic=not train)
        per_clip = nn.Dropout(self.options.drop_path, broadcast_dims=range(1, x.ndim))
        return per_clip(x, deterministic=not train)


def maps(module: nn.Module, name: str) -> attention.Observe:
    """Give attention maps to whoever applies the model with `mutable=["intermediates"]`.

    Otherwise `sow` does nothing.
    """
    return partial(module.sow, "intermediates", name)


def heads(
    name: str, dim: int, options: AttentionOptions
) -> Callable[[Float[Array, "*shape D"]], Float[Array, "*shape heads d"]]:
    """A linear projection without bias, cut into heads: `[... D] -> [... heads D/heads]`."""
    project = Linear(dim, use_bias=False, dtype=options.dtype, name=name)
    return lambda x: project(x).reshape(*x.shape[:-1], options.num_heads, dim // options.num_heads)


def merge_heads(x: Float[Array, "*shape heads d"]) -> Float[Array, "*shape D"]:
    """Undo the cut into heads."""
    return x.reshape(*x.shape[:-2], -1)


def flatten_grid(x: Float[Array, "B T H W *rest"]) -> Float[Array, "B N *rest"]:
    """Make one axis of frames, height and width."""
    return x.reshape(x.shape[0], -1, *x.shape[4:])


def join(cls: Float[Array, "B K D"], grid: Float[Array, "B T H W D"]) -> Float[Array, "B N D"]:
    """Put the class tokens before the flattened grid: N = K + THW."""
    return jnp.concatenate([cls, flatten_grid(grid)], axis=1)


def split(
    tokens: Float[Array, "B N D"], cls: Float[Array, "B K D"], grid: Float[Array, "B T H W D"]
) -> Tokens:
    """Undo `join`, with the shapes of `cls` and `grid`."""
    count = cls.shape[1]
    return tokens[:, count:].reshape(grid.shape), tokens[:, :count]


POOLS = ("weighted", "average", "max", "conv")

SCHEMES: dict[str, type[nn.Module]] = {
    "full": Full,
    "local": Local,
    "global": Global,
    "local_global": LocalGlobal,
}
