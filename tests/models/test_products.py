"""The product of a dense layer beside flax's own and PyTorch's."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models.layers import Linear
from logo_jax.models.products import dense_product


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def value_and_gradients(layer, x, params):
    """Output, and gradients by x, kernel and bias, for a gradient of the output that is random."""
    value, pull = jax.vjp(lambda x, params: layer.apply({"params": params}, x), x, params)
    of_x, of_params = pull(jnp.asarray(normal(*value.shape), value.dtype))
    return [value, of_x, *jax.tree.leaves(of_params)]


@pytest.mark.parametrize("shape", [(8,), (5, 8), (2, 3, 8), (2, 3, 0, 8), (2, 3, 4, 8)])
@pytest.mark.parametrize("given", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
def test_a_dense_layer_is_that_of_flax(shape, given, dtype):
    x = jnp.asarray(normal(*shape), given)
    params = {"kernel": jnp.asarray(normal(8, 6)), "bias": jnp.asarray(normal(6))}
    found = value_and_gradients(Linear(6, dtype=dtype), x, params)
    expected = value_and_gradients(nn.Dense(6, dtype=dtype), x, params)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        close = 2e-2 if a.dtype == jnp.bfloat16 else 1e-5
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=close, atol=close)


def test_a_dense_layer_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="skipped: torch")
    x, kernel, bias = normal(2, 3, 8), normal(8, 6), normal(6)
    found = value_and_gradients(Linear(6), jnp.asarray(x), {"kernel": kernel, "bias": bias})
    inputs = [torch.from_numpy(array).requires_grad_() for array in (x, bias, kernel)]
    value = torch.nn.functional.linear(inputs[0], inputs[2].T, inputs[1])
    gradients = torch.autograd.grad(value, inputs, torch.from_numpy(normal(*value.shape)))
    for a, b in zip(found, [value, *gradients], strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-5, atol=1e-5)


def test_accelerators_get_the_plain_product(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    dimensions = (((2,), (0,)), ((), ()))
    x, kernel = jnp.asarray(normal(2, 3, 8)), jnp.asarray(normal(8, 6))
    text = str(jax.make_jaxpr(partial(dense_product, dimension_numbers=dimensions))(x, kernel))
    assert "custom_vjp" not in text and "reshape" not in text and "dot_general" in text
    tangents = jax.jvp(lambda x: dense_product(x, kernel, dimensions), (x,), (x,))
    np.testing.assert_array_equal(*tangents)
