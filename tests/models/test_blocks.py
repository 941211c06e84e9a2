"""The rules of the schemes: who attends to whom, the class token, dropped branches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models.blocks import SCHEMES, AttentionOptions, Block, Branch, Full, Global

GRID, DIM = (4, 2, 2), 8
OPTIONS = AttentionOptions(num_heads=2, window=(2, 2, 1))
# Compiling takes longer than running here; without optimization it takes half as long.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def tokens(batch=2, grid=GRID, classes=1):
    rng = np.random.default_rng(0)
    shapes = (batch, *grid, DIM), (batch, classes, DIM)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes)


def noisy(module, *inputs):
    """Random parameters for a module, norms and biases too."""
    shapes = jax.eval_shape(partial(module.init, train=False), jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) / 3, jnp.float32), shapes)


def gradient_reach(module, params, grid, cls):
    """Which inputs reach which outputs: gradient norms {grid, cls} x {grid, cls}, per token."""

    @jit
    def jacobian(grid, cls):
        flat = lambda out: jnp.concatenate([out[1][0], out[0][0].reshape(-1, DIM)])  # noqa: E731
        by_grid, by_cls = jax.jacobian(
            lambda g, c: flat(module.apply(params, g, c, train=False)).sum(-1), (0, 1)
        )(grid, cls)
        joined = jnp.concatenate([by_cls[:, 0], by_grid[:, 0].reshape(len(by_grid), -1, DIM)], 1)
        return jnp.abs(joined).max(-1)  # [tokens out, tokens in], the class token first

    return np.asarray(jacobian(grid, cls)) > 1e-7


def same_window(grid, window):
    cells = np.stack(np.meshgrid(*(np.arange(n) // s for n, s in zip(grid, window, strict=True)),
                                 indexing="ij"), -1).reshape(-1, 3)  # fmt: skip
    return (cells[:, None] == cells[None]).all(-1)


def test_who_reaches_whom():
    n = int(np.prod(GRID))
    everyone = np.ones((n + 1, n + 1), bool)
    local = np.zeros_like(everyone)
    local[1:, 1:] = same_window(GRID, OPTIONS.window)
    local[0] = True  # the class token queries every token and itself, and is nobody's key
    expected = {"full": everyone, "global": everyone, "local_global": everyone, "local": local}
    grid, cls = tokens(batch=1)
    for name, scheme in SCHEMES.items():
        module = scheme(OPTIONS)
        reach = gradient_reach(module, noisy(module, grid, cls), grid, cls)
        np.testing.assert_array_equal(reach, expected[name], err_msg=name)


def test_the_class_token_skips_the_local_step_of_local_global():
    module = SCHEMES["local_global"](OPTIONS)
    grid, cls = tokens()
    params = noisy(module, grid, cls)
    # With a global step that adds nothing, what is left is the local step.
    params["params"]["global"]["value"]["kernel"] *= 0
    new_grid, new_cls = jit(partial(module.apply, train=False))(params, grid, cls)
    np.testing.assert_array_equal(new_cls, cls)
    assert not np.allclose(new_grid, grid)


def test_global_over_single_tokens_is_full():
    grid, cls = tokens()
    full = Full(OPTIONS)
    one = AttentionOptions(num_heads=2, window=(1, 1, 1), global_out_proj=True)
    params = noisy(full, grid, cls)["params"]
    tied = params | {"pooled_norm": params["norm"], "pool": {"weights": jnp.ones((1, DIM))}}
    expected = jit(partial(full.apply, train=False))({"params": params}, grid, cls)
    found = jit(partial(Global(one).apply, train=False))({"params": tied}, grid, cls)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("pool", ["weighted", "average", "max", "conv"])
def test_odd_shapes(scheme, pool):
    options = AttentionOptions(num_heads=2, window=(4, 2, 2), pool=pool, pad_windows=True)
    grid, cls = tokens(grid=(5, 3, 1), classes=2)
    block = Block(scheme, 4, options)
    shapes = jax.eval_shape(
        lambda key: block.init_with_output(key, grid, cls, train=True)[0], jax.random.key(0)
    )
    assert [out.shape for out in shapes] == [grid.shape, cls.shape]


def test_drop_path_drops_a_clip_as_a_whole():
    branch = Branch(AttentionOptions(drop_path=0.5))
    x = jnp.ones((64, 3, DIM))
    apply = partial(branch.apply, {}, x, train=True)
    out = apply(rngs={"dropout": jax.random.key(0)})
    kept = out[:, 0, 0]
    np.testing.assert_array_equal(out, jnp.broadcast_to(kept[:, None, None], out.shape))
    assert set(np.unique(kept)) == {0.0, 2.0}  # the rest is scaled up by 1 / (1 - rate)
    assert 16 < (kept == 0).sum() < 48
    np.testing.assert_array_equal(out, apply(rngs={"dropout": jax.random.key(0)}))
    assert not np.array_equal(out, apply(rngs={"dropout": jax.random.key(1)}))
    np.testing.assert_array_equal(branch.apply({}, x, train=False), x)
