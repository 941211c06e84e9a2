"""CNN + LSTM or GRU against PyTorch's, and their sizes counted by hand."""

from functools import partial

import flax.linen as flax_nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.contract import Output
from logo_jax.models.recurrent import TORCH_NAMES, CnnRecurrent, Recurrent
from logo_jax.models.vgg import VGG13, adaptive_average
from logo_jax.study import breakdown
from tests.models.parity import check_system, jit

CLIPS = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
# Multiply-adds of ResNet-18's convolutions on a frame of 112 x 112, layer by layer.
RESNET = 56**2 * 64 * 147 + 28**2 * 64**2 * 36
# Of a stage's first block, convolution (9) and shortcut (1) read half the channels.
RESNET += sum(s**2 * c**2 * (9 + 1 + 2 * 27) // 2 for s, c in ((14, 128), (7, 256), (4, 512)))
VGG = [(112, 3, 64), (112, 64, 64), (56, 64, 128), (56, 128, 128), (28, 128, 256), (28, 256, 256),
       (14, 256, 512), (14, 512, 512), (7, 512, 512), (7, 512, 512)]  # fmt: skip


def torch_recurrent(torch, cell, inputs, hidden_size, num_layers, bidirectional):
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    return kind(inputs, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional)


def last_state(torch, recurrent, x):
    """What PyTorch returns as h_n, of the last layer's directions."""
    _, state = recurrent(x)
    state = state[0] if isinstance(state, tuple) else state
    return torch.cat(list(state[-2 if recurrent.bidirectional else -1 :]), -1)


class Alone(flax_nn.Module):
    """The recurrent layers without a CNN, in the form that `check_system` takes."""

    cell: str
    num_layers: int
    bidirectional: bool
    dtype: str

    @flax_nn.compact
    def __call__(self, x, train=False):
        layers = Recurrent(
            self.cell, 6, self.num_layers, self.bidirectional, jnp.dtype(self.dtype), name="layers"
        )
        x = layers(jnp.asarray(x))
        return Output(logits=x, features=x)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (2, True)])
def test_recurrent_layers(cell, num_layers, bidirectional):
    torch = pytest.importorskip("torch", reason="skipped: torch")

    class Reference(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch_recurrent(torch, cell, 4, 6, num_layers, bidirectional)

        def forward(self, x):
            return last_state(torch, self.layers, x)

    x = np.random.default_rng(1).normal(size=(3, 5, 4))
    check_system(
        lambda dtype: Alone(cell, num_layers, bidirectional, dtype), Reference(), x, (), train=True
    )


def reference(num_classes, cell, width, hidden_size=256, num_layers=1, bidirectional=False,
              backbone="resnet18", dropout=0.0):  # fmt: skip
    """A PyTorch model with torchvision's names for the CNN."""
    torch = pytest.importorskip("torch", reason="skipped: torch")
    from tests.models.torch_resnet import TorchResNet18

    nn = torch.nn
    assert dropout == 0

    class TorchVGG13(nn.Module):
        """torchvision's vgg13 without its last layer, and without dropout."""

        def __init__(self):
            super().__init__()
            layers, channels = [], 3
            for stage in (1, 2, 4, 8, 8):
                for _ in range(2):
                    layers += [nn.Conv2d(channels, stage * width, 3, padding=1), nn.ReLU()]
                    channels = stage * width
                layers.append(nn.MaxPool2d(2, 2))
            self.features = nn.Sequential(*layers)
            self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
            self.classifier = nn.Sequential(
                nn.Linear(49 * 8 * width, 64 * width),
                nn.ReLU(),
                nn.Identity(),
                nn.Linear(64 * width, 64 * width),
                nn.ReLU(),
            )

        def forward(self, x):
            return self.classifier(self.avgpool(self.features(x)).flatten(1))

    class Reference(nn.Module):
        def __init__(self):
            super().__init__()
            vgg = backbone == "vgg13"
            self.backbone = TorchVGG13() if vgg else TorchResNet18(4, width)
            inputs = (64 if vgg else 8) * width
            layers = torch_recurrent(torch, cell, inputs, hidden_size, num_layers, bidirectional)
            setattr(self, cell, layers)
            self.fc = nn.Linear(hidden_size * (1 + bidirectional), num_classes)

        def forward(self, clips):
            x = self.backbone(clips.flatten(0, 1).permute(0, 3, 1, 2))
            x = x.mean((2, 3)) if x.ndim == 4 else x
            x = x.unflatten(0, clips.shape[:2])
            return self.fc(last_state(torch, getattr(self, cell), x))

    return Reference()


def check(options, clips, train):
    check_system(
        lambda dtype: CnnRecurrent(5, dtype=dtype, **options),
        reference(5, **options),
        clips,
        TORCH_NAMES,
        train=train,
    )


@pytest.mark.parametrize(
    ("cell", "train"),
    [("lstm", True)]
    + [
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (("lstm", False), ("gru", True), ("gru", False))
    ],
)
def test_resnet18(cell, train):
    clips = np.random.default_rng(1).normal(size=(2, 3, 37, 50, 3))
    check({"cell": cell, "width": 2, "hidden_size": 6}, clips, train)


VGG13_LSTM = {"backbone": "vgg13", "cell": "lstm", "dropout": 0.0}


@pytest.mark.parametrize(
    "train", [pytest.param(False, marks=pytest.mark.slow), True], ids=["inference", "training"]
)
def test_vgg13(train):
    # A map of 2 x 3, which the adaptive pool stretches to 7 x 7 in overlapping bins.
    clips = np.random.default_rng(1).normal(size=(2, 2, 70, 101, 3))
    check(VGG13_LSTM | {"width": 2, "hidden_size": 6}, clips, train)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_resnet18_at_full_width(cell):
    options = {"cell": cell, "width": 64, "num_layers": 2, "bidirectional": True}
    check(options, np.random.default_rng(1).normal(size=(2, 4, 64, 72, 3)), train=True)


@pytest.mark.slow
def test_vgg13_at_half_width():
    clips = np.random.default_rng(1).normal(size=(1, 2, 112, 112, 3))
    check(VGG13_LSTM | {"width": 32}, clips, train=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 14])
