"""Multiply-adds of the attention schemes as closed forms, by part.

Names: a grid of T x H x W tokens (the paper's F x H x W), K class tokens, N = THW + K, D channels,
a window of f x h x w tokens, M = ceil(T/f) ceil(H/h) ceil(W/w) windows. All numbers are for one
clip and a forward pass.

The paper compares the pairs of query and key (its equation 2 for windows, 8 for local-global
attention, 9 for the comparison with divided attention); `leading_pairs` has those. The forms below
add what it leaves out: the class token, the projections, the pooling, and the factor 2 D of the
two products (q k^T, and the weights times v).

Convention: one multiply-add is one; matrix products and convolutions count. Softmax, norms and the
weighted pool (multiply and sum, which a matrix unit does not do) do not; the last is given apart.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from logo_jax.common.errors import UserError, pick
from logo_jax.models.backbones import BLOCKS_PER_STAGE
from logo_jax.models.blocks import BUILT_IN, FRAME_CLASS_TOKENS
from logo_jax.models.layers import AttentionOptions
from logo_jax.models.token_model import LogoFormer
from logo_jax.models.windows import check_window

Shape = tuple[int, int, int]  # frames, height, width

CONVENTION = (
    "One multiply-add is one. Matrix products and convolutions count, those on the padding of a "
    "convolution too; softmax, norms and the weighted pool do not. For one clip, forward."
)
WITHOUT_PRODUCTS = (
    "The two products of attention are left out, as the usual PyTorch counters (convolutions and "
    "dense layers) and published tables do."
)


@dataclass(frozen=True)
class Parts:
    """Multiply-adds by part; they add up and can be scaled.

    Attributes:
        projections: q, k, v and output projections of attention.
        products: the two products of attention, q k^T and the weights times v.
        pooling: the dense layer of `pool="conv"`.
        mlp: both layers of the MLP.
        tokens: from the backbone's map, or from patches, to tokens.
        backbone: convolutions.
        head: the classifier.
        weighted_pooling: of `pool="weighted"`, done entry by entry: in none of the sums below.
    """

    projections: int = 0
    products: int = 0
    pooling: int = 0
    mlp: int = 0
    tokens: int = 0
    backbone: int = 0
    head: int = 0
    weighted_pooling: int = 0

    def __add__(self, other: "Parts") -> "Parts":
        return Parts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: int) -> "Parts":
        return Parts(*(getattr(self, f.name) * times for f in fields(self)))

    @property
    def dense(self) -> int:
        """Matrix products of activations by parameters."""
        return self.projections + self.pooling + self.mlp + self.tokens + self.head

    def total(self, products: bool) -> int:
        """Convolutions and dense layers, and the products of attention if `products`."""
        return self.backbone + self.dense + (self.products if products else 0)


Formula = Callable[[Shape, int, int, AttentionOptions], Parts]


def full(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """N^2 pairs."""
    n = prod(grid) + count
    return Parts(projections=4 * n * dim**2, products=2 * dim * n**2)


def spatial(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """T (HW + 1)^2 pairs: every frame has one class token, so K = T."""
    frames, n = grid[0], grid[1] * grid[2] + 1
    return Parts(projections=4 * frames * n * dim**2, products=2 * dim * frames * n**2)


def factorized(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """HW T^2 + T (HW + K)^2 pairs; the class tokens are copied to every frame."""
    frames, positions = grid[0], grid[1] * grid[2]
    copied = positions + count
    return Parts(
        projections=4 * frames * (positions + copied) * dim**2,
        products=2 * dim * (positions * frames**2 + frames * copied**2),
    )


def divided(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """As `factorized` (equation 9), and a linear layer behind the temporal attention."""
    return factorized(grid, count, dim, options) + Parts(projections=prod(grid) * dim**2)


def local(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """M (fhw)^2 pairs in windows (THW fhw, equation 2), and K (K + THW) of the class tokens."""
    n = prod(grid)
    of_class = Parts(projections=4 * count * dim**2, products=2 * dim * count * (count + n))
    return _windows(grid, dim, options) + of_class


def global_(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """N (M + K) pairs: keys are the pooled tokens and the class tokens (equations 3 to 6)."""
    n, windows = prod(grid) + count, count_windows(grid, options)
    keys = windows + count
    projections = (n + 2 * keys + (n if options.global_out_proj else 0)) * dim**2
    positions = windows * prod(options.window)
    return Parts(
        projections=projections,
        products=2 * dim * n * keys,
        pooling=positions * dim**2 if options.pool == "conv" else 0,
        weighted_pooling=positions * dim if options.pool == "weighted" else 0,
    )


def local_global(grid: Shape, count: int, dim: int, options: AttentionOptions) -> Parts:
    """M (fhw)^2 + N (M + K) pairs (equation 8: THW fhw + (THW)^2 / fhw)."""
    return _windows(grid, dim, options) + global_(grid, count, dim, options)


def _windows(grid: Shape, dim: int, options: AttentionOptions) -> Parts:
    """Attention inside windows, without class tokens; padded windows are computed whole."""
    pairs = count_windows(grid, options) * prod(options.window) ** 2
    return Parts(projections=4 * prod(grid) * dim**2, products=2 * dim * pairs)


def count_windows(grid: Shape, options: AttentionOptions) -> int:
    """M, the windows that cover the grid.

    Raises:
        UserError: the window does not divide the grid, and `pad_windows` is False.
    """
    check_window(grid, options.window, options.pad_windows)
    return prod(-(-size // side) for size, side in zip(grid, options.window, strict=True))


# By name; `register_formula` adds one's own.
FORMULAS: dict[str, Formula] = {
    "full": full,
    "spatial": spatial,
    "divided": divided,
    "factorized": factorized,
    "mixing": spatial,  # shifting channels costs no multiply-add
    "local": local,
    "global": global_,
    "local_global": local_global,
}


def register_formula(name: str, formula: Formula) -> None:
    """Enter the formula of a scheme of one's own; without one it is counted all the same.

    Args:
        name: that of the scheme.
        formula: `(grid, number of class tokens, dim, options) -> Parts` of the attention module.

    Raises:
        UserError: the name is a built-in scheme's.
    """
    if name in BUILT_IN:
        raise UserError(f'The formula of the built-in scheme "{name}" cannot be replaced.')
    FORMULAS[name] = formula


def class_tokens(scheme: str, frames: int) -> int:
    """K: one for each frame in the schemes that keep frames apart, else one."""
    return frames if scheme in FRAME_CLASS_TOKENS else 1


def attention_cost(scheme: str, grid: Shape, dim: int, options: AttentionOptions) -> Parts:
    """The attention module of one block.

    Raises:
        UserError: no formula of that name, one that gives no `Parts` or a part that is no count,
            or a window that does not divide the grid.
    """
    formula = pick(FORMULAS, scheme, "attention formula")
    parts = formula(grid, class_tokens(scheme, grid[0]), dim, options)
    if not isinstance(parts, Parts):
        raise UserError(
            f'The formula of "{scheme}" gives a {type(parts).__name__}: it must give Parts.'
        )
    return Parts(*(_count(scheme, f.name, getattr(parts, f.name)) for f in fields(Parts)))


def _count(scheme: str, name: str, value: Any) -> int:
    """A part as int, which JSON can hold: a formula may give numpy's integers or whole floats."""
    try:
        count = int(value)
        if count == value and count >= 0:
            return count
    except (TypeError, ValueError, OverflowError):  # no number, NaN, infinity
        pass
    raise UserError(
        f'The formula of "{scheme}" gives {name}={value}: it must be a whole number of '
        "multiply-adds, 0 or more."
    )


