"""The figures of a study. One colour per scheme in all of them; light and dark versions.

Drawn with matplotlib's objects, so no display is needed.
"""

from collections.abc import Mapping, Sequence
from colorsys import hsv_to_rgb
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from logo_jax.common.figures import Draw, Theme, style
from logo_jax.models.blocks import BUILT_IN, SCHEMES
from logo_jax.models.windows import by
from logo_jax.study.points import EXPONENTS_GRIDS

Row = dict[str, Any]
Curves = dict[str, list[tuple[int, float | int]]]  # of each label: (tokens, value)


# Distinguishable with the common colour blindnesses too (after Okabe and Ito); full has the ink.
COLOURS = {
    "spatial": "#56b4e9", "mixing": "#0072b2", "divided": "#e69f00", "factorized": "#cc79a7",
    "local": "#009e73", "global": "#b8a800", "local_global": "#d55e00",
}  # fmt: skip


# Of schemes of one's own, in the order of their registration; further ones have hues that no other
# has, since the golden section never comes back to one.
OWN_COLOURS = ("#8c564b", "#9467bd", "#7f7f7f", "#17becf")
GOLDEN = 0.618034


def colour(label: str, theme: Theme) -> str:
    scheme = label.split(":")[0]
    if scheme == "full":
        return theme.ink
    if scheme in COLOURS:
        return COLOURS[scheme]
    own = [name for name in SCHEMES if name not in BUILT_IN]
    if scheme not in own:
        return theme.spare
    place = own.index(scheme)
    if place < len(OWN_COLOURS):
        return OWN_COLOURS[place]
    return to_hex(hsv_to_rgb(place * GOLDEN % 1, 0.75, 0.65))


def of_series(rows: Sequence[Row], series: str) -> list[Row]:
    return [row for row in rows if row["series"] == series]


# What a plot has one of, of a study that may have several.
KEPT = ("dim", "num_heads", "dtype", "batch")


def sweep(rows: Sequence[Row], axis: str) -> list[Row]:
    """The rows along one axis: the longest run of grids that differ only in it.

    Args:
        axis: "frames" (the same height and width) or "resolution" (the same number of frames).

    Rows of other windows, dims or types than the first row's are left out.
    """
    if not rows:
        return []
    first = rows[0]
    window = next((row["window"] for row in rows if row["window"]), "")
    same = [
        row
        for row in rows
        if all(row[name] == first[name] for name in KEPT) and row["window"] in ("", window)
    ]
    runs: dict[Any, dict[str, list[Row]]] = {}
    for row in same:
        frames, space = row["grid"].split(" x ", 1)
        key, place = (space, frames) if axis == "frames" else (frames, space)
        runs.setdefault(key, {}).setdefault(place, []).append(row)
    best = max(runs.values(), key=len)
    return [row for place in best.values() for row in place]


def tokens(row: Row) -> int:
    return int(np.prod([int(size) for size in row["grid"].split(" x ")]))


def curves(rows: Sequence[Row], column: str) -> Curves:
    """(tokens, value) of every label, by number of tokens; points without a value are left out."""
    found: Curves = {}
    for row in rows:
        if row.get(column):
            found.setdefault(row["label"], []).append((tokens(row), row[column]))
    return {label: sorted(points) for label, points in found.items()}


def exponent(points: Sequence[tuple[float | int, float | int]]) -> float:
    """Slope in log-log axes through the points, by least squares; NaN for fewer than two, and where
    a value is 0."""
    if len(points) < 2 or min(map(min, points)) <= 0:
        return float("nan")
    x, y = np.log(np.asarray(points, float)).T
    return float(np.polyfit(x, y, 1)[0])


def drawn(rows: Sequence[Row]) -> str:
    """What the rows of `sweep` have in common, in words; `rows` as there, not empty."""
    first = rows[0]
    window = next((row["window"] for row in rows if row["window"]), "")
    words = f"dim {first['dim']}, {first['num_heads']} heads, {first['dtype']}"
    return f"{words}, window {window}" if window else words


def panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """By axis the rows of `sweep`, where they are of several grids."""
    found = {axis: sweep(rows, axis) for axis in ("frames", "resolution")}
    return {axis: along for axis, along in found.items() if len({r["grid"] for r in along}) > 1}


