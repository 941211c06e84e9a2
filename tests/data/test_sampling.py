"""Dynamic sampling against published index tables and a literal port of Former-DFER's loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.data.sampling import dynamic_sampling

GOLDEN_8X2 = {
    16: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    25: "1 2 4 5 7 8 10 11 13 14 16 17 19 20 22 23",
    28: "1 2 5 6 8 9 11 12 15 16 18 19 21 22 25 26",
    70: "4 5 12 13 21 22 30 31 38 39 47 48 56 57 64 65",
    144: "8 9 26 27 44 45 62 63 80 81 98 99 116 117 134 135",
    12: "0 1 2 3 3 4 4 5 6 7 7 8 8 9 10 11",
    8: "0 1 2 3 4 5 6 7 7 7 7 7 7 7 7 7",
}
GOLDEN_16X1 = {
    16: "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
    13: "0 1 2 3 4 5 6 7 8 9 10 11 12 12 12 12",
    28: "0 2 4 6 7 9 11 13 14 16 18 20 21 23 25 27",
}


@pytest.mark.parametrize("num_frames", GOLDEN_8X2)
def test_published_indices_8x2(num_frames):
    expected = [int(i) for i in GOLDEN_8X2[num_frames].split()]
    assert dynamic_sampling(num_frames).tolist() == expected


@pytest.mark.parametrize("num_frames", GOLDEN_16X1)
def test_published_indices_16x1(num_frames):
    expected = [int(i) for i in GOLDEN_16X1[num_frames].split()]
    assert dynamic_sampling(num_frames, 16, 1).tolist() == expected


@pytest.mark.parametrize("num_frames", [8, 9])
def test_the_defect_of_the_released_code(num_frames):
    assert dynamic_sampling(num_frames, short="former_dfer").tolist() == [0, 1] * 8
    assert dynamic_sampling(16, 16, 1, short="former_dfer").tolist() == [0] * 16


def loops(num_frames, segments, duration, rng):
    """The procedure of Former-DFER's video_dataset.py, as loops."""
    if rng is None:
        if num_frames > segments + duration - 1:
            tick = (num_frames - duration + 1) / float(segments)
            offsets = [int(tick / 2.0 + tick * x) for x in range(segments)]
        else:
            offsets = [0] * segments
    else:
        average = (num_frames - duration + 1) // segments
        if average > 0:
            offsets = [i * average + j for i, j in enumerate(rng.integers(average, size=segments))]
        elif num_frames > segments:
            offsets = sorted(rng.integers(num_frames - duration + 1, size=segments))
        else:
            offsets = [0] * segments
    indices = []
    for offset in offsets:
        place = int(offset)
        for _ in range(duration):
            indices.append(place)
            if place < num_frames - 1:
                place += 1
    return indices


@given(
    num_frames=st.integers(1, 1000),
    segments=st.integers(1, 20),
    duration=st.integers(1, 4),
    seed=st.none() | st.integers(0, 9),
)
def test_former_dfer_is_reproduced(num_frames, segments, duration, seed):
    ours, theirs = (np.random.default_rng(seed) if seed is not None else None for _ in range(2))
    if duration > num_frames:
        return  # the released code fails there
    indices = dynamic_sampling(num_frames, segments, duration, ours, short="former_dfer")
    assert indices.tolist() == loops(num_frames, segments, duration, theirs)


@pytest.mark.parametrize("short", ["pad_last", "former_dfer"])
@pytest.mark.parametrize(("segments", "duration"), [(8, 2), (16, 1), (1, 1), (3, 5)])
@pytest.mark.parametrize("training", [False, True])
def test_every_length_gives_frames_of_the_clip(short, segments, duration, training):
    rng = np.random.default_rng(0) if training else None
    for num_frames in range(1, 1001):
        indices = dynamic_sampling(num_frames, segments, duration, rng, short)
        assert indices.dtype == np.int64 and indices.shape == (segments * duration,)
        assert indices.min() >= 0 and indices.max() < num_frames
        assert (np.diff(indices.reshape(segments, duration), axis=1) >= 0).all()
        if short == "pad_last":
            assert (np.diff(indices[::duration]) >= 0).all()


def test_pad_last_acts_only_where_the_formula_gives_up():
    for num_frames in range(1, 200):
        centres = [dynamic_sampling(num_frames, short=s) for s in ("pad_last", "former_dfer")]
        assert np.array_equal(*centres) or num_frames <= 9
        draws = [
            dynamic_sampling(num_frames, rng=np.random.default_rng(num_frames), short=s)
            for s in ("pad_last", "former_dfer")
        ]
        assert np.array_equal(*draws) or num_frames <= 8


def test_training_draws_spread_over_the_segments():
    rng = np.random.default_rng(0)
    starts = np.array([dynamic_sampling(70, rng=rng)[::2] for _ in range(500)])
    for segment in range(8):
        assert set(starts[:, segment]) == set(range(segment * 8, segment * 8 + 8))


def test_wrong_arguments_are_refused():
    with pytest.raises(UserError, match='short clips "loop": choose pad_last or former_dfer'):
        dynamic_sampling(5, short="loop")
    with pytest.raises(ValueError, match="at least 1"):
        dynamic_sampling(0)
