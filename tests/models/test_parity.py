"""The token models against independent PyTorch forms: same weights, same input, same numbers.

The references follow the papers and take the other road where there are two: every scheme is full
attention under a mask, pooling is a strided convolution, frames are looped over.
"""

import jax
import numpy as np
import pytest

from logo_jax.models import build
from logo_jax.models.token_model import TORCH_NAMES
from tests.models.parity import check_system

torch = pytest.importorskip("torch", reason="skipped: torch")
nn, F = torch.nn, torch.nn.functional


class TorchAttention(nn.Module):
    """Attention under the mask that defines a scheme; `x` are the queries, `y` keys and values."""

    def __init__(self, dim, heads, out=True):
        super().__init__()
        self.heads = heads
        for name in ("query", "key", "value"):
            setattr(self, name, nn.Linear(dim, dim, bias=False))
        if out:
            self.out = nn.Linear(dim, dim)

    def forward(self, x, y=None, mask=None, change=lambda z: z):
        y = x if y is None else y
        q, k, v = (
            z.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for z in (self.query(x), self.key(y), self.value(y))
        )
        z = F.scaled_dot_product_attention(q, change(k), change(v), attn_mask=mask)
        z = z.transpose(1, 2).flatten(2)
        return self.out(z) if hasattr(self, "out") else z


class Normed(TorchAttention):
    """Layer norm, then attention."""

    def __init__(self, dim, heads, out=True):
        super().__init__(dim, heads, out)
        self.norm = nn.LayerNorm(dim)


class TorchGlobal(Normed):
    def __init__(self, dim, heads, window, pool, out):
        super().__init__(dim, heads, out)
        self.pooled_norm = nn.LayerNorm(dim)
        self.window, self.kind = window, pool
        self.pool = nn.Module()
        size = window[0] * window[1] * window[2]
        if pool == "weighted":
            self.pool.weights = nn.Parameter(torch.zeros(size, dim))
        elif pool == "conv":
            self.pool.weight = nn.Parameter(torch.zeros(dim, size * dim))
            self.pool.bias = nn.Parameter(torch.zeros(dim))

    def pooled(self, maps):  # [B, D, T, H, W]
        dim, window = maps.shape[1], self.window
        if self.kind == "weighted":
            weight = self.pool.weights.T.reshape(dim, 1, *window)
            return F.conv3d(maps, weight, stride=window, groups=dim)
        if self.kind == "conv":
            weight = self.pool.weight.reshape(dim, *window, dim).permute(0, 4, 1, 2, 3)
            return F.conv3d(maps, weight, self.pool.bias, stride=window)
        pool = {"average": F.avg_pool3d, "max": F.max_pool3d}[self.kind]
        return pool(maps, window, window)

    def forward(self, tokens, grid):
        maps = tokens[:, 1:].unflatten(1, grid).permute(0, 4, 1, 2, 3)
        pooled = self.pooled(maps).flatten(2).transpose(1, 2)
        keys = self.pooled_norm(torch.cat([tokens[:, :1], pooled], 1))
        return super().forward(self.norm(tokens), keys)


def cells(grid):
    """[N, 3]: frame, row and column of every token."""
    return torch.cartesian_prod(*(torch.arange(n) for n in grid))


def window_mask(grid, window, shift=(0, 0, 0)):
    place = torch.tensor([s if n > w else 0 for s, n, w in zip(shift, grid, window, strict=True)])
    index = torch.div(cells(grid) - place, torch.tensor(window), rounding_mode="floor")
    return (index[:, None] == index[None]).all(-1)


