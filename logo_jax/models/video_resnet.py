"""R3D-18, R(2+1)D-18 and MC3-18 (Tran et al., CVPR 2018, arXiv 1711.11248), in torchvision's form.

ResNets of 18 layers whose convolutions see frames as well as height and width. The three differ in
their convolutions alone:
- R3D ("3d"): 3 x 3 x 3 throughout, stem 3 x 7 x 7.
- R(2+1)D ("2plus1d"): 1 x 3 x 3, batch norm, ReLU, then 3 x 1 x 1; the stem 1 x 7 x 7, then
  3 x 1 x 1. A stride is split alike: over height and width in the first, over frames in the second.
- MC3 ("mixed"): stem and layer 1 as in R3D, layers 2 to 4 with 1 x 3 x 3 kernels, which never
  stride over frames.

What differs between frameworks and is pinned here:
- Convolutions have no bias and pad both ends of each axis by kernel // 2, as PyTorch does; there is
  no max pool. The stem strides 1 x 2 x 2, the first block of layers 2 to 4 strides 2 x 2 x 2
  (1 x 2 x 2 in MC3), and so does the 1 x 1 x 1 convolution of its shortcut.
- Batch norm: epsilon 1e-5; momentum 0.9 in flax's terms is 0.1 in PyTorch's. Both normalize with
  the biased variance of the batch. The *running* variance of flax is the biased one, PyTorch's the
  unbiased one, larger by n / (n - 1), n = clips x frames x height x width of the map.
- The features are the average over frames, height and width.

Where sources disagree:
- The channels between the two halves of a (2+1)D convolution. The paper's formula keeps the number
  of parameters of the 3 x 3 x 3 convolution that is replaced: 33.4 M in all. torchvision applies it
  once for a block, with the channels that enter the block, to both convolutions, and its stem has
  45 where the formula gives 83: 31.5 M. torchvision's form is taken, since its weights are the ones
  in use. For another `width` the 45 shrink in proportion, rounded up.
- Start: convolutions from He's normal distribution by fan-out, norms from scale 1 and bias 0, as in
  torchvision; the head from a normal distribution with standard deviation 0.02 as in every system
  here, where torchvision has 0.01.
"""

from functools import partial
from math import ceil

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError, pick
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype

BLOCKS_PER_LAYER = 2
# By network: the convolutions of layers 1 to 4. The stem is "2plus1d" or "3d" as layer 1 is.
CONVOLUTIONS = {
    "3d": ("3d", "3d", "3d", "3d"),
    "2plus1d": ("2plus1d", "2plus1d", "2plus1d", "2plus1d"),
    "mixed": ("3d", "2d", "2d", "2d"),
}
# Flax path of a module -> torchvision's name.
TORCH_NAMES: tuple[tuple[str, str], ...] = (
    (r"^backbone\.", ""),
    (r"^head$", "fc"),
    (r"^stem\.(conv|norm)_", "stem."),
    (r"_(?=\d)", "."),
)


