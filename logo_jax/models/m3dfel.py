"""M3DFEL (Wang et al., CVPR 2023: "Rethinking the Learning Paradigm for Dynamic Facial Expression
Recognition"): a clip is a bag of short instances, of which only some show the expression.

A clip of 16 frames is cut into 4 instances of 4 consecutive frames. R3D-18 turns each instance into
512 features, two layers of a bidirectional LSTM (512 each way) relate the instances in time, and
8-head attention between them, normalized and squashed, becomes a gate on the LSTM's output. A 1-D
convolution joins the 4 gated vectors of 1024 into one, which a linear head reads.

What the paper or common usage leaves open, and what was decided:
- The attention has no norm before it, no bias, no output projection and no residual, and scales by
  1 / sqrt(128). Its result enters the output through the gate alone: out = LSTM * sigmoid(norm).
- Dynamic instance normalization mixes two statistics, each by the softmax of a learned pair that
  starts even, one pair for means and one for variances: those of a feature over the instances, and
  those of all features together. The latter's variance is, as in the released code, the mean of
  variance + mean^2 over the features, less the square of the common mean, so that the spread of the
  means counts. The variance of a feature is the unbiased one (n - 1), so that a clip needs two
  instances at least. Epsilon 1e-5 is added to the mixed variance. A learned scale and shift per
  feature follow, started at 1 and 0.
- The statistics belong to one clip, in training and inference alike; nothing is kept running.
- The joining convolution reads instances as channels (4 in, 1 out) and slides over neighbouring
  features: kernel 3, zeros at both ends, with bias.
- No dropout. Batch norm in R3D-18 averages over all instances of all clips of the batch.
- LSTM gates in PyTorch's order i f g o, sigmoid and tanh, state and memory from zero. The second
  layer reads both directions of the first. Kernels start by LeCun's normal distribution, recurrent
  ones orthogonal, biases zero (PyTorch: all uniform in 1 / sqrt(512)).
- The paper starts R3D-18 from weights trained on Kinetics-400: `params["backbone"]` has the names
  that it has in `r3d_18`. Everything of R3D-18 is described in video_resnet.py.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.attention import full_attention
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype
from logo_jax.models.layers import maps
from logo_jax.models.video_resnet import TORCH_NAMES as VIDEO_RESNET_NAMES
from logo_jax.models.video_resnet import VideoResNet18

NUM_HEADS = 8
# In PyTorch R3D-18 is `features`, a sequence: the stem, then layers 1 to 4.
TORCH_NAMES: tuple[tuple[str, str], ...] = (
    *VIDEO_RESNET_NAMES,
    (r"^stem\.", "features.0."),
    (r"^layer(\d)", r"features.\1"),
    (r"^join$", "pwconv"),
)


class M3DFEL(nn.Module):
    """Clip -> logits. The defaults are the paper's size, for clips of 16 x 112 x 112."""

    num_classes: int
    num_instances: int = 4  # parts of equal length that a clip is cut into, 2 at least
    width: int = 64  # channels of R3D-18's first layer; features and LSTM have 8 times as many
    freeze_bn: bool = False  # batch norm uses its running statistics in training too
    dtype: str = "float32"  # or "bfloat16": type of the computation, not of the parameters

    def __post_init__(self) -> None:
        compute_dtype(self.dtype)
        for name, least in (("num_classes", 1), ("num_instances", 2), ("width", 1)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"{name} must be at least {least}, not {value}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H0 W0 3"], train: bool = False
    ) -> Output:
        """Map normalized clips to logits and features, both float32.

        With `train=True` pass `mutable=["batch_stats"]` to get the new statistics. The attention
        between instances, `[B heads N N]`, comes with `mutable=["intermediates"]`.

        Raises:
            UserError: no batch of RGB clips; a number of frames that does not divide into
                `num_instances`.
        """
        check_clips(clips.shape)
        dtype = compute_dtype(self.dtype)
        batch, frames = clips.shape[:2]
        if frames % self.num_instances:
            raise UserError(
                f"{frames} frames do not divide into {self.num_instances} instances of equal "
                "length: sample a multiple of num_instances frames, or change num_instances."
            )

        length = frames // self.num_instances
        instances = jnp.asarray(clips).reshape(-1, length, *clips.shape[2:])  # [BN, T/N, H, W, 3]
        backbone = VideoResNet18("3d", self.width, dtype, self.freeze_bn, name="backbone")
        x = backbone(instances, train=train)
        x = x.reshape(batch, self.num_instances, -1)  # [B, N, 512]
        x = BidirectionalLSTM(x.shape[-1], dtype, name="lstm")(x)
        dim = x.shape[-1]  # 1024

        # One projection to queries, keys and values, as PyTorch's.
        qkv = nn.Dense(3 * dim, use_bias=False, dtype=dtype, name="to_qkv")(x)
        q, k, v = (
            part.reshape(*part.shape[:-1], NUM_HEADS, -1) for part in jnp.split(qkv, 3, axis=-1)
        )
        mixed = full_attention(q, k, v, observe=maps(self, "attention"))
        mixed = mixed.reshape(batch, self.num_instances, dim)
        gate = jax.nn.sigmoid(DynamicInstanceNorm(name="norm")(mixed))
        x = (x * gate).swapaxes(1, 2).astype(dtype)  # [B, D, N]

        # Instances are the channels of the convolution.
        x = nn.Conv(1, (3,), padding=1, dtype=dtype, name="join")(x).squeeze(-1)  # [B, D]
        features = at_least_float32(x)
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02), name="head")
        return Output(logits=head(features), features=features)


