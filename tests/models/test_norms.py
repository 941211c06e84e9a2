"""Layer norm beside PyTorch's and flax's own."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models.layers import LayerNorm

FLOAT32 = jnp.dtype("float32")


def normal(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def ours(x, scale, bias):
    return LayerNorm().apply({"params": {"scale": scale, "bias": bias}}, x)


def value_and_gradients(fn, *arguments):
    """Of `fn`, for a gradient of the value that is random and the same for all."""
    value, pull = jax.vjp(fn, *arguments)
    return [value, *pull(jnp.asarray(normal(*value.shape), value.dtype))]


def pytorch_layer_norm(*arrays):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    inputs = [torch.from_numpy(np.array(x)).requires_grad_() for x in arrays]
    value = torch.nn.functional.layer_norm(inputs[0], arrays[1].shape, *inputs[1:], 1e-5)
    grad = torch.from_numpy(normal(*value.shape))
    found = [value, *torch.autograd.grad(value, inputs, grad)]
    return [x.detach().numpy() for x in found]


def assert_close(found, expected, close):
    """Entries differ by `close` of the largest of their array at most, and types are equal."""
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        a, b = np.float64(a), np.float64(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=close * np.abs(b).max())


@pytest.mark.parametrize("shape", [(5, 8), (2, 3, 4, 6)])
def test_layer_norm_is_that_of_pytorch(shape):
    arrays = 3 * normal(*shape) + 1, normal(shape[-1]), 1 + normal(shape[-1])
    expected = pytorch_layer_norm(*arrays)
    assert_close(value_and_gradients(ours, *map(jnp.asarray, arrays)), expected, 1e-5)


@pytest.mark.parametrize(
    ("given", "dtype", "close"),
    [
        ("bfloat16", "bfloat16", 1e-2),
        ("bfloat16", None, 1e-2),
        ("float32", "bfloat16", 1e-2),
        ("float64", None, 1e-12),
    ],
)
def test_types_of_layer_norm_are_those_of_flax(given, dtype, close):
    with jax.enable_x64(given == "float64"):
        x = jnp.asarray(normal(4, 16), given)
        params = {"scale": jnp.asarray(normal(16)), "bias": jnp.ones(16, FLOAT32)}
        dtype = dtype and jnp.dtype(dtype)
        found, expected = (
            value_and_gradients(
                lambda x, form=form: form(epsilon=1e-5, dtype=dtype).apply({"params": params}, x), x
            )
            for form in (LayerNorm, nn.LayerNorm)
        )
        assert_close(found, expected, close)


@pytest.mark.slow
def test_accelerators_derive_the_gradient(monkeypatch):
    arrays = jnp.asarray(normal(3, 4, 6)), jnp.asarray(normal(6)), jnp.asarray(normal(6))

    def text():  # a new function each time, since JAX keeps what it has traced
        return str(jax.make_jaxpr(lambda *arrays: ours(*arrays))(*arrays))

    found = value_and_gradients(ours, *arrays)
    assert "custom_vjp" in text()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert "custom_vjp" not in text()
    assert_close(value_and_gradients(ours, *arrays), found, 1e-5)
