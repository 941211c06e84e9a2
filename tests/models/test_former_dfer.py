"""Former-DFER against a PyTorch form with the released weights' names, and its published size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.backbones import ResNet18
from logo_jax.models.former_dfer import TORCH_NAMES, FormerDfer
from logo_jax.models.torch_form import to_torch
from logo_jax.study import breakdown, multiply_adds
from tests.models.parity import check_system

CLIPS = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
TINY = {"width": 2, "num_heads": 2, "temporal_depth": 2}


def shapes(model, clips=CLIPS):
    return jax.eval_shape(model.init, jax.random.key(0), clips)


def reference(options, frames, positions, num_classes):
    """A PyTorch model with the names of the released weights, by FIELD's description."""
    torch = pytest.importorskip("torch", reason="skipped: torch")
    from tests.models.torch_resnet import TorchResNet18

    nn, F = torch.nn, torch.nn.functional

    class Holder(nn.Module):
        """A module that only gives names to others."""

        def __init__(self, **children):
            super().__init__()
            for name, child in children.items():
                setattr(self, name, child)

    class Blocks(nn.Module):
        def __init__(self, depth, dim, heads):
            super().__init__()
            self.heads = heads
            self.layers = nn.ModuleList()
            for _ in range(depth):
                attention = Holder(
                    to_qkv=nn.Linear(dim, 3 * dim, bias=False),
                    to_out=nn.Sequential(nn.Linear(dim, dim)),
                )
                mlp = Holder(
                    net=nn.Sequential(
                        nn.Linear(dim, 2 * dim),
                        nn.GELU(approximate="tanh"),
                        nn.Identity(),
                        nn.Linear(2 * dim, dim),
                    )
                )
                pre_norms = [Holder(norm=nn.LayerNorm(dim), fn=fn) for fn in (attention, mlp)]
                self.layers.append(nn.ModuleList(Holder(fn=fn) for fn in pre_norms))

        def forward(self, x):
            for attention, mlp in self.layers:
                qkv = attention.fn.fn.to_qkv(attention.fn.norm(x)).chunk(3, -1)
                q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in qkv)
                y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
                x = x + attention.fn.fn.to_out(y)
                x = x + mlp.fn.fn.net(mlp.fn.norm(x))
            return x

    class Spatial(TorchResNet18):
        def __init__(self, width, depth, heads):
            super().__init__(4, width)
            self.pos_embedding = nn.Parameter(torch.zeros(1, positions, 4 * width))
            self.spatial_transformer = Blocks(depth, 4 * width, heads)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            x = self.layer3(self.layer2(self.layer1(x)))
            tokens = x.flatten(2).transpose(1, 2) + self.pos_embedding
            tokens = self.spatial_transformer(tokens)
            x = tokens.transpose(1, 2).unflatten(2, x.shape[2:])
            return self.layer4(x).mean((2, 3))

    class Temporal(nn.Module):
        def __init__(self, dim, depth, heads):
            super().__init__()
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos_embedding = nn.Parameter(torch.zeros(1, frames + 1, dim))
            self.spatial_transformer = Blocks(depth, dim, heads)

        def forward(self, x):
            x = torch.cat([self.cls_token.expand(len(x), 1, -1), x], 1)
            return self.spatial_transformer(x + self.pos_embedding)[:, 0]

    class Model(nn.Module):
        def __init__(self, width=64, spatial_depth=1, temporal_depth=3, num_heads=8):
            super().__init__()
            self.s_former = Spatial(width, spatial_depth, num_heads)
            self.t_former = Temporal(8 * width, temporal_depth, num_heads)
            self.fc = nn.Linear(8 * width, num_classes)

        def forward(self, clips):
            images = clips.flatten(0, 1).permute(0, 3, 1, 2)
            return self.fc(self.t_former(self.s_former(images).unflatten(0, clips.shape[:2])))

    return Model(**options)


def check(options, clips, positions, train, num_classes=5):
    check_system(
        lambda dtype: FormerDfer(num_classes, dtype=dtype, **options),
        reference(options, clips.shape[1], positions, num_classes),
        clips,
        TORCH_NAMES,
        train=train,
    )


@pytest.mark.parametrize(
    "train",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["inference", "training"],
)
def test_parity(train):
    clips = np.random.default_rng(1).normal(size=(2, 3, 37, 50, 3))
    check(TINY, clips, positions=3 * 4, train=train)


@pytest.mark.slow
def test_parity_at_full_width():
    clips = np.random.default_rng(1).normal(size=(2, 4, 112, 112, 3))
    check({"spatial_depth": 3}, clips, positions=49, train=True, num_classes=7)


