"""A tiny data set of a user's own frames, and a config that trains on it in seconds."""

import cv2
import jax
import numpy as np
import pytest

from configs import frame_folders

CLASSES = ("calm", "joy", "rage")


def write_clip(folder, brightness, num_frames, rng):
    """Frames whose brightness tells the class, so that a few steps learn something."""
    folder.mkdir(parents=True)
    for number in range(1, num_frames + 1):
        frame = rng.integers(0, 40, (24, 24, 3)) + brightness
        cv2.imwrite(str(folder / f"{number}.jpg"), frame.astype(np.uint8))


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """The same tiny programs are compiled by many tests."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    yield
    jax.config.update("jax_compilation_cache_dir", None)


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("own") / "clips"
    rng = np.random.default_rng(0)
    for part, clips in {"train": 5, "val": 2, "test": 3}.items():
        for label, name in enumerate(CLASSES):
            for clip in range(clips):
                write_clip(root / part / name / f"{part}{clip}", 90 * label, 5 + clip, rng)
    return root


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def config(source, data_dir):
    config = frame_folders.get_config()
    config.data.source = str(source)
    config.data.data_dir = str(data_dir)
    config.data.num_workers = 0
    config.data.segments = 2
    config.data.frame_size = 20
    config.input.image_size = 16
    config.batch_size = 4
    config.num_epochs = 2  # 15 training clips: 8 steps
    config.log_every = 2
    config.checkpoint_every = 100
    config.evaluation.batch_size = 4
    config.model.stage = 1
    config.model.width = 4
    config.model.dim = 16
    config.model.mlp_dim = 16
    config.model.num_heads = 2
    config.model.num_blocks = 1
    config.model.window = (2, 2, 2)
    config.evaluation.controls = ""
    config.model.dropout = 0.1  # so that a resumed run must draw the same masks
    config.augment.brightness = 0.2
    return config