def scaling(rows: Sequence[Row], column: str, unit: str, scale: float | int) -> Draw:
    """A drawing of one column against tokens, log-log: over frames, and over resolution.

    Args:
        rows: those of which there are `panels`.
        unit: of the values after division by `scale`.
    """

    def draw(theme: Theme) -> Figure:
        found = panels(rows)
        figure = Figure(figsize=(5 * len(found), 5))
        for index, (axis, along) in enumerate(found.items()):
            axes: Axes = figure.add_subplot(1, len(found), index + 1)
            _curves(axes, curves(along, column), scale, theme)
            axes.set_xlabel(f"tokens of a clip, more {axis}: {_grids(along)}")
            axes.set_ylabel(unit)
            axes.set_title(drawn(rows), fontsize=9)
            style(axes, theme)
        figure.tight_layout()
        return figure

    return draw


# Numbers of six digits that stand side by side under one of two plots.
MOST_LABELS = 5


def growth(rows: Sequence[Row], axis: str, column: str) -> Curves:
    """(frames or positions of a frame, value) of every scheme, of the series `exponents`."""
    found: Curves = {}
    for row in of_series(rows, "exponents"):
        frames, height, width = (int(size) for size in row["grid"].split(" x "))
        if (frames, height, width) in EXPONENTS_GRIDS[axis] and row.get(column):
            size = frames if axis == "frames" else height * width
            found.setdefault(row["scheme"], []).append((size, row[column]))
    return {scheme: sorted(points) for scheme, points in found.items()}


def exponents(rows: Sequence[Row], column: str, unit: str) -> Draw:
    """A drawing of one column against frames and against positions, the slopes beside the names."""

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(10, 5))
        for index, (axis, grids) in enumerate(EXPONENTS_GRIDS.items()):
            axes: Axes = figure.add_subplot(1, 2, index + 1)
            found = growth(rows, axis, column)
            slopes = {label: f"{label} {exponent(points):.2f}" for label, points in found.items()}
            _curves(axes, found, 1, theme, slopes)
            fixed = f"{by(grids[0][1:])} positions" if axis == "frames" else f"{grids[0][0]} frames"
            name = "frames, T" if axis == "frames" else "positions of a frame, HW"
            axes.set_xlabel(f"{name} ({fixed})")
            axes.set_ylabel(unit)
            style(axes, theme)
        figure.tight_layout()
        return figure

    return draw


def _grids(rows: Sequence[Row]) -> str:
    grids = sorted({(tokens(row), row["grid"]) for row in rows})
    return f"{grids[0][1]} to {grids[-1][1]}" if grids else "none"


