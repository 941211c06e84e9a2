"""ResNet-18: shapes, start, and the numbers of an independent PyTorch form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models.backbones import ResNet18, max_pool
from logo_jax.models.systems import RESNET_NAMES
from tests.models.parity import (
    assert_gradients_equal,
    assert_statistics_equal,
    batch_norm_sizes,
    jit,
    load,
    randomized,
)


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


def check_resnet(stage, width, images, train):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    from tests.models.torch_resnet import TorchResNet18

    model = ResNet18(stage, width)
    variables = randomized(model, jnp.ones((1, 32, 32, 3)), train=False)
    reference = TorchResNet18(stage, width)
    load(reference, variables, RESNET_NAMES)
    reference.train(train)
    sizes = batch_norm_sizes(reference)
    expected = reference(torch.tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    weights = np.random.default_rng(2).normal(size=expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    stats = variables["batch_stats"]

    def objective(params, stats, images, dtype):
        model = ResNet18(stage, width, dtype)
        y, new = model.apply(
            {"params": params, "batch_stats": stats}, images, train=train, mutable=["batch_stats"]
        )
        return (y * weights).sum(), (y, new)

    with jax.enable_x64(True):
        grad = jit(jax.grad(objective, has_aux=True), static_argnums=3)
        gradients, (y, new) = grad(variables["params"], stats, images, jnp.dtype(jnp.float64))
        np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-8)
        assert_gradients_equal(gradients, reference, RESNET_NAMES)
        assert_statistics_equal(new["batch_stats"], stats, reference, sizes, RESNET_NAMES, train)

    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    forward = jit(lambda v, x: model.apply(v, x, train=train, mutable=["batch_stats"])[0])
    y = forward(single, images.astype(np.float32))
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_resnet18(train):
    images = np.random.default_rng(1).normal(size=(3, 37, 50, 3))
    check_resnet(stage=4, width=4, images=images, train=train)


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_resnet18_at_full_width(stage, train):
    images = np.random.default_rng(1).normal(size=(3, 64, 72, 3))
    check_resnet(stage=stage, width=64, images=images, train=train)
