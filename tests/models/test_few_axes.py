"""No sum over more than six axes: jaxlib 0.10.2 and 0.11 crash on some on a CPU (decisions.md)."""

import re

import jax
import jax.numpy as jnp
import pytest

from logo_jax.models import build
from logo_jax.models.blocks import SCHEMES
from logo_jax.models.pooling import weighted_pool

MOST_AXES = 6
PATCH = {"backbone": "patch", "patch_size": 8, "dim": 32, "mlp_dim": 32, "num_heads": 2}
OPTIONS = [
    *({**PATCH, "attention": name} for name in SCHEMES),
    *({**PATCH, "pool": name} for name in ("average", "conv", "max")),
    {**PATCH, "shift_windows": True, "attention_impl": "chunked"},
    {**PATCH, "window": (3, 3, 3), "pad_windows": True},
    {"stage": 1, "dim": 32, "mlp_dim": 32, "num_heads": 2},  # the stem's gradient
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_sum_reads_arrays_of_few_axes(options):
    model = build("logo_former", 3, num_blocks=2, **options)
    clips = jnp.zeros((2, 4, 32, 32, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(0), clips, train=False))()

    def loss(params):
        state = {**variables, "params": params}
        keys = {"dropout": jax.random.key(0)}
        out, _ = model.apply(state, clips, train=True, mutable=["batch_stats"], rngs=keys)
        return out.logits.sum()

    program = jax.jit(jax.grad(loss)).lower(variables["params"]).compile().as_text()
    summing = [part for part in re.split(r"\n(?=%|ENTRY)", program) if " reduce(" in part]
    assert summing
    for part in summing:
        for shape in re.findall(r"(?:f32|f64|bf16)\[([\d,]+)\]", part):
            assert shape.count(",") < MOST_AXES, part.partition("\n")[0]


@pytest.mark.parametrize("grid", [(2, 4, 2, 2), (2, 2, 2, 2), (1, 8, 2, 2), (2, 4, 4, 4)])
def test_the_gradient_of_the_pool_of_two_windows_comes_back(grid):
    # It ended the process.
    batch, frames, height, width = grid
    window = (min(frames, 4), height, width)
    x = jnp.ones((*grid, 512))
    weights = jnp.ones((window[0] * height * width, 512))
    found = jax.jit(jax.grad(lambda w: weighted_pool(x, w, window).sum()))(weights)
    assert jnp.array_equal(found, jnp.full_like(weights, batch * frames // window[0]))