class BidirectionalLSTM(nn.Module):
    """Two LSTM layers, each read in both directions: `[B N C] -> [B N 2*hidden]`."""

    hidden: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N D"]:
        # The memory sums over time: float32 at least. It is also the type of the output.
        kept = jnp.promote_types(self.dtype, jnp.float32)
        zeros = jnp.zeros((x.shape[0], self.hidden), kept)
        for layer in ("l0", "l1"):
            both = []
            for name, reverse in ((layer, False), (f"{layer}_reverse", True)):
                cell = nn.OptimizedLSTMCell(self.hidden, dtype=self.dtype, name=name)
                rnn = nn.RNN(cell, reverse=reverse, keep_order=True)
                both.append(rnn(x, initial_carry=(zeros, zeros)))
            x = jnp.concatenate(both, axis=-1)  # type: ignore[arg-type]  # no carry is asked for
        return x


class DynamicInstanceNorm(nn.Module):
    """(x - mean) / sqrt(variance + 1e-5), scaled and shifted per feature.

    Mean and variance are mixtures of those of each feature over the instances of a clip and of
    those of all its features together; the shares are the softmax of a learned pair each.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        of_means = jax.nn.softmax(self.param("mean_weight", ones, (2,)))
        of_variances = jax.nn.softmax(self.param("var_weight", ones, (2,)))
        scale = self.param("scale", ones, (1, x.shape[-1], 1))  # PyTorch's shape
        bias = self.param("bias", zeros, (1, x.shape[-1], 1))

        x = at_least_float32(x)
        own_mean = x.mean(axis=1, keepdims=True)  # [B, 1, D]
        own_variance = x.var(axis=1, ddof=1, keepdims=True)
        mean = own_mean.mean(axis=-1, keepdims=True)  # [B, 1, 1], of all features
        variance = (own_variance + own_mean**2).mean(axis=-1, keepdims=True) - mean**2

        x = x - (of_means[0] * own_mean + of_means[1] * mean)
        x = x * jax.lax.rsqrt(of_variances[0] * own_variance + of_variances[1] * variance + 1e-5)
        return x * scale[:, :, 0] + bias[:, :, 0]
