"""The schemes that LOGO-Former is compared with: full, spatial, divided, factorized, mixing.

The class token (docs/models.md has the table): in `full` an ordinary token; in `divided` and
`factorized` it skips the temporal attention, and in the spatial one is copied to each frame, the
outputs of the copies being averaged, as TimeSformer does; `spatial` and `mixing` have one for each
frame (K = T), so that nothing leaks between frames.

Decisions where the papers are silent:
- Every attention has its own layer norm, output projection with bias, and residual.
- `factorized` (STT: spatial and temporal attention "within each block are jointly applied") is the
  temporal step, then the spatial one. The other way round the class token, which skips the temporal
  attention, would see nothing of the last block's, whose weights would never be trained.
- `mixing` takes the channels of each head: the first 1/n of them from the next frame and the
  second 1/n from the previous one, class tokens included; zeros before the first and after the
  last frame (X-ViT; its released code places the shift behind the cut into heads).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.models.attention import shift_frames
from logo_jax.models.layers import (
    AttentionOptions,
    Branch,
    LayerNorm,
    Linear,
    SelfAttention,
    Tokens,
    attend,
    heads,
    join,
    split,
)


class Full(nn.Module):
    """Every token attends to every token; class tokens are ordinary tokens."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        tokens = join(cls, grid)
        x = LayerNorm(dtype=options.dtype, name="norm")(tokens)
        x = SelfAttention(options, name="full")(x)
        return split(tokens + Branch(options)(x, train=train), cls, grid)


class Spatial(nn.Module):
    """Every token attends to the tokens of its frame, the frame's class token among them."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B T D"], *, train: bool
    ) -> Tokens:
        options = self.options
        frames = join_frames(cls, grid)
        x = LayerNorm(dtype=options.dtype, name="norm")(frames)
        x = SelfAttention(options, name="spatial")(x)
        return split_frames(frames + Branch(options)(x, train=train), grid)


class Mixing(nn.Module):
    """`Spatial`, with some channels of the keys and values from the neighbouring frames (X-ViT)."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B T D"], *, train: bool
    ) -> Tokens:
        options, dim = self.options, grid.shape[-1]
        frames = join_frames(cls, grid)
        x = LayerNorm(dtype=options.dtype, name="norm")(frames)
        q, k, v = (heads(name, dim, options)(x) for name in ("query", "key", "value"))
        k, v = (shift_frames(y, options.mixing_share) for y in (k, v))
        x = Linear(dim, dtype=options.dtype, name="out")(attend(self, q, k, v))
        return split_frames(frames + Branch(options)(x, train=train), grid)


class Divided(nn.Module):
    """TimeSformer: the same position in all frames, then the same frame.

    Behind the temporal attention's own projection stands one more linear layer, which starts at
    zero, so that at the start the block is a spatial one.
    """

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options, dim = self.options, grid.shape[-1]
        x = Temporal(options, name="temporal")(grid)
        x = nn.Dense(
            dim, kernel_init=nn.initializers.zeros, dtype=options.dtype, name="temporal_fc"
        )(x)
        grid = grid + Branch(options)(x, train=train)
        return _spatial_step(options, grid, cls, train)


class Factorized(nn.Module):
    """STT, the paper's Baseline: the same position in all frames, then the same frame.

    Unlike `Divided` it has no further linear layer behind the temporal attention.
    """

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"], *, train: bool
    ) -> Tokens:
        options = self.options
        x = Temporal(options, name="temporal")(grid)
        grid = grid + Branch(options)(x, train=train)
        return _spatial_step(options, grid, cls, train)


class Temporal(nn.Module):
    """Attention among the tokens at the same position of all frames; class tokens take no part."""

    options: AttentionOptions

    @nn.compact
    def __call__(self, grid: Float[Array, "B T H W D"]) -> Float[Array, "B T H W D"]:
        x = LayerNorm(dtype=self.options.dtype, name="norm")(grid)
        x = SelfAttention(self.options, name="attention")(jnp.moveaxis(x, 1, 3))  # [B, H, W, T, D]
        return jnp.moveaxis(x, 3, 1)


class CopiedSpatial(nn.Module):
    """Attention within each frame, which a copy of every class token joins."""

    options: AttentionOptions

    @nn.compact
    def __call__(
        self, grid: Float[Array, "B T H W D"], cls: Float[Array, "B K D"]
    ) -> Float[Array, "B N D"]:
        """Return what to add to the joined tokens, N = K + THW: the copies' outputs averaged."""
        batch, frames = grid.shape[:2]
        count, dim = cls.shape[1:]
        norm = LayerNorm(dtype=self.options.dtype, name="norm")
        copies = jnp.broadcast_to(norm(cls)[:, None], (batch, frames, count, dim))
        positions = norm(grid).reshape(batch, frames, -1, dim)
        x = jnp.concatenate([copies, positions], axis=2)  # [B, T, K + HW, D]
        x = SelfAttention(self.options, name="attention")(x)
        copies, near = jnp.split(x, [count], axis=2)
        return join(copies.mean(1), near.reshape(grid.shape))


def _spatial_step(
    options: AttentionOptions,
    grid: Float[Array, "B T H W D"],
    cls: Float[Array, "B K D"],
    train: bool,
) -> Tokens:
    x = CopiedSpatial(options, name="spatial")(grid, cls)
    return split(join(cls, grid) + Branch(options)(x, train=train), cls, grid)


def join_frames(
    cls: Float[Array, "B T D"], grid: Float[Array, "B T H W D"]
) -> Float[Array, "B T n D"]:
    """Put each frame's class token before its tokens: n = 1 + HW."""
    batch, frames, _, _, dim = grid.shape
    return jnp.concatenate([cls[:, :, None], grid.reshape(batch, frames, -1, dim)], axis=2)


def split_frames(x: Float[Array, "B T n D"], grid: Float[Array, "B T H W D"]) -> Tokens:
    """Undo `join_frames`, with the shape of `grid`."""
    return x[:, :, 1:].reshape(grid.shape), x[:, :, 0]
