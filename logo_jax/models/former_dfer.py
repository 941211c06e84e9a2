"""Former-DFER (Zhao and Liu, "Former-DFER: Dynamic Facial Expression Recognition Transformer", ACM
Multimedia 2021).

A ResNet-18 with a transformer between its stages 3 and 4 (S-Former) turns each frame into a vector;
a transformer over the vectors of all frames and a class token (T-Former) mixes them; a linear head
reads the class token. At 16 x 112 x 112:

    stages 1 to 3 -> 7 x 7 x 256 a frame -> + position (49) -> spatial blocks -> stage 4 ->
    average -> 512 a frame -> class token, + position (17) -> 3 temporal blocks -> class token

A block is x + Attention(LN(x)), then x + MLP(LN(x)): 8 heads (of 32 and 64), MLP of twice the
channels (512 and 1024) with the tanh form of GELU, layer norm epsilon 1e-5. Queries, keys and
values come from one projection without bias; the output projection has one. No dropout, and no norm
after the last block. Batch norm, padding and max pool: backbones.py.

Where the sources differ or are silent:
- Spatial blocks: the paper has three (9.11 G multiply-adds), the released code and weights one
  (8.30 G, 18.03 M parameters). One is the default, so that the released weights fit.
- Positions and the class token start from a standard normal distribution, linear layers from
  PyTorch's uniform distribution (+- 1 / sqrt(inputs)), as in the released code; biases from 0,
  where PyTorch draws them too, and the head as in every system here.
- The released code takes clips of 16 x 112 x 112 only. Here positions are made for the clips that
  `init` sees, and others are refused unless they give as many tokens.
"""

from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.attention import full_attention
from logo_jax.models.backbones import ResNet18
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype
from logo_jax.models.layers import LayerNorm, maps, merge_heads
from logo_jax.models.products import dense_product

# The names of the released weights.
TORCH_NAMES = (
    (r"^backbone\.", "s_former."),
    (r"\b(layer\d|downsample)_", r"\1."),
    # The released T-Former, too, calls its transformer spatial.
    (r"_former\.transformer\b", "_former.spatial_transformer"),
    (r"\blayers_", "layers."),
    (r"\.attention\.norm$", ".0.fn.norm"),
    (r"\.attention\.to_qkv$", ".0.fn.fn.to_qkv"),
    (r"\.attention\.to_out$", ".0.fn.fn.to_out.0"),
    (r"\.mlp\.norm$", ".1.fn.norm"),
    (r"\.mlp\.hidden$", ".1.fn.fn.net.0"),
    (r"\.mlp\.out$", ".1.fn.fn.net.3"),
    (r"^head$", "fc"),
)

# PyTorch's start of linear layers: uniform between +- 1 / sqrt(inputs).
Linear = partial(
    nn.Dense,
    kernel_init=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
    dot_general=dense_product,
)
standard_normal = nn.initializers.normal(1.0)


class FormerDfer(nn.Module):
    """Clip -> logits. The defaults are the released model; the input's shape is read at init."""

    num_classes: int
    spatial_depth: int = 1  # blocks of the S-Former: 1 in the released code, 3 in the paper
    temporal_depth: int = 3  # blocks of the T-Former
    num_heads: int = 8
    width: int = 64  # channels of the CNN's first stage; tokens have 4 and 8 times as many
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

        With `train=True` pass `mutable=["batch_stats"]` to get the new statistics. Attention maps
        come with `mutable=["intermediates"]`.

        Raises:
            UserError: no batch of RGB clips; another number of frames or frame size than the
                parameters were made for.
        """
        check_clips(clips.shape)
        dtype = compute_dtype(self.dtype)
        batch, frames = clips.shape[:2]
        images = jnp.asarray(clips).reshape(batch * frames, *clips.shape[2:])
        spatial = SpatialFormer(self.spatial_depth, self.num_heads, dtype, name="s_former")
        backbone = ResNet18(4, self.width, dtype, self.freeze_bn, name="backbone")
        x = backbone(images, train=train, between=spatial).mean((1, 2))
        x = x.reshape(batch, frames, -1)
        temporal = TemporalFormer(self.temporal_depth, self.num_heads, dtype, name="t_former")
        features = at_least_float32(temporal(x))
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02), name="head")
        return Output(logits=head(features), features=features)


class SpatialFormer(nn.Module):
    """Attention among the positions of each frame's map."""

    depth: int
    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        count, height, width, channels = x.shape
        position = positions(
            self,
            height * width,
            channels,
            f"positions of a map after stage 3, but these frames give {height} x {width}: give "
            "frames of the size it was trained on",
        )
        tokens = x.reshape(count, height * width, channels) + position.astype(self.dtype)
        tokens = Transformer(self.depth, self.num_heads, self.dtype, name="transformer")(tokens)
        return tokens.reshape(x.shape)


