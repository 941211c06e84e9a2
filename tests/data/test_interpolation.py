"""Time interpolation against the paper's own construction, and what reaches the batches.

The independent construction builds the path graph's Laplacian, takes its eigenvectors with
numpy's eigh, and solves for the linear map with an SVD of the frames, as Zhou et al. (2011) do.
"""

import math

import numpy as np
import pytest

from logo_jax.data import decode, pipeline, reader
from logo_jax.data.interpolation import linear_interpolation, mix, time_interpolation
from logo_jax.data.sampling import SAMPLINGS, make_samplers


def curve(num_frames, t):
    """y(t) as printed, [n - 1]."""
    n = num_frames
    return np.array([math.sin(math.pi * k * t + math.pi * (n - k) / (2 * n)) for k in range(1, n)])


def path_graph_eigenvectors(num_frames):
    """Eigenvectors [n, n - 1] of the path graph's Laplacian, without the constant one."""
    adjacency = np.eye(num_frames, k=1) + np.eye(num_frames, k=-1)
    values, vectors = np.linalg.eigh(np.diag(adjacency.sum(0)) - adjacency)
    assert values[0] == pytest.approx(0, abs=1e-12) and (np.diff(values) > 1e-6).all()
    return vectors[:, 1:]


def interpolated_as_in_the_paper(frames, length):
    """`length` frames [D, T] of linearly independent `frames` [D, n]."""
    n = frames.shape[1]
    mean = frames.mean(1, keepdims=True)
    u, s, vt = np.linalg.svd(frames - mean, full_matrices=False)
    u, s, vt = u[:, : n - 1], s[: n - 1], vt[: n - 1]  # the mean is gone, so one is zero
    q = s[:, None] * vt  # [n - 1, n]
    eigenvectors = path_graph_eigenvectors(n)
    w = np.linalg.solve(q @ q.T, q @ eigenvectors)  # graph embedding: q.T @ w = eigenvectors
    scale = curve(n, 1 / n) / eigenvectors[0]  # an eigenvector has any length and sign
    points = [curve(n, t) / scale for t in np.linspace(1 / n, 1, length)]
    return u @ np.linalg.inv(w.T) @ np.array(points).T + mean


@pytest.mark.parametrize("num_frames", [2, 3, 7, 30])
def test_the_curve_passes_through_the_eigenvectors(num_frames):
    vectors = path_graph_eigenvectors(num_frames)
    at_frames = np.array([curve(num_frames, i / num_frames) for i in range(1, num_frames + 1)])
    cosines = (at_frames * vectors).sum(0) / np.linalg.norm(at_frames, axis=0)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-10)


@pytest.mark.parametrize("num_frames", [2, 3, 9, 16, 30])
@pytest.mark.parametrize("length", [2, 16])
def test_weights_are_those_of_the_paper_and_of_a_pseudo_inverse(num_frames, length):
    frames = np.random.default_rng(num_frames).uniform(0, 255, (50, num_frames))
    ours = frames @ time_interpolation(num_frames, length).T
    np.testing.assert_allclose(ours, interpolated_as_in_the_paper(frames, length), atol=1e-8)

    mean = frames.mean(1, keepdims=True)
    at_frames = [curve(num_frames, i / num_frames) for i in range(1, num_frames + 1)]
    linear_map = (frames - mean) @ np.linalg.pinv(np.array(at_frames).T)
    points = [curve(num_frames, t) for t in np.linspace(1 / num_frames, 1, length)]
    np.testing.assert_allclose(ours, linear_map @ np.array(points).T + mean, atol=1e-8)


