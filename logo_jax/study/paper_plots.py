"""The figures about the paper's claims: its Figure 1, inequality (9), and the best window."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from logo_jax.common.figures import Draw, Theme, style
from logo_jax.models.blocks import BUILT_IN
from logo_jax.models.windows import by
from logo_jax.study.formulas import Shape, balanced_window
from logo_jax.study.masks import influence
from logo_jax.study.plots import COLOURS, Row, colour, label_ends, number_axis
from logo_jax.study.points import WINDOW_DIM, WINDOW_GRID, WINDOW_HEADS


def figure_1(
    schemes: Sequence[str], grid: Shape = (4, 4, 4), window: Shape = (2, 2, 2)
) -> Draw | None:
    """The paper's Figure 1 from the code: what one token sees, for each scheme, frame by frame.

    A scheme of one's own that fails here is left out; None where no scheme is left.
    """
    query = (1, 1, 1)
    found = {}
    for scheme in schemes:
        try:
            found[scheme] = influence(scheme, grid, window, query)
        except Exception:
            if scheme in BUILT_IN:
                raise
    if not found:
        return None

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(1.15 * grid[0] + 1.6, 1.2 * len(found) + 0.4))
        all_axes = figure.subplots(len(found), grid[0], squeeze=False)
        for row, (scheme, values) in zip(all_axes, found.items(), strict=True):
            values = values.copy()
            values[query] = 0  # a token sees itself in every scheme, and that would hide the rest
            top = colour(scheme, theme)
            ramp = LinearSegmentedColormap.from_list("", [theme.paper, top])
            for frame, axes in enumerate(row):
                axes.imshow(np.sqrt(values[frame] / (values.max() or 1)), cmap=ramp, vmin=0, vmax=1)
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
                if scheme == list(found)[-1]:
                    axes.set_xlabel(f"frame {frame + 1}", color=theme.ink, fontsize=9)
        figure.subplots_adjust(wspace=0.06, hspace=0.12)
        return figure

    return draw


def inequality_region(examples: Sequence[tuple[Shape, Shape]]) -> Draw:
    """Where inequality (9) holds and where not: window tokens against positions of a frame.

    Both in units of T, in which the region is the same for all grids.

    Args:
        examples: grids and windows to mark.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(7.5, 5))
        axes: Axes = figure.add_subplot()
        x = np.geomspace(1 / 16, 64, 200)
        ours, theirs = COLOURS["local_global"], COLOURS["divided"]
        low, high = np.minimum(x, 1), np.maximum(x, 1)
        axes.fill_between(x, low, high, color=ours, alpha=0.35, lw=0)
        axes.fill_between(x, x[0], low, color=theirs, alpha=0.18, lw=0)
        axes.fill_between(x, high, x[-1], color=theirs, alpha=0.18, lw=0)
        axes.plot(x, x, color=theme.ink, lw=1)
        axes.axhline(1, color=theme.ink, lw=1)
        axes.plot(x, np.sqrt(x), "--", color=ours, lw=1.4)
        label: dict[str, Any] = {"color": theme.ink, "fontsize": 9}
        ends = [
            (x[-1], "fhw = HW", theme.ink),
            (1, "fhw = T", theme.ink),
            (x[-1] ** 0.5, "balanced window,\nfhw = √(THW)", ours),
        ]
        for height, words, own in ends:
            axes.text(x[-1] * 1.12, height, words, va="center", color=own, fontsize=9)
        axes.text(16, 1.4, "(9) holds: local-global\nhas fewer pairs", ha="center", **label)
        axes.text(0.085, 0.55, "(9) holds", va="center", **label)
        axes.text(1.1, 28, "(9) does not hold:\ndivided has fewer pairs", ha="center", **label)
        axes.text(4, 0.15, "(9) does not hold:\ndivided has fewer pairs", ha="center", **label)
        for (t, h, w), window in examples:
            size = int(np.prod(window))
            axes.plot(h * w / t, size / t, "o", color=theme.ink, ms=5)
            axes.annotate(
                f"{by((t, h, w))},\nwindow of {size}: equal", (h * w / t, size / t),
                xytext=(-10, 12), textcoords="offset points", ha="right", **label,
            )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlim=(x[0], x[-1]), ylim=(x[0], x[-1]))
        axes.set_xlabel("positions of a frame / frames, HW / T")
        axes.set_ylabel("tokens of a window / frames, fhw / T")
        style(axes, theme)
        return figure

    return draw


def window_curve(rows: Sequence[Row]) -> Draw:
    """Left: pairs of local-global attention against the window's tokens. Right: measured time.

    Args:
        rows: those of the series `window`.
    """
    total = int(np.prod(WINDOW_GRID))
    measured = window_times(rows)

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(10, 4.4))
        best = balanced_window(WINDOW_GRID)
        ours = COLOURS["local_global"]
        left, right = figure.subplots(1, 2)
        x = np.geomspace(min(measured, default=4), max(measured, default=1024), 100)
        left.plot(x, total * x + total**2 / x, color=ours, lw=2)  # equation 8
        left.plot(x, total * x, color=COLOURS["local"], lw=1.2)
        left.plot(x, total**2 / x, color=COLOURS["global"], lw=1.2)
        pairs = {
            "local_global": (x[-1], total * x[-1] + total**2 / x[-1]),
            "local": (x[-1], total * x[-1]),
            "global": (x[-1], total**2 / x[-1]),
        }
        left.set_ylabel("pairs of query and key")
        words = {"forward": "forward", "training": "forward +\nbackward"}
        times = {}
        for passes, marker in (("forward", "o"), ("training", "s")):
            points = [(size, row[f"{passes}_ms"]) for size, row in measured.items()
                      if f"{passes}_ms" in row]  # fmt: skip
            if points:
                right.plot(*zip(*points, strict=True), "-", marker=marker, ms=4, color=ours)
                times[passes] = points[-1]
        right.set_ylabel(f"time, ms (dim {WINDOW_DIM}, {WINDOW_HEADS} heads)")
        for axes, ends, names in ((left, pairs, dict.fromkeys(pairs, "")), (right, times, words)):
            axes.set(xscale="log", yscale="log")
            axes.axvline(best, color=theme.ink, lw=0.8, ls=":")
            if ends:
                own = {label: COLOURS.get(label, ours) for label in ends}
                label_ends(axes, ends, {n: names[n] or n for n in ends}, own, room=0.3)
            number_axis(axes.xaxis)
            axes.set_xlabel(f"tokens of a window, fhw (grid {by(WINDOW_GRID)})")
            axes.set_title(f"dotted: √(THW) = {best:.0f}", fontsize=9)
            style(axes, theme)
        figure.tight_layout()
        return figure

    return draw


def window_times(rows: Sequence[Row]) -> dict[int, Row]:
    """The rows of the series `window` by the tokens of their window, ascending."""
    found = {int(np.prod([int(n) for n in row["window"].split(" x ")])): row for row in rows}
    return dict(sorted(found.items()))
