"""Transformer blocks over a grid of tokens and class tokens: an attention scheme, then an MLP.

A scheme of one's own needs no change here: `register_scheme`, in a file that `load_schemes` runs
(docs/schemes.md). To add one to this package: write the class in windowed.py or framewise.py, enter
it in `SCHEMES`, and state its rule for the class token. A new field goes into `AttentionOptions`,
so that all schemes keep one constructor.
"""

import importlib.util
import sys
from pathlib import Path

import flax.linen as nn
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError, pick, suggest
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
BUILT_IN = frozenset(SCHEMES)
# Schemes with one class token for each frame, averaged after the last block.
FRAME_CLASS_TOKENS = {"spatial", "mixing"}
# Schemes that look at the window of the options.
WINDOWED = {"local", "global", "local_global"}


def register_scheme(
    name: str, module: type[nn.Module], *, windows: bool, frame_class_tokens: bool = False
) -> None:
    """Enter a scheme under a name, for `build(..., attention=name)`, configs and the study.

    Args:
        name: not one of `BUILT_IN`; a name registered before is replaced.
        module: a Linen module `module(options)` with the call `(grid [B T H W D], cls [B K D],
            train=...) -> (grid, cls)`, with its own layer norms and residuals.
        windows: whether it reads `options.window`; then the study measures it for each window.
        frame_class_tokens: it has one class token for each frame (K = T) instead of one.

    Raises:
        UserError: the name is a built-in scheme's, or holds a colon or a comma.
    """
    if name in BUILT_IN or not name or set(name) & set(":,"):
        raise UserError(
            f'A scheme cannot be registered as "{name}": choose a name without ":" and "," that '
            "is no built-in scheme's."
        )
    SCHEMES[name] = module
    for names, member in ((WINDOWED, windows), (FRAME_CLASS_TOKENS, frame_class_tokens)):
        names.add(name) if member else names.discard(name)


def load_schemes(path: str) -> None:
    """Run a Python file that registers schemes; a file that ran before is not run again.

    Raises:
        UserError: there is no such file. What the file itself raises goes through.
    """
    file = Path(path).expanduser().resolve()
    name = f"schemes of {file}"
    if name in sys.modules:
        return
    if not file.is_file() or file.suffix != ".py":
        present = sorted(str(other) for other in Path(path).expanduser().parent.glob("*.py"))
        raise UserError(f'There is no Python file "{path}" with schemes.{suggest(path, present)}')
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]  # so that the next call does not take it for loaded
        raise


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
