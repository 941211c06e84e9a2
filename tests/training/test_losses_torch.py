"""Losses and their gradients against PyTorch's autograd, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.training.feature_losses import center_loss, ec_stfl
from logo_jax.training.losses import compact_regularizer, cross_entropy, focal

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
torch = pytest.importorskip("torch", reason="skipped: torch")


def torch_cross_entropy(x, y, smoothing):
    return torch.nn.functional.cross_entropy(x, y, label_smoothing=smoothing, reduction="none")


def torch_focal(x, y, gamma):
    p = x.softmax(1).gather(1, y[:, None])[:, 0]
    return -((1 - p) ** gamma) * p.log()


def torch_regularizer(x, y, form):
    """Equation (12), from the softmax over what is left without the target's column."""
    others = x[torch.arange(x.shape[1]) != y[:, None]].reshape(len(x), -1)
    p = others.softmax(1)
    log_ratio = (p * others.shape[1]).log()
    forward = -log_ratio.mean(1)
    return forward + (p * log_ratio if form == "definition" else -log_ratio).sum(1)


def torch_center_loss(x, y, centers):
    one_hot = torch.nn.functional.one_hot(y, len(centers)).to(x.dtype)
    return 0.5 * (x - one_hot @ centers).norm(dim=1) ** 2


def torch_ec_stfl(x, y):
    """Equation 9 of the DFEW paper, pair by pair."""
    counts = torch.bincount(y)
    within, between = 0, 0
    for i in range(len(x)):
        for j in range(len(x)):
            if i != j:
                term = (x[i] - x[j]).norm() / counts[y[j]]
                within, between = (
                    (within + term, between) if y[i] == y[j] else (within, between + term)
                )
    return within / between


def assert_same_value_and_gradient(ours, theirs, x, labels, *options):
    """Both are multiplied by random numbers, so that no clip can stand for another."""
    torch_x = torch.tensor(x, requires_grad=True)
    torch_options = [torch.tensor(o) if isinstance(o, np.ndarray) else o for o in options]
    expected = theirs(torch_x, torch.tensor(labels), *torch_options)
    factors = np.random.default_rng(9).standard_normal(expected.shape)
    (expected * torch.tensor(factors)).sum().backward()
    with jax.enable_x64(True):
        options = [jnp.asarray(o) if isinstance(o, np.ndarray) else o for o in options]

        def total(x):
            value = ours(x, jnp.asarray(labels), *options)
            return (value * factors).sum(), value

        (_, value), gradient = jit(jax.value_and_grad(total, has_aux=True))(jnp.asarray(x))
        assert value.dtype == gradient.dtype == jnp.float64
        np.testing.assert_allclose(value, expected.detach(), rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(gradient, torch_x.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("ours", "theirs", "option"),
    [
        (cross_entropy, torch_cross_entropy, 0.0),
        (cross_entropy, torch_cross_entropy, 0.2),
        (focal, torch_focal, 2.0),
        (focal, torch_focal, 0.5),
        (compact_regularizer, torch_regularizer, "definition"),
        (compact_regularizer, torch_regularizer, "as_printed"),
    ],
)
def test_losses_of_logits(ours, theirs, option):
    rng = np.random.default_rng(3)
    logits, labels = 3 * rng.standard_normal((6, 7)), rng.integers(0, 7, 6)
    assert_same_value_and_gradient(ours, theirs, logits, labels, option)


def test_center_loss():
    rng = np.random.default_rng(4)
    centers = rng.standard_normal((5, 8))
    features, labels = rng.standard_normal((6, 8)), rng.integers(0, 5, 6)
    assert_same_value_and_gradient(center_loss, torch_center_loss, features, labels, centers)


def test_ec_stfl():
    rng = np.random.default_rng(5)
    features, labels = rng.standard_normal((9, 6)), np.array([0, 2, 2, 1, 0, 2, 2, 4, 1])
    assert_same_value_and_gradient(ec_stfl, torch_ec_stfl, features, labels)
