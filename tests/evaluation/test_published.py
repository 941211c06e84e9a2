"""The published numbers: complete, and consistent with their own cells but for the rows named."""

import math
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest

from logo_jax.evaluation.published import CLASSES, published

DFEW = (2445, 1894, 2669, 2173, 1469, 145, 902)  # pooled test clips of the five folds
ROWS = published()
WITH_CELLS = [row for row in ROWS if row.recalls]


def names(rows):
    return [f"{row.dataset} {row.method} {row.sampling}" for row in rows]


def war_of_recalls(row):
    return sum(r * n for r, n in zip(row.recalls, DFEW, strict=True)) / sum(DFEW)


def test_every_row_is_there_and_says_where_it_comes_from():
    assert [row.dataset for row in ROWS].count("dfew") == 16
    assert [row.dataset for row in ROWS].count("ferv39k") == 13
    assert len({(row.dataset, row.method) for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.sampling in ("TI", "DS", "unknown")
        assert row.selection in ("best_on_test", "unknown")
        assert row.aggregation in ("pooled", "fold_mean", "official_split", "unknown")
        assert (row.aggregation == "official_split") == (row.dataset == "ferv39k")
        assert row.source and row.method
        assert 0 < row.uar < row.war < 100
        assert row.recalls is None or len(row.recalls) == len(CLASSES)
    assert len(WITH_CELLS) == 10


@pytest.mark.parametrize(
    "dataset, method, uar, war",
    [
        ("dfew", "STT", 54.58, 66.65),
        ("dfew", "LOGO-Former", 54.21, 66.98),
        ("ferv39k", "LOGO-Former", 38.22, 48.13),
        ("ferv39k", "Former-DFER", 37.20, 46.85),
    ],
)
def test_rows_that_are_known_from_elsewhere(dataset, method, uar, war):
    (row,) = [row for row in ROWS if (row.dataset, row.method) == (dataset, method)]
    assert (row.uar, row.war) == (uar, war)
    if method == "LOGO-Former":
        assert row.gmacs == (10.27 if dataset == "ferv39k" else None)


def test_uar_and_war_are_those_of_the_cells():
    # Cells and result are rounded or cut to two digits: up to one unit between them.
    assert names(
        row
        for row in WITH_CELLS
        if abs(row.uar_of_recalls - row.uar) > 0.01 or abs(war_of_recalls(row) - row.war) > 0.01
    ) == ["dfew ResNet18+GRU DS"]
    (gru,) = [row for row in WITH_CELLS if row.method == "ResNet18+GRU"]
    assert gru.uar_of_recalls == pytest.approx(51.90, abs=0.005)
    assert war_of_recalls(gru) == pytest.approx(64.10, abs=0.005)
    assert "51.90 and 64.10" in gru.note


def test_cells_that_are_no_share_of_the_pooled_clips():
    """A pooled recall is k / n for a whole k, rounded or cut to two digits."""
    odd = {}
    for row in WITH_CELLS:
        for name, recall, clips in zip(CLASSES, row.recalls, DFEW, strict=True):
            share = Fraction(100 * round(recall * clips / 100), clips)
            if recall not in (float(round(share, 2)), math.floor(100 * share) / 100):
                odd.setdefault(f"{row.method} {row.sampling}", []).append(name)
    assert odd == {
        "3D ResNet18 DS": ["angry", "fear"],
        "ResNet18+LSTM DS": ["angry", "fear"],
        "ResNet18+GRU DS": ["happy", "neutral", "angry", "disgust", "fear"],
        "Former-DFER DS": ["angry", "fear"],
        "STT DS": ["disgust"],
    }


def test_the_angry_cells_up_to_former_dfer_are_shares_of_2172_clips():
    methods = ("3D ResNet18", "ResNet18+LSTM", "ResNet18+GRU", "Former-DFER")
    cells = [row.recalls[CLASSES.index("angry")] for row in WITH_CELLS if row.method in methods]
    assert len(cells) == 4

    def explains(clips):
        return all(round(100 * round(c * clips / 100) / clips, 2) == c for c in cells)

    assert [clips for clips in range(2158, 2189) if explains(clips)] == [2172]


def test_the_file_belongs_to_the_installed_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "*.csv" in project["tool"]["setuptools"]["package-data"]["logo_jax.evaluation"]
