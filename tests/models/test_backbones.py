"""Shapes and start of ResNet-18; its numbers are checked in test_parity.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models.backbones import ResNet18, max_pool


@pytest.mark.parametrize(
    ("stage", "size", "shape"),
    [
        (1, (112, 112), (28, 28, 64)),
        (2, (48, 48), (6, 6, 128)),
        (3, (112, 112), (7, 7, 256)),
        (4, (112, 112), (4, 4, 512)),
        (4, (37, 50), (2, 2, 512)),
    ],
)
def test_shapes(stage, size, shape):
    model = ResNet18(stage)
    out, tree = jax.eval_shape(
        lambda key: model.init_with_output(key, jnp.zeros((1, *size, 3)), train=False),
        jax.random.key(0),
    )
    assert out.shape == (1, *shape)
    if stage == 4:
        assert len(jax.tree.leaves(tree)) == 100
        # torchvision's resnet18 has 11,689,512 parameters, 513,000 of them in fc.
        assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == 11_176_512


def test_convolutions_start_by_fan_out():
    made = jax.jit(
        lambda key: ResNet18(1).init(key, jnp.zeros((1, 8, 8, 3)), train=False),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    params = made(jax.random.key(0))["params"]
    assert np.std(params["conv1"]["kernel"]) == pytest.approx(np.sqrt(2 / (49 * 64)), rel=0.05)
    kernel = params["layer1_0"]["conv2"]["kernel"]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 64)), rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_max_pool(size):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, size, size, 3)), jnp.float32)
    found = max_pool(max_pool(x, 1), 2)
    steps = range(0, size, 2)
    expected = [[x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max((1, 2)) for j in steps]
                for i in steps]  # fmt: skip
    np.testing.assert_array_equal(found, jnp.stack([jnp.stack(row, 1) for row in expected], 1))
