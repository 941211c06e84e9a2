"""The attention cores and pools against their definitions."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.models import attention, pooling
from logo_jax.models.windows import from_windows, pad_grid, to_windows, window_occupancy

GRIDS = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))

# Compiling takes longer than running here; without optimization it takes half as long.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def window_mask(grid, window):
    """[N, N], True where two positions of the grid lie in one window: the definition."""
    cells = np.array([[i // side for i, side in zip(p, window, strict=True)]
                      for p in product(*map(range, grid))])  # fmt: skip
    return (cells[:, None] == cells[None]).all(-1)


def softmax_attention(q, k, v, mask):
    """Plain numpy, [B N heads d], in float64."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True)) * mask
    return np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.slow
@settings(max_examples=12)
@given(GRIDS, WINDOWS, st.tuples(*[st.integers(0, 3)] * 3))
def test_shifted_windows_are_full_attention_under_their_mask(grid, window, shift):
    """Token i of an axis lies in window floor((i - shift) / window); one window is not shifted."""
    shift = tuple(s % w for s, w in zip(shift, window, strict=True))
    q, k, v = (draw(seed, 2, *grid, 2, 3) for seed in range(3))
    local = partial(attention.local_attention, window=window, pad=True, shift=shift)
    moved = np.array([s if n > w else 0 for s, n, w in zip(shift, grid, window, strict=True)])
    cells = (np.array(list(product(*map(range, grid)))) - moved) // window
    mask = (cells[:, None] == cells[None]).all(-1)
    flat = [x.reshape(2, -1, 2, 3) for x in (q, k, v)]
    found, gradient = jit(jax.value_and_grad(lambda q: (local(q, k, v) ** 2).sum()))(q)
    expected = softmax_attention(*flat, mask)
    np.testing.assert_allclose(found, (expected**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(
        jit(local)(q, k, v).reshape(2, -1, 2, 3), expected, rtol=1e-4, atol=1e-5
    )
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("masked", ["no mask", "of keys", "of pairs"])
def test_chunked_is_plain(masked, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 4)
    q, k, v = draw(0, 2, 3, 10, 2, 3), draw(1, 2, 3, 7, 2, 3), draw(2, 2, 3, 7, 2, 3)
    mask = {
        "no mask": None,
        "of keys": jnp.arange(7)[None] < 5,
        "of pairs": jnp.asarray(np.random.default_rng(0).random((3, 10, 7)) < 0.5)
        .at[..., 0]
        .set(True),
    }[masked]

    def value(q, k, v, impl):
        return (attention.full_attention(q, k, v, mask, impl=impl) ** 2).sum()

    for impl in ("xla", "chunked"):
        out = jit(partial(attention.full_attention, impl=impl))(q, k, v, mask)
        gradients = jit(partial(jax.grad(value, (0, 1, 2)), impl=impl))(q, k, v)
        if impl == "xla":
            expected, wanted = out, gradients
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def materialized(q, k, v, mask):
    """The plain formula, for automatic differentiation."""
    scores = jnp.einsum("...nhd,...mhd->...hnm", q, k) / np.sqrt(q.shape[-1])
    weights = jax.nn.softmax(jnp.where(mask[..., None, :, :], scores, -jnp.inf))
    return jnp.einsum("...hnm,...mhd->...nhd", weights, v)


@pytest.mark.parametrize("impl", ["xla", "chunked"])
@pytest.mark.parametrize("masked", ["no mask", "of keys", "of pairs", "of the last batch axis"])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_gradients_are_those_of_the_formula(impl, masked, batch, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 4)
    q, v_grad = draw(0, *batch, 9, 2, 3), draw(3, *batch, 9, 2, 3)
    k, v = (draw(seed, *batch, 5, 2, 3) for seed in (1, 2))
    mask = {
        "no mask": None,
        "of keys": jnp.arange(5)[None] > 1,
        "of pairs": jnp.asarray(np.random.default_rng(4).random((9, 5)) > 0.3).at[:, 0].set(True),
        "of the last batch axis": jnp.asarray(
            np.random.default_rng(5).random((*batch[-1:], 9, 5)) > 0.3
        )
        .at[..., 0]
        .set(True),
    }[masked]
    ours = partial(attention.full_attention, mask=mask, impl=impl)
    allowed = jnp.ones((9, 5), bool) if mask is None else mask

    def gradients(attend):
        return jit(jax.grad(lambda *a: (attend(*a) * v_grad).sum(), argnums=(0, 1, 2)))(q, k, v)

    expected = gradients(partial(materialized, mask=allowed))
    for found, right in zip(gradients(ours), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-6 * np.abs(right).max())


@pytest.mark.parametrize("impl", ["xla", "chunked"])
def test_gradients_by_many_keys_are_those_of_the_formula(impl, monkeypatch):
    """From `MANY_KEYS` on a CPU turns the result of two products in place of the weights."""
    monkeypatch.setattr(attention, "CHUNK", 4)
    q, grad = draw(0, 2, 9, 2, 3), draw(3, 2, 9, 2, 3)
    k, v = (draw(seed, 2, attention.MANY_KEYS + 1, 2, 3) for seed in (1, 2))
    allowed = jnp.ones((9, attention.MANY_KEYS + 1), bool)

    def gradients(attend):
        return jit(jax.grad(lambda *a: (attend(*a) * grad).sum(), argnums=(0, 1, 2)))(q, k, v)

    expected = gradients(partial(materialized, mask=allowed))
    found = gradients(partial(attention.full_attention, impl=impl))
    for ours, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, right, rtol=0, atol=1e-6 * np.abs(right).max())


@pytest.mark.parametrize("impl", ["xla", "chunked"])
@pytest.mark.parametrize("offset", [0, 5])
def test_gradients_in_bfloat16(offset, impl, monkeypatch):
    """A common offset of the values cancels out of the gradient by the queries."""
    monkeypatch.setattr(attention, "CHUNK", 100)
    q, k, v = (draw(seed, 2, 200, 2, 32) for seed in range(3))
    given = [x.astype(jnp.bfloat16) for x in (q, k, v + offset)]
    grad = draw(3, *q.shape).astype(jnp.bfloat16).astype(jnp.float32)
    loss = lambda *a: (attention.full_attention(*a, impl=impl) * grad).sum()  # noqa: E731
    gradients = jit(jax.grad(loss, argnums=(0, 1, 2)))
    expected = gradients(*(x.astype(jnp.float32) for x in given))
    for ours, right in zip(gradients(*given), expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        assert jnp.linalg.norm((ours - right).ravel()) < 0.01 * jnp.linalg.norm(right.ravel())


@pytest.mark.parametrize("batch", [(4,), (1, 4), (1,)])
def test_the_gradient_holds_one_array_of_weights(batch):
    """The automatic one of the formula holds another beside it; what is small comes on top."""
    q, k, v = (draw(seed, *batch, 197, 4, 8) for seed in range(3))
    weights = np.prod(batch) * 4 * 197**2 * 4  # bytes
    loss = jax.grad(lambda *a: (attention.full_attention(*a) ** 2).sum(), argnums=(0, 1, 2))
    memory = jax.jit(loss).lower(q, k, v).compile().memory_analysis()
    assert weights < memory.temp_size_in_bytes < 1.5 * weights


@pytest.mark.parametrize("impl", ["xla", "chunked"])
def test_no_clips(impl, monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 4)
    x = jnp.zeros((0, 9, 2, 4))
    assert attention.full_attention(x, x, x, impl=impl).shape == x.shape


def test_cudnn_is_refused_where_it_cannot_run():
    q = draw(0, 1, 4, 2, 8)
    with pytest.raises(UserError, match=r'"cudnn" needs a GPU .*choose "xla" or "chunked"'):
        attention.full_attention(q, q, q, impl="cudnn")
    with pytest.raises(UserError, match=r'attention_impl "flash": choose one of chunked, cudnn'):
        attention.full_attention(q, q, q, impl="flash")


@pytest.mark.parametrize("kind", [NotImplementedError, ValueError, RuntimeError])
def test_what_jax_refuses_of_cudnn_is_told(kind, monkeypatch):
    def refuse(*_, **__):
        raise kind("head size 256 is not supported")

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax.nn, "dot_product_attention", refuse)
    q = draw(0, 1, 4, 2, 8).astype(jnp.bfloat16)
    words = r'impl="cudnn" .* \(head size 256 is not supported\): choose'
    with pytest.raises(UserError, match=words) as told:
        attention.full_attention(q, q, q, impl="cudnn")
    assert isinstance(told.value.__cause__, kind)


def test_shift_frames_by_hand():
    x = np.arange(2 * 3 * 1 * 1 * 8, dtype=np.float32).reshape(2, 3, 1, 1, 8)
    found = np.asarray(attention.shift_frames(jnp.asarray(x), 4))
    for frame in range(3):
        following = x[:, frame + 1, ..., :2] if frame < 2 else np.zeros((2, 1, 1, 2))
        previous = x[:, frame - 1, ..., 2:4] if frame > 0 else np.zeros((2, 1, 1, 2))
        np.testing.assert_array_equal(found[:, frame, ..., :2], following)
        np.testing.assert_array_equal(found[:, frame, ..., 2:4], previous)
        np.testing.assert_array_equal(found[:, frame, ..., 4:], x[:, frame, ..., 4:])


@settings(max_examples=8)
@given(GRIDS, WINDOWS)
def test_local_is_full_under_the_window_mask(grid, window):
    q, k, v = (draw(seed, 2, *grid, 2, 3) for seed in range(3))
    found = jit(partial(attention.local_attention, window=window, pad=True))(q, k, v)
    flat = [x.reshape(2, -1, 2, 3) for x in (q, k, v)]
    expected = softmax_attention(*flat, window_mask(grid, window))
    np.testing.assert_allclose(found.reshape(2, -1, 2, 3), expected, rtol=1e-4, atol=1e-5)
    same = jit(attention.full_attention)(*flat, jnp.asarray(window_mask(grid, window)))
    np.testing.assert_allclose(found.reshape(same.shape), same, rtol=1e-4, atol=1e-5)


def test_padding_changes_nothing_where_the_window_divides_the_grid():
    q, k, v = (draw(seed, 1, 4, 2, 2, 2, 3) for seed in range(3))
    plain = attention.local_attention(q, k, v, (2, 2, 1))
    np.testing.assert_array_equal(plain, attention.local_attention(q, k, v, (2, 2, 1), pad=True))


def test_gradients_under_padding_are_finite():
    q, k, v = (draw(seed, 1, 3, 3, 1, 1, 2) for seed in range(3))
    grads = jax.grad(
        lambda q, k, v: attention.local_attention(q, k, v, (2, 2, 2), pad=True).sum(), (0, 1, 2)
    )(q, k, v)
    assert all(np.isfinite(grad).all() for grad in grads)


@settings(max_examples=12)
@given(GRIDS, WINDOWS)
def test_windows_are_cut_and_joined_without_loss(grid, window):
    numbers = jnp.arange(np.prod(grid) + 1.0)[1:].reshape(1, *grid)

    @jit
    def cut_and_join(numbers):
        padded = pad_grid(numbers, window)
        windows = to_windows(padded, window)
        joined = from_windows(windows, padded.shape[1:], window)
        return padded, windows, joined, window_occupancy(grid, window)

    padded, windows, joined, real = map(np.asarray, cut_and_join(numbers))
    assert windows.shape[2] == np.prod(window)
    np.testing.assert_array_equal(joined, padded)
    t, h, w = grid
    np.testing.assert_array_equal(padded[:, :t, :h, :w], numbers)
    np.testing.assert_array_equal(real, windows[0] > 0)
    # Positions that share a window share a row of `windows`, and no others.
    rows = {int(n): row for row, window in enumerate(windows[0]) for n in window if n > 0}
    row = np.array([rows[n] for n in range(1, int(np.prod(grid)) + 1)])
    np.testing.assert_array_equal(row[:, None] == row[None], window_mask(grid, window))


@settings(max_examples=8)
@given(GRIDS, WINDOWS)
def test_pools_against_loops(grid, window):
    x = np.asarray(draw(0, 2, *grid, 3))
    weights = np.asarray(draw(1, int(np.prod(window)), 3))
    uniform = np.full_like(weights, 1 / np.prod(window))

    @jit
    def pools(x, weights, uniform):
        return (
            pooling.average_pool(x, window),
            pooling.max_pool(x, window),
            pooling.weighted_pool(x, weights, window),
            pooling.weighted_pool(x, uniform, window),
        )

    steps = [range(0, size, side) for size, side in zip(grid, window, strict=True)]
    average, largest, weighted = [], [], []
    for start in product(*steps):
        ends = [slice(a, a + side) for a, side in zip(start, window, strict=True)]
        tokens = x[:, *ends].reshape(2, -1, 3)
        average.append(tokens.mean(1))
        largest.append(tokens.max(1))
        kernel = weights.reshape(*window, 3)
        kept = kernel[tuple(slice(min(side, size - a)) for a, side, size in
                            zip(start, window, grid, strict=True))].reshape(-1, 3)  # fmt: skip
        weighted.append((tokens * kept).sum(1) * np.prod(window) / tokens.shape[1])
    for found, expected in zip(
        pools(x, weights, uniform), (average, largest, weighted, average), strict=True
    ):
        np.testing.assert_allclose(found, np.stack(expected, 1), rtol=1e-4, atol=1e-5)


def test_a_window_that_does_not_divide_the_grid_is_refused():
    x = jnp.zeros((1, 5, 4, 4, 1, 2))
    with pytest.raises(UserError, match=r"4 x 2 x 2 .* 5 x 4 x 4 .*pad_windows=True"):
        attention.local_attention(x, x, x, (4, 2, 2))


def test_keys_in_any_order_give_the_same():
    q, k, v = draw(0, 1, 3, 2, 4), draw(1, 1, 5, 2, 4), draw(2, 1, 5, 2, 4)
    order = jnp.array([3, 0, 4, 1, 2])
    np.testing.assert_allclose(
        attention.full_attention(q, k, v),
        attention.full_attention(q, k[:, order], v[:, order]),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_weights_are_shown_to_an_observer():
    q, k, v = draw(0, 1, 3, 2, 4), draw(1, 1, 5, 2, 4), draw(2, 1, 5, 2, 4)
    seen = []
    out = attention.full_attention(q, k, v, observe=seen.append)
    assert seen[0].shape == (1, 2, 3, 5)
    np.testing.assert_allclose(seen[0].sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(jnp.einsum("bhnm,bmhd->bnhd", seen[0], v), out, rtol=1e-5, atol=1e-6)


def test_the_softmax_is_float32_in_bfloat16():
    q, k, v = (draw(seed, 1, 4, 1, 8).astype(jnp.bfloat16) for seed in range(3))
    seen = []
    out = attention.full_attention(q, k, v, observe=seen.append)
    assert seen[0].dtype == jnp.float32
    assert out.dtype == jnp.bfloat16


def test_large_scores_stay_finite():
    q = jnp.full((1, 2, 1, 4), 1e4)
    out = attention.full_attention(q, q * jnp.array([1.0, -1.0])[None, :, None, None], q)
    assert jnp.isfinite(out).all()