class TorchBlock(nn.Module):
    def __init__(self, index, options):
        super().__init__()
        self.options = options
        self.scheme, self.window = options["attention"], options["window"]
        half = tuple(side // 2 for side in self.window)
        self.shift = half if options.get("shift_windows") and index % 2 else (0, 0, 0)
        dim, heads = options["dim"], options["num_heads"]
        norm, attention = (lambda: nn.LayerNorm(dim)), (lambda: TorchAttention(dim, heads))
        make_global = lambda: TorchGlobal(  # noqa: E731
            dim,
            heads,
            self.window,
            options.get("pool", "weighted"),
            options.get("global_out_proj", False),
        )
        parts = {
            "full": lambda: {"norm": norm(), "full": attention()},
            "spatial": lambda: {"norm": norm(), "spatial": attention()},
            "mixing": lambda: {"norm": norm(), **attention()._modules},
            "local": lambda: {"local": Normed(dim, heads)},
            "global": lambda: {"global": make_global()},
            "local_global": lambda: {"local": Normed(dim, heads), "global": make_global()},
            "factorized": lambda: {
                name: nn.ModuleDict({"norm": norm(), "attention": attention()})
                for name in ("spatial", "temporal")
            },
        }
        parts["divided"] = lambda: {**parts["factorized"](), "temporal_fc": nn.Linear(dim, dim)}
        self.attention = nn.ModuleDict(parts[self.scheme]())
        hidden, out = nn.Linear(dim, options["mlp_dim"]), nn.Linear(options["mlp_dim"], dim)
        self.mlp = nn.ModuleDict({"norm": norm(), "hidden": hidden, "out": out})

    def forward(self, x, grid):
        x = x + self.branch(x, grid) if self.scheme in ("full", "local", "global") else (
            getattr(self, self.scheme)(x, grid)
        )  # fmt: skip
        mlp = self.mlp
        return x + mlp["out"](F.gelu(mlp["hidden"](mlp["norm"](x))))

    def branch(self, x, grid):
        parts = self.attention
        if self.scheme == "full":
            return parts["full"](parts["norm"](x))
        if self.scheme == "global":
            return parts["global"](x, grid)
        # The class token asks everybody and is nobody's key.
        mask = F.pad(window_mask(grid, self.window, self.shift), (1, 0, 1, 0))
        mask[0] = True
        return parts["local"](parts["local"].norm(x), mask=mask)

    def local_global(self, x, grid):
        local = self.attention["local"]
        mask = window_mask(grid, self.window, self.shift)
        near = local(local.norm(x[:, 1:]), mask=mask)
        after = torch.cat([x[:, :1], x[:, 1:] + near], 1)
        seen = x if self.options.get("parallel") else after
        return after + self.attention["global"](seen, grid)

    def spatial(self, x, grid):
        """Tokens are [B, T + THW, D], the class token of each frame among the first T."""
        frame = torch.cat([torch.arange(grid[0]), cells(grid)[:, 0]])
        mask = frame[:, None] == frame[None]
        return x + self.attention["spatial"](self.attention["norm"](x), mask=mask)

    def mixing(self, x, grid):
        frames, dim = grid[0], x.shape[-1]
        heads = self.options["num_heads"]
        share = dim // heads // self.options["mixing_share"]
        frame = torch.cat([torch.arange(frames), cells(grid)[:, 0]])

        def change(
            z,
        ):  # [B, heads, N, d]: channels of the same place in the frames before and after
            mixed = z.clone()
            for f in range(frames):
                mixed[:, :, frame == f, :share] = z[:, :, frame == f + 1, :share] if (
                    f + 1 < frames
                ) else 0  # fmt: skip
                mixed[:, :, frame == f, share : 2 * share] = (
                    z[:, :, frame == f - 1, share : 2 * share] if f > 0 else 0
                )
            return mixed

        parts = self.attention
        attention = TorchAttention(dim, heads)
        attention._modules = {name: parts[name] for name in ("query", "key", "value", "out")}
        mask = frame[:, None] == frame[None]
        return x + attention(parts["norm"](x), mask=mask, change=change)

    def copied_spatial(self, x, grid):
        part = self.attention["spatial"]
        tokens = part["norm"](x)
        outputs = []
        for frame in tokens[:, 1:].unflatten(1, grid).unbind(1):
            outputs.append(part["attention"](torch.cat([tokens[:, :1], frame.flatten(1, 2)], 1)))
        cls = torch.stack([out[:, :1] for out in outputs]).mean(0)
        return x + torch.cat([cls, *(out[:, 1:] for out in outputs)], 1)

    def temporal(self, x, grid):
        part, place = self.attention["temporal"], cells(grid)[:, 1:]
        mask = (place[:, None] == place[None]).all(-1)
        return part["attention"](part["norm"](x[:, 1:]), mask=mask)

    def factorized(self, x, grid):
        grown = x[:, 1:] + self.temporal(x, grid)
        return self.copied_spatial(torch.cat([x[:, :1], grown], 1), grid)

    def divided(self, x, grid):
        grown = x[:, 1:] + self.attention["temporal_fc"](self.temporal(x, grid))
        return self.copied_spatial(torch.cat([x[:, :1], grown], 1), grid)


class TorchTokenModel(nn.Module):
    def __init__(self, shapes, options):
        super().__init__()
        from tests.models.torch_resnet import TorchResNet18

        dim, self.options = options["dim"], options
        if options.get("backbone") == "patch":
            patch, tubelet = options["patch_size"], options["tubelet"]
            self.backbone = nn.ModuleDict({"patch": nn.Linear(tubelet * patch**2 * 3, dim)})
        else:
            self.backbone = TorchResNet18(options["stage"], options["width"])
            self.projection = nn.Linear(options["width"] * 2 ** (options["stage"] - 1), dim)
        for name in ("space_position", "time_position", "class_token"):
            setattr(self, name, nn.Parameter(torch.zeros(shapes[name].shape)))
        for index in range(options["num_blocks"]):
            setattr(self, f"block_{index}", TorchBlock(index, options))
        if options.get("final_norm"):
            self.final_norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, options["num_classes"])

    def maps(self, clips):  # -> [B, D, T, H, W]
        batch, options = clips.shape[0], self.options
        if options.get("backbone") == "patch":
            window = options["tubelet"], options["patch_size"], options["patch_size"]
            linear = self.backbone["patch"]
            kernel = linear.weight.reshape(-1, *window, 3).permute(0, 4, 1, 2, 3)
            return F.conv3d(clips.permute(0, 4, 1, 2, 3), kernel, linear.bias, stride=window)
        maps = self.backbone(clips.flatten(0, 1).permute(0, 3, 1, 2))
        maps = self.projection(maps.permute(0, 2, 3, 1))
        return maps.unflatten(0, (batch, -1)).permute(0, 4, 1, 2, 3)

    def forward(self, clips):
        maps = self.maps(clips)
        grid = tuple(maps.shape[2:])
        tokens = maps.flatten(3).permute(0, 2, 3, 1) + self.space_position  # [B, T, HW, D]
        # Section 2.1: the class token is prepended, then the time embedding is added to all.
        time = self.time_position
        count = grid[0] if self.options["attention"] in ("spatial", "mixing") else 1
        cls = (self.class_token + time[:, 0]).expand(len(clips), count, -1)
        tokens = torch.cat([cls, (tokens + time[:, 1:]).flatten(1, 2)], 1)
        for index in range(self.options["num_blocks"]):
            tokens = getattr(self, f"block_{index}")(tokens, grid)
        features = tokens[:, :count].mean(1)
        return self.head(self.final_norm(features) if hasattr(self, "final_norm") else features)


