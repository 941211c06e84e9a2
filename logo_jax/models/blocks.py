"""Transformer blocks over a grid of tokens and class tokens: an attention scheme, then an MLP.

To add a scheme: write the class in windowed.py, framewise.py or a file of its own, enter it in
`SCHEMES`, and state its rule for the class token. A new field goes into `AttentionOptions`, so that
all schemes keep one constructor.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from logo_jax.common.errors import pick
from logo_jax.models.framewise import Divided, Factorized, Full, Mixing, Spatial
from logo_jax.models.layers import (
    AttentionOptions,
    Branch,
    LayerNorm,
    Linear,
    Tokens,
    join,
    split,
)
from logo_jax.models.windowed import Global, Local, LocalGlobal

SCHEMES: dict[str, type[nn.Module]] = {
    "full": Full,
    "spatial": Spatial,
    "divided": Divided,
    "factorized": Factorized,
    "mixing": Mixing,
    "local": Local,
    "global": Global,
    "local_global": LocalGlobal,
}
# Schemes with one class token for each frame, averaged after the last block.
FRAME_CLASS_TOKENS = ("spatial", "mixing")


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
    """x + W2 GELU(W1 LN(x)), on every token by itself; the exact GELU."""

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
