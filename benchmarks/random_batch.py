"""A batch as the input pipeline gives it, of random pixels, on the devices."""

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from logo_jax.common.mesh import to_devices


def random_batch(config: ConfigDict, size: int, mesh: Mesh) -> dict[str, jax.Array]:
    """`size` clips for a training step of `config`, all cropped alike."""
    rng = np.random.default_rng(0)
    frames, side = config.data.segments * config.data.duration, config.data.frame_size
    return to_devices(
        {
            "frames": rng.integers(0, 256, (size, frames, side, side, 3), dtype=np.uint8),
            "label": rng.integers(0, 7, size).astype(np.int32),
            "crop": np.tile(np.float32([0.1, 0.1, 0.8, 0.8]), (size, 1)),
            "flip": np.zeros(size, bool),
            "brightness": np.ones(size, np.float32),
            "contrast": np.ones(size, np.float32),
        },
        mesh,
    )
