"""Frames of the synthetic faces: determinism, reversal byte for byte, sizes, the prepared set."""

import dataclasses

import numpy as np
import pytest

from logo_jax import data
from logo_jax.data.datasets.synthetic_faces import film, timelines
from logo_jax.data.datasets.synthetic_faces.configs import CONFIGS, QUICK, WILD
from logo_jax.data.datasets.synthetic_faces.plan import plan
from logo_jax.data.decode import decode_frames

TINY = {"num_train": 35, "num_val": 7, "num_test": 14}


def tiny(config, **changes):
    return plan(dataclasses.replace(config, **TINY, **changes))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_class_is_the_other_one_backwards_byte_for_byte(name):
    for clip in tiny(CONFIGS[name])[:14]:
        spec = clip.spec
        other = dataclasses.replace(spec, script=timelines.reverse(spec.script))
        assert film.make_frames(other) == film.make_frames(spec)[::-1]
        assert other.script.label == timelines.REVERSED[spec.script.label]


@pytest.mark.parametrize("name", CONFIGS)
def test_frames_are_strict_jpeg_of_one_size_and_repeatable(name):
    for clip in tiny(CONFIGS[name])[:10]:
        frames = film.make_frames(clip.spec)
        assert len(frames) == clip.spec.num_frames
        assert frames == film.make_frames(clip.spec)
        assert len({len(frame) for frame in frames}) == 1
        assert decode_frames(frames[:2], 112).std() > 5


def test_the_number_of_bytes_depends_on_the_face_at_rest_alone():
    """The same clip with another expression, or none, takes the same number of bytes."""
    for clip in tiny(WILD)[:6]:
        spec = clip.spec
        sizes = set()
        for kind in timelines.KINDS:
            rng = np.random.default_rng(5)
            script = timelines.draw_script(
                rng, kind, False, 1.0, rest=WILD.rest, cut_probability=0.0
            )
            other = dataclasses.replace(spec, script=script)
            sizes |= {len(frame) for frame in film.make_frames(other)}
        assert len(sizes) == 1


def test_quality_is_seldom_lowered_to_hold_the_number_of_bytes(monkeypatch):
    encodings = []
    encode = film._jpeg
    monkeypatch.setattr(film, "_jpeg", lambda *a: encodings.append(1) or encode(*a))
    clips = tiny(WILD)[:20]
    frames = sum(len(film.make_frames(clip.spec)) + 1 for clip in clips)
    assert frames <= len(encodings) < 1.1 * frames


def test_landmarks_lie_on_the_face():
    for clip in tiny(QUICK)[:5]:
        points = film.landmarks(clip.spec)
        assert points["mouth"].shape == (clip.spec.num_frames, 22, 2)
        for name in ("left_brow", "right_brow", "lips", "nose"):
            assert points[name].min() > 10 and points[name].max() < 112
        assert (points["left_brow"][..., 1] < points["lips"][..., 1].min()).all()


def test_neutral_hardly_moves():
    still = dataclasses.replace(QUICK.nuisances, drift=0.0, jitter=0.0, speech_probability=0.0)
    clips = tiny(QUICK, nuisances=still)
    for clip in clips:
        lips = film.landmarks(clip.spec)["lips"]
        moved = np.linalg.norm(lips - lips[0], axis=-1).max()
        assert (moved < 1.5) == (clip.label == timelines.NEUTRAL)


@pytest.mark.slow
def test_prepared_set_is_the_same_for_any_number_of_processes(tmp_path):
    options = {"config": "quick", "seed": 2, **TINY}
    alone = data.load("synthetic_faces", tmp_path / "alone", num_workers=0, **options)
    spread = data.load("synthetic_faces", tmp_path / "spread", num_workers=2, **options)
    assert alone.fingerprint == spread.fingerprint
    assert alone.classes == timelines.CLASSES
    for row in range(len(alone.labels)):
        assert alone[row]["frames"] == spread[row]["frames"]
    train, test = alone.rows("train"), alone.rows("test")
    groups = np.array(alone.groups)
    assert not set(groups[train]) & set(groups[test])
    assert len(alone.rows("test", fold=1)) + len(alone.rows("train", fold=1)) == 56
    assert alone.factors["amplitude"].max() <= 1.0
    assert set(alone.factors["true_class"]) == set(timelines.CLASSES)
    train_rows, val_rows = data.cut_validation(alone, train, 0.2, seed=0)
    assert not set(groups[train_rows]) & set(groups[val_rows])
