"""Where a planted signal lies is where the report shows it: in the map, and in the picture."""

import cv2
import jax
import numpy as np
import pytest

from logo_jax.evaluation.gallery import SIDE, thumbnail
from logo_jax.experiments import parts
from logo_jax.experiments.report_model import TrainedModel
from logo_jax.training.state import init_variables

FRAMES, SIZE, PATCH = 4, 48, 8


def looking_at_bright_patches(config):
    """One block of attention whose class token looks at bright patches, by weights set by hand."""
    config.data.segments, config.data.duration = FRAMES, 1
    config.data.frame_size = config.input.image_size = SIZE
    config.input.mean, config.input.std = (0.5,) * 3, (0.25,) * 3
    config.model.stage = config.model.width = config.model.window = None
    config.model.update(
        name="logo_former", attention="full", backbone="patch", patch_size=PATCH, num_heads=1,
        num_blocks=1, dim=4, mlp_dim=4,
    )  # fmt: skip
    trained = object.__new__(TrainedModel)
    trained.config = config
    trained.model = parts.build_model(config, 3)
    trained.prepare = parts.make_prepare(config, train=False)
    trained.batch_size = 4
    shapes = jax.eval_shape(lambda: init_variables(trained.model, parts.clip_shape(config), 0))
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params = variables["params"]
    params["backbone"]["patch"]["kernel"][:, 0] = 1 / (3 * PATCH**2)  # mean brightness
    params["backbone"]["patch"]["kernel"][:, 1] = -1 / (3 * PATCH**2)
    params["class_token"][..., :2] = 1, -1
    attention = params["block_0"]["attention"]
    attention["norm"]["scale"][:] = 1
    attention["full"]["query"]["kernel"][0, 0] = 4
    attention["full"]["key"]["kernel"][0, 0] = 1
    attention["full"]["value"]["kernel"][0, 0] = 1
    attention["full"]["out"]["kernel"][0, 0] = 1
    params["head"]["kernel"][0, 1] = 1
    trained.variables = variables
    return trained


@pytest.mark.parametrize("planted", [(2, 1, 4), (0, 5, 0)])
def test_a_bright_patch_is_the_hot_spot(config, planted):
    frame, row, column = planted
    frames = np.full((2, FRAMES, SIZE, SIZE, 3), 20, np.uint8)
    patch = slice(row * PATCH, (row + 1) * PATCH), slice(column * PATCH, (column + 1) * PATCH)
    frames[1, frame][patch] = 240
    trained = looking_at_bright_patches(config)
    (mass,) = trained.rollouts(frames).values()
    assert mass.shape == (2, FRAMES, SIZE // PATCH, SIZE // PATCH)
    assert np.unravel_index(mass[1].argmax(), mass[1].shape) == planted
    assert mass[1][planted] > 0.9
    np.testing.assert_allclose(mass[0], 1 / mass[0].size, rtol=1e-4)  # nothing to look at

    heat = mass[1] / mass[1].max()
    shown = cv2.imdecode(
        np.frombuffer(thumbnail(frames[0, 0], heat[frame]), np.uint8), cv2.IMREAD_COLOR
    ).astype(int)
    hot = np.argwhere(shown.sum(-1) > 300)  # the bright end of the colours, on a dark frame
    low = np.array([row, column]) * SIDE * PATCH / SIZE
    high = low + SIDE * PATCH / SIZE
    assert len(hot) and (hot >= low - 3).all() and (hot <= high + 3).all()

    effects = trained.frame_effects(frames, np.array([1, 1]))
    assert np.abs(effects[1]).argmax() == frame and effects[1, frame] < -0.005
    np.testing.assert_allclose(effects[0], 0, atol=1e-6)
