"""Convolutions in forms for a CPU: the plain convolution's numbers, and its program elsewhere."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.models import convolution, winograd
from logo_jax.models.convolution import LEAST_CHANNELS, convolve
from logo_jax.study.count import MultiplyAdds, breakdown

RNG = np.random.default_rng(0)
C, K = LEAST_CHANNELS, LEAST_CHANNELS + 8
SAME = ((1, 1), (1, 1))
LAYOUT = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
# Even and odd maps, not square, of one row or column; kernel; stride.
CASES = [
    ((2, 8, 8), 3, 1),
    ((3, 7, 5), 3, 1),
    ((2, 4, 4), 3, 1),
    ((1, 9, 12), 3, 1),
    ((2, 3, 3), 3, 1),
    ((2, 2, 9), 3, 1),
    ((1, 2, 3), 3, 1),
    ((1, 2, 2), 3, 1),
    ((2, 1, 6), 3, 1),
    ((2, 6, 1), 3, 1),
    ((2, 1, 1), 3, 1),
    ((2, 8, 8), 3, 2),
    ((2, 7, 4), 3, 2),
    ((2, 1, 5), 3, 3),
    ((2, 6, 5), 1, 1),
    ((2, 7, 6), 1, 2),
    ((2, 14, 9), 7, 2),
    ((3, 5, 8), 7, 2),
    ((1, 1, 2), 7, 2),
]


def arrays(images, side, stride, dtype=np.float32):
    channels = 3 if side == 7 else C  # the stem's
    x = RNG.normal(size=(*images, channels)).astype(dtype)
    kernel = RNG.normal(size=(side, side, channels, K)).astype(dtype)
    tall, wide = ((size - 1) // stride + 1 for size in images[1:])
    grad = RNG.normal(size=(images[0], tall, wide, K)).astype(dtype)
    return jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(grad)


def by_definition(x, kernel, grad, stride):
    """Output and both gradients in float64, entry by entry of the output."""
    x, kernel, grad = (np.asarray(a, np.float64) for a in (x, kernel, grad))
    side, half = kernel.shape[0], kernel.shape[0] // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    out, of_x, of_kernel = np.zeros(grad.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for i in range(grad.shape[1]):
        for j in range(grad.shape[2]):
            at = np.s_[:, i * stride : i * stride + side, j * stride : j * stride + side]
            out[:, i, j] = np.tensordot(padded[at], kernel, 3)
            of_x[at] += np.tensordot(grad[:, i, j], kernel, (1, 3))
            of_kernel += np.tensordot(padded[at], grad[:, i, j], (0, 0))
    return out, of_x[:, half : half + x.shape[1], half : half + x.shape[2]], of_kernel


def all_of(x, kernel, grad, stride):
    side = kernel.shape[0]
    ends = ((side // 2, side // 2),) * 2
    out, pull = jax.vjp(lambda *a: convolve(*a, (stride, stride), ends, **LAYOUT), x, kernel)
    return out, *pull(grad)


@pytest.mark.parametrize(
    ("images", "side", "stride"),
    [
        pytest.param(*c, marks=pytest.mark.slow) if i in (2, 3, 5, 6) else c
        for i, c in enumerate(CASES)
    ],
)
def test_output_and_gradients_are_those_of_the_definition(images, side, stride):
    given = arrays(images, side, stride)
    found = jax.jit(all_of, static_argnums=3)(*given, stride)
    for ours, expected in zip(found, by_definition(*given, stride), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("images", "side", "stride"), [CASES[i] for i in (1, 9, 12, 14, 16)])
def test_bfloat16_is_rounded_once(images, side, stride):
    """The sums are float32; what is left is the rounding of the result, 2^-9 of itself."""
    given = [x.astype(jnp.bfloat16) for x in arrays(images, side, stride)]
    found = jax.jit(all_of, static_argnums=3)(*given, stride)
    for ours, exact in zip(found, by_definition(*given, stride), strict=True):
        assert ours.dtype == jnp.bfloat16
        off = np.abs(np.asarray(ours, np.float64) - exact)
        assert (off <= 2**-8 * np.abs(exact) + 1e-5 * np.abs(exact).max()).all()


@pytest.mark.slow
@pytest.mark.parametrize(("images", "side", "stride"), [((32, 28, 28), 3, 1), ((32, 56, 56), 7, 2)])
def test_a_large_sum_is_as_exact_as_the_plain_form(images, side, stride):
    """The gradient by the kernel sums over all pixels."""
    x, kernel, grad = arrays(images, side, stride)
    ends = ((side // 2, side // 2),) * 2
    plain = jax.vjp(
        lambda k: jax.lax.conv_general_dilated(x, k, (stride, stride), ends, **LAYOUT), kernel
    )
    exact = by_definition(x, kernel, grad, stride)[2]
    ours = all_of(x, kernel, grad, stride)[2]
    off = [np.abs(found - exact).max() / np.abs(exact).max() for found in (ours, plain[1](grad)[0])]
    assert off[0] < 1e-5 and off[0] < 4 * off[1], off


@pytest.mark.slow
def test_many_channels_after_a_relu():
    """Sums of 4,608 products of one sign by the kernel's: stage 4 of ResNet-18."""
    x = np.maximum(RNG.normal(size=(8, 4, 4, 512)), 0).astype(np.float32)
    kernel = RNG.normal(size=(3, 3, 512, 512)).astype(np.float32)
    grad = RNG.normal(size=(8, 4, 4, 512)).astype(np.float32)
    found = all_of(jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(grad), 1)
    for ours, exact in zip(found, by_definition(x, kernel, grad, 1), strict=True):
        assert np.abs(ours - exact).max() < 1e-5 * np.abs(exact).max()


