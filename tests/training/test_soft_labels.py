"""Cross entropy against shares of votes, compared with PyTorch's, and as part of the objective."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.contract import Output
from logo_jax.training import losses
from logo_jax.training.objective import Objective, Targets, targets_of

torch = pytest.importorskip("torch")


def drawn(seed=0, batch=6, classes=7, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(batch, classes))).astype(np.float32)
    votes = rng.multinomial(10, np.full(classes, 1 / classes), size=batch) / 10
    return logits, votes.astype(np.float32), rng.integers(0, classes, batch).astype(np.int32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_value_and_gradient_are_those_of_pytorch(smoothing, scale):
    logits, votes, _ = drawn(scale=scale)
    tensor = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        tensor, torch.tensor(votes), label_smoothing=smoothing, reduction="none"
    )
    expected.sum().backward()

    def total(logits):
        each = losses.soft_cross_entropy(logits, jnp.asarray(votes), smoothing)
        return each.sum(), each

    gradient, each = jax.grad(total, has_aux=True)(jnp.asarray(logits))
    np.testing.assert_allclose(each, expected.detach().numpy(), rtol=2e-6)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_hot_targets_are_labels(smoothing):
    logits, _, labels = drawn(1)
    one_hot = jnp.eye(7)[labels]
    np.testing.assert_allclose(
        losses.soft_cross_entropy(jnp.asarray(logits), one_hot, smoothing),
        losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels), smoothing),
        rtol=1e-6,
    )


def test_the_objective_takes_them_for_cross_entropy_alone():
    logits, votes, labels = drawn(2)
    out = Output(logits=jnp.asarray(logits), features=jnp.ones((6, 3)))
    counts = np.full(7, 5)
    batch = {"label": jnp.asarray(labels), "soft_label": jnp.asarray(votes)}
    soft = Objective(class_counts=counts, compact_regularizer=0.5, soft_labels=True)
    hard = Objective(class_counts=counts, compact_regularizer=0.5)
    loss, found, _ = soft(out, targets_of(batch), {})
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(votes))
    np.testing.assert_allclose(found["cross_entropy"], expected.item(), rtol=1e-6)
    _, others, _ = hard(out, batch["label"], {})
    np.testing.assert_array_equal(found["compact_regularizer"], others["compact_regularizer"])
    np.testing.assert_allclose(
        loss, found["cross_entropy"] + 0.5 * found["compact_regularizer"], rtol=1e-6
    )
    assert isinstance(targets_of(batch), Targets) and targets_of({"label": 3}) == 3


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UserError, match="soft_labels is for cross entropy: give cross_entropy a"):
        Objective(class_counts=np.ones(3, int), cross_entropy=0.0, focal=1.0, soft_labels=True)
    with pytest.raises(UserError, match="label_smoothing is 1"):
        losses.soft_cross_entropy(jnp.zeros((1, 2)), jnp.ones((1, 2)), 1.0)
    soft = Objective(class_counts=np.ones(7, int), soft_labels=True)
    logits, _, labels = drawn()
    out = Output(logits=jnp.asarray(logits), features=jnp.ones((6, 3)))
    with pytest.raises(ValueError, match="The batch has no soft labels"):
        soft(out, jnp.asarray(labels), {})
