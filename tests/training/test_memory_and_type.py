"""Rematerialization, bfloat16 and micro-batches of the token model, against the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models import build
from tests.training.small_step import flat

SIZE = {"stage": 2, "width": 4, "dim": 8, "mlp_dim": 16, "num_heads": 2, "num_blocks": 1,
        "window": (2, 2, 2), "dropout": 0.2, "drop_path": 0.2}  # fmt: skip
CLIPS = np.random.default_rng(0).standard_normal((4, 2, 16, 16, 3)).astype(np.float32)
LABELS = np.arange(4) % 3


def loss_of(**options):
    """The loss as a function of parameters, with the new batch statistics; and parameters."""
    model = build("logo_former", 3, **SIZE | options)
    variables = jax.jit(build("logo_former", 3, **SIZE).init)(jax.random.key(0), CLIPS[:1])

    def loss(params):
        out, updated = model.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            CLIPS,
            train=True,
            rngs={"dropout": jax.random.key(1)},
            mutable=["batch_stats"],
        )
        log_p = jax.nn.log_softmax(out.logits)
        return -log_p[jnp.arange(len(LABELS)), LABELS].mean(), updated["batch_stats"]

    return loss, variables["params"]


def loss_and_gradient(**options):
    loss, params = loss_of(**options)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


@pytest.fixture(scope="module")
def plain():
    return loss_and_gradient()


@pytest.mark.slow
def test_rematerialization_gives_the_same_numbers_and_masks(plain):
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, loss_and_gradient(remat=True), plain)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"backbone": "patch", "window": (4, 7, 7)}])
def test_rematerialization_keeps_less_for_the_backward_pass(options):
    """Counted in what autodiff keeps: XLA on CPU may compute it early and keep it all the same."""

    def kept(remat):
        model = build("logo_former", 7, remat=remat, **options)
        clips = jax.ShapeDtypeStruct((2, 16, 112, 112, 3), np.float32)
        variables = dict(jax.eval_shape(model.init, jax.random.key(0), clips))
        params = variables.pop("params")

        def backward(params, others, clips):
            def loss(params):
                rngs, mutable = {"dropout": jax.random.key(1)}, ["batch_stats"]
                held = {"params": params, **others}
                out, _ = model.apply(held, clips, train=True, rngs=rngs, mutable=mutable)
                return out.logits.sum()

            return jax.vjp(loss, params)[1]

        found = jax.eval_shape(backward, params, variables, clips)
        return bytes_of(found) - bytes_of(params)

    def bytes_of(tree):
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))

    assert kept(remat=True) < 0.2 * kept(remat=False)


@pytest.mark.slow
def test_bfloat16_follows_float32(plain):
    """A number has 0.4 % of error: the loss within 1 %, the gradient within 10 degrees."""
    ((value, _), grads), ((expected, _), expected_grads) = (
        loss_and_gradient(dtype="bfloat16"),
        plain,
    )
    assert all(g.dtype == jnp.float32 for g in jax.tree.leaves(grads))
    np.testing.assert_allclose(value, expected, rtol=0.01)
    one, other = flat(grads), flat(expected_grads)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert cosine > np.cos(np.radians(10))
    np.testing.assert_allclose(np.linalg.norm(one), np.linalg.norm(other), rtol=0.05)