@given(st.lists(st.integers(-6, 6), min_size=2, max_size=6, unique=True), st.integers(0, 2**32))
def test_minimal_filtering_at_any_points(quarters, seed):
    points = [quarter / 4 for quarter in quarters]
    a_t, g, b_t = winograd.cook_toom(points)
    assert a_t.shape == (len(points) - 1, len(points) + 1)
    rng = np.random.default_rng(seed)
    weights, numbers = rng.normal(size=3), rng.normal(size=len(points) + 1)
    found = a_t @ ((g @ weights) * (b_t @ numbers))
    expected = np.correlate(numbers, weights, "valid")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_winograd_is_used_where_it_takes_fewer_products():
    sizes = [(28, 28), (14, 14), (7, 7), (4, 4), (3, 3), (2, 2), (1, 8), (8, 1), (1, 1)]
    assert [winograd.saves(*size) for size in sizes] == [True] * 5 + [False] * 4


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize(("side", "stride"), [(3, 1), (3, 2), (1, 2), (7, 2)])
def test_an_accelerator_gets_the_plain_convolution(platform, side, stride):
    traced = jax.jit(all_of, static_argnums=3).trace(*arrays((2, 6, 6), side, stride), stride)
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    assert program.count("stablehlo.convolution") == 3 and "dot_general" not in program
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert on_cpu.count("stablehlo.convolution") == (2 if side == 7 else 0)


