"""The rules of the schemes: who attends to whom, the class token, dropped branches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models.blocks import FRAME_CLASS_TOKENS, SCHEMES, Block
from logo_jax.models.framewise import Divided, Factorized, Full, Mixing, Spatial
from logo_jax.models.layers import AttentionOptions, Branch
from logo_jax.models.windowed import Global

GRID, DIM = (4, 2, 2), 8
OPTIONS = AttentionOptions(num_heads=2, window=(2, 2, 1), mixing_share=4)
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


def frame_of(grid, classes):
    """Frame of every token of `[class tokens, grid]`, -1 for a class token of all frames."""
    frames = np.repeat(np.arange(grid[0]), grid[1] * grid[2])
    return np.concatenate([np.arange(classes) if classes > 1 else [-1], frames])


@pytest.mark.slow
def test_who_reaches_whom():
    """The rules of DESIGN for grid and class tokens, read off the gradients of one block."""
    n = int(np.prod(GRID))
    everyone = np.ones((n + 1, n + 1), bool)
    local = np.zeros_like(everyone)
    local[1:, 1:] = same_window(GRID, OPTIONS.window)
    local[0] = True  # the class token queries every token and itself, and is nobody's key
    frames = frame_of(GRID, GRID[0])
    spatial = frames[:, None] == frames[None]
    # Keys and values come from the same frame and both its neighbours.
    mixing = np.abs(frames[:, None] - frames[None]) <= 1
    expected = dict.fromkeys(SCHEMES, everyone)
    expected |= {"local": local, "spatial": spatial, "mixing": mixing}
    for name, scheme in SCHEMES.items():
        grid, cls = tokens(batch=1, classes=GRID[0] if name in FRAME_CLASS_TOKENS else 1)
        module = scheme(OPTIONS)
        reach = gradient_reach(module, noisy(module, grid, cls), grid, cls)
        np.testing.assert_array_equal(reach, expected[name], err_msg=name)


@pytest.mark.parametrize("scheme", [Divided, Factorized])
def test_the_class_token_skips_the_temporal_attention(scheme):
    module = scheme(OPTIONS)
    grid, cls = tokens()
    params = noisy(module, grid, cls)
    apply = jit(partial(module.apply, train=False))
    # With a spatial step that adds nothing, what is left is the temporal step.
    params["params"]["spatial"]["attention"]["out"] = jax.tree.map(
        jnp.zeros_like, params["params"]["spatial"]["attention"]["out"]
    )
    new_grid, new_cls = apply(params, grid, cls)
    np.testing.assert_array_equal(new_cls, cls)
    # A token changes with its own position in all frames and with nothing else.
    other = grid.at[:, :, 0, 0].add(1.0)
    changed = np.abs(apply(params, other, cls)[0] - new_grid).max((0, 1, -1)) > 1e-6
    np.testing.assert_array_equal(changed, [[True, False], [False, False]])


def test_the_copies_of_the_class_token_are_averaged():
    """One frame: nothing to average. The same frame twice: the same average."""
    module = Factorized(OPTIONS)
    grid, cls = tokens(grid=(1, 2, 2))
    params = noisy(module, grid, cls)
    apply = jit(partial(module.apply, train=False))
    once = apply(params, grid, cls)[1]
    twice = apply(params, jnp.concatenate([grid, grid], 1), cls)[1]
    np.testing.assert_allclose(once, twice, rtol=1e-5, atol=1e-6)


def test_divided_starts_as_a_spatial_block():
    """TimeSformer's last linear layer of the temporal branch is zero at the start."""
    module, without = Divided(OPTIONS), Factorized(OPTIONS)
    grid, cls = tokens()
    params = jit(partial(module.init, train=False))(jax.random.key(0), grid, cls)
    assert not np.any(params["params"]["temporal_fc"]["kernel"])
    found = jit(partial(module.apply, train=False))(params, grid, cls)
    still = jax.tree.map(jnp.copy, params)["params"]
    del still["temporal_fc"]
    still["temporal"]["attention"]["out"] = jax.tree.map(
        jnp.zeros_like, still["temporal"]["attention"]["out"]
    )
    expected = jit(partial(without.apply, train=False))({"params": still}, grid, cls)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_spatial_does_not_see_the_order_of_frames():
    module = Spatial(OPTIONS)
    grid, cls = tokens(classes=GRID[0])
    params = noisy(module, grid, cls)
    order = np.array([2, 0, 3, 1])
    apply = jit(partial(module.apply, train=False))
    for a, b in zip(apply(params, grid, cls), apply(params, grid[:, order], cls[:, order]),
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a[:, order], b, rtol=1e-5, atol=1e-6)


def test_mixing_is_spatial_on_shifted_keys_and_values():
    grid, cls = tokens(classes=GRID[0])
    mixing, spatial = Mixing(OPTIONS), Spatial(OPTIONS)
    params = noisy(mixing, grid, cls)["params"]
    # A clip whose frames are all alike has the same keys in all frames, but for the two ends, into
    # which zeros come: there the first or the second quarter of the channels of each head is gone.
    alike = jnp.broadcast_to(grid[:, :1], grid.shape), jnp.broadcast_to(cls[:, :1], cls.shape)
    names = ("query", "key", "value", "out")
    found = jit(partial(mixing.apply, train=False))({"params": params}, *alike)
    apply_spatial = jit(partial(spatial.apply, train=False))
    for frame, gone in ((0, 1), (1, None), (2, None), (3, 0)):
        tied = {name: jax.tree.map(jnp.copy, params[name]) for name in names}
        if gone is not None:
            for name in ("key", "value"):
                kernel = tied[name]["kernel"].reshape(DIM, 2, 4, -1)  # [in, heads, quarters, rest]
                tied[name]["kernel"] = kernel.at[:, :, gone].set(0).reshape(DIM, DIM)
        tree = {"params": {"norm": params["norm"], "spatial": tied}}
        expected = apply_spatial(tree, *alike)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a[:, frame], b[:, frame], rtol=1e-5, atol=1e-6)


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
    tied = {
        "global": params["full"]
        | {"norm": params["norm"], "pooled_norm": params["norm"]}
        | {"pool": {"weights": jnp.ones((1, DIM))}}
    }
    expected = jit(partial(full.apply, train=False))({"params": params}, grid, cls)
    found = jit(partial(Global(one).apply, train=False))({"params": tied}, grid, cls)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("pool", ["weighted", "average", "max", "conv"])
def test_odd_shapes(scheme, pool):
    options = AttentionOptions(num_heads=2, window=(4, 2, 2), pool=pool, pad_windows=True)
    grid, cls = tokens(grid=(5, 3, 1), classes=5 if scheme in FRAME_CLASS_TOKENS else 2)
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
