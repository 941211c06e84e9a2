"""Augmentation: the draws, and resampling against Pillow and PyTorch."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from logo_jax.common.errors import UserError
from logo_jax.data.augment import AugmentConfig, draw, resize_weights, to_clips

RNG = np.random.default_rng(0)
UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def batch(frames, crops, flip=False, brightness=1.0, contrast=1.0):
    count = len(frames)
    return {
        "frames": frames,
        "crop": np.array(crops, np.float32),
        "flip": np.full(count, flip),
        "brightness": np.full(count, brightness, np.float32),
        "contrast": np.full(count, contrast, np.float32),
    }


def noise(*shape):
    return RNG.integers(0, 256, shape, np.uint8)


def pillow(image, box, size):
    """Cut whole pixels (y0, x0, height, width) and resize with Pillow, in float."""
    y0, x0, height, width = box
    cut = image[y0 : y0 + height, x0 : x0 + width].astype(np.float32)
    channels = [
        Image.fromarray(cut[..., c]).resize((size, size), Image.Resampling.BILINEAR)
        for c in range(3)
    ]
    return np.stack([np.asarray(channel) for channel in channels], -1) / 255


BOXES = [(0, 0, 40, 40), (5, 0, 20, 40), (3, 7, 11, 9), (20, 30, 17, 10), (39, 0, 1, 2)]


@pytest.mark.parametrize(
    "size", [16, *(pytest.param(n, marks=pytest.mark.slow) for n in (8, 23, 64))]
)
def test_crops_agree_with_pillow(size):
    frames = noise(len(BOXES), 2, 40, 40, 3)
    crops = np.array(BOXES) / 40
    ours = to_clips(batch(frames, crops), image_size=size, train=True, **UNIT)
    assert ours.shape == (len(BOXES), 2, size, size, 3)
    for clip, box in enumerate(BOXES):
        for frame in range(2):
            theirs = pillow(frames[clip, frame], box, size)
            np.testing.assert_allclose(ours[clip, frame], theirs, atol=2e-5)


def test_crops_agree_with_torch():
    torch = pytest.importorskip("torch")
    frames = noise(1, 1, 40, 40, 3)
    crop = [(4 / 40, 6 / 40, 31 / 40, 22 / 40)]
    ours = to_clips(batch(frames, crop), image_size=16, train=True, **UNIT)
    cut = torch.tensor(frames[0, 0, 4:35, 6:28].transpose(2, 0, 1)[None] / 255.0)
    theirs = torch.nn.functional.interpolate(
        cut, (16, 16), mode="bilinear", antialias=True, align_corners=False
    )
    np.testing.assert_allclose(ours[0, 0], theirs[0].permute(1, 2, 0), atol=2e-5)


def test_flip_mirrors_the_clip():
    frames = noise(1, 2, 20, 20, 3)
    crop = [(0.1, 0.3, 0.5, 0.6)]
    plain, flipped = (
        to_clips(batch(frames, crop, flip), image_size=12, train=True, **UNIT)
        for flip in (False, True)
    )
    np.testing.assert_allclose(flipped, plain[:, :, :, ::-1], atol=1e-6)


@pytest.mark.parametrize("factor", [0.4, 0.9, 1.0, 1.7])
@pytest.mark.parametrize("name", ["brightness", "contrast"])
def test_jitter_agrees_with_pillow(name, factor):
    frames = noise(1, 2, 16, 16, 3)
    whole = [(0, 0, 1, 1)]
    ours = to_clips(batch(frames, whole, **{name: factor}), image_size=16, train=True, **UNIT)
    enhance = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast}[name]
    for frame in range(2):
        theirs = np.asarray(enhance(Image.fromarray(frames[0, frame])).enhance(factor))
        np.testing.assert_allclose(255 * ours[0, frame], theirs, atol=1.6)  # theirs is rounded


def test_evaluation_shows_the_whole_frame():
    frames = noise(2, 3, 24, 24, 3)
    same = to_clips({"frames": frames}, image_size=24, train=False, **UNIT)
    np.testing.assert_allclose(same, frames / 255, atol=1e-6)
    smaller = to_clips({"frames": frames}, image_size=16, train=False, **UNIT)
    np.testing.assert_allclose(smaller[1, 2], pillow(frames[1, 2], (0, 0, 24, 24), 16), atol=2e-5)


def test_scaling_and_type():
    frames = np.full((1, 1, 8, 8, 3), (51, 102, 255), np.uint8)
    settings = {"mean": (0.2, 0.3, 0.5), "std": (0.5, 0.1, 0.25)}
    clips = to_clips({"frames": frames}, image_size=8, train=False, dtype=jnp.bfloat16, **settings)
    assert clips.dtype == jnp.bfloat16
    np.testing.assert_allclose(clips[0, 0, 0, 0].astype(np.float32), [0, 1, 2], atol=1e-6)


def test_it_compiles_once_and_says_the_same():
    frames = noise(2, 2, 20, 20, 3)
    numbers = batch(frames, [(0.1, 0.3, 0.5, 0.6), (0, 0, 1, 1)], True, 1.2, 0.8)
    function = functools.partial(to_clips, image_size=12, train=True, **UNIT)
    np.testing.assert_allclose(jax.jit(function)(numbers), function(numbers), atol=1e-6)


weights_of = jax.jit(resize_weights, static_argnums=(2, 3))


@given(
    start=st.floats(0, 1),
    length=st.floats(0.01, 1),
    # Few sizes, since each is compiled.
    size=st.sampled_from([4, 33]),
    out=st.sampled_from([1, 8, 40]),
)
def test_weights_average_what_lies_in_the_crop(start, length, size, out):
    start = start * (1 - length)
    weights = np.asarray(weights_of(jnp.array([start]), jnp.array([length]), size, out)[0], float)
    assert np.isfinite(weights).all() and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    pixels = np.arange(size)
    outside = (pixels + 1 < start * size - 1e-3) | (pixels > (start + length) * size + 1e-3)
    assert weights[:, outside].sum() == 0
    centres = weights @ pixels
    assert (np.diff(centres) > -1e-4).all()  # from left to right


@given(seed=st.integers(0, 10_000), min_area=st.floats(0.01, 1), brightness=st.floats(0, 2))
def test_draws_stay_in_their_ranges(seed, min_area, brightness):
    config = AugmentConfig(min_area=min_area, brightness=brightness, contrast=0.5)
    drawn = draw(np.random.default_rng(seed), config)
    y0, x0, height, width = drawn["crop"].astype(float)
    assert 0 <= y0 <= y0 + height <= 1 + 1e-6 and 0 <= x0 <= x0 + width <= 1 + 1e-6
    assert min_area - 1e-6 <= height * width <= 1 + 1e-6
    assert 3 / 4 - 1e-6 <= width / height <= 4 / 3 + 1e-6
    assert max(0, 1 - brightness) - 1e-6 <= drawn["brightness"] <= 1 + brightness + 1e-6
    assert 0.5 <= drawn["contrast"] <= 1.5


def test_draws_are_spread_evenly():
    drawn = [draw(np.random.default_rng(seed), AugmentConfig()) for seed in range(2000)]
    areas = np.array([d["crop"][2] * d["crop"][3] for d in drawn])
    # torchvision's procedure rejects some of the large crops: uniform below, thinner at the top.
    assert abs((areas < 0.31).mean() - 0.25) < 0.04
    assert abs(np.mean([d["flip"] for d in drawn]) - 0.5) < 0.04
    assert {float(d["brightness"]) for d in drawn} == {1.0}


def test_no_augmentation_and_the_fallback():
    drawn = draw(np.random.default_rng(0), AugmentConfig(enabled=False, brightness=1.0))
    assert drawn["crop"].tolist() == [0, 0, 1, 1] and not drawn["flip"]
    assert drawn["brightness"] == drawn["contrast"] == 1
    # No crop of this area fits at this ratio: the largest one in the centre.
    config = AugmentConfig(min_area=0.9, min_ratio=2.0, max_ratio=2.0)
    crop = draw(np.random.default_rng(0), config)["crop"]
    assert crop.tolist() == [0.25, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area": 0.0}, "0 < min_area <= max_area <= 1"),
        ({"min_area": 0.5, "max_area": 0.2}, "not 0.5 and 0.2"),
        ({"min_ratio": 2.0}, "min_ratio <= max_ratio"),
        ({"max_ratio": math.inf}, "min_ratio <= max_ratio < inf"),
        ({"flip": 1.5}, "flip probability"),
        ({"contrast": -0.1}, "not negative"),
    ],
)
def test_meaningless_settings_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        AugmentConfig(**options)
