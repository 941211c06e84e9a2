"""LOGO-Former of the paper's size in PyTorch, as its users write it, for the benchmarks.

ResNet-18 with torchvision's structure, local-global attention blocks, a linear head. Modules have
the names that `logo_jax.models.torch_form.to_torch` gives, so that both networks can be given the
same parameters and compared before they are timed. Attention is PyTorch's fused one.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

SIZE = {"dim": 512, "mlp_dim": 1024, "num_heads": 8, "num_blocks": 4, "window": (4, 2, 2)}
CHANNELS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    def __init__(self, before: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1:
            project = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(project, nn.BatchNorm2d(channels))

    def forward(self, x: Any) -> Any:
        y = functional.relu(self.bn1(self.conv1(x)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        before = 64
        for stage, channels in enumerate(CHANNELS, start=1):
            first = BasicBlock(before, channels, 1 if stage == 1 else 2)
            second = BasicBlock(channels, channels, 1)
            setattr(self, f"layer{stage}", nn.Sequential(first, second))
            before = channels

    def forward(self, x: Any) -> Any:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Attention(nn.Module):
    """Projections without bias, the fused product, and an output projection where `out`."""

    def __init__(self, dim: int, heads: int, out: bool):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.out = nn.Linear(dim, dim) if out else nn.Identity()

    def attend(self, x: Any, y: Any) -> Any:  # [B, n, D] and [B, m, D]
        parts = self.query(x), self.key(y), self.value(y)
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in parts)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Local(Attention):
    """Attention inside windows of the grid [B, T, H, W, D] (equations 1 and 2)."""

    def __init__(self, dim: int, heads: int, window: tuple[int, int, int]):
        super().__init__(dim, heads, out=True)
        self.window = window

    def forward(self, grid: Any) -> Any:
        x = to_windows(self.norm(grid), self.window)  # [B, nW, fhw, D]
        batch, frames, height, width, dim = grid.shape
        mixed = self.attend(*[x.flatten(0, 1)] * 2)
        f, h, w = self.window
        mixed = mixed.reshape(batch, frames // f, height // h, width // w, f, h, w, dim)
        return mixed.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(grid.shape)


class Global(Attention):
    """Attention to the class token and one pooled token per window (equations 3 to 6)."""

    def __init__(self, dim: int, heads: int, window: tuple[int, int, int]):
        super().__init__(dim, heads, out=False)
        self.window = window
        self.pooled_norm = nn.LayerNorm(dim)
        self.pool = nn.Module()
        self.pool.weights = nn.Parameter(torch.zeros(window[0] * window[1] * window[2], dim))

    def forward(self, grid: Any, cls: Any) -> Any:
        pooled = (to_windows(grid, self.window) * self.pool.weights).sum(2)
        x = self.norm(torch.cat([cls, grid.flatten(1, 3)], 1))
        return self.attend(x, self.pooled_norm(torch.cat([cls, pooled], 1)))


class Block(nn.Module):
    def __init__(self, dim: int, mlp_dim: int, heads: int, window: tuple[int, int, int]):
        super().__init__()
        parts = {"local": Local(dim, heads, window), "global": Global(dim, heads, window)}
        self.attention = nn.ModuleDict(parts)
        hidden, out = nn.Linear(dim, mlp_dim), nn.Linear(mlp_dim, dim)
        self.mlp = nn.ModuleDict({"norm": nn.LayerNorm(dim), "hidden": hidden, "out": out})

    def forward(self, grid: Any, cls: Any) -> Any:
        grid = grid + self.attention["local"](grid)
        x = torch.cat([cls, grid.flatten(1, 3)], 1) + self.attention["global"](grid, cls)
        mlp = self.mlp
        x = x + mlp["out"](functional.gelu(mlp["hidden"](mlp["norm"](x))))
        return x[:, 1:].reshape(grid.shape), x[:, :1]


class LogoFormer(nn.Module):
    """Clips [B, T, H, W, 3], scaled, to logits."""

    def __init__(self, num_classes: int, shapes: dict[str, tuple[int, ...]]):
        """`shapes`: of space_position, time_position and class_token."""
        super().__init__()
        dim, heads, window = SIZE["dim"], SIZE["num_heads"], SIZE["window"]
        self.backbone = ResNet18()
        self.projection = nn.Linear(CHANNELS[-1], dim)
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))
        for index in range(SIZE["num_blocks"]):
            setattr(self, f"block_{index}", Block(dim, SIZE["mlp_dim"], heads, window))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, clips: Any) -> Any:
        batch, frames = clips.shape[:2]
        # The frames lie in memory with channels last already; this says so without a copy.
        maps = self.backbone(clips.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        grid = self.projection(maps).unflatten(0, (batch, frames))  # [B, T, H, W, D]
        height, width = grid.shape[2:4]
        grid = grid + self.space_position.unflatten(2, (height, width))
        grid = grid + self.time_position[:, 1:, :, None]
        cls = (self.class_token + self.time_position[:, 0]).expand(batch, -1, -1)
        for index in range(SIZE["num_blocks"]):
            grid, cls = getattr(self, f"block_{index}")(grid, cls)
        return self.head(cls[:, 0].float())


def to_windows(x: Any, window: tuple[int, int, int]) -> Any:  # -> [B, windows, fhw, D]
    f, h, w = window
    x = x.unflatten(3, (-1, w)).unflatten(2, (-1, h)).unflatten(1, (-1, f))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)
