"""Clips worth looking at: which, in what order, and what their pictures show."""

import cv2
import numpy as np

from logo_jax.common.figures import LIGHT
from logo_jax.evaluation import gallery
from logo_jax.evaluation.predictions import Predictions
from tests.common.test_page import read

# Probability of class b per clip; the first four are truly a.
OF_B = np.array([0.9, 0.4, 0.1, 0.6, 0.95, 0.45, 0.7, 0.3])
FOUND = Predictions(
    ("a", "b"),
    ("1",),
    tuple(f"clip {i}" for i in range(8)),
    np.zeros(8, np.int64),
    np.repeat([0, 1], 4),
    (OF_B > 0.5).astype(np.int64),
    np.stack([1 - OF_B, OF_B], 1),
)
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), np.uint8)


def decoded(picture):
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)


def test_errors_and_hits_in_order():
    assert gallery.confident_errors(FOUND, 3).tolist() == [0, 7, 3]
    assert gallery.narrow_hits(FOUND, 2).tolist() == [1, 6]
    assert gallery.confident_errors(gallery.rows_of(FOUND, np.array([1, 2])), 3).tolist() == []


def test_the_median_clip_of_each_class():
    # Of a: 0.1, 0.4, 0.6, 0.9 for its clips 0, 3, 1, 2; of b: 0.3, 0.45, 0.7, 0.95.
    assert gallery.median_clips(FOUND, 7).tolist() == [3, 5]
    some = gallery.rows_of(FOUND, np.array([0, 4, 5]))
    assert gallery.median_clips(some, 1).tolist() == [2]  # b has more clips


def test_small_pictures_and_what_lies_over_them():
    plain = decoded(gallery.thumbnail(FRAMES[0]))
    assert plain.shape == (gallery.SIDE, gallery.SIDE, 3)
    heat = np.zeros((2, 2), np.float32)
    heat[0, 1] = 1
    frame = np.full((24, 24, 3), 128, np.uint8)
    bright = decoded(gallery.thumbnail(frame, heat)).mean(-1)
    half = gallery.SIDE // 2
    assert bright[:half, half:].mean() > 1.5 * bright[half:, :half].mean()
    assert len(gallery.thumbnail(FRAMES[0])) < 6000


def test_frames_stand_beside_their_numbers():
    mass = np.zeros((6, 2, 2))
    mass[1], mass[4] = 0.1, 0.15
    change = np.linspace(-0.3, 0.2, 6)
    chosen = np.array([0, 1, 4])
    text = gallery.looks_table(FRAMES[chosen], {"rollout": mass}, change, chosen, "c")
    shown = read(text)
    assert [tag for tag, _ in shown.tags].count("img") == 6
    assert "1" + "2" + "5" in shown.text and "rollout, %0.040.060.0" in shown.text
    assert "-0.300-0.200+0.100" in shown.text


def test_contributions_are_means_over_clips():
    mass = {"rollout": np.array([[0.2, 0.8], [0.4, 0.6]])}
    change = np.array([[-0.5, 0.1], [0.3, -0.1]])
    table = gallery.frames_table(mass, change, "frames")
    assert [list(row) for row in table.body] == [
        ["rollout, %", "30.00", "70.00"],
        ["|change of p|", "0.4000", "0.1000"],
    ]
    plots = gallery.contribution_plots(mass, change)
    lines, bars = (plots[name](LIGHT).axes[0] for name in ("attention", "replaced"))
    np.testing.assert_allclose(lines.lines[0].get_ydata(), [30, 70])
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], [0.4, 0.1])
    assert set(gallery.contribution_plots({}, change)) == {"replaced"}


def test_probabilities_of_chosen_clips():
    table = gallery.probabilities_table(FOUND, [("error", np.array([0]))], "clips")
    assert list(table.body[0]) == ["clip 0", "error", "a", "0.100", "0.900"]
    assert gallery.describe(FOUND, 0) == "clip 0: true a (0.100), predicted b (0.900)"
