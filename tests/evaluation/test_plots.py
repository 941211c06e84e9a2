"""The confusion matrix as a picture: that it is drawn, and what is written on it."""

import subprocess
import sys
import warnings

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.evaluation.plots import confusion_png

NAMES = ("happy", "sad", "neutral")
CONFUSION = np.array([[8, 2, 0], [0, 0, 0], [1, 3, 1234]])


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved during a test."""
    saved = []
    save = matplotlib.figure.Figure.savefig

    def savefig(figure, *args, **options):
        saved.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    return saved


def test_counts_percentages_names_and_scores(tmp_path, figures):
    path = tmp_path / "confusion.png"
    confusion_png(path, CONFUSION, NAMES, "dfew, fold 1")
    axes = figures[0].axes[0]
    cells = {text.get_position()[::-1]: text.get_text() for text in axes.texts}
    assert cells == {
        (0, 0): "8\n80.0 %",
        (0, 1): "2\n20.0 %",
        (2, 0): "1\n0.1 %",
        (2, 1): "3\n0.2 %",
        (2, 2): "1,234\n99.7 %",
    }
    assert [label.get_text() for label in axes.get_xticklabels()] == list(NAMES)
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["happy (10)", "sad (0)", "neutral (1,238)"]
    assert axes.get_title() == "dfew, fold 1\nWAR 99.52 %   UAR 89.84 %   1,248 clips"
    pixels = matplotlib.image.imread(path)
    assert pixels.ndim == 3 and min(pixels.shape[:2]) > 300
    assert [p.name for p in tmp_path.iterdir()] == ["confusion.png"]


@pytest.mark.parametrize("num_classes", [1, 2, 31, pytest.param(100, marks=pytest.mark.slow)])
def test_any_number_of_classes(tmp_path, figures, num_classes):
    confusion = np.eye(num_classes, dtype=np.int64) * 9
    confusion[0, -1] += 1
    path = tmp_path / "confusion.png"
    confusion_png(path, confusion, [f"class_{i}" for i in range(num_classes)], "test")
    texts = [text.get_text() for text in figures[0].axes[0].texts]
    assert len(texts) == num_classes + (num_classes > 1)
    if num_classes > 30:
        assert set(texts) == {"90", "10", "100"}
    assert path.stat().st_size > 5000


def test_odd_names(tmp_path, figures):
    names = ("$x_$", "快乐", "a name so long that no picture would hold it\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs that it cannot draw
        confusion_png(tmp_path / "confusion.png", CONFUSION, names, "a $title_$")
    labels = [label.get_text() for label in figures[0].axes[0].get_xticklabels()]
    assert labels == ["$x_$", "class 1", "a name so long that no …"]


def test_no_clips_have_no_picture(tmp_path):
    with pytest.raises(UserError, match="no clips"):
        confusion_png(tmp_path / "confusion.png", np.zeros((2, 2), np.int64), ("a", "b"), "test")
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="Cannot write"):
        confusion_png(tmp_path / "no" / "confusion.png", CONFUSION, NAMES, "test")


def test_metrics_do_not_wait_for_matplotlib():
    code = "import sys, logo_jax.evaluation; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
