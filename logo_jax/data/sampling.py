"""Which frames of a clip the model sees.

Dynamic sampling (DS) of Former-DFER (Zhao and Liu, ACM MM 2021): the clip is cut into `segments`
equal parts, and from each `duration` consecutive frames are taken, at a random place in training
and at the centre at test time.
"""

import numpy as np
from jaxtyping import Int64

from logo_jax.common.errors import UserError

SHORT_POLICIES = ("pad_last", "former_dfer")


def dynamic_sampling(
    num_frames: int,
    segments: int = 8,
    duration: int = 2,
    rng: np.random.Generator | None = None,
    short: str = "pad_last",
) -> Int64[np.ndarray, " T"]:
    """Choose `segments * duration` frames of a clip of `num_frames`, 0-based.

    Args:
        num_frames: length of the clip, at least 1.
        segments: U, number of segments.
        duration: V, consecutive frames from each segment; a run that meets the end of the clip
            repeats its last frame.
        rng: draws the place in each segment (training); None takes the centres (test).
        short: what to do where the formula of Former-DFER gives up, which is at test time
            n <= U + V - 1 and in training a clip that is shorter than one frame for each segment.
            "pad_last" takes frames 0 .. n - 1 and repeats the last. "former_dfer" reproduces the
            released code, which takes the first V frames U times.

    Returns:
        Frame indices [segments * duration], ascending within each segment; also from segment to
        segment, but for "former_dfer" on short clips.

    Raises:
        UserError: `short` is no such policy.
        ValueError: a number is below 1.
    """
    if min(num_frames, segments, duration) < 1:
        raise ValueError(f"{num_frames=}, {segments=} and {duration=} must be at least 1.")
    if short not in SHORT_POLICIES:
        raise UserError(
            f'Unknown policy for short clips "{short}": choose {" or ".join(SHORT_POLICIES)}.'
        )
    if rng is None:
        starts = _centres(num_frames, segments, duration)
    else:
        starts = _draws(num_frames, segments, duration, rng)
    if starts is None and short == "pad_last":
        return np.minimum(np.arange(segments * duration), num_frames - 1)
    if starts is None:
        starts = np.zeros(segments, np.int64)
    frames = starts[:, None] + np.arange(duration)  # [U, V]
    return np.minimum(frames, num_frames - 1).reshape(-1)


def _centres(num_frames: int, segments: int, duration: int) -> Int64[np.ndarray, " U"] | None:
    if num_frames <= segments + duration - 1:
        return None
    tick = (num_frames - duration + 1) / segments
    return (tick / 2 + tick * np.arange(segments)).astype(np.int64)  # int() of Python truncates


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
