"""From frames to features: ResNet-18 (He et al. 2016) with torchvision's structure, or patches.

Weights trained elsewhere can be imported tensor by tensor: `layer2.0.downsample.1.running_mean` in
torchvision is `batch_stats: layer2_0 / downsample_1 / mean` here, and so on.

What differs between frameworks and is pinned here:
- Strided convolutions and the max pool pad both sides by kernel // 2, as PyTorch does. "SAME"
  would pad the end only and shift the features by half a pixel.
- Batch norm: epsilon 1e-5; momentum 0.9 in flax's terms is 0.1 in PyTorch's. Both normalize with
  the biased variance of the batch. The *running* variance of flax is the biased one, PyTorch's the
  unbiased one, larger by n / (n - 1), n = frames x height x width of the map.
- Convolutions start from He's normal distribution by fan-out, norms from scale 1 and bias 0.
"""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.convolution import convolve
from logo_jax.models.windows import by, padding, to_windows

BLOCKS_PER_STAGE = 2


class ResNet18(nn.Module):
    """Maps images `[N H W 3]` to the features of a stage.

    Attributes:
        stage: 1 to 4, the last stage that is built. Its map has `width * 2**(stage - 1)` channels
            and 1 / 2**(stage + 1) of the resolution, rounded up at each halving.
        width: channels of the first stage; 64 is ResNet-18.
        dtype: type of the computation; batch statistics are float32 at least.
        freeze_bn: normalize with the running statistics in training too, and leave them alone.
        remat: keep only the inputs of the stem and of each block for the backward pass, and compute
            the rest again there.
    """

    stage: int = 4
    width: int = 64
    dtype: jnp.dtype = jnp.dtype(jnp.float32)
    freeze_bn: bool = False
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "N H0 W0 3"],
        *,
        train: bool,
        between: Callable[[Array], Array] | None = None,
    ) -> Float[Array, "N H W C"]:
        """Compute the map of the last stage.

        Args:
            between: applied to the map after stage 3, `[N H W C] -> [N H W C]`, before stage 4. A
                module made by the caller keeps its parameters beside the backbone's.
        """
        norm = partial(
            nn.BatchNorm,
            use_running_average=self.freeze_bn or not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
        )

        def stem(module: nn.Module, x: Array) -> Array:
            x = conv(self.width, 7, 2, self.dtype, "conv1")(x)
            x = nn.relu(norm(name="bn1")(x))
            return max_pool(max_pool(x, axis=1), axis=2)

        x = (nn.remat(stem) if self.remat else stem)(self, images.astype(self.dtype))
        make_block = nn.remat(BasicBlock) if self.remat else BasicBlock
        for stage in range(1, self.stage + 1):
            for index in range(BLOCKS_PER_STAGE):
                stride = 2 if stage > 1 and index == 0 else 1
                channels = self.width * 2 ** (stage - 1)
                x = make_block(channels, stride, norm, self.dtype, name=f"layer{stage}_{index}")(x)
            if stage == 3 and between is not None:
                x = between(x)
        return x


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut, projected where stride or channels change."""

    channels: int
    stride: int
    norm: partial
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N H2 W2 C2"]:
        shortcut = x
        x = conv(self.channels, 3, self.stride, self.dtype, "conv1")(x)
        x = nn.relu(self.norm(name="bn1")(x))
        x = conv(self.channels, 3, 1, self.dtype, "conv2")(x)
        x = self.norm(name="bn2")(x)
        if self.stride != 1 or shortcut.shape[-1] != self.channels:
            shortcut = conv(self.channels, 1, self.stride, self.dtype, "downsample_0")(shortcut)
            shortcut = self.norm(name="downsample_1")(shortcut)
        return nn.relu(x + shortcut)


def conv(channels: int, kernel: int, stride: int, dtype: jnp.dtype, name: str) -> nn.Conv:
    """A square convolution without bias, padded by kernel // 2 on every side."""
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        use_bias=False,
        dtype=dtype,
        kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
        conv_general_dilated=convolve,
        name=name,
    )


def max_pool(x: Float[Array, "N H W C"], axis: int) -> Float[Array, "N H2 W2 C"]:
    """Maximum over 3 neighbours along an axis, stride 2, padding 1.

    Along height and then width it is the 3 x 3 max pool. XLA's own pooling has a gradient that
    takes seven times as long on CPU. Entries that tie share the gradient, where PyTorch's first one
    takes it; after a ReLU only zeros tie, and through them no gradient flows.
    """
    size = x.shape[axis]
    ends = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
    x = jnp.pad(x, ends, constant_values=-jnp.inf)
    first, middle, last = (
        jax.lax.slice_in_dim(x, start, start + size, stride=2, axis=axis) for start in range(3)
    )
    return jnp.maximum(jnp.maximum(first, middle), last)


class PatchEmbedding(nn.Module):
    """Cut clips into patches and map each to a token: no CNN (ViT; tubelets as in ViViT).

    A convolution with kernel = stride = (tubelet, patch, patch) and bias, written as one dense
    layer over the pixels of a patch.
    """

    dim: int
    patch_size: int = 16
    tubelet: int = 1
    dtype: jnp.dtype = jnp.dtype(jnp.float32)

    @nn.compact
    def __call__(self, clips: Float[Array, "B T0 H0 W0 3"]) -> Float[Array, "B T H W D"]:
        window = (self.tubelet, self.patch_size, self.patch_size)
        if padding(clips.shape[1:4], window) != (0, 0, 0):
            raise UserError(
                f"Patches of {by(window)} do not divide clips of {by(clips.shape[1:4])} (frames x "
                "height x width): choose patch_size and tubelet that divide them."
            )
        grid = tuple(size // side for size, side in zip(clips.shape[1:4], window, strict=True))
        patches = to_windows(clips.astype(self.dtype), window)  # [B, THW, pixels, 3]
        patches = patches.reshape(clips.shape[0], *grid, -1)
        start = nn.initializers.xavier_uniform()
        return nn.Dense(self.dim, kernel_init=start, dtype=self.dtype, name="patch")(patches)


BACKBONES: dict[str, type[nn.Module]] = {"resnet18": ResNet18}
