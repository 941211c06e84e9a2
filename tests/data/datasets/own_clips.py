"""A user's own clips as image files, and the set that is prepared from them."""

import cv2
import numpy as np

import logo_jax.data


def write_frames(folder, num_frames, suffix=".png", shape=(8, 8, 3), seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for frame in range(num_frames):
        image = rng.integers(0, 256, shape, np.uint8)
        (folder / f"{frame}{suffix}").write_bytes(cv2.imencode(suffix, image)[1].tobytes())


def load(root, **options):
    settings = {"num_workers": 0} | options
    return logo_jax.data.load("frame_folders", root.parent / "data", source=root, **settings)
