"""C3D against a PyTorch form with the layers and names of DavideA/c3d-pytorch."""

from functools import cache
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from logo_jax.common.errors import UserError
from logo_jax.models import Output
from logo_jax.models.c3d import C3D, TORCH_NAMES, max_pool
from logo_jax.models.torch_form import from_torch, to_torch
from tests.models.parity import check_system, jit, randomized

TINY = dict(width=2)
CLIPS = np.random.default_rng(0).normal(size=(2, 16, 18, 40, 3)).astype(np.float32)


def torch_c3d(width, hidden_in, num_classes):
    """Written from the paper's figure 3; `hidden_in` is the length of the flattened pool5."""
    torch = pytest.importorskip("torch", reason="skipped: torch")
    nn, F = torch.nn, torch.nn.functional

    class TorchC3D(nn.Module):
        def __init__(self):
            super().__init__()
            names = ["1", "2", "3a", "3b", "4a", "4b", "5a", "5b"]
            sizes = [3] + [width * factor for factor in (1, 2, 4, 4, 8, 8, 8, 8)]
            for name, (before, after) in zip(names, pairwise(sizes), strict=True):
                setattr(self, f"conv{name}", nn.Conv3d(before, after, 3, padding=1))
            self.fc6 = nn.Linear(hidden_in, 64 * width)
            self.fc7 = nn.Linear(64 * width, 64 * width)
            self.fc8 = nn.Linear(64 * width, num_classes)

        def forward(self, clips):
            x = clips.permute(0, 4, 1, 2, 3)
            x = F.max_pool3d(F.relu(self.conv1(x)), (1, 2, 2))
            x = F.max_pool3d(F.relu(self.conv2(x)), 2)
            x = F.max_pool3d(F.relu(self.conv3b(F.relu(self.conv3a(x)))), 2)
            x = F.max_pool3d(F.relu(self.conv4b(F.relu(self.conv4a(x)))), 2)
            x = F.relu(self.conv5b(F.relu(self.conv5a(x))))
            x = F.max_pool3d(x, 2, padding=(0, 1, 1)).flatten(1)
            return self.fc8(F.relu(self.fc7(F.relu(self.fc6(x)))))

    return TorchC3D()


def check(clips, positions, width, train):
    check_system(
        lambda dtype, **options: C3D(num_classes=5, dtype=dtype, **options),
        torch_c3d(width, 8 * width * positions, 5),
        clips,
        TORCH_NAMES,
        train=train,
        width=width,
        dropout=0.0,
    )


@pytest.mark.parametrize(
    "train", [pytest.param(False, marks=pytest.mark.slow), True], ids=["inference", "training"]
)
def test_parity_at_an_odd_size(train):
    # 33 x 37 x 50 leaves 2 x 2 x 2: a flattening in another order of axes would show.
    clips = np.random.default_rng(1).normal(size=(1, 33, 37, 50, 3))
    check(clips, positions=8, width=2, train=train)


@pytest.mark.slow
def test_parity_at_the_papers_clip_size():
    clips = np.random.default_rng(1).normal(size=(1, 16, 112, 112, 3))
    check(clips, positions=16, width=4, train=True)


