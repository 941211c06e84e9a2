"""What the attention schemes are made of: options, projections, residual branches, token lists.

A scheme is a module `(grid [B T H W D], cls [B K D]) -> (grid, cls)` with its own layer norms and
residuals; windowed.py and framewise.py hold them, blocks.py names them.

Decisions where the papers are silent:
- q, k, v without bias. Layer norm epsilon 1e-5. Xavier uniform start.
- Dropout acts on the output of every branch and inside the MLP, not on the attention weights. Drop
  path drops a branch for a whole clip, class tokens included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from logo_jax.models import attention
from logo_jax.models.norms import layer_norm
from logo_jax.models.products import dense_product
from logo_jax.models.windows import Window

FLOAT32 = jnp.dtype(jnp.float32)
Tokens = tuple[Float[Array, "B T H W D"], Float[Array, "B K D"]]

# The usual start of vision transformers.
Linear = partial(nn.Dense, kernel_init=nn.initializers.xavier_uniform(), dot_general=dense_product)


class LayerNorm(nn.Module):
    """Layer norm over the last axis, as flax's; its statistics are float32 at least."""

    dtype: jnp.dtype | None = None  # of the result; that of the statistics by default
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*shape D"]) -> Float[Array, "*shape D"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], FLOAT32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], FLOAT32)
        dtype = jnp.result_type(x, FLOAT32)
        x, scale, bias = (y.astype(dtype) for y in (x, scale, bias))
        return layer_norm(x, scale, bias, self.epsilon).astype(self.dtype or dtype)


@dataclass(frozen=True)
class AttentionOptions:
    """What the schemes need to know; each takes what concerns it."""

    num_heads: int = 8
    attention_impl: str = "xla"  # a name of attention.IMPLEMENTATIONS
    window: Window = (4, 2, 2)  # frames, height, width, in tokens; also the pooling window
    shift: Window = (0, 0, 0)  # tokens by which the windows of the local attention are moved
    pool: str = "weighted"  # a name of windowed.POOLS
    pad_windows: bool = False  # pad and mask a grid that the window does not divide
    parallel: bool = False  # local_global: both steps read the same input, and their sum is added
    global_out_proj: bool = False  # an output projection in the global attention
    mixing_share: int = 8  # n of `mixing`: 1/n of the channels come from each neighbouring frame
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: jnp.dtype = FLOAT32


class Branch(nn.Module):
    """The end of a residual branch: dropout per entry, then drop path per clip (axis 0)."""

    options: AttentionOptions

    @nn.compact
    def __call__(self, x: Float[Array, "B *N D"], *, train: bool) -> Float[Array, "B *N D"]:
        x = nn.Dropout(self.options.dropout)(x, deterministic=not train)
        per_clip = nn.Dropout(self.options.drop_path, broadcast_dims=range(1, x.ndim))
        return per_clip(x, deterministic=not train)


class SelfAttention(nn.Module):
    """Attention of the tokens of a sequence among themselves, with an output projection."""

    options: AttentionOptions

    @nn.compact
    def __call__(self, x: Float[Array, "*batch n D"]) -> Float[Array, "*batch n D"]:
        options, dim = self.options, x.shape[-1]
        q, k, v = (heads(name, dim, options)(x) for name in ("query", "key", "value"))
        return Linear(dim, dtype=options.dtype, name="out")(attend(self, q, k, v))


def attend(
    module: nn.Module,
    q: Float[Array, "*batch n heads d"],
    k: Float[Array, "*batch m heads d"],
    v: Float[Array, "*batch m heads d"],
    mask: Bool[Array, "*#batch #n m"] | None = None,
    name: str = "attention",
) -> Float[Array, "*batch n D"]:
    """Attend by the form that the options of `module` choose, and put the heads side by side."""
    impl: str = module.options.attention_impl  # type: ignore[attr-defined]
    mixed = attention.full_attention(q, k, v, mask, maps(module, name), impl)
    return merge_heads(mixed)


def maps(module: nn.Module, name: str) -> attention.Observe | None:
    """Give attention maps to whoever applies the model with `mutable=["intermediates"]`.

    Otherwise None: then nothing has to hold the maps, and other forms of the product can be used.
    """
    if not module.is_mutable_collection("intermediates"):
        return None
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
    # Two slices would be two arrays of all tokens in the gradient, one of them zeros.
    cls, flat = jnp.split(tokens, [cls.shape[1]], axis=1)
    return flat.reshape(grid.shape), cls