class VideoResNet18(nn.Module):
    """Maps clips `[B T H W 3]` to features `[B 8*width]`: the network without its head.

    Attributes:
        convolution: "3d" (R3D), "2plus1d" (R(2+1)D) or "mixed" (MC3).
        width: channels of the first layer; 64 is the size of the paper.
        dtype: type of the computation; batch statistics and features are float32 at least.
        freeze_bn: normalize with the running statistics in training too, and leave them alone.
    """

    convolution: str = "3d"
    width: int = 64
    dtype: jnp.dtype = jnp.dtype(jnp.float32)
    freeze_bn: bool = False

    @nn.compact
    def __call__(self, clips: Float[Array, "B T H0 W0 3"], *, train: bool) -> Float[Array, "B C"]:
        kinds = pick(CONVOLUTIONS, self.convolution, "convolution")
        norm = partial(
            nn.BatchNorm,
            use_running_average=self.freeze_bn or not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        x = clips.astype(self.dtype)
        x = Stem(kinds[0], self.width, norm, self.dtype, name="stem")(x)
        for layer, kind in enumerate(kinds, start=1):
            channels = self.width * 2 ** (layer - 1)
            for index in range(BLOCKS_PER_LAYER):
                stride = 2 if layer > 1 and index == 0 else 1
                name = f"layer{layer}_{index}"
                x = VideoBlock(kind, channels, stride, norm, self.dtype, name=name)(x)
        return at_least_float32(x).mean(axis=(1, 2, 3))


class Stem(nn.Module):
    """The first convolution, 3 x 7 x 7 or 1 x 7 x 7 and 3 x 1 x 1; names end as torchvision's."""

    kind: str
    width: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W 3"]) -> Float[Array, "B T H2 W2 C"]:
        if self.kind == "2plus1d":
            middle = ceil(45 * self.width / 64)
            x = conv(middle, (1, 7, 7), (1, 2, 2), self.dtype, "conv_0")(x)
            x = nn.relu(self.norm(name="norm_1")(x))
            x = conv(self.width, (3, 1, 1), (1, 1, 1), self.dtype, "conv_3")(x)
            return nn.relu(self.norm(name="norm_4")(x))
        x = conv(self.width, (3, 7, 7), (1, 2, 2), self.dtype, "conv_0")(x)
        return nn.relu(self.norm(name="norm_1")(x))


class VideoBlock(nn.Module):
    """Two convolutions of a kind and a shortcut, projected where stride or channels change."""

    kind: str
    channels: int
    stride: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T H W C"]) -> Float[Array, "B T2 H2 W2 C2"]:
        shortcut = x
        x = self.convolve(x, self.stride, shortcut.shape[-1], "conv1_0")
        x = nn.relu(self.norm(name="conv1_1")(x))
        x = self.convolve(x, 1, shortcut.shape[-1], "conv2_0")
        x = self.norm(name="conv2_1")(x)
        if self.stride != 1 or shortcut.shape[-1] != self.channels:
            strides = (1 if self.kind == "2d" else self.stride, self.stride, self.stride)
            shortcut = conv(self.channels, (1, 1, 1), strides, self.dtype, "downsample_0")(shortcut)
            shortcut = self.norm(name="downsample_1")(shortcut)
        return nn.relu(x + shortcut)

    def convolve(
        self, x: Float[Array, "B T H W C"], stride: int, entering: int, name: str
    ) -> Float[Array, "B T2 H2 W2 C2"]:
        """Apply one convolution of the kind; `entering` is the number of channels of the block."""
        if self.kind == "2plus1d":
            # As many parameters as a 3 x 3 x 3 convolution from `entering` to `channels`.
            middle = entering * self.channels * 27 // (entering * 9 + self.channels * 3)
            x = conv(middle, (1, 3, 3), (1, stride, stride), self.dtype, f"{name}_0")(x)
            x = nn.relu(self.norm(name=f"{name}_1")(x))
            return conv(self.channels, (3, 1, 1), (stride, 1, 1), self.dtype, f"{name}_3")(x)
        if self.kind == "2d":
            return conv(self.channels, (1, 3, 3), (1, stride, stride), self.dtype, name)(x)
        return conv(self.channels, (3, 3, 3), (stride, stride, stride), self.dtype, name)(x)


def conv(
    channels: int,
    kernel: tuple[int, int, int],
    strides: tuple[int, int, int],
    dtype: jnp.dtype,
    name: str,
) -> nn.Conv:
    """A convolution over frames, height and width, without bias, padded by kernel // 2.

    One operator for all devices. On CPU a training step of R3D-18 takes XLA about four times as
    long as PyTorch; a third of that is the gradient by the input of the strided convolutions. That
    by the clip itself, which training does not need, takes three times as long as the whole step.
    """
    return nn.Conv(
        channels,
        kernel,
        strides=strides,
        padding=[(side // 2, side // 2) for side in kernel],
        use_bias=False,
        dtype=dtype,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        name=name,
    )


class VideoClassifier(nn.Module):
    """Clip -> logits: the network, then a linear head on its features.

    The defaults are `r3d_18`; `convolution` makes the two others of it.
    """

    num_classes: int
    convolution: str = "3d"  # "3d" (R3D), "2plus1d" (R(2+1)D) or "mixed" (MC3)
    width: int = 64  # channels of layer 1; 2, 4 and 8 times as many in layers 2 to 4
    freeze_bn: bool = False  # batch norm uses its running statistics in training too
    dtype: str = "float32"  # or "bfloat16": type of the computation, not of the parameters

    def __post_init__(self) -> None:
        pick(CONVOLUTIONS, self.convolution, "convolution")
        compute_dtype(self.dtype)
        for name in ("num_classes", "width"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(f"{name} must be at least 1, not {value}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H0 W0 3"], train: bool = False
    ) -> Output:
        """Map normalized clips of any size to logits and features, both float32.

        With `train=True` pass `mutable=["batch_stats"]` to get the new statistics.

        Raises:
            UserError: no batch of RGB clips.
        """
        check_clips(clips.shape)
        dtype = compute_dtype(self.dtype)
        backbone = VideoResNet18(
            self.convolution, self.width, dtype, self.freeze_bn, name="backbone"
        )
        features = backbone(jnp.asarray(clips), train=train)
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02), name="head")
        return Output(logits=head(features), features=features)
