"""Models against independent PyTorch implementations: same weights, same input, same numbers.

The references follow torchvision's structure and the paper, and take the other road where there
are two: windows are masks over all tokens, pooling is a strided convolution.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models import build
from logo_jax.models.backbones import ResNet18

torch = pytest.importorskip("torch", reason="skipped: torch")
nn, F = torch.nn, torch.nn.functional
# Compiling takes longer than running here; without optimization it takes half as long.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class TorchBasicBlock(nn.Module):
    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class TorchResNet18(nn.Module):
    def __init__(self, stage=4, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = stage
        channels = width
        for index in range(stage):
            out = width * 2**index
            blocks = TorchBasicBlock(channels, out, 2 if index else 1), TorchBasicBlock(out, out, 1)
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
            channels = out

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
        return x


class TorchAttention(nn.Module):
    """Pre-norm attention among `[class token, grid]` under the mask that defines the scheme."""

    def __init__(self, dim, heads, out):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        for name in ("query", "key", "value"):
            setattr(self, name, nn.Linear(dim, dim, bias=False))
        if out:
            self.out = nn.Linear(dim, dim)

    def mix(self, x, y, mask=None):
        q, k, v = (
            z.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for z in (self.query(x), self.key(y), self.value(y))
        )
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        return self.out(z) if hasattr(self, "out") else z

    def forward(self, tokens, mask=None):
        x = self.norm(tokens)
        return tokens + self.mix(x, x, mask)


class TorchGlobal(TorchAttention):
    def __init__(self, dim, heads, window, pool, out):
        super().__init__(dim, heads, out)
        self.pooled_norm = nn.LayerNorm(dim)
        self.window = window
        groups = {"weighted": dim, "conv": 1}.get(pool)
        if groups:
            self.pool = nn.Conv3d(dim, dim, window, window, groups=groups, bias=pool == "conv")
        else:
            kind = {"average": nn.AvgPool3d, "max": nn.MaxPool3d}[pool]
            self.pool = kind(window, window)

    def forward(self, tokens, grid):
        maps = tokens[:, 1:].unflatten(1, grid).permute(0, 4, 1, 2, 3)
        pooled = self.pool(maps).flatten(2).transpose(1, 2)
        keys = self.pooled_norm(torch.cat([tokens[:, :1], pooled], 1))
        return tokens + self.mix(self.norm(tokens), keys)


class TorchBlock(nn.Module):
    def __init__(self, scheme, dim, mlp_dim, heads, window, pool, global_out_proj):
        super().__init__()
        self.scheme, self.window = scheme, window
        make_global = lambda: TorchGlobal(dim, heads, window, pool, global_out_proj)  # noqa: E731
        if scheme == "local_global":
            self.attention = nn.ModuleDict(
                {"local": TorchAttention(dim, heads, True), "global": make_global()}
            )
        else:
            self.attention = make_global() if scheme == "global" else None
            self.attention = self.attention or TorchAttention(dim, heads, True)
        self.mlp = nn.ModuleDict(
            {
                "norm": nn.LayerNorm(dim),
                "hidden": nn.Linear(dim, mlp_dim),
                "out": nn.Linear(mlp_dim, dim),
            }
        )

    def forward(self, x, grid):
        if self.scheme == "full":
            x = self.attention(x)
        elif self.scheme == "local":
            # The class token asks everybody and is nobody's key.
            mask = F.pad(window_mask(grid, self.window), (1, 0, 1, 0))
            mask[0] = True
            x = self.attention(x, mask)
        elif self.scheme == "global":
            x = self.attention(x, grid)
        else:
            local = self.attention["local"](x[:, 1:], window_mask(grid, self.window))
            x = self.attention["global"](torch.cat([x[:, :1], local], 1), grid)
        mlp = self.mlp
        return x + mlp["out"](F.gelu(mlp["hidden"](mlp["norm"](x))))


def window_mask(grid, window):
    axes = (torch.arange(n) // side for n, side in zip(grid, window, strict=True))
    index = torch.cartesian_prod(*axes)
    return (index[:, None] == index[None]).all(-1)


class TorchLogoFormer(nn.Module):
    def __init__(self, frames, positions, options):
        super().__init__()
        dim = options["dim"]
        self.backbone = TorchResNet18(options["stage"], options["width"])
        self.projection = nn.Linear(options["width"] * 2 ** (options["stage"] - 1), dim)
        self.space_position = nn.Parameter(torch.zeros(1, 1, positions, dim))
        self.time_position = nn.Parameter(torch.zeros(1, frames + 1, 1, dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.blocks = options["num_blocks"]
        for index in range(self.blocks):
            block = TorchBlock(
                options["attention"],
                dim,
                options["mlp_dim"],
                options["num_heads"],
                options["window"],
                options.get("pool", "weighted"),
                options.get("global_out_proj", False),
            )
            setattr(self, f"block_{index}", block)
        if options.get("final_norm"):
            self.final_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, options["num_classes"])

    def forward(self, clips):
        batch, frames = clips.shape[:2]
        maps = self.backbone(clips.flatten(0, 1).permute(0, 3, 1, 2))
        grid = (frames, *maps.shape[2:])
        tokens = self.projection(maps.flatten(2).transpose(1, 2)).unflatten(0, (batch, frames))
        tokens = tokens + self.space_position
        cls = self.class_token.expand(batch, 1, -1)
        # Section 2.1: the class token is prepended, then the time embedding is added to all.
        time = self.time_position
        tokens = torch.cat([cls + time[:, 0], (tokens + time[:, 1:]).flatten(1, 2)], 1)
        for index in range(self.blocks):
            tokens = getattr(self, f"block_{index}")(tokens, grid)
        features = tokens[:, 0]
        return self.head(self.final_norm(features) if hasattr(self, "final_norm") else features)


def to_torch(tree, window=None):
    """Flax parameters or statistics -> {PyTorch name: array}."""
    named = {}
    for path, value in jax.tree_util.tree_leaves_with_path(tree):
        *modules, leaf = (entry.key for entry in path)
        value = np.asarray(value, np.float64)
        name = ".".join(re.sub(r"^(layer\d|downsample)_", r"\1.", module) for module in modules)
        if name.endswith("pool"):  # [fhw D] or [fhwD D2] -> Conv3d's [out in f h w]
            if leaf == "weights":
                value, leaf = value.T.reshape(-1, 1, *window), "weight"
            elif leaf == "kernel":
                value = value.reshape(*window, -1, value.shape[-1]).transpose(4, 3, 0, 1, 2)
        elif leaf == "kernel":
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
        leaf = {
            "kernel": "weight",
            "scale": "weight",
            "mean": "running_mean",
            "var": "running_var",
        }.get(leaf, leaf)
        named[f"{name}.{leaf}" if name else leaf] = value
    return named


def randomized(model, *inputs, **options):
    """Variables without the symmetry of a fresh start: scales, biases and statistics too."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(model.init, **options), jax.random.key(0), *inputs)

    def draw(path, value):
        leaf = path[-1].key
        noise = rng.normal(size=value.shape)
        if leaf in ("scale", "var"):
            return 1 + 0.3 * np.abs(noise)
        if leaf in ("kernel", "weights"):
            return noise / np.sqrt(np.prod(value.shape[:-1]))
        return 0.3 * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)


