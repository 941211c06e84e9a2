"""Which frames of a clip the model sees.

A *sampler* is called as `sampler(num_frames, rng=generator)` in training and with `rng=None` at
test time. It either picks frames and returns their indices [T], or mixes frames and returns
weights [T, n] (see `logo_jax.data.interpolation`). `make_samplers` gives them by name:

- `dynamic`: dynamic sampling (DS) of Former-DFER (Zhao and Liu, ACM MM 2021). The clip is cut into
  `segments` equal parts, and from each `duration` consecutive frames are taken, at a random place
  in training and at the centre at test time.
- `uniform`: one frame from each of T equal segments, as TSN (Wang et al., ECCV 2016).
- `dense`: T frames with a fixed stride, from a random place in training and from the middle of the
  clip at test time, as in networks of 3-D convolutions.
- `time_interpolation`, `linear_interpolation`: T even points of a curve through the frames.
"""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from logo_jax.common.errors import UserError, pick
from logo_jax.data.interpolation import linear_interpolation, time_interpolation

# (number of frames in the clip, rng=generator or None) -> indices [T] or weights [T, n].
Sampler = Callable[..., np.ndarray]

# What dynamic sampling does with short clips; all but the defect serve the others too.
SHORT_POLICIES = ("pad_last", "former_dfer", "spread", "drop")
_SOUND_POLICIES = ("pad_last", "spread", "drop")


def dynamic_sampling(
    num_frames: int,
    segments: int = 8,
    duration: int = 2,
    rng: np.random.Generator | None = None,
    short: str = "pad_last",
    *,
    place: float = 0.5,
) -> Int64[np.ndarray, " T"]:
    """Choose `segments * duration` frames of a clip of `num_frames`, 0-based.

    Args:
        num_frames: length of the clip, at least 1.
        segments: U, number of segments.
        duration: V, consecutive frames from each segment; a run that meets the end of the clip
            repeats its last frame.
        rng: draws the place in each segment (training); None takes the same in all (test).
        short: what to do where the formula of Former-DFER gives up, which is at test time
            n <= U + V - 1 and in training a clip that is shorter than one frame for each segment.
            "pad_last" takes frames 0 .. n - 1 and repeats the last. "spread" repeats frames evenly
            over the clip. "former_dfer" reproduces the released code, which takes the first V
            frames U times. "drop" refuses every clip of fewer than U * V frames, and does as
            "pad_last" otherwise.
        place: at test time, where in each segment a run starts: 0 is the segment's start, 1 its
            end (excluded). The centre, 0.5, is the formula of Former-DFER.

    Returns:
        Frame indices [segments * duration], ascending within each segment; also from segment to
        segment, but for "former_dfer" on short clips.

    Raises:
        UserError: `short` is no such policy, or is "drop" and the clip is short.
        ValueError: a number is below 1.
    """
    if min(num_frames, segments, duration) < 1:
        raise ValueError(f"{num_frames=}, {segments=} and {duration=} must be at least 1.")
    _check_policy("dynamic", short)
    _check_length(num_frames, segments * duration, short)
    if rng is None:
        starts = _places(num_frames, segments, duration, place)
    else:
        starts = _draws(num_frames, segments, duration, rng)
    if starts is None and short == "spread":
        return _spread(num_frames, segments * duration)
    if starts is None and short == "former_dfer":
        starts = np.zeros(segments, np.int64)
    if starts is None:
        return np.minimum(np.arange(segments * duration), num_frames - 1)
    frames = starts[:, None] + np.arange(duration)  # [U, V]
    return np.minimum(frames, num_frames - 1).reshape(-1)


def uniform_sampling(
    num_frames: int, length: int, rng: np.random.Generator | None = None, *, place: float = 0.5
) -> Int64[np.ndarray, " T"]:
    """Choose one frame from each of `length` equal segments, as TSN does.

    A segment covers num_frames / length frames and need not begin at a whole one, so every frame
    of the clip can be drawn; the released code of TSN rounds the segments down and never draws the
    last frames. A clip shorter than `length` repeats frames, evenly.

    Args:
        num_frames: n, length of the clip.
        length: T, frames to choose.
        rng: draws a place in each segment (training); None takes the same in all (test).
        place: that place at test time, from 0 to 1 (excluded); 0.5 is the centre.

    Returns:
        Frame indices [T], ascending.
    """
    within = np.full(length, place) if rng is None else rng.random(length)
    frames = (np.arange(length) + within) * num_frames / length
    return np.minimum(frames.astype(np.int64), num_frames - 1)


