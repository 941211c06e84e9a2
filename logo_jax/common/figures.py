"""Figures for pages: drawn once for light and once for dark pages, without a display."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Theme:
    """Colours of the page that a figure stands on."""

    ink: str
    paper: str
    faint: str
    spare: str  # for what has no colour of its own


LIGHT = Theme("#1a1a1a", "#ffffff", "#dddddd", "#777777")
DARK = Theme("#e8e8e8", "#16181c", "#3a3d44", "#9a9a9a")

Draw = Callable[[Theme], Figure]


def png(draw: Draw, theme: Theme) -> bytes:
    """Draw a figure in a theme, as a PNG file."""
    figure = draw(theme)
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, bbox_inches="tight", facecolor=theme.paper)
    return file.getvalue()


def style(axes: Axes, theme: Theme) -> None:
    """Give axes the colours of a theme, a faint grid, and lines at the left and below only."""
    axes.set_facecolor(theme.paper)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.ink)
    axes.tick_params(colors=theme.ink, which="both")
    axes.grid(True, color=theme.faint, linewidth=0.6)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(theme.ink)
