"""What the report of a study says of its rows, and its axes: rows made by hand."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from logo_jax.common.figures import LIGHT
from logo_jax.study import plots, report, tables
from logo_jax.study.points import Point
from logo_jax.study.rows import ALL_MEASURED, TIMES

GRIDS = ((2, 2, 2), (4, 2, 2))


def row(scheme="full", impl="xla", grid=(2, 2, 2), **fields):
    window = (2, 1, 1) if scheme == "local_global" else None
    numbers = {name: 2 for name in ALL_MEASURED} | {f"training_{name}": 3 for name in TIMES}
    point = Point(scheme, impl, grid, window, 8, 2)
    memory = {"training_temporary_mib": 1.0, "training_peak_mib": 2.0}
    return {**point.record(), **numbers, **memory, "status": "measured", "machine": "an abacus",
            "repeats": 5, **fields}  # fmt: skip


def test_introduction_is_true_of_all_rows():
    assert report._introduction([row()]) == (
        "The attention module alone, measured on an abacus. 1 clip(s) at a time. Times are medians "
        "of 5 samples, the schemes taken in turn; ± is the distance between the quartiles."
    )
    mixed = [row(batch=4), row(impl="chunked", repeats=2, batch=4), row(series="window")]
    words = report._introduction(mixed)
    assert "4 clip(s) at a time; one in the parts on growth and on windows" in words
    assert "medians of 2 or 5 samples" in words and words.endswith("Dashed: queries in chunks.")
    words = report._introduction([row(repeats=1)])
    assert "of one sample each" in words and "±" not in words
    assert tables._time(row(), "training") == "3.0 ± 3.0"
    assert tables._time(row(repeats=1), "training") == "3.0"  # of one sample there is no spread


def test_matmul_rates_are_those_of_every_type():
    rows = [row(matmul_multiply_adds_per_s=r, dtype=d) for r, d in (
        (50e9, "float32"), (60e9, "float32"), (9e9, "bfloat16"))]  # fmt: skip
    assert tables._rates(rows) == "float32 50 to 60, bfloat16 9 G multiply-adds a second"
    assert tables._rates([]) == "not measured"


def test_memory_is_the_measured_one_where_there_is_any():
    old, new = row(), row("local_global", training_measured_mib=4.0)
    column, words = tables.memory_column([old])
    assert column == "training_temporary_mib" and "the compiler plans" in words
    column, words = tables.memory_column([old, new])
    assert column == "training_measured_mib" and "results" in words
    assert "1 points of an earlier version have none" in words
    page = tables.ratios([row(training_measured_mib=10.0), new, old])
    assert "<td>2.50</td>" in page and "<td>-</td>" in page
    assert "<td>4.0</td>" in tables.points([old, new])


def test_ratios_say_of_which_dim_and_type_they_are():
    rows = [row(scheme, dim=dim, dtype=dtype) for dim, dtype in ((8, "float32"), (16, "bfloat16"))
            for scheme in ("full", "local_global")]  # fmt: skip
    lines = [line for line in tables.ratios(rows).split("<tr>") if "<td>full</td>" in line]
    assert len(set(lines)) == len(lines) == 2
    assert "<td>8</td><td>float32</td>" in lines[0] and "<td>bfloat16</td>" in lines[1]


def test_tables_have_what_there_is():
    assert tables.ratios([row()]) == ""
    page = tables.exponents([row()])
    assert "as drawn" not in page and "measured" not in page
    failed = {**Point("full", "xla", (2, 2, 2), None, 8, 2).record(), "status": "counting: broken"}
    assert "counting: broken" in tables.points([failed])


def test_every_scheme_of_ones_own_has_a_colour_of_its_own(monkeypatch):
    own = [f"mine_{number}" for number in range(12)]
    monkeypatch.setattr(plots, "SCHEMES", dict.fromkeys([*plots.SCHEMES, *own]))
    assert len({plots.colour(name, LIGHT) for name in plots.SCHEMES}) == len(plots.SCHEMES)


def test_plots_have_axes_with_several_grids_and_say_what_they_show():
    rows = [row(grid=grid, dim=dim) for dim in (8, 16) for grid in GRIDS]
    assert list(plots.panels(rows)) == ["frames"]
    words = report._drawn(rows)
    assert words.startswith("Plots: dim 8, 2 heads, float32, along the longest run")
    assert "in the table of all points" in words and "table" not in report._drawn(rows[:2])
    assert plots.panels(rows[:1]) == {} and report._drawn(rows[:1]) == ""
    assert "time" not in [name for name, _, _ in report._drawings(rows[:1], ())]
    assert plots.drawn([row("local_global")]).endswith("window 2 x 1 x 1")


@pytest.mark.parametrize(
    "limits", [(0.03, 0.4), (3.1, 4.2), (200, 900), (0.5, 30), (1, 1e9), (11, 19), (2.01, 2.04)]
)
def test_every_axis_has_a_few_numbers(limits):
    axes = Figure().add_subplot()
    axes.set(yscale="log", ylim=limits)
    plots.number_axis(axes.yaxis)
    shown = [x for x in axes.get_yticks() if limits[0] <= x <= limits[1]]
    words = [axes.yaxis.get_major_formatter()(x, 0) for x in shown]
    assert 2 <= len(shown) <= plots.MOST_LABELS and len(set(words)) == len(words)
    assert [float(word.replace(",", "")) for word in words] == pytest.approx(shown, rel=1e-2)
    assert np.all(np.diff(shown) > 0)
