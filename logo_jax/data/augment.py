"""Augmentation: drawn on the host as a few numbers for each clip, done on the device.

The draw takes no pixels, so that it depends on (seed, epoch, clip) alone; the resampling is part
of the jitted step. All frames of a clip are treated alike.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Float32

from logo_jax.common.errors import UserError

# Weights of red, green and blue in a gray picture, ITU-R BT.601 as torchvision rounds them.
GRAY = (0.2989, 0.587, 0.114)


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How strongly to augment; the defaults are those of Former-DFER.

    Attributes:
        enabled: False shows the whole frame, unflipped and unjittered.
        min_area: smallest share of the frame that a crop covers.
        max_area: largest share.
        min_ratio: smallest width by height of a crop.
        max_ratio: largest width by height.
        flip: probability of mirroring left and right.
        brightness: b draws a factor from [max(0, 1 - b), 1 + b]; 0 is off.
        contrast: likewise, for the contrast.
    """

    enabled: bool = True
    min_area: float = 0.08
    max_area: float = 1.0
    min_ratio: float = 3 / 4
    max_ratio: float = 4 / 3
    flip: float = 0.5
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self):
        """Refuse values that mean nothing."""
        if not 0 < self.min_area <= self.max_area <= 1:
            raise UserError(
                f"Augmentation needs 0 < min_area <= max_area <= 1, not {self.min_area} and "
                f"{self.max_area}."
            )
        if not 0 < self.min_ratio <= self.max_ratio < math.inf:
            raise UserError(
                f"Augmentation needs 0 < min_ratio <= max_ratio < inf, not {self.min_ratio} and "
                f"{self.max_ratio}."
            )
        if not 0 <= self.flip <= 1:
            raise UserError(f"The flip probability must lie between 0 and 1, not {self.flip}.")
        for name in ("brightness", "contrast"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(
                    f"config.augment.{name}={getattr(self, name)}: the jitter must be finite and "
                    "not negative."
                )


def draw(rng: np.random.Generator, config: AugmentConfig) -> dict[str, np.ndarray]:
    """Draw the augmentation of one clip.

    Returns:
        `crop`: float32 [4], (y0, x0, height, width) as fractions of the frame; `flip`: bool [];
        `brightness`, `contrast`: float32 [], factors, 1 for no change.
    """
    if not config.enabled:
        crop, flip, brightness, contrast = (0.0, 0.0, 1.0, 1.0), False, 1.0, 1.0
    else:
        crop = _draw_crop(rng, config)
        flip = rng.random() < config.flip
        brightness = rng.uniform(max(0.0, 1 - config.brightness), 1 + config.brightness)
        contrast = rng.uniform(max(0.0, 1 - config.contrast), 1 + config.contrast)
    return {
        "crop": np.array(crop, np.float32),
        "flip": np.array(flip),
        "brightness": np.array(brightness, np.float32),
        "contrast": np.array(contrast, np.float32),
    }


def _draw_crop(
    rng: np.random.Generator, config: AugmentConfig
) -> tuple[float, float, float, float]:
    """Draw as torchvision's RandomResizedCrop does, on a square frame and without rounding."""
    for _ in range(10):
        area = rng.uniform(config.min_area, config.max_area)
        ratio = math.exp(rng.uniform(math.log(config.min_ratio), math.log(config.max_ratio)))
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if width <= 1 and height <= 1:
            return rng.uniform(0, 1 - height), rng.uniform(0, 1 - width), height, width
    # The largest centred crop of an allowed ratio.
    width = min(1.0, config.max_ratio)
    height = min(1.0, 1 / config.min_ratio)
    return (1 - height) / 2, (1 - width) / 2, height, width


def to_clips(
    batch: Mapping[str, Array | np.ndarray],
    *,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    train: bool,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "B T H W 3"]:
    """Turn a batch of frames into the model's input, on the device.

    In training each clip is cropped, resized to `image_size` with an antialiased linear filter,
    flipped, and its brightness and contrast are scaled, all as its numbers in the batch say; at
    test time the whole frame is resized, or the view that the batch has. Then
    `(pixel / 255 - mean) / std`.

    Args:
        batch: `frames` uint8 [B T S S 3]; in training also `crop` [B 4], `flip` [B],
            `brightness` [B] and `contrast` [B], see `draw`; at test time `crop` and `flip` where
            a spatial view is shown.
        image_size: height and width of the output.
        mean: of red, green and blue, on a scale of 0 to 1.
        std: likewise.
        train: whether to augment.
        dtype: of the output; the arithmetic is in float32.
    """
    frames = jnp.asarray(batch["frames"])
    num_clips, _, size = frames.shape[:3]
    clips = frames.astype(jnp.float32) / 255
    if train or "crop" in batch:
        y0, x0, height, width = jnp.asarray(batch["crop"], jnp.float32).T
        rows = resize_weights(y0, height, size, image_size)
        columns = resize_weights(x0, width, size, image_size)
        flip = jnp.asarray(batch["flip"])[:, None, None]
        columns = jnp.where(flip, columns[:, ::-1], columns)
        clips = _resample(clips, rows, columns)
    elif size != image_size:
        whole = resize_weights(jnp.zeros(num_clips), jnp.ones(num_clips), size, image_size)
        clips = _resample(clips, whole, whole)
    if train:
        clips = _jitter(clips, jnp.asarray(batch["brightness"]), jnp.asarray(batch["contrast"]))
    clips = (clips - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
    return clips.astype(dtype)


def resize_weights(
    start: Float[Array, " B"], length: Float[Array, " B"], size: int, out_size: int
) -> Float32[Array, "B out_size size"]:
    """Return, for each clip, the matrix that cuts an interval from a line of pixels and resizes it.

    The filter is the triangle that Pillow and PyTorch (`antialias=True`) use: as wide as a step
    between output pixels, and never narrower than an input pixel. It sees nothing outside the
    crop; pixels that the crop cuts through count by their share in it.

    Args:
        start: where the crop begins, as a fraction of the line.
        length: its length, likewise.
        size: pixels of the line.
        out_size: pixels to make of the crop.
    """
    first = (start * size)[:, None, None]
    last = first + (length * size)[:, None, None]
    step = (last - first) / out_size  # input pixels for each output pixel
    centres = first + (jnp.arange(out_size)[None, :, None] + 0.5) * step  # [B out 1]
    pixels = jnp.arange(size)[None, None, :]  # [1 1 size]
    weights = jnp.maximum(0, 1 - jnp.abs(pixels + 0.5 - centres) / jnp.maximum(step, 1))
    share = jnp.clip(jnp.minimum(pixels + 1, last) - jnp.maximum(pixels, first), 0, 1)
    weights = weights * share
    return weights / weights.sum(-1, keepdims=True)


def _resample(
    clips: Float32[Array, "B T S S 3"],
    rows: Float32[Array, "B H S"],
    columns: Float32[Array, "B W S"],
) -> Float32[Array, "B T H W 3"]:
    # The highest precision: the short formats of TPU and GPU products would cost gray levels.
    clips = jnp.einsum("bhy,btyxc->bthxc", rows, clips, precision="highest")
    return jnp.einsum("bwx,bthxc->bthwc", columns, clips, precision="highest")


def _jitter(
    clips: Float32[Array, "B T H W 3"],
    brightness: Float32[Array, " B"],
    contrast: Float32[Array, " B"],
) -> Float32[Array, "B T H W 3"]:
    """Scale brightness, then contrast, by torchvision's definitions; one factor for a clip."""
    brightness, contrast = (f[:, None, None, None, None] for f in (brightness, contrast))
    clips = jnp.clip(clips * brightness, 0, 1)
    gray = (clips * jnp.asarray(GRAY)).sum(-1, keepdims=True)
    average = gray.mean((2, 3, 4), keepdims=True)  # of each frame, [B T 1 1 1]
    return jnp.clip(contrast * clips + (1 - contrast) * average, 0, 1)
