"""VGG-13 (Simonyan and Zisserman 2015, configuration B) frame by frame, in torchvision's structure.

Ten 3 x 3 convolutions with bias and padding 1, a 2 x 2 max pool after every second one, an adaptive
average pool to 7 x 7, then the fully connected layers fc6 and fc7, each with ReLU and dropout; fc8,
the layer of ImageNet's classes, is left out. No batch norm. Names are torchvision's: `features_5`
is `features.5`, `classifier_3` is `classifier.3` (fc7).

What is pinned here:
- A max pool drops the last row and column of an odd map, as PyTorch's does. Entries that tie share
  the gradient, where PyTorch's first one takes it; after a ReLU only zeros tie, and through them no
  gradient flows.
- The map is flattened by channel, then height, then width, so that fc6 has PyTorch's weight.
- Convolutions start from He's normal distribution by fan-out, fully connected layers from a normal
  distribution with standard deviation 0.01, biases from 0: torchvision's start.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.convolution import convolve

# torchvision's names; a file of its vgg13 has `classifier.6` (fc8) besides.
TORCH_NAMES = ((r"\b(features|classifier)_", r"\1."),)

STAGES = 5
POOLED = 7  # rows and columns that the fully connected layers see


class VGG13(nn.Module):
    """Maps images `[N H W 3]` to the features of fc7, `[N 64 * width]`.

    Attributes:
        width: channels of the first stage; 64 is VGG-13. Stages have 1, 2, 4, 8 and 8 times as
            many, fc6 and fc7 64 times.
        dropout: rate after fc6 and after fc7 in training.
        dtype: type of the computation.
    """

    width: int = 64
    dropout: float = 0.5
    dtype: jnp.dtype = jnp.dtype(jnp.float32)

    @nn.compact
    def __call__(self, images: Float[Array, "N H0 W0 3"], *, train: bool) -> Float[Array, "N D"]:
        """Compute the features.

        Raises:
            UserError: frames so small that a max pool leaves nothing.
        """
        height, width = images.shape[1:3]
        if min(height, width) < 2**STAGES:
            raise UserError(
                f"VGG-13 halves a frame {STAGES} times, and {height} x {width} leaves nothing: "
                f"give frames of at least {2**STAGES} x {2**STAGES}."
            )
        x = images.astype(self.dtype)
        place = 0  # torchvision counts every layer: convolution, ReLU, max pool
        for stage in range(STAGES):
            channels = self.width * min(2**stage, 8)
            for _ in range(2):
                x = nn.Conv(
                    channels,
                    (3, 3),
                    padding=1,
                    dtype=self.dtype,
                    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
                    conv_general_dilated=convolve,
                    name=f"features_{place}",
                )(x)
                x = nn.relu(x)
                place += 2
            x = max_pool(x)
            place += 1
        x = adaptive_average(adaptive_average(x, axis=1), axis=2)  # [N, 7, 7, 8 * width]
        x = jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)
        for place in (0, 3):
            x = nn.Dense(
                64 * self.width,
                dtype=self.dtype,
                kernel_init=nn.initializers.normal(0.01),
                name=f"classifier_{place}",
            )(x)
            x = nn.Dropout(self.dropout)(nn.relu(x), deterministic=not train)
        return x


def max_pool(x: Float[Array, "N H W C"]) -> Float[Array, "N H2 W2 C"]:
    """Maximum over squares of 2 x 2; XLA's own pooling has a slow gradient on CPU."""
    count, height, width, channels = x.shape
    height, width = height // 2, width // 2
    x = x[:, : 2 * height, : 2 * width].reshape(count, height, 2, width, 2, channels)
    return x.max((2, 4))


def adaptive_average(x: Float[Array, "N H W C"], axis: int) -> Float[Array, "N H2 W2 C"]:
    """Average an axis of any length n into 7 bins: bin i is floor(i n / 7) to ceil((i + 1) n / 7).

    The bins overlap where 7 does not divide n, and repeat entries where n is below 7: the 3 x 3 map
    of a frame of 112 x 112 becomes 7 x 7, as in PyTorch.
    """
    size = x.shape[axis]
    bins = [(i * size // POOLED, -(-(i + 1) * size // POOLED)) for i in range(POOLED)]
    means = [x.take(jnp.arange(start, stop), axis).mean(axis) for start, stop in bins]
    return jnp.stack(means, axis)