def dense_sampling(
    num_frames: int,
    length: int,
    stride: int = 1,
    rng: np.random.Generator | None = None,
    short: str = "pad_last",
    *,
    place: float = 0.5,
) -> Int64[np.ndarray, " T"]:
    """Choose `length` frames, each `stride` after the one before.

    Args:
        num_frames: n, length of the clip.
        length: T, frames to choose.
        stride: steps from one to the next.
        rng: draws the first frame (training); None takes `place` (test).
        short: what to do with a clip of fewer than (T - 1) * stride + 1 frames: "pad_last" begins
            at its first frame and repeats the last; "spread" takes frames evenly from the whole
            clip, with repeats where it has fewer than T; "drop" does as "spread" and refuses
            every clip of fewer than T frames.
        place: where the first frame lies between the first and the last that are possible, from 0
            to 1; 0.5 takes the middle of the clip.

    Returns:
        Frame indices [T], ascending.

    Raises:
        UserError: `short` is no policy for this sampling, or is "drop" and the clip is short.
    """
    _check_policy("dense", short)
    _check_length(num_frames, length, short)
    last_start = num_frames - ((length - 1) * stride + 1)
    if last_start < 0 and short != "pad_last":
        return _spread(num_frames, length)
    if last_start < 0:
        start = 0
    elif rng is None:
        start = int(place * last_start)
    else:
        start = int(rng.integers(last_start + 1))
    return np.minimum(start + stride * np.arange(length), num_frames - 1)


_BY_NAME: dict[str, Sampler] = {
    "dynamic": dynamic_sampling,
    "uniform": uniform_sampling,
    "dense": dense_sampling,
    "time_interpolation": time_interpolation,
    "linear_interpolation": linear_interpolation,
}
SAMPLINGS = tuple(_BY_NAME)


def make_samplers(
    name: str,
    segments: int = 8,
    duration: int = 2,
    short: str = "pad_last",
    stride: int = 1,
    views: int = 1,
) -> list[Sampler]:
    """Return a sampler for each of `views` temporal views of a clip.

    The views of `dynamic` and `uniform` shift all frames alike within their segments: view v of N
    takes the place (v + 1/2) / N. Those of `dense` begin at even steps from the start of the clip
    to the last place possible, as in Non-local Networks (Wang et al., CVPR 2018). One view is the
    sampling at test time that each is known for. In training (with `rng`) all views are the same.

    Args:
        name: one of `SAMPLINGS`.
        segments: segments of `dynamic`; of all others, `segments * duration` is T.
        duration: consecutive frames of a segment of `dynamic`.
        short: policy for short clips, see `dynamic_sampling` and `dense_sampling`; the others take
            clips of any length.
        stride: of `dense`.
        views: number of views; interpolation covers the whole clip and has one.

    Raises:
        UserError: there is no such sampling, or it does not have what is asked of it.
    """
    function = pick(_BY_NAME, name, "sampling")
    _check_policy(name, short)
    if stride != 1 and name != "dense":
        raise UserError(f"A stride of {stride} belongs to dense sampling: for {name} it must be 1.")
    if views > 1 and "interpolation" in name:
        raise UserError(
            f"{name} takes its frames from the whole clip, so there is one temporal view of it, "
            f"not {views}."
        )
    options: dict[str, int | str] = {"length": segments * duration}
    if name == "dynamic":
        options = {"segments": segments, "duration": duration, "short": short}
    elif name == "dense":
        options |= {"stride": stride, "short": short}
    if views == 1:
        return [functools.partial(function, **options)]
    if name == "dense":
        places = [view / (views - 1) for view in range(views)]
    else:
        places = [(view + 0.5) / views for view in range(views)]
    return [functools.partial(function, **options, place=place) for place in places]


def _check_policy(sampling: str, short: str) -> None:
    policies = SHORT_POLICIES if sampling == "dynamic" else _SOUND_POLICIES
    if short not in policies:
        raise UserError(
            f'{sampling} sampling has no policy for short clips "{short}": choose '
            f"{' or '.join(policies)}."
        )


def _check_length(num_frames: int, length: int, short: str) -> None:
    if short == "drop" and num_frames < length:
        raise UserError(
            f'A clip of {num_frames} frames is shorter than {length}: the policy "drop" leaves it '
            "out, so do not sample it, or choose pad_last or spread."
        )


def _spread(num_frames: int, length: int) -> Int64[np.ndarray, " T"]:
    """Round `length` even points from the first to the last frame, halves upwards."""
    steps = max(length - 1, 1)
    return (2 * np.arange(length) * (num_frames - 1) + steps) // (2 * steps)


def _places(
    num_frames: int, segments: int, duration: int, place: float
) -> Int64[np.ndarray, " U"] | None:
    if num_frames <= segments + duration - 1:
        return None
    tick = (num_frames - duration + 1) / segments
    return (tick * place + tick * np.arange(segments)).astype(np.int64)  # truncated as by int()


def _draws(
    num_frames: int, segments: int, duration: int, rng: np.random.Generator
) -> Int64[np.ndarray, " U"] | None:
    places = num_frames - duration + 1  # where a run of `duration` frames can start
    width = places // segments
    if width > 0:
        return np.arange(segments) * width + rng.integers(width, size=segments)
    # `places` can only be below 1 where duration exceeds the clip; the released code fails there.
    if num_frames > segments and places > 0:
        return np.sort(rng.integers(places, size=segments))
    return None
