"""Sampling by name. Dynamic sampling is held against published index tables and against a literal
port of Former-DFER's loops, the others against closed forms.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.data.sampling import (
    SAMPLINGS,
    dense_sampling,
    dynamic_sampling,
    make_samplers,
    uniform_sampling,
)

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


@pytest.mark.parametrize("short", ["pad_last", "former_dfer", "spread", "drop"])
@pytest.mark.parametrize(("segments", "duration"), [(8, 2), (16, 1), (1, 1), (3, 5)])
@pytest.mark.parametrize("training", [False, True])
def test_every_length_gives_frames_of_the_clip(short, segments, duration, training):
    rng = np.random.default_rng(0) if training else None
    for num_frames in range(segments * duration if short == "drop" else 1, 1001):
        indices = dynamic_sampling(num_frames, segments, duration, rng, short)
        assert indices.dtype == np.int64 and indices.shape == (segments * duration,)
        assert indices.min() >= 0 and indices.max() < num_frames
        assert (np.diff(indices.reshape(segments, duration), axis=1) >= 0).all()
        if short != "former_dfer":
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


def test_short_clips_are_spread_evenly():
    expected = {
        8: "0 0 1 1 2 2 3 3 4 4 5 5 6 6 7 7",
        3: "0 0 0 0 1 1 1 1 1 1 1 1 2 2 2 2",
        1: "0 " * 16,
    }
    for num_frames, row in expected.items():
        for rng in (None, np.random.default_rng(0)):
            indices = dynamic_sampling(num_frames, rng=rng, short="spread")
            assert indices.tolist() == [int(i) for i in row.split()]
    for num_frames in range(10, 200):  # and nothing else changes
        assert np.array_equal(
            dynamic_sampling(num_frames, short="spread"), dynamic_sampling(num_frames)
        )


@pytest.mark.parametrize(("segments", "duration"), [(8, 2), (16, 1)])
def test_clips_to_drop_are_refused_and_the_first_to_stay_is_shown_whole(segments, duration):
    for num_frames in range(1, 16):
        with pytest.raises(
            UserError, match=f'of {num_frames} frames is shorter than 16: .* "drop"'
        ):
            dynamic_sampling(num_frames, segments, duration, short="drop")
    assert dynamic_sampling(16, segments, duration, short="drop").tolist() == list(range(16))


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


@pytest.mark.parametrize("length", [1, 8, 16])
def test_uniform_takes_the_centre_of_each_segment_and_draws_from_all_of_it(length):
    rng = np.random.default_rng(0)
    for num_frames in range(1, 1001):
        indices = uniform_sampling(num_frames, length)
        assert indices.tolist() == [(2 * i + 1) * num_frames // (2 * length) for i in range(length)]
        draws = uniform_sampling(num_frames, length, rng)
        for i, draw in enumerate(draws):  # segment i is [i n / T, (i + 1) n / T)
            assert i * num_frames // length <= draw <= ((i + 1) * num_frames - 1) // length
    drawn = np.unique([uniform_sampling(23, 4, rng) for _ in range(500)])
    assert drawn.tolist() == list(range(23))  # no frame is beyond reach


def test_uniform_and_dynamic_agree_where_their_definitions_do():
    for num_frames in range(17, 300):
        indices = uniform_sampling(num_frames, 16)
        assert indices.tolist() == dynamic_sampling(num_frames, 16, 1).tolist()


@pytest.mark.parametrize("short", ["pad_last", "spread", "drop"])
@pytest.mark.parametrize(("length", "stride"), [(16, 1), (16, 4), (1, 3)])
def test_dense_takes_frames_of_a_fixed_stride(short, length, stride):
    rng = np.random.default_rng(0)
    span = (length - 1) * stride + 1
    for num_frames in range(length if short == "drop" else 1, 1001):
        centre = dense_sampling(num_frames, length, stride, None, short)
        draw = dense_sampling(num_frames, length, stride, rng, short)
        for indices in (centre, draw):
            assert indices.shape == (length,) and indices.min() >= 0
            assert indices.max() < num_frames and (np.diff(indices) >= 0).all()
            if num_frames >= span:
                assert (np.diff(indices) == stride).all()
        if num_frames >= span:
            assert centre[0] in (num_frames - 1 - centre[-1], num_frames - 2 - centre[-1])


def test_dense_on_short_clips_and_its_draws():
    assert dense_sampling(5, 4, 2).tolist() == [0, 2, 4, 4]
    assert dense_sampling(5, 4, 2, short="spread").tolist() == [0, 1, 3, 4]
    assert dense_sampling(5, 4, 2, short="drop").tolist() == [0, 1, 3, 4]
    with pytest.raises(UserError, match="of 3 frames is shorter than 4"):
        dense_sampling(3, 4, 2, short="drop")
    rng = np.random.default_rng(0)
    starts = {int(dense_sampling(20, 4, 3, rng)[0]) for _ in range(300)}
    assert starts == set(range(11))  # the last run is 10, 13, 16, 19


@pytest.mark.parametrize("name", ["dynamic", "uniform"])
def test_views_shift_the_frames_within_their_segments(name):
    views = [view(12) for view in make_samplers(name, segments=4, duration=1, views=3)]
    assert [v.tolist() for v in views] == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_views_of_a_dense_sampling_start_at_even_distances():
    views = [view(20) for view in make_samplers("dense", 8, 1, stride=2, views=3)]
    assert [v[0] for v in views] == [0, 2, 5]  # the last run is 5, 7 .. 19
    assert all((np.diff(v) == 2).all() for v in views)


@pytest.mark.parametrize("name", ["dynamic", "uniform", "dense"])
@pytest.mark.parametrize("views", [1, 2, 3, 10])
def test_every_view_is_a_sampling(name, views):
    (single,) = make_samplers(name)
    for num_frames in range(1, 1001):
        found = [view(num_frames) for view in make_samplers(name, views=views)]
        assert len(found) == views
        for indices in found:
            assert indices.shape == (16,) and indices.min() >= 0 and indices.max() < num_frames
        if views % 2:  # the one in the middle is the single one
            assert np.array_equal(found[views // 2], single(num_frames))
        assert (np.diff([indices[0] for indices in found]) >= 0).all()


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_sampling_serves_training_and_test_by_the_same_name(name):
    (sampler,) = make_samplers(name, segments=3, duration=2)
    for num_frames in (1, 2, 5, 6, 7, 100):
        for rng in (None, np.random.default_rng(0)):
            chosen = sampler(num_frames, rng=rng)
            assert chosen.shape in [(6,), (6, num_frames)]


def test_what_a_sampling_does_not_have_is_refused():
    with pytest.raises(UserError, match='Unknown sampling "dinamic".*Did you mean "dynamic"'):
        make_samplers("dinamic")
    with pytest.raises(UserError, match='dense sampling has no .* "former_dfer": choose pad_last'):
        make_samplers("dense", short="former_dfer")
    with pytest.raises(UserError, match="A stride of 2 belongs to dense sampling: for uniform"):
        make_samplers("uniform", stride=2)
    with pytest.raises(UserError, match="one temporal view of it, not 2"):
        make_samplers("time_interpolation", views=2)
