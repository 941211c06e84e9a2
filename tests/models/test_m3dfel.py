"""M3DFEL against a PyTorch form written from the description in the module's docstring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.m3dfel import M3DFEL, TORCH_NAMES, DynamicInstanceNorm
from logo_jax.models.torch_form import from_torch, to_torch
from logo_jax.models.video_resnet import VideoClassifier
from tests.models.parity import check_system, jit, randomized
from tests.models.test_video_resnet import check_logits, torch_video_resnet


def torch_m3dfel(width, num_classes, num_instances):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    nn = torch.nn
    hidden = 8 * width
    dim = 2 * hidden

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean_weight = nn.Parameter(torch.ones(2))
            self.var_weight = nn.Parameter(torch.ones(2))
            self.weight = nn.Parameter(torch.ones(1, dim, 1))
            self.bias = nn.Parameter(torch.zeros(1, dim, 1))

        def forward(self, bags):
            a, b = torch.softmax(self.mean_weight, 0)
            c, d = torch.softmax(self.var_weight, 0)
            normalized = []
            for bag in bags:  # [N, D]
                means = bag.sum(0) / num_instances
                variances = ((bag - means) ** 2).sum(0) / (num_instances - 1)
                common = means.sum() / dim
                spread = ((means - common) ** 2).sum() / dim
                mean = a * means + b * common
                variance = c * variances + d * (variances.sum() / dim + spread)
                normalized.append((bag - mean) / torch.sqrt(variance + 1e-5))
            return torch.stack(normalized) * self.weight[:, :, 0] + self.bias[:, :, 0]

    class TorchM3DFEL(nn.Module):
        def __init__(self):
            super().__init__()
            network = torch_video_resnet("3d", width)
            self.features = nn.Sequential(*network.children(), nn.AdaptiveAvgPool3d(1))
            self.lstm = nn.LSTM(hidden, hidden, 2, batch_first=True, bidirectional=True)
            self.to_qkv = nn.Linear(dim, 3 * dim, bias=False)
            self.norm = Norm()
            self.pwconv = nn.Conv1d(num_instances, 1, 3, 1, 1)
            self.fc = nn.Linear(dim, num_classes)

        def forward(self, clips):
            # [B, T, H, W, 3] -> N parts of [B, 3, T/N, H, W], side by side in the batch.
            parts = clips.permute(0, 4, 1, 2, 3).chunk(num_instances, dim=2)
            x = torch.stack(parts, 1).flatten(0, 1)
            x = self.features(x).flatten(1).unflatten(0, (-1, num_instances))
            x, _ = self.lstm(x)
            mixed = []
            for head in torch.stack(self.to_qkv(x).chunk(3, -1)).chunk(8, -1):
                q, k, v = head  # [B, N, D/8] each
                weights = torch.softmax(q @ k.transpose(1, 2) / (dim / 8) ** 0.5, -1)
                mixed.append(weights @ v)
            x = x * torch.sigmoid(self.norm(torch.cat(mixed, -1)))
            return self.fc(self.pwconv(x).squeeze(1))

    return TorchM3DFEL()


def check(clips, train, width=2, **options):
    check_system(
        lambda dtype, **options: M3DFEL(5, dtype=dtype, **options),
        torch_m3dfel(width, 5, options.get("num_instances", 4)),
        clips,
        TORCH_NAMES,
        train=train,
        width=width,
        **options,
    )


@pytest.mark.slow
def test_parity_in_training():
    # Three frames an instance: 3, 2, 1 in the backbone; maps of 37 x 50 down to 3 x 4.
    check(np.random.default_rng(1).normal(size=(2, 12, 37, 50, 3)), train=True)


@pytest.mark.slow
def test_parity_in_inference():
    check(np.random.default_rng(1).normal(size=(2, 12, 37, 50, 3)), train=False)


@pytest.mark.slow
def test_parity_with_other_instances():
    clips = np.random.default_rng(1).normal(size=(2, 6, 37, 50, 3))
    check(clips, train=True, num_instances=2)


@pytest.mark.slow
def test_logits_at_full_size():
    check_logits(M3DFEL(7), torch_m3dfel(64, 7, 4), TORCH_NAMES)


def full_size():
    clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    return jax.eval_shape(M3DFEL(7).init, jax.random.key(0), clips)


def test_size():
    params = full_size()["params"]
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(params[name])) for name in params}
    assert sizes == {
        "backbone": 33_371_472 - 400 * 513,  # torchvision's r3d_18 without its head
        # Four gates, an input, a recurrent kernel and one bias each; two directions.
        "lstm": 2 * 4 * 512 * (512 + 512 + 1) + 2 * 4 * 512 * (1024 + 512 + 1),
        "to_qkv": 3 * 1024**2,
        "norm": 2 + 2 + 2 * 1024,
        "join": 4 * 3 + 1,
        "head": 7 * 1025,
    }


def test_backbone_has_the_names_of_r3d_18():
    clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    r3d_18 = jax.eval_shape(VideoClassifier(400).init, jax.random.key(0), clips)
    for group, tree in full_size().items():
        assert tree["backbone"] == r3d_18[group]["backbone"]


def test_round_trip_through_torch_names():
    variables = randomized(M3DFEL(7, width=2), jnp.zeros((1, 4, 8, 8, 3)))
    tensors = to_torch(variables, TORCH_NAMES)
    assert {
        "features.0.0.weight",
        "features.1.0.conv1.0.weight",
        "features.4.1.conv2.1.running_var",
        "lstm.weight_ih_l1_reverse",
        "norm.weight",
        "norm.mean_weight",
        "pwconv.weight",
        "fc.bias",
    } <= tensors.keys()
    jax.tree.map(
        lambda found, leaf: np.testing.assert_allclose(found, leaf, rtol=1e-6),
        from_torch(tensors, variables, TORCH_NAMES),
        variables,
    )


def test_norm_starts_even_between_feature_and_all_features():
    """Two instances, two features: by hand."""
    x = jnp.asarray([[[1.0, 10.0], [3.0, 14.0]]])
    norm = DynamicInstanceNorm()
    found = norm.apply(norm.init(jax.random.key(0), x), x)
    # Means 2 and 12, on average 7, spread 25; variances (n - 1) 2 and 8, on average 5.
    mean, variance = np.array([4.5, 9.5]), np.array([16.0, 19.0])
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(variance + 1e-5), rtol=1e-6)


@pytest.mark.slow
def test_attention_maps_frozen_statistics_and_bfloat16():
    clips = np.random.default_rng(1).normal(size=(2, 8, 9, 12, 3)).astype(np.float32)
    variables = randomized(M3DFEL(7, width=2), clips)
    variables = jax.tree.map(lambda leaf: leaf.astype(np.float32), variables)

    def apply(train, **options):
        model = M3DFEL(7, width=2, **options)
        mutable = ["batch_stats", "intermediates"]
        return jit(lambda v, x: model.apply(v, x, train, mutable=mutable))(variables, clips)

    plain, extra = apply(train=False)
    (weights,) = extra["intermediates"]["attention"]
    assert weights.shape == (2, 8, 4, 4)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)

    half, extra = apply(train=True, freeze_bn=True, dtype="bfloat16")
    jax.tree.map(np.testing.assert_array_equal, extra["batch_stats"], variables["batch_stats"])
    assert (half.logits.dtype, half.features.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(half.logits, plain.logits, atol=0.1 * np.abs(plain.logits).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_instances": 1}, r"num_instances must be at least 2, not 1"),
        ({"width": 0}, r"width must be at least 1, not 0"),
        ({"dtype": "half"}, r'Unknown dtype "half"'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        M3DFEL(7, **options)


def test_frames_that_do_not_divide_into_instances():
    with pytest.raises(UserError, match=r"10 frames do not divide into 4 instances.*multiple of"):
        jax.eval_shape(M3DFEL(7).init, jax.random.key(0), jnp.zeros((1, 10, 16, 16, 3)))
