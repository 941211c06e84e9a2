"""The closed forms against the count over the traced program, which knows nothing of them."""

import json
from math import isqrt, prod

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.models import build
from logo_jax.models.blocks import SCHEMES, Block
from logo_jax.models.layers import AttentionOptions
from logo_jax.study.count import breakdown
from logo_jax.study.formulas import (
    FORMULAS,
    Parts,
    attention_cost,
    balanced_window,
    block_cost,
    class_tokens,
    inequality_holds,
    leading_pairs,
    model_cost,
)

side = st.integers(1, 5)
shape = st.tuples(side, side, side)


def counted(module, scheme, grid, dim):
    """Count a module `(grid, cls) -> (grid, cls)` on shapes: nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, *grid, dim), jnp.float32)
    cls = jax.ShapeDtypeStruct((1, class_tokens(scheme, grid[0]), dim), jnp.float32)
    variables = jax.eval_shape(
        lambda x, c: module.init(jax.random.key(0), x, c, train=False), tokens, cls
    )
    return breakdown(lambda v, x, c: module.apply(v, x, c, train=False), variables, tokens, cls)


def test_every_scheme_has_a_formula():
    assert set(FORMULAS) == set(SCHEMES)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=6)
@given(
    window=shape,
    windows=shape,
    num_heads=st.sampled_from([1, 2, 4]),
    channels=st.integers(3, 5),
    pool=st.sampled_from(["weighted", "average", "max", "conv"]),
    out_proj=st.booleans(),
)
def test_attention_module(scheme, window, windows, num_heads, channels, pool, out_proj):
    options = AttentionOptions(
        num_heads=num_heads, window=window, pool=pool, global_out_proj=out_proj, mixing_share=2
    )
    grid = tuple(w * n for w, n in zip(window, windows, strict=True))
    dim = num_heads * channels
    counts = counted(SCHEMES[scheme](options), scheme, grid, dim)
    parts = attention_cost(scheme, grid, dim, options)
    assert counts.products == parts.products
    assert counts.dense == parts.dense == parts.total(products=False)
    assert counts.dense + counts.products == parts.total(products=True)
    assert counts.convolutions == parts.backbone == 0


@pytest.mark.parametrize("scheme", ["local", "global", "local_global"])
def test_padded_windows(scheme):
    options = AttentionOptions(num_heads=2, window=(2, 3, 2), pool="conv", pad_windows=True)
    counts = counted(SCHEMES[scheme](options), scheme, (5, 4, 3), 8)
    parts = attention_cost(scheme, (5, 4, 3), 8, options)
    assert (counts.dense, counts.products) == (parts.dense, parts.products)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_block(scheme):
    options = AttentionOptions(num_heads=2, window=(2, 2, 3))
    counts = counted(Block(scheme, 12, options), scheme, (4, 2, 6), 16)
    parts = block_cost(scheme, (4, 2, 6), 16, 12, options)
    assert (counts.dense, counts.products) == (parts.dense, parts.products)


@pytest.mark.parametrize(
    ("options", "clip"),
    [
        ({}, (16, 112, 112)),
        ({"stage": 3, "width": 8, "dim": 32, "window": (2, 3, 1)}, (6, 37, 70)),
        ({"backbone": "patch", "patch_size": 8, "tubelet": 2, "dim": 32, "attention": "mixing",
          "mixing_share": 2}, (6, 32, 24)),
    ],
)  # fmt: skip
def test_whole_model(options, clip):
    model = build("logo_former", 7, **options)
    clips = jax.ShapeDtypeStruct((1, *clip, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), clips)
    counts = breakdown(lambda v, x: model.apply(v, x), variables, clips)
    parts = model_cost(model, clip)
    assert counts.convolutions == parts.backbone
    assert (counts.dense, counts.products) == (parts.dense, parts.products)


def test_paper_size_by_hand():
    parts = model_cost(build("logo_former", 7), (16, 112, 112))
    # 256 tokens of 512 channels and a class token, windows of 16, 4 blocks.
    assert parts.products == 4 * 2 * 512 * (256 * 16 + 257 * 17)
    assert parts.projections == 4 * 512**2 * (4 * 256 + 257 + 2 * 17)
    assert parts.mlp == 4 * 2 * 257 * 512 * 1024
    assert parts.weighted_pooling == 4 * 256 * 512
    assert parts.total(products=False) / 1e9 == pytest.approx(10.28, abs=5e-3)
    assert parts.total(products=True) / 1e9 == pytest.approx(10.32, abs=5e-3)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_products_approach_the_papers_pairs(scheme):
    # On a large grid the class token no longer matters.
    grid, window, dim = (64, 32, 32), (8, 4, 4), 64
    parts = attention_cost(scheme, grid, dim, AttentionOptions(window=window))
    assert parts.products / (2 * dim) == pytest.approx(
        leading_pairs(scheme, grid, window), rel=1e-2
    )


@given(t=st.integers(1, 40), h=st.integers(1, 9), w=st.integers(1, 9), size=st.integers(1, 90))
def test_inequality_is_the_comparison_of_pairs(t, h, w, size):
    grid, window = (t, h, w), (size, 1, 1)
    ours, divided = (leading_pairs(s, grid, window) for s in ("local_global", "divided"))
    if not np.isclose(ours, divided, rtol=1e-12):
        assert inequality_holds(grid, window) == (ours < divided)


def test_inequality_is_an_equality_at_the_default_size():
    assert not inequality_holds((16, 4, 4), (4, 2, 2))
    pairs = [leading_pairs(s, (16, 4, 4), (4, 2, 2)) for s in ("local_global", "divided")]
    assert pairs[0] == pairs[1] == 2 * 256 * 16


@pytest.mark.parametrize("grid", [(16, 4, 4), (16, 14, 14), (9, 5, 7)])
def test_balanced_window_is_the_best(grid):
    sizes = range(1, prod(grid) + 1)
    best = min(sizes, key=lambda size: leading_pairs("local_global", grid, (size, 1, 1)))
    assert best in (isqrt(prod(grid)), isqrt(prod(grid)) + 1)
    assert abs(balanced_window(grid) - best) < 1


def test_a_formula_may_use_numpy(monkeypatch):
    parts = Parts()
    monkeypatch.setitem(FORMULAS, "mine", lambda *_: parts)
    # Outside of tests nothing checks the types.
    vars(parts).update(projections=np.prod((2, 2, 2)) * 3, products=np.float64(4), pooling=5.0)
    found = attention_cost("mine", (2, 2, 2), 8, AttentionOptions())
    assert json.dumps(vars(found)) == json.dumps(vars(Parts(24, 4, pooling=5)))
    for wrong in (-1, 0.5, float("nan"), float("inf"), "8", None, np.ones(2)):
        vars(parts).update(products=wrong)
        with pytest.raises(UserError, match='formula of "mine" gives products=.* a whole number'):
            attention_cost("mine", (2, 2, 2), 8, AttentionOptions())


def test_bad_input():
    with pytest.raises(UserError, match="does not divide"):
        attention_cost("local_global", (16, 5, 4), 8, AttentionOptions())
    with pytest.raises(UserError, match='Unknown attention formula "locl"'):
        attention_cost("locl", (16, 4, 4), 8, AttentionOptions())