@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [
        ((1, 2, 2), (1, 2, 2), (0, 0, 0)),
        ((2, 2, 2), (2, 2, 2), (0, 1, 1)),
        ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((2, 3, 1), (1, 2, 3), (1, 0, 0)),
    ],
)
def test_max_pool_and_its_gradient(window, stride, padding):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 6, 3)).astype(np.float32)
    reference = torch.tensor(x, requires_grad=True)
    pooled = torch.nn.functional.max_pool3d(
        reference.permute(0, 4, 1, 2, 3), window, stride, padding
    ).permute(0, 2, 3, 4, 1)
    weights = np.random.default_rng(1).normal(size=pooled.shape).astype(np.float32)
    (pooled * torch.tensor(weights)).sum().backward()

    def objective(x):
        y = max_pool(x, window, stride, tuple((edge, edge) for edge in padding))
        return (y * weights).sum(), y

    gradient, y = jit(jax.grad(objective, has_aux=True))(x)
    np.testing.assert_array_equal(y, pooled.detach())
    np.testing.assert_allclose(gradient, reference.grad, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("num_classes", [101, 487])
def test_parameters_at_full_size(num_classes):
    shapes = jax.eval_shape(
        C3D(num_classes).init, jax.random.key(0), jnp.ones((1, 16, 112, 112, 3))
    )
    assert set(shapes) == {"params"}
    channels = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    count = sum(27 * a * b + b for a, b in pairwise(channels))
    count += (512 * 1 * 4 * 4 * 4096 + 4096) + (4096 * 4096 + 4096)
    count += 4096 * num_classes + num_classes
    # 78.41 M is what is published for UCF-101's 101 classes.
    assert count == {101: 78_409_573, 487: 79_991_015}[num_classes]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_names_of_the_port():
    tree = randomized(C3D(5, **TINY), CLIPS)
    tensors = to_torch(tree, TORCH_NAMES)
    modules = "conv1 conv2 conv3a conv3b conv4a conv4b conv5a conv5b fc6 fc7 fc8".split()
    assert set(tensors) == {f"{name}.{leaf}" for name in modules for leaf in ("weight", "bias")}
    back = flatten_dict(from_torch(tensors, tree, TORCH_NAMES))
    for path, leaf in flatten_dict(tree).items():
        np.testing.assert_array_equal(back[path], leaf)


@cache
def variables():
    return jit(C3D(3, **TINY).init)(jax.random.key(0), CLIPS)


@cache
def compiled(train, **options):
    model = C3D(3, **TINY | options)
    return jit(lambda tree, clips, key: model.apply(tree, clips, train, rngs={"dropout": key}))


def apply(tree, train=False, key=0, **options):
    return compiled(train, **options)(tree, CLIPS, jax.random.key(key))


def test_contract():
    tree = variables()
    assert set(tree["params"]) == {"backbone", "head"}
    out = apply(tree)
    assert isinstance(out, Output)
    assert out.logits.shape == (2, 3)
    assert out.features.shape == (2, 128)
    head = tree["params"]["head"]
    np.testing.assert_allclose(
        out.features @ head["kernel"] + head["bias"], out.logits, rtol=1e-5, atol=1e-6
    )
    # He's start keeps the second moment of what a ReLU lets through, layer by layer.
    assert 0.2 < jnp.square(out.features).mean() < 5

    half = apply(tree, dtype="bfloat16")
    assert half.logits.dtype == half.features.dtype == jnp.float32
    np.testing.assert_allclose(half.features, out.features, rtol=0.1, atol=0.1)
    assert not np.array_equal(half.features, out.features)


def test_dropout_after_fc6_and_fc7():
    """With fc7 the identity each feature passes both masks: it is 4 times itself, or 0."""
    tree = jax.tree.map(lambda leaf: leaf, variables())
    dense = {"kernel": jnp.eye(128), "bias": jnp.zeros(128)}
    tree["params"]["backbone"]["fc7"] = dense
    plain = np.asarray(apply(tree).features)
    dropped = np.asarray(apply(tree, train=True).features)
    alive = plain > 0
    ratio = dropped[alive] / plain[alive]
    assert np.all(np.isclose(ratio, 0) | np.isclose(ratio, 4, rtol=1e-5))
    assert 0.1 < (ratio > 0).mean() < 0.4  # a quarter of about 128
    assert not np.array_equal(dropped, apply(tree, train=True, key=1).features)


def test_another_clip_size_is_refused():
    model = C3D(3, **TINY)

    def init(*size):
        clips = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
        return jax.eval_shape(model.init, jax.random.key(0), clips)

    message = (
        r"32 values \(2 positions of 16 channels\).*16 x 40 x 40 leaves 64 \(positions 1 x 2 x 2"
    )
    with pytest.raises(UserError, match=message):
        jax.eval_shape(model.apply, init(16, 18, 40), np.zeros((1, 16, 40, 40, 3), np.float32))
    for size in ((15, 40, 40), (16, 40, 15)):
        with pytest.raises(UserError, match="too small for C3D.*at least 16 frames of 16 x 16"):
            init(*size)
    assert init(16, 16, 16)["params"]["backbone"]["fc6"]["kernel"].shape == (16, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be at least 1, not 0"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"dropout": 1.0}, "dropout is a probability"),
        ({"dtype": "float16"}, 'Unknown dtype "float16"'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        C3D(**{"num_classes": 3} | options)
