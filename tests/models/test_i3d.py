"""I3D against a PyTorch form with the modules and names of piergiaj/pytorch-i3d."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from logo_jax.common.errors import UserError
from logo_jax.models import Output
from logo_jax.models.i3d import I3D, TORCH_NAMES, average_pool, same_max_pool
from logo_jax.models.torch_form import from_torch, to_torch
from tests.models.parity import check_system, jit, load, randomized

TINY = dict(width=8)
CLIPS = np.random.default_rng(0).normal(size=(2, 9, 34, 45, 3)).astype(np.float32)


@cache
def variables():
    tree = randomized(I3D(3, **TINY), CLIPS)
    return jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)


@cache
def apply(train=False, **options):
    model = I3D(3, **TINY | options)

    def call(tree, clips, key):
        rngs = {"dropout": key}
        return model.apply(tree, clips, train, rngs=rngs, mutable=["batch_stats"])

    return jit(call)(variables(), CLIPS, jax.random.key(0))


# Table 1 of Szegedy et al. 2015: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
INCEPTION = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


def pad_same(x, window, stride):
    """TensorFlow's rule: sizes rounded up, what is missing is put around, more of it behind."""
    import torch

    pads = []
    for size, length, step in zip(x.shape[2:], window, stride, strict=True):
        missing = max((-(-size // step) - 1) * step + length - size, 0)
        pads.append((missing // 2, missing - missing // 2))
    return torch.nn.functional.pad(x, [end for pair in reversed(pads) for end in pair])


def torch_max_pool(x, window, stride):
    """With zeros around, as the port has it: after a ReLU they change nothing."""
    import torch

    return torch.nn.functional.max_pool3d(pad_same(x, window, stride), window, stride)


def torch_i3d(width, num_classes):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    nn, F = torch.nn, torch.nn.functional

    class Unit(nn.Module):
        def __init__(self, before, after, kernel=1, stride=1, last=False):
            super().__init__()
            self.window, self.stride = (kernel,) * 3, (stride,) * 3
            self.conv3d = nn.Conv3d(before, after, kernel, stride, bias=last)
            if not last:
                self.bn = nn.BatchNorm3d(after, eps=1e-3, momentum=0.01)

        def forward(self, x):
            x = self.conv3d(pad_same(x, self.window, self.stride))
            return F.relu(self.bn(x)) if hasattr(self, "bn") else x

    class Mixed(nn.Module):
        def __init__(self, before, channels):
            super().__init__()
            self.b0 = Unit(before, channels[0])
            self.b1a, self.b1b = Unit(before, channels[1]), Unit(channels[1], channels[2], 3)
            self.b2a, self.b2b = Unit(before, channels[3]), Unit(channels[3], channels[4], 3)
            self.b3b = Unit(before, channels[5])

        def forward(self, x):
            pooled = torch_max_pool(x, (3, 3, 3), (1, 1, 1))
            return torch.cat(
                [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1
            )

    class TorchI3D(nn.Module):
        def __init__(self):
            super().__init__()
            self.Conv3d_1a_7x7 = Unit(3, width, 7, 2)
            self.Conv3d_2b_1x1 = Unit(width, width)
            self.Conv3d_2c_3x3 = Unit(width, 3 * width, 3)
            before = 3 * width
            for name, channels in INCEPTION.items():
                scaled = [count * width // 64 for count in channels]
                setattr(self, f"Mixed_{name}", Mixed(before, scaled))
                before = scaled[0] + scaled[2] + scaled[4] + scaled[5]
            self.logits = Unit(before, num_classes, last=True)

        def forward(self, clips):
            x = self.Conv3d_1a_7x7(clips.permute(0, 4, 1, 2, 3))
            x = self.Conv3d_2b_1x1(torch_max_pool(x, (1, 3, 3), (1, 2, 2)))
            x = torch_max_pool(self.Conv3d_2c_3x3(x), (1, 3, 3), (1, 2, 2))
            for name in INCEPTION:
                if name == "4b":
                    x = torch_max_pool(x, (3, 3, 3), (2, 2, 2))
                elif name == "5b":
                    x = torch_max_pool(x, (2, 2, 2), (2, 2, 2))
                x = getattr(self, f"Mixed_{name}")(x)
            # The logits of every window of 2 x 7 x 7, or of what there is, then their mean.
            sizes = [min(size, limit) for size, limit in zip(x.shape[2:], (2, 7, 7), strict=True)]
            return self.logits(F.avg_pool3d(x, sizes, stride=1)).mean((2, 3, 4))

    return TorchI3D()


def check(clips, width, train):
    check_system(
        lambda dtype, **options: I3D(num_classes=5, dtype=dtype, **options),
        torch_i3d(width, 5),
        clips,
        TORCH_NAMES,
        train=train,
        momentum=0.01,
        width=width,
        dropout=0.0,
    )


@pytest.mark.slow
@pytest.mark.parametrize("train", [False, True], ids=["inference", "training"])
def test_parity_at_an_odd_size(train):
    # Maps of 37 x 50: 19 x 25, 10 x 13, 5 x 7, 3 x 4, 2 x 2; frames 9, 5, 3, 2.
    clips = np.random.default_rng(1).normal(size=(3, 9, 37, 50, 3))
    check(clips, width=8, train=train)


@pytest.mark.slow
def test_parity_at_the_papers_frames_and_112_pixels():
    clips = np.random.default_rng(1).normal(size=(1, 16, 112, 112, 3))
    check(clips, width=8, train=True)


@pytest.mark.slow
def test_parity_where_the_average_has_several_windows():
    # The last map is 3 x 1 x 8: two windows in time, two in width.
    clips = np.random.default_rng(1).normal(size=(1, 20, 9, 250, 3))
    check(clips, width=8, train=False)


@pytest.mark.slow
def test_logits_of_a_few_pixels():
    """The fast look at the same: inference in float32, an odd and an even size."""
    torch = pytest.importorskip("torch", reason="skipped: torch")
    reference = torch_i3d(8, 3)
    load(reference, variables(), TORCH_NAMES)
    expected = reference.eval()(torch.tensor(CLIPS, dtype=torch.float64)).detach()
    np.testing.assert_allclose(apply()[0].logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(8, 7, 7), (2, 4, 4), (1, 9, 3)])
def test_average_pool(size):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    window = [min(length, limit) for length, limit in zip(size, (2, 7, 7), strict=True)]
    expected = torch.nn.functional.avg_pool3d(torch.tensor(x).movedim(-1, 1), window, 1)
    found = average_pool(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, expected.movedim(1, -1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "stride"),
    [
        ((1, 3, 3), (1, 2, 2)),
        ((3, 3, 3), (2, 2, 2)),
        ((2, 2, 2), (2, 2, 2)),
        ((3, 3, 3), (1, 1, 1)),
    ],
)
def test_max_pool_at_odd_and_even_sizes(window, stride):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    for size in ((4, 5, 8), (5, 6, 1)):
        x = np.abs(np.random.default_rng(0).normal(size=(2, *size, 3))).astype(np.float32)
        expected = torch_max_pool(torch.tensor(x).movedim(-1, 1), window, stride).movedim(1, -1)
        np.testing.assert_array_equal(same_max_pool(jnp.asarray(x), window, stride), expected)


def test_parameters_at_full_size():
    """12.70 M with the 400 classes of Kinetics; each batch norm has a scale and a bias."""
    model = I3D(400)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 16, 112, 112, 3)))
    units = [(3, 64, 343), (64, 64, 1), (64, 192, 27)]
    before = 192
    for b0, b1a, b1b, b2a, b2b, b3b in INCEPTION.values():
        units += [(before, b0, 1), (before, b1a, 1), (b1a, b1b, 27)]
        units += [(before, b2a, 1), (b2a, b2b, 27), (before, b3b, 1)]
        before = b0 + b1b + b2b + b3b
    assert before == 1024
    count = sum(a * b * cells + 2 * b for a, b, cells in units) + 1024 * 400 + 400
    assert count == 12_697_264
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count
    out = jax.eval_shape(model.apply, shapes, jnp.ones((2, 16, 112, 112, 3)))
    assert (out.logits.shape, out.features.shape) == ((2, 400), (2, 1024))


def test_names_of_the_port():
    tree = randomized(I3D(5, **TINY), CLIPS)
    tensors = to_torch(tree, TORCH_NAMES)
    units = ["Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"]
    units += [f"Mixed_{name}.{part}" for name in INCEPTION
              for part in ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")]  # fmt: skip
    leaves = ["conv3d.weight"]
    leaves += [f"bn.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")]
    expected = {f"{unit}.{leaf}" for unit in units for leaf in leaves}
    assert set(tensors) == expected | {"logits.conv3d.weight", "logits.conv3d.bias"}
    assert tensors["logits.conv3d.weight"].shape == (5, 128, 1, 1, 1)
    assert tensors["Conv3d_1a_7x7.conv3d.weight"].shape == (8, 3, 7, 7, 7)
    back = flatten_dict(from_torch(tensors, tree, TORCH_NAMES))
    for path, leaf in flatten_dict(tree).items():
        np.testing.assert_array_equal(back[path], leaf)


@pytest.mark.slow
def test_contract_and_frozen_batch_norm():
    tree = variables()
    assert set(tree["params"]) == {"backbone", "head"}
    out, _ = apply()
    assert isinstance(out, Output)
    assert out.logits.shape == (2, 3)
    head = jax.tree.map(np.asarray, tree["params"]["head"])
    np.testing.assert_allclose(
        out.features @ head["kernel"][0, 0, 0] + head["bias"], out.logits, rtol=1e-5, atol=1e-6
    )
    # Frozen, only dropout tells training from inference: a feature is 0 or twice itself, since the
    # last map of 2 x 2 x 2 has one window.
    frozen, new = apply(train=True, freeze_bn=True)
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], tree["batch_stats"])
    alive = np.asarray(out.features) > 0
    ratio = np.asarray(frozen.features)[alive] / np.asarray(out.features)[alive]
    assert np.all(np.isclose(ratio, 0) | np.isclose(ratio, 2, rtol=1e-5))
    assert 0.3 < (ratio > 0).mean() < 0.7


@pytest.mark.slow
def test_bfloat16_and_new_statistics():
    tree = variables()
    out, _ = apply()
    half, _ = apply(dtype="bfloat16")
    assert half.logits.dtype == half.features.dtype == jnp.float32
    np.testing.assert_allclose(half.features, out.features, rtol=0.1, atol=0.1)
    assert not np.array_equal(half.features, out.features)
    _, new = apply(train=True, dtype="bfloat16")
    for path, leaf in flatten_dict(new["batch_stats"]).items():
        assert leaf.dtype == jnp.float32
        assert not np.array_equal(leaf, flatten_dict(tree["batch_stats"])[path]), path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width must be a multiple of 8.*not 12"),
        ({"width": 0}, "width must be a multiple of 8"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"dropout": -0.1}, "dropout is a probability"),
        ({"dtype": "float16"}, 'Unknown dtype "float16"'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        I3D(**{"num_classes": 3} | options)
