"""Features: distances against their definition, and a plane that a seed repeats."""

import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.common.figures import LIGHT
from logo_jax.evaluation.embedding import embedding_plot, perplexity, sample, spread, tsne

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(3), (12, 11, 13))
FEATURES = (RNG.normal(size=(36, 5)) + 4 * np.eye(5)[LABELS]).astype(np.float32)


def test_distances_and_silhouette_by_their_definition():
    found = spread(FEATURES, LABELS)
    far = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in FEATURES] for a in FEATURES])
    pairs = [(i, j) for i in range(36) for j in range(36) if i != j]
    intra = np.mean([far[i, j] for i, j in pairs if LABELS[i] == LABELS[j]])
    inter = np.mean([far[i, j] for i, j in pairs if LABELS[i] != LABELS[j]])
    widths = []
    for i, label in enumerate(LABELS):
        own = [far[i, j] for j in range(36) if j != i and LABELS[j] == label]
        others = [far[i, LABELS == c].mean() for c in range(3) if c != label]
        a, b = np.mean(own), min(others)
        widths.append((b - a) / max(a, b))
    assert found.intra == pytest.approx(intra, rel=1e-5)
    assert found.inter == pytest.approx(inter, rel=1e-5)
    assert found.ratio == pytest.approx(intra / inter, rel=1e-5) and found.ratio < 0.8
    assert found.silhouette == pytest.approx(np.mean(widths), rel=1e-4)


@pytest.mark.parametrize("labels", [np.zeros(4, np.int64), np.arange(4)])
def test_distances_need_two_classes_and_two_clips_of_one(labels):
    with pytest.raises(UserError, match="need two classes"):
        spread(FEATURES[:4], labels)


def test_a_seed_repeats_the_plane_and_classes_part():
    plane = tsne(FEATURES, seed=3)
    np.testing.assert_array_equal(plane, tsne(FEATURES, seed=3))
    assert plane.shape == (36, 2) and spread(plane, LABELS).ratio < 0.6
    with pytest.raises(UserError, match="t-SNE of 9 clips shows nothing"):
        tsne(FEATURES[:9])
    assert perplexity(36) == pytest.approx(35 / 3) and perplexity(2000) == 30


def test_sample_is_bounded_and_repeatable():
    np.testing.assert_array_equal(sample(5, most=5), np.arange(5))
    drawn = sample(50, seed=1, most=20)
    assert len(set(drawn)) == 20 and (np.diff(drawn) > 0).all() and drawn.max() < 50
    np.testing.assert_array_equal(drawn, sample(50, seed=1, most=20))


def test_one_panel_a_run_and_one_mark_a_clip():
    figure = embedding_plot([("A", FEATURES[:, :2]), ("B", FEATURES[:, 2:4])], LABELS, "xyz")(LIGHT)
    assert [axes.get_title() for axes in figure.axes] == ["A", "B"]
    for axes in figure.axes:
        assert [len(points.get_offsets()) for points in axes.collections] == [12, 11, 13]
