"""R3D-18, R(2+1)D-18 and MC3-18 against PyTorch forms with torchvision's structure and names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.torch_form import from_torch, to_torch
from logo_jax.models.video_resnet import TORCH_NAMES, VideoClassifier, conv
from logo_jax.study.count import multiply_adds
from tests.models.parity import check_system, jit, load, randomized

NETWORKS = ["3d", "2plus1d", "mixed"]


def torch_video_resnet(convolution, width, num_classes=None):
    """The network as torchvision builds it; without `num_classes` it ends before `fc`.

    Takes clips [B, T, H, W, 3].
    """
    torch = pytest.importorskip("torch", reason="skipped: torch")
    nn, F = torch.nn, torch.nn.functional

    def unit(before, after, kernel, stride):
        padding = [side // 2 for side in kernel]
        return nn.Conv3d(before, after, kernel, stride, padding, bias=False)

    def full(before, after, middle, stride):
        return unit(before, after, (3, 3, 3), stride)

    def frame_by_frame(before, after, middle, stride):
        return unit(before, after, (1, 3, 3), (1, stride, stride))

    def split(before, after, middle, stride):
        return nn.Sequential(
            unit(before, middle, (1, 3, 3), (1, stride, stride)),
            nn.BatchNorm3d(middle),
            nn.ReLU(),
            unit(middle, after, (3, 1, 1), (stride, 1, 1)),
        )

    class Block(nn.Module):
        def __init__(self, make, before, after, stride):
            super().__init__()
            middle = (before * after * 3 * 3 * 3) // (before * 3 * 3 + 3 * after)
            self.conv1 = nn.Sequential(
                make(before, after, middle, stride), nn.BatchNorm3d(after), nn.ReLU()
            )
            self.conv2 = nn.Sequential(make(after, after, middle, 1), nn.BatchNorm3d(after))
            self.downsample = None
            if stride != 1 or before != after:
                steps = (1, stride, stride) if make is frame_by_frame else stride
                shortcut = nn.Conv3d(before, after, 1, steps, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm3d(after))

        def forward(self, x):
            shortcut = x if self.downsample is None else self.downsample(x)
            return F.relu(self.conv2(self.conv1(x)) + shortcut)

    class TorchVideoResNet(nn.Module):
        def __init__(self):
            super().__init__()
            if convolution == "2plus1d":
                middle = -(-45 * width // 64)
                self.stem = nn.Sequential(
                    nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
                    nn.BatchNorm3d(middle),
                    nn.ReLU(),
                    nn.Conv3d(middle, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
                    nn.BatchNorm3d(width),
                    nn.ReLU(),
                )
            else:
                self.stem = nn.Sequential(
                    nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
                    nn.BatchNorm3d(width),
                    nn.ReLU(),
                )
            makers = {
                "3d": [full] * 4,
                "2plus1d": [split] * 4,
                "mixed": [full] + [frame_by_frame] * 3,
            }[convolution]
            before = width
            for index, make in enumerate(makers):
                after = width * 2**index
                blocks = Block(make, before, after, 2 if index else 1), Block(make, after, after, 1)
                setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
                before = after
            if num_classes is not None:
                self.fc = nn.Linear(before, num_classes)

        def forward(self, clips):
            x = self.stem(clips.permute(0, 4, 1, 2, 3))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            x = F.adaptive_avg_pool3d(x, 1).flatten(1)
            return x if num_classes is None else self.fc(x)

    return TorchVideoResNet()


def check(convolution, clips, width, train):
    check_system(
        lambda dtype, **options: VideoClassifier(5, dtype=dtype, **options),
        torch_video_resnet(convolution, width, 5),
        clips,
        TORCH_NAMES,
        train=train,
        convolution=convolution,
        width=width,
    )


# In the fast tier: R3D-18 as the backbone of M3DFEL (test_m3dfel.py), R(2+1)D-18 by its logits.
@pytest.mark.parametrize(
    "convolution", [pytest.param(n, marks=[pytest.mark.slow] * (n != "mixed")) for n in NETWORKS]
)
def test_parity_in_training(convolution):
    # Maps of 37 x 50: 19 x 25, 10 x 13, 5 x 7, 3 x 4; frames 5, 3, 2, 1, or 5 throughout in MC3.
    clips = np.random.default_rng(1).normal(size=(2, 5, 37, 50, 3))
    check(convolution, clips, width=2, train=True)


def test_logits_of_r2plus1d():
    reference = torch_video_resnet("2plus1d", 2, 5).eval()
    import torch

    clips = np.random.default_rng(1).normal(size=(2, 5, 37, 50, 3))
    variables = randomized(VideoClassifier(5, "2plus1d", 2), clips)
    load(reference, variables, TORCH_NAMES)
    with jax.enable_x64(True):
        model = VideoClassifier(5, "2plus1d", 2, dtype="float64")
        out = jit(model.apply)(variables, clips)
    expected = reference(torch.tensor(clips)).detach()
    np.testing.assert_allclose(out.logits, expected, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("convolution", NETWORKS)
def test_parity_in_inference(convolution):
    clips = np.random.default_rng(1).normal(size=(2, 5, 37, 50, 3))
    check(convolution, clips, width=2, train=False)


@pytest.mark.slow
@pytest.mark.parametrize("convolution", NETWORKS)
def test_logits_at_full_size(convolution):
    model = VideoClassifier(7, convolution)
    check_logits(model, torch_video_resnet(convolution, 64, 7), TORCH_NAMES)


def check_logits(model, reference, names):
    """Compare float32 logits in inference with those of PyTorch in float64, at 16 x 112 x 112.

    Gradients in float64 would take XLA minutes at this size.
    """
    import torch

    clips = np.random.default_rng(1).normal(size=(1, 16, 112, 112, 3))
    variables = randomized(model, clips)
    load(reference.eval(), variables, names)
    with torch.no_grad():
        expected = reference(torch.tensor(clips))
    single = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)
    out = jax.jit(model.apply)(single, clips.astype(np.float32))
    np.testing.assert_allclose(out.logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("convolution", "parameters", "operations"),
    [
        ("3d", 33_371_472, 40.697),
        ("2plus1d", 31_505_325, 40.519),
        ("mixed", 11_695_440, 43.343),
    ],
)
def test_size_is_that_of_torchvision(convolution, parameters, operations):
    """Parameters and G multiply-adds that torchvision states for 16 x 112 x 112, 400 classes."""
    model = VideoClassifier(400, convolution)
    clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    tree = jax.eval_shape(model.init, jax.random.key(0), clips)
    assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == parameters
    assert multiply_adds(model.apply, tree, clips) / 1e9 == pytest.approx(operations, abs=1e-3)


def test_torchvision_names_and_shapes():
    clips = jax.ShapeDtypeStruct((1, 4, 16, 16, 3), jnp.float32)
    model = VideoClassifier(7, "2plus1d")
    variables = jax.tree.map(
        lambda leaf: np.random.default_rng(leaf.size).normal(size=leaf.shape).astype(np.float32),
        jax.eval_shape(model.init, jax.random.key(0), clips),
    )
    assert set(variables["params"]) == {"backbone", "head"}
    tensors = to_torch(variables, TORCH_NAMES)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    expected = {
        "stem.0.weight": (45, 3, 1, 7, 7),
        "stem.3.weight": (64, 45, 3, 1, 1),
        "stem.4.running_var": (64,),
        "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3),
        "layer1.0.conv1.0.1.weight": (144,),
        "layer1.0.conv1.0.3.weight": (64, 144, 3, 1, 1),
        "layer2.0.conv1.1.bias": (128,),
        "layer2.0.conv2.0.0.weight": (230, 128, 1, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1),
        "layer4.1.conv2.1.running_mean": (512,),
        "fc.weight": (7, 512),
    }
    assert expected.items() <= shapes.items()
    back = from_torch(tensors, variables, TORCH_NAMES)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_convolutions_start_by_fan_out():
    layer = conv(64, (3, 7, 7), (1, 2, 2), jnp.dtype(jnp.float32), "stem")
    kernel = layer.init(jax.random.key(0), jnp.zeros((1, 1, 8, 8, 3)))["params"]["kernel"]
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (3 * 49 * 64)), rel=0.05)


def test_one_frame_of_one_pixel_is_enough():
    clips = jnp.zeros((2, 1, 1, 1, 3))
    for convolution in NETWORKS:
        model = VideoClassifier(7, convolution, width=2)
        out, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), clips)
        assert (out.logits.shape, out.features.shape) == ((2, 7), (2, 16))


def test_frozen_batch_norm_and_bfloat16():
    clips = np.random.default_rng(1).normal(size=(2, 3, 9, 12, 3)).astype(np.float32)
    variables = randomized(VideoClassifier(7, "mixed", width=2), clips)
    variables = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)

    def apply(train, **options):
        model = VideoClassifier(7, "mixed", width=2, **options)
        return jit(lambda v, x: model.apply(v, x, train, mutable=["batch_stats"]))(variables, clips)

    plain, _ = apply(train=False)
    frozen, after = apply(train=True, freeze_bn=True)
    np.testing.assert_array_equal(frozen.logits, plain.logits)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], variables["batch_stats"])

    half, after = apply(train=True, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves((half, after))} == {np.dtype(np.float32)}
    exact, _ = apply(train=True)
    np.testing.assert_allclose(half.logits, exact.logits, atol=0.1 * np.abs(exact.logits).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"convolution": "2+1d"}, r'Unknown convolution "2\+1d": choose one of 2plus1d, 3d, mixed'),
        ({"width": 0}, r"width must be at least 1, not 0"),
        ({"num_classes": 0}, r"num_classes must be at least 1, not 0"),
        ({"dtype": "half"}, r'Unknown dtype "half"'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        VideoClassifier(**{"num_classes": 7} | options)