def load(module, variables, window=None):
    state = {}
    for part in variables.values():
        state |= {name: torch.tensor(value) for name, value in to_torch(part, window).items()}
    missing, extra = module.double().load_state_dict(state, strict=False)
    assert not extra
    assert all(name.endswith("num_batches_tracked") for name in missing)


def assert_gradients_equal(gradients, module, window=None):
    expected = {name: p.grad.numpy() for name, p in module.named_parameters()}
    found = to_torch(gradients, window)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        error = np.linalg.norm(found[name] - gradient) / np.linalg.norm(gradient)
        assert error < 1e-6, name


def check_resnet(stage, width, images, train):
    model = ResNet18(stage, width)
    variables = randomized(model, jnp.ones((1, 32, 32, 3)), train=False)
    reference = TorchResNet18(stage, width)
    load(reference, variables)
    reference.train(train)
    sizes = {}  # entries a batch norm averages over
    for name, module in reference.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(
                lambda module, inputs, _, name=name: sizes.update(
                    {name: inputs[0].numel() / inputs[0].shape[1]}
                )
            )
    expected = reference(torch.tensor(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    weights = np.random.default_rng(2).normal(size=expected.shape)
    (expected * torch.tensor(weights)).sum().backward()

    def objective(params, stats, images, dtype):
        model = ResNet18(stage, width, dtype)
        y, new = model.apply(
            {"params": params, "batch_stats": stats}, images, train=train, mutable=["batch_stats"]
        )
        return (y * weights).sum(), (y, new)

    with jax.enable_x64(True):
        grad = jit(jax.grad(objective, has_aux=True), static_argnums=3)
        gradients, (y, new) = grad(
            variables["params"], variables["batch_stats"], images, jnp.dtype(jnp.float64)
        )
        np.testing.assert_allclose(y, expected.detach(), rtol=0, atol=1e-8)
        assert_gradients_equal(gradients, reference)
    state = reference.state_dict()
    for name, value in to_torch(new["batch_stats"]).items():
        if train and name.endswith("running_var"):
            # PyTorch's running variance is that of a sample, flax's that of a population.
            old = to_torch(variables["batch_stats"])[name]
            n = sizes[name.removesuffix(".running_var")]
            value = 0.9 * old + (value - 0.9 * old) * n / (n - 1)
        np.testing.assert_allclose(value, state[name], rtol=0, atol=1e-9, err_msg=name)

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


TINY = dict(stage=1, width=4, dim=8, mlp_dim=12, num_heads=2, num_blocks=2, window=(2, 2, 1))


def check_logo_former(options, clips, train, num_classes=5):
    model = build("logo_former", num_classes, **options)
    variables = randomized(model, clips)
    positions = variables["params"]["space_position"].shape[2]
    reference = TorchLogoFormer(clips.shape[1], positions, options | {"num_classes": num_classes})
    window = options["window"]
    load(reference, variables, window)
    reference.train(train)
    expected = reference(torch.tensor(clips))
    weights = np.random.default_rng(2).normal(size=expected.shape)
    (expected * torch.tensor(weights)).sum().backward()

    def objective(params, stats, clips):
        model = build("logo_former", num_classes, dtype="float64", **options)
        out, _ = model.apply(
            {"params": params, "batch_stats": stats}, clips, train=train, mutable=["batch_stats"]
        )
        return (out.logits * weights).sum(), out.logits

    with jax.enable_x64(True):
        grad = jit(jax.grad(objective, has_aux=True))
        gradients, logits = grad(variables["params"], variables["batch_stats"], clips)
        np.testing.assert_allclose(logits, expected.detach(), rtol=0, atol=1e-8)
        assert_gradients_equal(gradients, reference, window)

    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    forward = jit(lambda v, x: model.apply(v, x, train=train, mutable=["batch_stats"])[0])
    logits = forward(single, clips.astype(np.float32)).logits
    np.testing.assert_allclose(logits, expected.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "local_global"},
        pytest.param(
            {
                "attention": "local_global",
                "pool": "conv",
                "global_out_proj": True,
                "final_norm": True,
            },
            marks=pytest.mark.slow,
        ),
        {"attention": "local"},
        {"attention": "global", "pool": "max"},
        {"attention": "full"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_logo_former(options):
    clips = np.random.default_rng(1).normal(size=(2, 4, 13, 9, 3))  # grid 4 x 4 x 3
    check_logo_former(TINY | options, clips, train=True)


@pytest.mark.slow
def test_logo_former_in_inference():
    clips = np.random.default_rng(1).normal(size=(2, 4, 13, 9, 3))
    check_logo_former(TINY | {"attention": "local_global"}, clips, train=False)


@pytest.mark.slow
def test_global_with_average_pool():
    clips = np.random.default_rng(1).normal(size=(2, 4, 13, 9, 3))
    check_logo_former(TINY | {"attention": "global", "pool": "average"}, clips, train=True)


@pytest.mark.slow
def test_logo_former_at_paper_size():
    clips = np.random.default_rng(1).normal(size=(1, 16, 112, 112, 3))
    options = dict(stage=4, width=64, dim=512, mlp_dim=1024, num_heads=8, num_blocks=4)
    options |= {"attention": "local_global", "window": (4, 2, 2)}
    check_logo_former(options, clips, train=True, num_classes=7)