@pytest.mark.parametrize(("side", "stride"), [(3, 1), (3, 2), (1, 2), (7, 2)])
def test_the_count_is_that_of_the_plain_form(side, stride):
    x, kernel, grad = arrays((2, 7, 6), side, stride)
    form = ((stride, stride), ((side // 2, side // 2),) * 2)
    counts = breakdown(lambda x, k: convolve(x, k, *form, **LAYOUT), x, kernel)
    assert counts == MultiplyAdds(convolutions=grad.size * side**2 * kernel.shape[2])

    def both(conv):
        return breakdown(lambda *a: jax.vjp(lambda *b: conv(*b, *form, **LAYOUT), *a), x, kernel)

    assert both(convolve) == both(jax.lax.conv_general_dilated)


@pytest.mark.parametrize(
    ("dtype", "kernel", "more"),
    [
        (jnp.float16, (3, 3, C, K), {}),
        (jnp.float32, (3, 3, C - 1, K), {}),
        (jnp.float32, (5, 5, C, K), {}),
        (jnp.float32, (3, 3, C, K), {"precision": "highest"}),
        (jnp.float32, (3, 3, C, K), {"rhs_dilation": (2, 2)}),
        (jnp.float32, (3, 3, C, K), {"lhs_dilation": (2, 2)}),
        (jnp.float32, (3, 3, C // 2, K), {"feature_group_count": 2}),
    ],
)
def test_everything_else_is_left_to_the_library(dtype, kernel, more):
    groups = more.get("feature_group_count", 1)
    arguments = (
        jnp.asarray(RNG.normal(size=(2, 8, 8, kernel[2] * groups)), dtype),
        jnp.asarray(RNG.normal(size=kernel), dtype),
        (1, 1),
        SAME,
    )
    expected = jax.lax.conv_general_dilated(*arguments, **LAYOUT, **more)
    np.testing.assert_array_equal(convolve(*arguments, **LAYOUT, **more), expected)


def test_another_layout_is_left_to_the_library():
    x, kernel, _ = arrays((2, 5, 7), 3, 1)
    form = {"dimension_numbers": ("NWHC", "HWIO", "NHWC")}
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), SAME, **form)
    np.testing.assert_array_equal(convolve(x, kernel, (1, 1), SAME, **form), expected)


def test_no_images():
    for side in (1, 3):
        x, kernel, grad = arrays((0, 4, 4), side, 1)
        shapes = [a.shape for a in all_of(x, kernel, grad, 1)]
        assert shapes == [grad.shape, x.shape, kernel.shape]


@pytest.mark.parametrize(
    "images",
    [(64, 16, 16), *(pytest.param((64, *s), marks=pytest.mark.slow) for s in ((5, 5), (9, 13)))],
)
def test_large_images_take_no_memory_beside_the_plain_forms(images, monkeypatch):
    def temporary(given):
        compiled = jax.jit(all_of, static_argnums=3).lower(*given, 1).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    given = arrays(images, 3, 1)
    parts = images[0] * winograd.entries(*images[1:]) * K * 4  # bytes
    kernels = 3 * 36 * C * K * 4
    assert 2 * parts < temporary(given) < 3.5 * parts + kernels
    # Of another shape, so that it is not in jit's cache.
    x, kernel, grad = (np.concatenate([a, a[:1]]) if a.shape[0] == 64 else a for a in given)
    monkeypatch.setattr(convolution, "LARGEST_PARTS", parts)
    assert temporary((x, kernel, grad)) < 4 * max(x.nbytes, grad.nbytes)


@pytest.mark.parametrize("padding", [((0, 0), (0, 0)), ((1, 0), (0, 1))])
def test_other_paddings(padding):
    x, kernel, _ = arrays((2, 8, 8), 3, 2)
    expected = jax.lax.conv_general_dilated(x, kernel, (2, 2), padding, **LAYOUT)
    np.testing.assert_allclose(convolve(x, kernel, (2, 2), padding, **LAYOUT), expected, atol=1e-4)


@pytest.mark.parametrize("side", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_it_serves_flax_with_jit_vmap_and_remat(side):
    x = RNG.normal(size=(3, 2, 6, 6, C)).astype(np.float32)
    layer = {"padding": side // 2, "name": "conv"}
    plain = nn.Conv(K, (side, side), **layer)
    ours = nn.Conv(K, (side, side), conv_general_dilated=convolve, **layer)
    variables = plain.init(jax.random.key(0), x[0])
    assert jax.tree.structure(variables) == jax.tree.structure(ours.init(jax.random.key(0), x[0]))
    expected = jax.grad(lambda v: jnp.sin(plain.apply(v, x.reshape(6, 6, 6, C))).sum())(variables)

    @jax.jit
    def gradient(v):
        one = jax.checkpoint(lambda images: jnp.sin(ours.apply(v, images)).sum())
        return jax.vmap(one)(x).sum()

    found = jax.grad(gradient)(variables)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())
