"""The figures of a study. One colour per scheme in all of them; light and dark versions.

Drawn with matplotlib's objects, so no display is needed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from logo_jax.common.figures import Theme, style
from logo_jax.study.formulas import Shape
from logo_jax.study.masks import influence

Row = dict[str, Any]
Curves = dict[str, list[tuple[int, float | int]]]  # of each label: (tokens, value)


# Distinguishable with the common colour blindnesses too (after Okabe and Ito); full has the ink.
COLOURS = {
    "spatial": "#56b4e9", "mixing": "#0072b2", "divided": "#e69f00", "factorized": "#cc79a7",
    "local": "#009e73", "global": "#b8a800", "local_global": "#d55e00",
}  # fmt: skip


def colour(label: str, theme: Theme) -> str:
    scheme = label.split(":")[0]
    return theme.ink if scheme == "full" else COLOURS.get(scheme, theme.spare)


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
        if all(row[name] == first[name] for name in ("dim", "dtype", "num_heads", "batch"))
        and row["window"] in ("", window)
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
    """Slope in log-log axes through the points, by least squares; NaN for fewer than two."""
    if len(points) < 2:
        return float("nan")
    x, y = np.log(np.asarray(points, float)).T
    return float(np.polyfit(x, y, 1)[0])


def scaling(rows: Sequence[Row], column: str, unit: str, scale: float | int) -> Any:
    """A drawing of one column against tokens, log-log: over frames, and over resolution.

    Args:
        unit: of the values after division by `scale`.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(10, 5))
        for index, axis in enumerate(("frames", "resolution")):
            axes: Axes = figure.add_subplot(1, 2, index + 1)
            along = sweep(rows, axis)
            _curves(axes, curves(along, column), scale, theme)
            axes.set_xlabel(f"tokens of a clip, more {axis}: {_grids(along)}")
            axes.set_ylabel(unit)
            style(axes, theme)
        figure.tight_layout()
        return figure

    return draw


def _grids(rows: Sequence[Row]) -> str:
    grids = sorted({(tokens(row), row["grid"]) for row in rows})
    return f"{grids[0][1]} to {grids[-1][1]}" if grids else "none"


def _curves(axes: Axes, found: Curves, scale: float | int, theme: Theme) -> None:
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
    axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
    axes.minorticks_off()
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * (high / low) ** 0.35)  # room for the labels
    bottom, top = np.log(axes.get_ylim())
    places = _spread({label: np.log(y) for label, (_, y) in ends.items()}, (top - bottom) * 0.055)
    ends_of_axis = (min(bottom, *places.values()), max(top, *places.values()))
    axes.set_ylim(*(float(np.exp(height)) for height in ends_of_axis))
    for label, (x, y) in ends.items():
        axes.annotate(
            label, (x, y), (high, np.exp(places[label])), color=colour(label, theme), fontsize=9,
            va="center", arrowprops={"arrowstyle": "-", "color": colour(label, theme), "lw": 0.5},
        )  # fmt: skip


def _spread(heights: dict[str, float], gap: float) -> dict[str, float]:
    """Move heights apart until neighbours are `gap` apart, keeping their order and their mean."""
    order = sorted(heights, key=lambda label: heights[label])
    placed: list[float] = []
    for label in order:
        placed.append(max(heights[label], placed[-1] + gap) if placed else heights[label])
    offset = (sum(placed) - sum(heights.values())) / len(placed)
    return {label: place - offset for label, place in zip(order, placed, strict=True)}


def figure_1(schemes: Sequence[str], grid: Shape = (4, 4, 4), window: Shape = (2, 2, 2)) -> Any:
    """The paper's Figure 1 from the code: what one token sees, for each scheme, frame by frame."""
    query = (1, 1, 1)
    found = {scheme: influence(scheme, grid, window, query) for scheme in schemes}

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(1.15 * grid[0] + 1.6, 1.2 * len(schemes) + 0.4))
        all_axes = figure.subplots(len(schemes), grid[0], squeeze=False)
        for row, (scheme, values) in zip(all_axes, found.items(), strict=True):
            values = values.copy()
            values[query] = 0  # a token sees itself in every scheme, and that would hide the rest
            top = COLOURS.get(scheme, theme.ink)
            ramp = LinearSegmentedColormap.from_list("", [theme.paper, top])
            for frame, axes in enumerate(row):
                axes.imshow(np.sqrt(values[frame] / values.max()), cmap=ramp, vmin=0, vmax=1)
                axes.set_xticks(np.arange(-0.5, grid[2]), [])
                axes.set_yticks(np.arange(-0.5, grid[1]), [])
                axes.grid(True, color=theme.faint, linewidth=0.6)
                axes.tick_params(length=0)
                for spine in axes.spines.values():
                    spine.set_color(theme.faint)
                if frame == query[0]:
                    axes.plot(query[2], query[1], "o", color=theme.ink, ms=5)
                if axes is row[0]:
                    axes.set_ylabel(
                        scheme, rotation=0, ha="right", va="center", color=theme.ink, fontsize=10
                    )
                if scheme == schemes[-1]:
                    axes.set_xlabel(f"frame {frame + 1}", color=theme.ink, fontsize=9)
        figure.subplots_adjust(wspace=0.06, hspace=0.12)
        return figure

    return draw