# What the released weights hold beside the CNN (torchvision's names under s_former); `layers` of
# s_former and t_former alike, here for C channels.
OUTSIDE = {
    "s_former.pos_embedding": (1, 49, 256),
    "t_former.cls_token": (1, 1, 512),
    "t_former.pos_embedding": (1, 17, 512),
    "fc.weight": (7, 512),
    "fc.bias": (7,),
}
BLOCK = {
    "0.fn.norm.weight": lambda c: (c,),
    "0.fn.norm.bias": lambda c: (c,),
    "0.fn.fn.to_qkv.weight": lambda c: (3 * c, c),
    "0.fn.fn.to_out.0.weight": lambda c: (c, c),
    "0.fn.fn.to_out.0.bias": lambda c: (c,),
    "1.fn.norm.weight": lambda c: (c,),
    "1.fn.norm.bias": lambda c: (c,),
    "1.fn.fn.net.0.weight": lambda c: (2 * c, c),
    "1.fn.fn.net.0.bias": lambda c: (2 * c,),
    "1.fn.fn.net.3.weight": lambda c: (c, 2 * c),
    "1.fn.fn.net.3.bias": lambda c: (c,),
}


def test_names_and_shapes_of_the_released_weights():
    expected = dict(OUTSIDE)
    for room, depth, channels in (("s_former", 1, 256), ("t_former", 3, 512)):
        for index in range(depth):
            for name, shape in BLOCK.items():
                expected[f"{room}.spatial_transformer.layers.{index}.{name}"] = shape(channels)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes(FormerDfer(7)))
    found = {name: value.shape for name, value in to_torch(zeros, TORCH_NAMES).items()}
    cnn = {name: found.pop(name) for name in set(found) - set(expected)}
    assert found == expected
    assert len(cnn) == 100
    assert cnn["s_former.layer2.0.downsample.1.running_mean"] == (128,)
    assert cnn["s_former.conv1.weight"] == (64, 3, 7, 7)


@pytest.mark.parametrize(
    ("depth", "gigas"), [(1, 8.30), pytest.param(3, 9.11, marks=pytest.mark.slow)]
)
def test_published_size(depth, gigas):
    model = FormerDfer(7, spatial_depth=depth)
    variables = shapes(model)
    assert multiply_adds(model.apply, variables, CLIPS) / 1e9 == pytest.approx(gigas, rel=5e-3)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    # One block of 256 channels: 8 C^2 of matrices, 2 C for each of two norms, 4 C of biases.
    assert (count - (depth - 1) * (8 * 256**2 + 8 * 256)) / 1e6 == pytest.approx(18.03, abs=5e-3)
    # Two products over the 49 positions of each frame, and over 17 tokens in three blocks.
    pairs = 16 * 49**2 * 256 * depth + 17**2 * 512 * 3
    assert breakdown(model.apply, variables, CLIPS).products == 2 * pairs


def test_the_backbone_is_a_plain_resnet():
    alone = jax.eval_shape(
        lambda key, x: ResNet18().init(key, x, train=False),
        jax.random.key(0),
        jnp.ones((1, 9, 9, 3)),
    )
    inside = shapes(FormerDfer(7))
    for group in ("params", "batch_stats"):
        assert inside[group]["backbone"] == alone[group]
    assert set(inside["params"]) == {"backbone", "s_former", "t_former", "head"}


def test_positions_bind_the_size_of_clips():
    model = FormerDfer(5, **TINY)
    variables = shapes(model, jnp.ones((1, 3, 37, 50, 3)))

    def logits(*shape):
        return jax.eval_shape(model.apply, variables, jnp.ones((2, *shape, 3))).logits.shape

    assert logits(3, 40, 60) == (2, 5)  # a map of 3 x 4 too
    with pytest.raises(UserError, match=r"made for 12 positions.*give 4 x 4: give frames of the"):
        logits(3, 64, 64)
    with pytest.raises(UserError, match=r"made for 4 tokens.*this clip has 4 frames: give clips"):
        logits(4, 37, 50)


def test_attention_maps():
    model = FormerDfer(5, **TINY)
    clips = jnp.ones((2, 3, 37, 50, 3))

    def run(variables, clips):
        return model.apply(variables, clips, mutable=["intermediates"])[1]["intermediates"]

    found = jax.eval_shape(run, shapes(model, clips), clips)
    spatial, *_ = found["s_former"]["transformer"]["layers_0"]["attention"]["attention"]
    temporal, *_ = found["t_former"]["transformer"]["layers_1"]["attention"]["attention"]
    assert (spatial.shape, temporal.shape) == ((6, 2, 12, 12), (2, 2, 4, 4))


def test_bfloat16_gives_float32():
    model = FormerDfer(5, dtype="bfloat16", **TINY)
    clips = jnp.ones((1, 2, 32, 32, 3))
    out, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), clips)
    assert out.logits.dtype == out.features.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spatial_depth": 0}, "spatial_depth must be at least 1, not 0"),
        ({"width": 3}, "12 channels after stage 3.*do not divide into 8 heads"),
        ({"dtype": "half"}, 'Unknown dtype "half"'),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        FormerDfer(7, **options)