def _curves(
    axes: Axes,
    found: Curves,
    scale: float | int,
    theme: Theme,
    names: Mapping[str, str] | None = None,
) -> None:
    """Draw curves log-log, each with its label (or the name for it) at its right end."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends = {}
    for label, points in found.items():
        x, y = np.asarray(points, float).T
        style = "--" if ":" in label else "-"
        axes.plot(x, y / scale, style, marker="o", ms=3.5, lw=1.8, color=colour(label, theme))
        ends[label] = (x[-1], y[-1] / scale)
    if not found:
        return
    ticks = sorted({x for points in found.values() for x, _ in points})
    every = -(-len(ticks) // MOST_LABELS)
    words = [f"{x:,}" if place % every == 0 else "" for place, x in enumerate(reversed(ticks))]
    axes.set_xticks(ticks, words[::-1])
    axes.minorticks_off()
    named = {label: (names or {}).get(label, label) for label in ends}
    colours = {label: colour(label, theme) for label in ends}
    label_ends(axes, ends, named, colours, room=0.5 if names else 0.35)


def label_ends(
    axes: Axes,
    ends: Mapping[str, tuple[float | int, float | int]],
    names: Mapping[str, str],
    colours: Mapping[str, str],
    room: float,
) -> None:
    """Write the names of curves beside their right ends, in a margin where no curve runs.

    Args:
        axes: with curves, log-log.
        ends: of each curve: its last point.
        names: of each curve: what to write.
        colours: of each curve.
        room: width of the margin in that of the curves.
    """
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** room)
    bottom, top = np.log(axes.get_ylim())
    places = _spread({label: np.log(y) for label, (_, y) in ends.items()}, (top - bottom) * 0.055)
    gap = (top - bottom) * 0.03
    ends_of_axis = (min(bottom, *places.values()) - gap, max(top, *places.values()) + gap)
    axes.set_ylim(*(float(np.exp(height)) for height in ends_of_axis))
    for label, (x, y) in ends.items():
        axes.annotate(
            names[label], (x, y), (high, np.exp(places[label])), fontsize=9,
            color=colours[label], va="center",
            arrowprops={"arrowstyle": "-", "color": colours[label], "lw": 0.5},
        )  # fmt: skip
    number_axis(axes.yaxis)


def number_axis(axis: Axis) -> None:
    """Number a logarithmic axis in plain figures, so densely that two numbers stand on it at least.

    Matplotlib numbers the decades, of which a short axis may have none.
    """
    low, high = sorted(axis.get_view_interval())
    for steps in ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)):
        locator: Locator = LogLocator(subs=steps)
        shown = [x for x in locator.tick_values(low, high) if low <= x <= high]
        if len(shown) > 1:
            break
    else:
        locator = MaxNLocator(MOST_LABELS - 1)
        shown = [x for x in locator.tick_values(low, high) if low <= x <= high]
    every = -(-len(shown) // MOST_LABELS)
    axis.set_major_locator(FixedLocator(shown[::every]))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}" if x < 1e9 else f"{x:.3g}"))
    axis.set_minor_locator(NullLocator())


def _spread(heights: dict[str, float], gap: float) -> dict[str, float]:
    """Move heights apart until neighbours are `gap` apart, keeping their order.

    Labels that come together stand around the mean of their heights; the others stay.
    """
    groups: list[list[str]] = []
    for label in sorted(heights, key=lambda label: heights[label]):
        groups.append([label])
        while len(groups) > 1 and _middle(groups[-1], heights) - _middle(groups[-2], heights) < (
            gap * (len(groups[-1]) + len(groups[-2])) / 2
        ):
            groups[-2:] = [groups[-2] + groups[-1]]
    return {
        label: _middle(group, heights) + gap * (place - (len(group) - 1) / 2)
        for group in groups
        for place, label in enumerate(group)
    }


def _middle(group: Sequence[str], heights: Mapping[str, float]) -> float:
    return sum(heights[label] for label in group) / len(group)


def frontier(accuracy: Sequence[Row]) -> Draw:
    """WAR and UAR against multiply-adds, with their spread over seeds.

    Args:
        accuracy: a row for each scheme, with `tokens_multiply_adds` and lists `war` and `uar` that
            are not empty.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(10, 4.6))
        for index, name in enumerate(("war", "uar")):
            axes: Axes = figure.add_subplot(1, 2, index + 1)
            points = {
                row["scheme"]: (row["tokens_multiply_adds"] / 1e6, 100 * float(np.mean(row[name])))
                for row in accuracy
            }
            best = undominated(points)
            axes.step(*zip(*best, strict=True), where="post", color=theme.faint, lw=5, zorder=0)
            for row in accuracy:
                x, y = points[row["scheme"]]
                own = colour(row["scheme"], theme)
                values = 100 * np.asarray(row[name])
                axes.plot([x, x], [values.min(), values.max()], color=own, lw=1.2)
                axes.plot(x, y, "o", color=own, ms=6)
            low, high = axes.get_ylim()
            places = _spread({scheme: y for scheme, (_, y) in points.items()}, (high - low) * 0.06)
            left, right = axes.get_xlim()
            axes.set_xlim(left, right + (right - left) * 0.45)  # room for the labels
            for scheme, (x, y) in points.items():
                axes.annotate(
                    scheme, (x, y), (right + (right - left) * 0.05, places[scheme]), fontsize=9,
                    color=colour(scheme, theme), va="center",
                    arrowprops={"arrowstyle": "-", "color": colour(scheme, theme), "lw": 0.5},
                )  # fmt: skip
            axes.set_xlabel("multiply-adds of tokens and attention, M")
            axes.set_ylabel(f"{name.upper()}, % (line: lowest to highest seed)")
            style(axes, theme)
        figure.tight_layout()
        return figure

    return draw


def undominated(points: Mapping[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of which no other is cheaper and better, by cost: (cost, accuracy)."""
    best: list[tuple[float, float]] = []
    for cost, value in sorted(points.values(), key=lambda point: (point[0], -point[1])):
        if not best or value > best[-1][1]:
            best.append((cost, value))
    return best
