"""The token model: LOGO-Former, and every other system of tokens, attention blocks and a head.

A CNN (or a patch embedding) turns the frames into a grid of tokens, blocks of space-time attention
refine the tokens and a class token, and a linear head reads the class token. `LogoFormer` is the
paper's (Ma, Sun and Li, ICASSP 2023, arXiv 2305.03343) with its defaults; the presets of
systems.py are the same module with another scheme or size.

Decisions where the paper is silent; docs/models.md gives the reasons, windowed.py and framewise.py
those of the schemes:
- Size: 16 frames of 112 x 112, stage 4 (4 x 4 x 512 a frame), dim 512, MLP 1024, window 4 x 2 x 2.
- Positions: space `[1, 1, HW, D]` on the grid tokens; time `[1, F + 1, 1, D]`, slot 0 for the
  class token, added after it is prepended (section 2.1). They and the class token start from a
  normal distribution with standard deviation 0.02, like the head.
- No norm between the last block and the head (equation 10); `final_norm` adds one.
- Drop path grows linearly from 0 in the first block to `drop_path` in the last; a single block has
  all of it.
- `shift_windows` moves the windows of every second block by half a window, as Swin Transformer.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError, pick
from logo_jax.models.attention import IMPLEMENTATIONS
from logo_jax.models.backbones import BACKBONES, PatchEmbedding
from logo_jax.models.blocks import FRAME_CLASS_TOKENS, SCHEMES, Block
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype
from logo_jax.models.layers import AttentionOptions, LayerNorm, Linear, Tokens
from logo_jax.models.windowed import POOLS
from logo_jax.models.windows import by

normal = nn.initializers.normal(0.02)

# The PyTorch form has flax's names but for torchvision's dots in the backbone.
TORCH_NAMES: tuple[tuple[str, str], ...] = ((r"\b(layer\d|downsample)_", r"\1."),)


class LogoFormer(nn.Module):
    """Clip -> logits. The defaults are the paper's size; the input's shape is read at init."""

    num_classes: int
    attention: str = "local_global"  # a name of SCHEMES
    attention_impl: str = "xla"  # form of the products: "xla", "chunked" or "cudnn"
    backbone: str = "resnet18"  # a name of BACKBONES, or "patch": no CNN
    stage: int = 4  # last stage of the ResNet, 1 to 4
    width: int = 64  # channels of its first stage
    patch_size: int = 16  # side of a patch, pixels ("patch" only)
    tubelet: int = 1  # frames of a patch ("patch" only)
    dim: int = 512  # channels of a token
    mlp_dim: int = 1024  # hidden channels of the MLP
    num_heads: int = 8
    num_blocks: int = 4
    window: tuple[int, ...] = (4, 2, 2)  # frames, height, width, in tokens
    shift_windows: bool = False  # windows of every second block moved by half a window
    pool: str = "weighted"  # a name of POOLS
    pad_windows: bool = False  # pad and mask a grid that the window does not divide
    parallel: bool = False  # local_global: both steps read the same input
    mixing_share: int = 8  # mixing: 1/n of the channels come from each neighbouring frame
    final_norm: bool = False  # a layer norm between the last block and the head
    global_out_proj: bool = False  # an output projection in the global attention
    dropout: float = 0.0
    drop_path: float = 0.0
    remat: bool = False  # compute activations of blocks and ResNet again in the backward pass
    freeze_bn: bool = False  # batch norm uses its running statistics in training too
    dtype: str = "float32"  # or "bfloat16": type of the computation, not of the parameters

    def __post_init__(self) -> None:
        check_options(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H0 W0 3"], train: bool = False
    ) -> Output:
        """Map normalized clips to logits and features, both float32.

        With `train=True` pass `rngs={"dropout": key}` if a rate is positive, and
        `mutable=["batch_stats"]` to get the new statistics. Attention maps come with
        `mutable=["intermediates"]`.

        Raises:
            UserError: no batch of RGB clips; a window that does not divide the token grid; another
                clip size than the one the parameters were made for.
        """
        check_clips(clips.shape)
        dtype = compute_dtype(self.dtype)
        x = self.tokens(jnp.asarray(clips), train, dtype)
        batch, frames, height, width, dim = x.shape

        space = self.position("space_position", (1, 1, height * width, dim))
        time = self.position("time_position", (1, frames + 1, 1, dim))
        class_token = self.param("class_token", normal, (1, 1, dim))
        # Slot 0 of time is the class token's, so that adding before or after prepending is one.
        x = x.reshape(batch, frames, height * width, dim)
        grid = (x + space.astype(dtype) + time[:, 1:].astype(dtype)).reshape(
            batch, frames, height, width, dim
        )
        count = frames if self.attention in FRAME_CLASS_TOKENS else 1
        cls = jnp.broadcast_to((class_token + time[:, 0]).astype(dtype), (batch, count, dim))
        drop = partial(nn.Dropout(self.dropout), deterministic=not train)
        grid, cls = drop(grid), drop(cls)

        for index in range(self.num_blocks):
            options = self.block_options(index, dtype)
            block = Block(self.attention, self.mlp_dim, options, name=f"block_{index}")

            def refine(block: Block, grid: Array, cls: Array) -> Tokens:
                return block(grid, cls, train=train)

            grid, cls = (nn.remat(refine) if self.remat else refine)(block, grid, cls)

        # Equation 10: the head reads the class token (of the schemes with one a frame: their mean).
        features = cls.mean(axis=1)
        if self.final_norm:
            features = LayerNorm(dtype=dtype, name="final_norm")(features)
        features = at_least_float32(features)
        head = nn.Dense(self.num_classes, kernel_init=normal, name="head")
        return Output(logits=head(features), features=features)

    def tokens(
        self, clips: Float[Array, "B T0 H0 W0 3"], train: bool, dtype: jnp.dtype
    ) -> Float[Array, "B T H W D"]:
        """Turn the frames into a grid of tokens."""
        if self.backbone == "patch":
            embed = PatchEmbedding(self.dim, self.patch_size, self.tubelet, dtype, name="backbone")
            return embed(clips)
        backbone = pick(BACKBONES, self.backbone, "backbone")(
            self.stage, self.width, dtype, self.freeze_bn, self.remat, name="backbone"
        )
        maps = backbone(clips.reshape(-1, *clips.shape[2:]), train=train)
        x = Linear(self.dim, dtype=dtype, name="projection")(maps)
        return x.reshape(*clips.shape[:2], *x.shape[1:])

    def block_options(self, index: int, dtype: jnp.dtype) -> AttentionOptions:
        length, rows, columns = self.window
        shift = (length // 2, rows // 2, columns // 2)
        return AttentionOptions(
            num_heads=self.num_heads,
            attention_impl=self.attention_impl,
            window=(length, rows, columns),
            shift=shift if self.shift_windows and index % 2 else (0, 0, 0),
            pool=self.pool,
            pad_windows=self.pad_windows,
            parallel=self.parallel,
            global_out_proj=self.global_out_proj,
            mixing_share=self.mixing_share,
            dropout=self.dropout,
            drop_path=self.drop_path
            * (index / (self.num_blocks - 1) if self.num_blocks > 1 else 1),
            dtype=dtype,
        )

    def position(self, name: str, shape: tuple[int, ...]) -> Float[Array, "1 a b D"]:
        """Get or make a position embedding.

        Raises:
            UserError: the parameters hold one of another shape, made for clips of another size.
        """
        if self.has_variable("params", name):
            stored: tuple[int, ...] = self.get_variable("params", name).shape
            if stored != shape:
                raise UserError(
                    f"The model's {name} is {by(stored)}, but this clip needs {by(shape)}: give "
                    "clips with the number of frames and the frame size it was trained on, or "
                    "adapt the variables with logo_jax.pretrained.fit_positions."
                )
        return self.param(name, normal, shape)


def check_options(model: LogoFormer) -> None:
    """Refuse options that no model can be built from.

    Raises:
        UserError: names the option and the mend.
    """
    pick(SCHEMES, model.attention, "attention scheme")
    pick(IMPLEMENTATIONS, model.attention_impl, "attention_impl")
    pick(dict.fromkeys([*BACKBONES, "patch"]), model.backbone, "backbone")
    pick(dict.fromkeys(POOLS), model.pool, "pool")
    compute_dtype(model.dtype)
    for name in ("num_classes", "width", "patch_size", "tubelet", "dim", "mlp_dim", "num_heads",
                 "num_blocks"):  # fmt: skip
        value = getattr(model, name)
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    if not 1 <= model.stage <= 4:
        raise UserError(f"stage must be 1, 2, 3 or 4 (the last stage used), not {model.stage}.")
    if model.dim % model.num_heads:
        raise UserError(
            f"dim {model.dim} does not divide into {model.num_heads} heads: choose a dim that is a "
            "multiple of num_heads."
        )
    channels = model.dim // model.num_heads
    if model.attention == "mixing" and not 2 <= model.mixing_share <= channels:
        raise UserError(
            f"mixing_share is {model.mixing_share}: of the {channels} channels of a head, 1/n come "
            f"from either neighbouring frame, so choose n from 2 to {channels}."
        )
    whole = [isinstance(side, int) and side >= 1 for side in model.window]
    if whole != [True, True, True]:
        raise UserError(
            "window must be three positive whole numbers of tokens (frames, height, width), not "
            f"{tuple(model.window)}."
        )
    for name in ("dropout", "drop_path"):
        rate = getattr(model, name)
        if not 0 <= rate < 1:
            raise UserError(f"{name} is a probability from 0 to below 1, not {rate}.")