class TemporalFormer(nn.Module):
    """Attention among the frames and a class token, which is returned."""

    depth: int
    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        batch, frames, dim = x.shape
        position = positions(
            self,
            frames + 1,
            dim,
            f"tokens, one of them the class token, but this clip has {frames} frames: give clips "
            "with the number of frames it was trained on",
        )
        cls_token = self.param("cls_token", standard_normal, (1, 1, dim)).astype(self.dtype)
        tokens = jnp.concatenate([jnp.broadcast_to(cls_token, (batch, 1, dim)), x], axis=1)
        tokens = tokens + position.astype(self.dtype)
        tokens = Transformer(self.depth, self.num_heads, self.dtype, name="transformer")(tokens)
        return tokens[:, 0]


class Transformer(nn.Module):
    """Blocks of attention and MLP."""

    depth: int
    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens: Float[Array, "N n D"]) -> Float[Array, "N n D"]:
        for index in range(self.depth):
            tokens = Block(self.num_heads, self.dtype, name=f"layers_{index}")(tokens)
        return tokens


class Block(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x))."""

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens: Float[Array, "N n D"]) -> Float[Array, "N n D"]:
        tokens = tokens + Attention(self.num_heads, self.dtype, name="attention")(tokens)
        return tokens + MLP(self.dtype, name="mlp")(tokens)


class Attention(nn.Module):
    """Multi-head attention of the normalized tokens among themselves."""

    num_heads: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens: Float[Array, "N n D"]) -> Float[Array, "N n D"]:
        count, length, dim = tokens.shape
        x = LayerNorm(dtype=self.dtype, name="norm")(tokens)
        x = Linear(3 * dim, use_bias=False, dtype=self.dtype, name="to_qkv")(x)
        x = x.reshape(count, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = x[:, :, 0], x[:, :, 1], x[:, :, 2]  # [N, n, heads, d]
        x = full_attention(q, k, v, observe=maps(self, "attention"))
        return Linear(dim, dtype=self.dtype, name="to_out")(merge_heads(x))


class MLP(nn.Module):
    """W2 GELU(W1 LN(x)), with twice the channels inside."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, tokens: Float[Array, "N n D"]) -> Float[Array, "N n D"]:
        dim = tokens.shape[-1]
        x = LayerNorm(dtype=self.dtype, name="norm")(tokens)
        x = nn.gelu(Linear(2 * dim, dtype=self.dtype, name="hidden")(x), approximate=True)
        return Linear(dim, dtype=self.dtype, name="out")(x)


def positions(
    module: SpatialFormer | TemporalFormer, count: int, dim: int, mend: str
) -> Float[Array, "1 n D"]:
    """Get or make the learned positions of `module`.

    Args:
        mend: what the stored number counts, what the clip has, and what to do.

    Raises:
        UserError: the parameters hold another number of positions.
    """
    if module.has_variable("params", "pos_embedding"):
        stored: int = module.get_variable("params", "pos_embedding").shape[1]
        if stored != count:
            raise UserError(f"The model was made for {stored} {mend}.")
    return module.param("pos_embedding", standard_normal, (1, count, dim))


def check_options(model: FormerDfer) -> None:
    """Refuse options that no model can be built from.

    Raises:
        UserError: names the option and the mend.
    """
    compute_dtype(model.dtype)
    for name in ("num_classes", "spatial_depth", "temporal_depth", "num_heads", "width"):
        value = getattr(model, name)
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    if 4 * model.width % model.num_heads:
        raise UserError(
            f"{4 * model.width} channels after stage 3 (4 times width) do not divide into "
            f"{model.num_heads} heads: choose another width or num_heads."
        )