def block_cost(
    scheme: str, grid: Shape, dim: int, mlp_dim: int, options: AttentionOptions
) -> Parts:
    """One block: the attention module, and an MLP on all tokens, class tokens included."""
    tokens = prod(grid) + class_tokens(scheme, grid[0])
    return attention_cost(scheme, grid, dim, options) + Parts(mlp=2 * tokens * dim * mlp_dim)


def blocks_cost(scheme: str, grid: Shape, dim: int, options: AttentionOptions) -> Parts:
    """All blocks of a token model with LogoFormer's depth and share of MLP; no backbone, no head.

    The study has grids and not clips, so it cannot know the backbone.
    """
    mlp_dim = dim * LogoFormer.mlp_dim // LogoFormer.dim
    return block_cost(scheme, grid, dim, mlp_dim, options) * LogoFormer.num_blocks


def model_cost(model: LogoFormer, clip: tuple[int, int, int]) -> Parts:
    """The whole token model for one clip.

    Args:
        clip: frames, height and width in pixels.

    Raises:
        UserError: an unknown backbone, or a window that does not divide the token grid.
    """
    if model.backbone == "patch":
        sides = (model.tubelet, model.patch_size, model.patch_size)
        length, rows, columns = (size // side for size, side in zip(clip, sides, strict=True))
        grid = (length, rows, columns)
        front = Parts(tokens=prod(grid) * prod(sides) * 3 * model.dim)
    elif model.backbone == "resnet18":
        grid, convolutions = _resnet18(clip, model.stage, model.width)
        channels = model.width * 2 ** (model.stage - 1)
        front = Parts(backbone=convolutions, tokens=prod(grid) * channels * model.dim)
    else:
        raise UserError(f'No formula for the backbone "{model.backbone}": "resnet18" or "patch".')
    options = model.block_options(0, AttentionOptions().dtype)
    block = block_cost(model.attention, grid, model.dim, model.mlp_dim, options)
    return front + block * model.num_blocks + Parts(head=model.dim * model.num_classes)


def _resnet18(clip: tuple[int, int, int], stage: int, width: int) -> tuple[Shape, int]:
    """The token grid of a ResNet-18 through `stage`, and its convolutions for all frames."""
    frames, height, width_px = clip
    height, width_px = -(-height // 2), -(-width_px // 2)
    count = height * width_px * width * 7 * 7 * 3
    height, width_px = -(-height // 2), -(-width_px // 2)  # max pool
    for index in range(stage):
        channels = width * 2**index
        before = channels if index == 0 else channels // 2
        if index:
            height, width_px = -(-height // 2), -(-width_px // 2)
        kernels = 9 * before * channels + (2 * BLOCKS_PER_STAGE - 1) * 9 * channels**2
        shortcut = before * channels if index else 0
        count += height * width_px * (kernels + shortcut)
    return (frames, height, width_px), frames * count


# The paper's comparison: pairs of query and key, without class token.


def leading_pairs(scheme: str, grid: Shape, window: Shape) -> float | int:
    """Pairs of query and key to leading order, as the paper writes them.

    Raises:
        UserError: no formula of that name.
    """
    t, hw, size = grid[0], grid[1] * grid[2], prod(window)
    n = t * hw
    pairs = {
        "full": n**2,
        "spatial": t * hw**2,
        "mixing": t * hw**2,
        "divided": t * hw**2 + hw * t**2,
        "factorized": t * hw**2 + hw * t**2,
        "local": n * size,  # equation 2
        "global": n**2 / size,
        "local_global": n * size + n**2 / size,  # equation 8
    }
    return pick(pairs, scheme, "attention formula")


def inequality_holds(grid: Shape, window: Shape) -> bool:
    """Inequality (9): local-global attention has fewer pairs than divided attention.

    Divided by THW it reads fhw + THW/fhw < HW + T, that is (fhw - T)(fhw - HW) < 0: it holds where
    the window's tokens lie strictly between T and HW, and nowhere else. On the default grid, 16
    frames of 4 x 4, T = HW, so it holds for no window; at 16 tokens a window both sides are equal.
    """
    t, hw, size = grid[0], grid[1] * grid[2], prod(window)
    return (size - t) * (size - hw) < 0


def balanced_window(grid: Shape) -> float:
    """Tokens of the window at which local and global pairs are equal and their sum is least.

    THW fhw + (THW)^2 / fhw is least at fhw = sqrt(THW), where it is 2 (THW)^1.5.
    """
    return prod(grid) ** 0.5
