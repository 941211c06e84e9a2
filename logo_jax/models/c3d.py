"""C3D (Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015).

Eight 3 x 3 x 3 convolutions and five max pools, then two dense layers of 4096 and the head. The
names are those of the PyTorch port DavideA/c3d-pytorch (conv1, conv2, conv3a, ..., conv5b, fc6,
fc7, fc8), which others took over; its `c3d.pickle` has the weights of Sports-1M.

What differs between the forms that circulate, and what is taken here:
- pool5. The paper names no padding. The authors' Caffe rounds sizes up, so that on 7 x 7 the last
  window is half outside; Keras ports pad one zero at the end, which is the same. PyTorch ports pad
  one on *both* sides, so that the first window is half outside too. Here it is as in PyTorch. The
  sizes agree (1 x 4 x 4 at 16 x 112 x 112), the windows do not.
- fc6 reads the map channels first, [C, T, H, W] flattened, as PyTorch has it.
- No batch norm. ReLU after every layer but the head. Dropout 0.5 after fc6 and fc7, which the
  Caffe definition and the port have; `dropout=0.0` switches it off.
- The other pools round down, as PyTorch does; 16 x 112 x 112 leaves no rest.
- Initial weights: He's normal distribution by fan-in, biases 0. The authors' (normal 0.01 and
  0.005, biases 1) go with pixels of 0 to 255 less the mean, as do the weights of Sports-1M.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype
from logo_jax.models.windows import by

TORCH_NAMES = ((r"^backbone\.", ""), (r"^head$", "fc8"))

# Convolutions before each max pool, with their channels in units of `width`.
GROUPS = (
    (("conv1", 1),),
    (("conv2", 2),),
    (("conv3a", 4), ("conv3b", 4)),
    (("conv4a", 8), ("conv4b", 8)),
    (("conv5a", 8), ("conv5b", 8)),
)
# Pools 2 to 5 halve the frames and 1 to 4 the height and width; pool5 is padded there.
LEAST = 16

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class C3D(nn.Module):
    """Clip -> logits. The defaults are the paper's size.

    fc6 fixes the clip size: it is read at init (the paper's is 16 x 112 x 112).
    """

    num_classes: int
    width: int = 64  # channels of conv1; the dense layers have 64 x width
    dropout: float = 0.5  # after fc6 and fc7, in training
    dtype: str = "float32"  # or "bfloat16": type of the computation, not of the parameters

    def __post_init__(self) -> None:
        compute_dtype(self.dtype)
        for name in ("num_classes", "width"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout is a probability from 0 to below 1, not {self.dropout}.")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H0 W0 3"], train: bool = False
    ) -> Output:
        """Map normalized clips to logits and features [B, 64 x width], both float32.

        With `train=True` pass `rngs={"dropout": key}` unless `dropout` is 0.

        Raises:
            UserError: no batch of RGB clips; a clip smaller than 16 x 16 x 16; another clip size
                than the one the parameters were made for.
        """
        check_clips(clips.shape)
        backbone = C3DBackbone(self.width, self.dropout, compute_dtype(self.dtype), name="backbone")
        features = at_least_float32(backbone(jnp.asarray(clips), train=train))
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02), name="head")
        return Output(logits=head(features), features=features)


class C3DBackbone(nn.Module):
    """The network up to fc7; attributes as in `C3D`."""

    width: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, clips: Float[Array, "B T H0 W0 3"], *, train: bool) -> Float[Array, "B D"]:
        size = clips.shape[1:4]
        if min(size) < LEAST:
            raise UserError(
                f"A clip of {by(size)} is too small for C3D, whose pools halve it four times: give "
                f"at least {LEAST} frames of {LEAST} x {LEAST}."
            )
        x = clips.astype(self.dtype)
        for index, group in enumerate(GROUPS):
            for name, factor in group:
                conv = nn.Conv(
                    self.width * factor,
                    (3, 3, 3),
                    padding=1,
                    dtype=self.dtype,
                    kernel_init=he_normal,
                    name=name,
                )
                x = nn.relu(conv(x))
            frames = 1 if index == 0 else 2  # pool1 keeps the frames apart
            edge = (1, 1) if index == len(GROUPS) - 1 else (0, 0)
            x = max_pool(x, (frames, 2, 2), (frames, 2, 2), ((0, 0), edge, edge))
        self.check_size(size, x.shape[1:])
        x = x.transpose(0, 4, 1, 2, 3).reshape(x.shape[0], -1)  # [B, CTHW], PyTorch's order
        for name in ("fc6", "fc7"):
            dense = nn.Dense(64 * self.width, dtype=self.dtype, kernel_init=he_normal, name=name)
            x = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(dense(x)))
        return x

    def check_size(self, size: Sequence[int], grid: Sequence[int]) -> None:
        """Refuse a clip of another size than the one that fc6 was made for.

        Only the number of values in the last map is known of it: a map of the same number in
        another shape (2 x 8 for 4 x 4) passes.

        Raises:
            UserError: names both numbers and the clip's size.
        """
        if not self.has_variable("params", "fc6"):
            return
        stored: int = self.get_variable("params", "fc6")["kernel"].shape[0]
        if stored != (values := int(np.prod(grid))):
            channels = grid[-1]
            raise UserError(
                f"fc6 of this C3D reads {stored} values ({stored // channels} positions of "
                f"{channels} channels), but a clip of {by(size)} leaves {values} (positions "
                f"{by(grid[:3])}): give clips with the number of frames and the frame size it was "
                "trained on; the paper's 16 x 112 x 112 leaves 16 positions."
            )


def max_pool(
    x: Float[Array, "B T H W C"],
    window: tuple[int, int, int],
    stride: tuple[int, int, int],
    padding: Sequence[tuple[int, int]],
) -> Float[Array, "B T2 H2 W2 C"]:
    """Maximum over windows of frames x height x width, axis by axis; sizes round down.

    XLA's own pooling has a gradient that takes 3 to 13 times as long on CPU. Entries that tie share
    the gradient, where PyTorch's first one takes it; after a ReLU only zeros tie, and through them
    no gradient flows.

    Args:
        padding: entries (each the lowest value) before and behind, for each of the three axes.
    """
    for axis, (size, step, ends) in enumerate(zip(window, stride, padding, strict=True), start=1):
        edges = [ends if i == axis else (0, 0) for i in range(x.ndim)]
        padded = jnp.pad(x, edges, constant_values=-jnp.inf)
        last = padded.shape[axis] - size  # where the last window may start
        x = jax.lax.slice_in_dim(padded, 0, last + 1, step, axis)
        for start in range(1, size):
            shifted = jax.lax.slice_in_dim(padded, start, start + last + 1, step, axis)
            x = jnp.maximum(x, shifted)
    return x