def inequality_region(examples: Sequence[tuple[Shape, Shape]]) -> Any:
    """Where inequality (9) holds: window tokens against positions of a frame, in units of T.

    Args:
        examples: grids and windows to mark.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(7, 4.6))
        axes: Axes = figure.add_subplot()
        x = np.geomspace(1 / 16, 64, 200)
        axes.fill_between(
            x, np.minimum(x, 1), np.maximum(x, 1), color=COLOURS["local_global"], alpha=0.3, lw=0
        )
        axes.plot(x, x, color=theme.ink, lw=1)
        axes.axhline(1, color=theme.ink, lw=1)
        axes.plot(x, np.sqrt(x), "--", color=COLOURS["local_global"], lw=1.2)
        axes.text(0.5, 0.3, "fhw = HW", color=theme.ink)
        axes.text(0.07, 1.08, "fhw = T", color=theme.ink)
        axes.text(26, 6.5, "local-global has\nfewer pairs", color=theme.ink, ha="center")
        axes.text(1.2, 25, "divided has fewer pairs", color=theme.ink, ha="center")
        ours = COLOURS["local_global"]
        axes.text(9, 1.3, "dashed: balanced, fhw = sqrt(THW)", color=ours, ha="center", fontsize=9)
        for (t, h, w), window in examples:
            size = int(np.prod(window))
            axes.plot(h * w / t, size / t, "o", color=theme.ink, ms=5)
            axes.annotate(
                f"{t} x {h} x {w}, window of {size}", (h * w / t, size / t), xytext=(-8, 8),
                textcoords="offset points", color=theme.ink, fontsize=8, ha="right",
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(x[0], x[-1]))
        axes.set_xlabel("tokens of a frame / frames, HW / T")
        axes.set_ylabel("tokens of a window / frames, fhw / T")
        style(axes, theme)
        return figure

    return draw


def window_curve(grid: str, rows: Sequence[Row]) -> Any:
    """Pairs of local-global attention against the window's tokens, and the times measured."""
    total = int(np.prod([int(size) for size in grid.split(" x ")]))
    measured = sorted(
        (int(np.prod([int(n) for n in row["window"].split(" x ")])), row["training_ms"])
        for row in rows
        if row["label"] == "local_global" and row["grid"] == grid and row.get("training_ms")
    )

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(7, 4.2))
        axes: Axes = figure.add_subplot()
        x = np.geomspace(1, total, 100)
        ours = COLOURS["local_global"]
        axes.plot(x, total * x + total**2 / x, color=ours, lw=2)  # equation 8
        axes.plot(x, total * x, color=COLOURS["local"], lw=1.2)
        axes.plot(x, total**2 / x, color=COLOURS["global"], lw=1.2)
        axes.axvline(total**0.5, color=theme.ink, lw=0.8, ls=":")
        axes.text(total**0.5 * 1.08, total * 1.1, f"sqrt(THW) = {total**0.5:.0f}", color=theme.ink)
        axes.text(1.1, total * 1.8, "local", color=COLOURS["local"])
        axes.text(total * 0.6, total * 2.2, "global", color=COLOURS["global"], ha="right")
        axes.text(total**0.5, total**1.5 * 3.2, "local_global", ha="center", color=ours)
        axes.set(xscale="log", yscale="log")
        axes.set_xlabel(f"tokens of a window, fhw (grid {grid})")
        axes.set_ylabel("pairs of query and key")
        style(axes, theme)
        if len(measured) > 1:
            other = axes.twinx()
            other.plot(*zip(*measured, strict=True), "D", color=theme.ink, ms=5)
            other.set(yscale="log")
            other.set_ylabel("forward + backward, measured, ms (diamonds)", color=theme.ink)
            other.tick_params(colors=theme.ink, which="both")
            other.set_ylim(min(t for _, t in measured) / 2, max(t for _, t in measured) * 8)
            for spine in other.spines.values():
                spine.set_visible(False)
        return figure

    return draw
