"""The confusion matrix as a picture. Drawn with matplotlib's objects, so no display is needed."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from logo_jax.common.files import atomic_writer
from logo_jax.evaluation.metrics import uar, war
from logo_jax.evaluation.report import LONGEST_NAME, printable, shorten

FONT = "DejaVu Sans"  # comes with matplotlib
# Above this number of classes a cell has room for one short number only.
MOST_DETAILED = 30


def confusion_png(
    path: str | os.PathLike,
    confusion: Int[np.ndarray, "C C"],
    class_names: Sequence[str],
    title: str,
) -> None:
    """Draw the confusion matrix: rows are true classes, each coloured by its row percentages.

    A cell shows the number of clips and the percentage of its row. With more than 30 classes it
    shows the percentage alone, and that on the diagonal and from 10 % on. The row of a class
    without clips is grey. Under `title` stand WAR, UAR and the number of clips.

    Raises:
        UserError: there is no clip at all, or the file cannot be written.
    """
    num_classes = len(class_names)
    totals = confusion.sum(axis=1, keepdims=True)
    percent = np.full(confusion.shape, np.nan)
    np.divide(100.0 * confusion, totals, out=percent, where=totals > 0)

    cell = 0.72 if num_classes <= MOST_DETAILED else 0.26  # inches
    side = max(cell * num_classes, 2.4)
    figure = Figure(figsize=(side + 1.6, side), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, side / (side + 1.6), 1))
    axes.set_facecolor("0.85")  # seen where a row has no percentages
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    bar = figure.add_axes(((side + 0.2) / (side + 1.6), 0.1, 0.2 / (side + 1.6), 0.8))
    figure.colorbar(image, cax=bar, label="% of the clips of the true class")
    _label(axes, class_names, totals[:, 0], fontsize=10 if num_classes <= MOST_DETAILED else 8)
    scores = (
        f"WAR {100 * war(confusion):.2f} %   UAR {100 * uar(confusion):.2f} %   "
        f"{confusion.sum():,} clips"
    )
    size = 11 + side / 3
    axes.set_title(f"{title}\n{scores}", parse_math=False, fontfamily=FONT, fontsize=size)
    detailed = num_classes <= MOST_DETAILED
    shown = confusion > 0 if detailed else (percent >= 10) | (np.eye(num_classes) * totals > 0)
    for row, column in np.argwhere(shown).tolist():
        share = percent[row, column]
        axes.text(
            column,
            row,
            f"{confusion[row, column]:,}\n{share:.1f} %" if detailed else f"{share:.0f}",
            ha="center",
            va="center",
            color="white" if share > 55 else "black",
            fontsize=8 if detailed else 7,
            in_layout=False,  # inside the axes anyway, and measuring a thousand texts takes seconds
        )
    with atomic_writer(path, "wb") as file:
        figure.savefig(file, format="png", bbox_inches="tight")


def _label(
    axes: Axes, class_names: Sequence[str], totals: Int[np.ndarray, " C"], fontsize: int
) -> None:
    names = [_drawable(name, index) for index, name in enumerate(class_names)]
    rows = [f"{name} ({total:,})" for name, total in zip(names, totals, strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), rows)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set(fontsize=fontsize, fontfamily=FONT, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class (clips)")


def _drawable(name: str, index: int) -> str:
    """The name, shortened; its number (from 0) where the font lacks one of its characters."""
    name = shorten(printable(name), LONGEST_NAME)
    glyphs = font_manager.get_font(font_manager.findfont(FONT)).get_charmap()
    return name if all(ord(c) in glyphs for c in name) else f"class {index}"
