"""Spatial views: which pixels each shows."""

import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data.augment import to_clips
from logo_jax.data.views import decoded_size, spatial_views

UNIT = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


def shown(number):
    """A batch of 2 clips of 16 x 16 pixels, and what each view shows of it at 14 x 14, 0..255."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)
    clips = [
        255 * np.asarray(to_clips({"frames": frames} | view, image_size=14, train=False, **UNIT))
        for view in spatial_views(number, 2)
    ]
    return frames, clips


def test_three_crops_lie_left_centre_and_right():
    frames, clips = shown(3)
    assert len(clips) == 3
    for left, clip in zip((0, 1, 2), clips, strict=True):  # 14 of 16 pixels, so nothing is resized
        np.testing.assert_allclose(clip, frames[:, :, 1:15, left : left + 14], atol=1e-3)


def test_two_views_are_the_whole_frame_and_its_mirror_image():
    _, (whole,) = shown(1)
    _, (same, mirrored) = shown(2)
    np.testing.assert_allclose(same, whole, atol=1e-3)
    np.testing.assert_allclose(mirrored, whole[:, :, :, ::-1], atol=1e-3)


def test_another_number_of_views_is_refused():
    with pytest.raises(UserError, match="no 4 spatial views: choose 1 .* 2 .* or 3"):
        spatial_views(4, 1)


@pytest.mark.parametrize(
    ("number", "image_size", "frame_size", "expected"),
    [
        (1, 112, 224, 112),
        (2, 112, 224, 112),
        (3, 112, 224, 128),
        (3, 112, 120, 120),
        (1, 112, 96, 96),
    ],
)
def test_frames_are_decoded_as_large_as_the_smallest_crop_needs(
    number, image_size, frame_size, expected
):
    assert decoded_size(number, image_size, frame_size) == expected