def test_adaptive_average(size):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    x = np.random.default_rng(0).normal(size=(2, size, 4, 3)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool2d(torch.tensor(x).permute(0, 3, 1, 2), (7, 4))
    found = adaptive_average(jnp.asarray(x), axis=1)
    np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "gates", "inputs", "parameters", "convolutions", "connected"),
    [
        (CnnRecurrent(7), 4, 512, 11_176_512, RESNET, 0),
        (CnnRecurrent(7, cell="gru"), 3, 512, 11_176_512, RESNET, 0),
        # torchvision's vgg13 has 133,047,848 parameters, 4,097,000 of them in its last layer.
        (
            CnnRecurrent(7, backbone="vgg13"),
            4,
            4096,
            128_950_848,
            sum(9 * side**2 * inputs * outputs for side, inputs, outputs in VGG),
            25_088 * 4096 + 4096**2,
        ),
    ],
    ids=["resnet18_lstm", "resnet18_gru", "vgg13_lstm"],
)
def test_size(model, gates, inputs, parameters, convolutions, connected):
    variables = jax.eval_shape(model.init, jax.random.key(0), CLIPS)
    matrices = gates * 256 * (inputs + 256)
    # A bias for each gate; the GRU's new gate has two.
    biases = 256 * 4
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == parameters + matrices + biases + 257 * 7
    counts = breakdown(model.apply, variables, CLIPS)
    assert counts.convolutions == 16 * convolutions
    assert counts.dense == 16 * (matrices + connected) + 256 * 7
    assert counts.products == 0


def test_published_parameters_of_vgg13_lstm():
    # FERV39K's authors list 133 M, and 128 M for VGG13 alone; the numbers are cut, not rounded.
    params = jax.eval_shape(CnnRecurrent(7, backbone="vgg13").init, jax.random.key(0), CLIPS)[
        "params"
    ]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) // 10**6 == 133


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("backbone", ["resnet18", "vgg13"])
def test_bfloat16_gives_float32(backbone, cell):
    options = {"width": 2, "num_layers": 2, "bidirectional": True}
    model = CnnRecurrent(5, backbone, cell, dtype="bfloat16", **options)
    clips = jnp.ones((1, 2, 32, 32, 3))
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), clips)
    assert out.logits.dtype == out.features.dtype == jnp.float32
    assert out.features.shape == (1, 512)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_any_number_of_frames():
    model = CnnRecurrent(5, width=2)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 2, 32, 32, 3)))
    out = jax.eval_shape(model.apply, variables, jnp.ones((2, 5, 48, 37, 3)))
    assert out.logits.shape == (2, 5)


def test_dropout_of_vgg13():
    model = VGG13(width=1, dropout=0.5)
    images = jnp.ones((3, 32, 32, 3))
    shapes = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
    # Without kernels the outputs of fc6 and fc7 are their biases, so that a zero is a dropped one.
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, float(leaf.ndim == 1)), shapes)

    @jit
    def features(key):
        rngs = {"dropout": jax.random.key(key)}
        return model.apply(variables, images, train=True, rngs=rngs)

    first, second = (np.asarray(features(key)) for key in (0, 1))
    assert set(np.unique(first)) == {0, 2}
    assert 0.3 < (first == 0).mean() < 0.7
    assert (first != second).any()


def test_frames_too_small_for_vgg13():
    with pytest.raises(UserError, match="halves a frame 5 times, and 31 x 48 leaves nothing"):
        jax.eval_shape(
            CnnRecurrent(7, backbone="vgg13").init, jax.random.key(0), jnp.ones((1, 2, 31, 48, 3))
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "rnn"}, 'Unknown cell "rnn": choose one of gru, lstm'),
        ({"backbone": "vgg16"}, r'Unknown backbone "vgg16".*Did you mean "vgg13"\?'),
        ({"num_layers": 0}, "num_layers must be at least 1, not 0"),
        ({"dropout": 1.0}, "dropout is a probability"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        CnnRecurrent(7, **options)
