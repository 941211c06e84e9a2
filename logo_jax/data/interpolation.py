"""New frames mixed of those of a clip: T even points of a curve through all of them.

An interpolation gives weights [T, n], which do not depend on the pixels: new frame t is the sum of
weights[t, i] * frame i. `mix` applies them.

Time interpolation (TI) is the temporal interpolation model of Zhou, Zhao and Pietikäinen (Towards
a Practical Lipreading System, CVPR 2011). The frames are the nodes of a path graph. The
eigenvectors of its Laplacian, k = 1 .. n - 1, are samples at t = 1/n, 2/n .. 1 of

    y_k(t) = sin(pi k t + pi (n - k) / (2 n)),

a curve in n - 1 dimensions, and a linear map A takes the curve to the frames minus their mean:
X - mean = A Y with Y[k, i] = y_k(i / n). New frames are mean + A y(t). Y has orthogonal rows, all
of squared length n / 2, and each sums to zero. So its singular values are all equal, its
pseudo-inverse is 2 / n Y^T, and

    mean + A y(t) = X w(t),    w_i(t) = 1/n + 2/n sum_k y_k(i / n) y_k(t).

A is the one solution of A Y = X - mean. The paper finds it through an SVD of the frames, for which
they must be linearly independent; in this form a still face will do as well.
"""

import numpy as np
from jaxtyping import Float, UInt8

# Frames turned to float32 at a time: a clip of 847 frames would take half a gigabyte.
CHUNK = 64


def time_interpolation(
    num_frames: int, length: int, rng: np.random.Generator | None = None
) -> Float[np.ndarray, "T n"]:
    """Weights of time interpolation at `length` even points of t from 1/n to 1.

    Weights may be negative and exceed 1; each row sums to 1. One point alone is the middle of the
    curve, and a clip of one frame repeats it.

    Args:
        num_frames: n, length of the clip.
        length: T, frames to make.
        rng: not used: training and test see the same frames.
    """
    orders = np.arange(1, num_frames)[:, None]  # k

    def curve(positions: np.ndarray) -> np.ndarray:  # n t -> y [n - 1, len(positions)]
        phase = (num_frames - orders) / 2
        return np.sin(np.pi * (orders * positions + phase) / num_frames)

    at_frames = curve(np.arange(1, num_frames + 1))
    at_points = curve(1 + _even_points(num_frames, length))
    return (1 + 2 * at_points.T @ at_frames) / num_frames


def linear_interpolation(
    num_frames: int, length: int, rng: np.random.Generator | None = None
) -> Float[np.ndarray, "T n"]:
    """Weights of `length` even points from the first to the last frame, of its two neighbours.

    Arguments and special cases are those of `time_interpolation`.
    """
    positions = _even_points(num_frames, length)[:, None]
    return np.maximum(0, 1 - np.abs(positions - np.arange(num_frames)))


def mix(
    frames: UInt8[np.ndarray, "n H W 3"], weights: Float[np.ndarray, "T n"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Mix frames in float32, and round and clip the result to 0 .. 255."""
    pixels = frames.reshape(len(frames), -1)
    mixed = np.zeros((len(weights), pixels.shape[1]), np.float32)
    for start in range(0, len(frames), CHUNK):
        part = slice(start, start + CHUNK)
        mixed += weights[:, part].astype(np.float32) @ pixels[part].astype(np.float32)
    rounded = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return rounded.reshape(len(weights), *frames.shape[1:])


def _even_points(num_frames: int, length: int) -> Float[np.ndarray, " T"]:
    """Even points from the first frame, 0, to the last, n - 1; one alone lies in the middle."""
    if length == 1:
        return np.array([(num_frames - 1) / 2])
    return np.linspace(0, num_frames - 1, length)