TINY = dict(stage=1, width=4, dim=8, mlp_dim=12, num_heads=2, num_blocks=2, window=(2, 2, 1))
PATCH = dict(backbone="patch", patch_size=4, tubelet=2, final_norm=True)


def check_token_model(options, clips, train, num_classes=5):
    options = {"mixing_share": 2, **options}
    make = lambda dtype: build("logo_former", num_classes, dtype=dtype, **options)  # noqa: E731
    shapes = jax.eval_shape(make("float32").init, jax.random.key(0), clips)["params"]
    reference = TorchTokenModel(shapes, options | {"num_classes": num_classes})
    # In parallel nothing reads the last block's local step: the class token looks past it.
    last = f"block_{options['num_blocks'] - 1}.attention.local."
    names = [name for name, _ in reference.named_parameters()] if options.get("parallel") else []
    zero = [name for name in names if name.startswith(last)]
    check_system(make, reference, clips, TORCH_NAMES, train=train, zero=zero)


@pytest.mark.parametrize(
    "options",
    [
        {"attention": "local_global"},
        pytest.param({"attention": "local"}, marks=pytest.mark.slow),
        {"attention": "spatial"},
        {"attention": "divided"},
        pytest.param({"attention": "factorized"}, marks=pytest.mark.slow),
        {"attention": "mixing"},
        pytest.param({"attention": "global", "pool": "max"}, marks=pytest.mark.slow),
        pytest.param({"attention": "global", "pool": "average"}, marks=pytest.mark.slow),
        pytest.param({"attention": "full"}, marks=pytest.mark.slow),
        pytest.param(
            {"attention": "local_global", "shift_windows": True, "parallel": True},
            marks=pytest.mark.slow,
        ),
        pytest.param({"attention": "local", "shift_windows": True}, marks=pytest.mark.slow),
        pytest.param(
            {
                "attention": "local_global",
                "pool": "conv",
                "global_out_proj": True,
                "final_norm": True,
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_schemes(options):
    clips = np.random.default_rng(1).normal(size=(2, 4, 13, 9, 3))  # grid 4 x 4 x 3
    check_token_model(TINY | options, clips, train=True)


@pytest.mark.parametrize("attention", ["divided", "mixing", "factorized"])
@pytest.mark.slow
def test_patches_instead_of_a_cnn(attention):
    clips = np.random.default_rng(1).normal(size=(2, 6, 16, 12, 3))  # grid 3 x 4 x 3
    check_token_model(TINY | PATCH | {"attention": attention}, clips, train=True)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["local_global", "spatial", "divided"])
def test_in_inference(attention):
    clips = np.random.default_rng(1).normal(size=(2, 4, 13, 9, 3))
    check_token_model(TINY | {"attention": attention}, clips, train=False)


@pytest.mark.slow
def test_logo_former_at_paper_size():
    clips = np.random.default_rng(1).normal(size=(1, 16, 112, 112, 3))
    options = dict(stage=4, width=64, dim=512, mlp_dim=1024, num_heads=8, num_blocks=4)
    options |= {"attention": "local_global", "window": (4, 2, 2)}
    check_token_model(options, clips, train=True, num_classes=7)
