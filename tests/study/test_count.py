"""Multiply-adds: the paper's size, and small computations counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models import build
from logo_jax.study import MultiplyAdds, breakdown, multiply_adds


def forward(**options):
    """The paper-size model as shapes: nothing is computed."""
    model = build("logo_former", 7, **options)
    clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), clips)
    return model.apply, variables, clips


@pytest.mark.slow
def test_paper_size():
    counts = breakdown(*forward())
    assert counts.convolutions / 1e9 == pytest.approx(7.758, abs=5e-4)
    assert counts.dense / 1e9 == pytest.approx(2.524, abs=5e-4)
    assert multiply_adds(*forward()) / 1e9 == pytest.approx(10.28, abs=5e-3)
    assert multiply_adds(*forward(), products=True) / 1e9 == pytest.approx(10.32, abs=5e-3)
    # The paper states 10.27 G.
    assert multiply_adds(*forward()) / 10.27e9 == pytest.approx(1, abs=2e-3)


def test_convolutional_pool():
    # Cut, not rounded, to 10.54 in the project's design: 10.5499 G.
    assert multiply_adds(*forward(pool="conv")) / 1e9 == pytest.approx(10.5499, abs=5e-4)


@pytest.mark.parametrize(
    ("scheme", "pairs"),
    [
        ("full", 257**2),
        ("local", 256 * 16 + 257),
        ("global", 257 * 17),
        ("local_global", 256 * 16 + 257 * 17),
    ],
)
def test_products_of_attention(scheme, pairs):
    # Two products of 512 channels for each pair of query and key, in 4 blocks.
    assert breakdown(*forward(attention=scheme)).products == 4 * 2 * 512 * pairs


def test_loops_count_every_turn():
    def fn(w, x):
        return jax.lax.scan(lambda c, _: (jnp.tanh(c @ w), None), x, None, length=5)[0].sum()

    w, x = jnp.ones((3, 3)), jnp.ones((2, 3))
    assert breakdown(fn, w, x) == MultiplyAdds(dense=5 * 2 * 9)
    # Forward, and two products backward for each of its turns.
    assert breakdown(jax.grad(fn, (0, 1)), w, x) == MultiplyAdds(dense=3 * 5 * 2 * 9)


def test_nested_computations():
    @jax.custom_vjp
    def product(a, b):
        return a @ b

    product.defvjp(lambda a, b: (a @ b, (a, b)), lambda r, g: (g @ r[1].T, r[0].T @ g))

    def fn(a, b):
        a = jax.jit(product)(a, b)
        a = jax.checkpoint(lambda a: a @ b)(a)
        return jax.lax.cond(a.sum() > 0, lambda a: a @ b @ b, lambda a: a @ b, a)

    assert breakdown(fn, jnp.ones((4, 3)), jnp.ones((3, 3))).dense == 4 * (4 * 9)


def test_convolutions_by_group_and_stride():
    def conv(x, w, groups=1):
        return jax.lax.conv_general_dilated(
            x, w, (2, 2), "SAME", feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip

    x = jnp.ones((2, 8, 8, 4))
    assert breakdown(conv, x, jnp.ones((3, 3, 4, 6))).convolutions == 2 * 16 * 6 * 9 * 4
    depthwise = breakdown(lambda x, w: conv(x, w, 4), x, jnp.ones((3, 3, 1, 4)))
    assert depthwise == MultiplyAdds(convolutions=2 * 16 * 4 * 9)


@pytest.mark.parametrize(("side", "stride"), [(3, 2), (1, 2), (7, 2), (3, 1), (5, 3)])
def test_the_gradients_of_a_convolution_count_as_it_does(side, stride):
    def loss(x, w):
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), "SAME", dimension_numbers=numbers
        ).sum()

    x, w = jnp.ones((2, 12, 12, 4)), jnp.ones((side, side, 4, 6))
    forward = 2 * (12 // stride) ** 2 * 6 * side**2 * 4
    assert breakdown(loss, x, w).convolutions == forward
    assert breakdown(jax.grad(loss, 0), x, w).convolutions == 2 * forward
    assert breakdown(jax.grad(loss, (0, 1)), x, w).convolutions == 3 * forward


def test_batched_products_are_counted_apart():
    q, w = jnp.ones((2, 5, 3)), jnp.ones((3, 4))
    counts = breakdown(lambda q, w: ((q @ q.transpose(0, 2, 1)).sum(), q @ w), q, w)
    assert counts == MultiplyAdds(dense=2 * 5 * 3 * 4, products=2 * 25 * 3)


def test_work_of_unknown_amount_is_refused():
    def fn(x):
        return jax.lax.while_loop(lambda x: x.sum() < 10, lambda x: x @ x, x)

    with pytest.raises(UserError, match="inside a while"):
        breakdown(fn, jnp.ones((2, 2)))
