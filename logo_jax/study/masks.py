"""Which tokens a token sees: the paper's Figure 1, taken from the code instead of drawn.

The influence of token j on token i is how much the scheme's output at i moves when j does: the
norm of a derivative, averaged over random parameters, with the residual path taken out. It is zero
where i does not see j, and small where i sees j only through a pooled token.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from logo_jax.models.blocks import SCHEMES
from logo_jax.models.layers import AttentionOptions
from logo_jax.models.windows import Window
from logo_jax.study.formulas import Shape, class_tokens

DIM = 16


def influence(
    scheme: str, grid: Shape, window: Window, query: Shape, draws: int = 8
) -> Float[np.ndarray, "T H W"]:
    """How much each token of the grid moves the output of one attention step at `query`.

    Args:
        query: frame, row and column of the token that looks.
        draws: number of random parameters and inputs to average over.
    """
    module = SCHEMES[scheme](AttentionOptions(num_heads=4, window=window, mixing_share=4))
    random = np.random.default_rng(0)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(random.standard_normal((draws, *shape)), jnp.float32)

    x, cls = normal(1, *grid, DIM), normal(1, class_tokens(scheme, grid[0]), DIM)
    direction = normal(DIM)
    shapes = jax.eval_shape(
        lambda x, cls: module.init(jax.random.key(0), x, cls, train=False), x[0], cls[0]
    )

    def parameter(path: Any, leaf: Any) -> jax.Array:
        # Not the module's own start: the layer of zeros in divided attention would hide its
        # temporal step. The pool keeps near to an average.
        if path[0].key != "params":  # batch statistics; a variance is positive
            return jnp.ones((draws, *leaf.shape), leaf.dtype)
        if "weights" in jax.tree_util.keystr(path):
            return (1 + 0.1 * normal(*leaf.shape)) / leaf.shape[0]
        return normal(*leaf.shape) * DIM**-0.5

    variables = jax.tree.map_with_path(parameter, shapes)

    def gradient(variables: Any, x: jax.Array, cls: jax.Array, direction: jax.Array) -> jax.Array:
        def seen(x: jax.Array) -> jax.Array:
            out: Any = module.apply(variables, x, cls, train=False)[0]
            return ((out - x)[(0, *query)] * direction).sum()

        return jnp.square(jax.grad(seen)(x)[0]).sum(-1)

    squares = jax.jit(jax.vmap(gradient))(variables, x, cls, direction)
    return np.sqrt(np.asarray(squares.mean(0)))