@pytest.mark.parametrize("num_frames", [2, 16, 100, 847])
def test_frames_at_the_points_of_the_clip_come_back(num_frames):
    same = time_interpolation(num_frames, num_frames)
    np.testing.assert_allclose(same, np.eye(num_frames), atol=1e-11)
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 3, 2, 3), np.uint8)
    np.testing.assert_array_equal(mix(frames, same), frames)
    every_third = mix(frames, time_interpolation(num_frames, (num_frames - 1) // 3 + 1))
    if num_frames % 3 == 1:
        np.testing.assert_array_equal(every_third, frames[::3])


@pytest.mark.parametrize("interpolation", [time_interpolation, linear_interpolation])
def test_lengths_and_ends(interpolation):
    for num_frames in [*range(1, 40), 200, 1000]:
        for length in (1, 16):
            weights = interpolation(num_frames, length)
            assert weights.shape == (length, num_frames)
            np.testing.assert_allclose(weights.sum(1), 1, atol=1e-10)
        one = np.eye(num_frames)
        np.testing.assert_allclose(weights[[0, -1]], one[[0, -1]], atol=1e-10)
    np.testing.assert_allclose(interpolation(1, 4), np.ones((4, 1)))
    np.testing.assert_allclose(interpolation(5, 1), [[0, 0, 1, 0, 0]], atol=1e-12)


def test_a_linear_motion():
    """A pixel that brightens by the same step from frame to frame."""
    for num_frames in (8, 20, 70):
        even = np.linspace(0, num_frames - 1, 16)
        brightness = np.arange(num_frames)
        np.testing.assert_allclose(linear_interpolation(num_frames, 16) @ brightness, even)
        # The curve is made of cosines, so a straight motion is followed to a twentieth of a frame.
        assert np.abs(time_interpolation(num_frames, 16) @ brightness - even).max() < 0.05


@pytest.mark.parametrize("order", [1, 3, 8])
def test_a_motion_along_the_curve_is_followed_exactly(order):
    t = np.linspace(1 / 9, 1, 16)
    at_frames = np.cos(np.pi * order * (np.arange(1, 10) / 9 - 1 / 18))
    expected = np.cos(np.pi * order * (t - 1 / 18))
    np.testing.assert_allclose(time_interpolation(9, 16) @ at_frames, expected, atol=1e-12)


def test_linear_interpolation_is_that_of_numpy():
    values = np.random.default_rng(0).normal(size=23)
    expected = np.interp(np.linspace(0, 22, 16), np.arange(23), values)
    np.testing.assert_allclose(linear_interpolation(23, 16) @ values, expected)
    assert (linear_interpolation(23, 16) > 0).sum(1).max() == 2


def test_mixing_rounds_and_clips():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (150, 4, 5, 3), np.uint8)  # more than two chunks
    weights = time_interpolation(150, 16)
    exact = np.einsum("tn,nhwc->thwc", weights, frames.astype(np.float64))
    assert exact.min() < 0 and exact.max() > 255
    found = mix(frames, weights).astype(np.float64)
    np.testing.assert_allclose(found, np.clip(exact, 0, 255), atol=0.5 + 1e-3)
    picked = rng.integers(150, size=16)
    np.testing.assert_array_equal(mix(frames, np.eye(150)[picked]), frames[picked])


def read(prepared, row, sampler, order="natural"):
    batches = pipeline.eval_batches(
        prepared,
        np.array([row]),
        batch_size=1,
        sampler=sampler,
        frame_size=16,
        frame_order=order,
    )
    return [batch["frames"][0] for batch in batches]


def test_batches_hold_mixed_frames(noise_set):
    clip = decode.decode_frames(noise_set[20]["frames"], 16)  # 23 frames
    for name, interpolation in (
        ("time_interpolation", time_interpolation),
        ("linear_interpolation", linear_interpolation),
    ):
        (frames,) = read(noise_set, 20, make_samplers(name))
        exact = np.einsum("tn,nhwc->thwc", interpolation(23, 16), clip.astype(np.float64))
        assert frames.dtype == np.uint8
        np.testing.assert_allclose(frames, np.clip(exact, 0, 255), atol=0.5 + 1e-3)


@pytest.mark.parametrize("name", SAMPLINGS)
def test_every_sampling_has_every_frame_order(noise_set, name):
    samplers = make_samplers(name, segments=4)
    (natural,) = read(noise_set, 20, samplers)
    np.testing.assert_array_equal(read(noise_set, 20, samplers, "reversed")[0], natural[::-1])
    (shuffled,) = read(noise_set, 20, samplers, "shuffled")
    assert not np.array_equal(shuffled, natural)
    assert sorted(f.tobytes() for f in shuffled) == sorted(f.tobytes() for f in natural)
    centre = decode.decode_frames([noise_set[20]["frames"][11]], 16)
    (single,) = read(noise_set, 20, samplers, "single")
    np.testing.assert_array_equal(single, np.repeat(centre, 8, axis=0))


def test_only_frames_with_a_weight_are_decoded(noise_set, monkeypatch):
    decoded = []

    def counting(data, out):
        decoded.append(data)
        decode.decode_into(data, out)

    monkeypatch.setattr(reader, "decode_into", counting)
    read(noise_set, 20, make_samplers("linear_interpolation", 3, 1))  # at 0, 11, 22
    assert len(decoded) == 3
    decoded.clear()
    read(noise_set, 20, make_samplers("time_interpolation", 4, 1))
    assert len(decoded) == 23


def test_each_batch_comes_once_for_each_temporal_view(noise_set):
    rows = noise_set.rows("test")[:3]
    views = make_samplers("uniform", 4, 1, views=3)
    settings = {"batch_size": 2, "frame_size": 16}
    together = list(pipeline.eval_batches(noise_set, rows, sampler=views, **settings))
    apart = [
        list(pipeline.eval_batches(noise_set, rows, sampler=view, **settings)) for view in views
    ]
    assert len(together) == 6
    for step, batch in enumerate(together):
        expected = apart[step % 3][step // 3]
        for name in batch:
            np.testing.assert_array_equal(batch[name], expected[name])
    assert together[-1]["row"].tolist() == [rows[2], -1]
