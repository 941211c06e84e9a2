"""The reliability diagram as a picture, drawn with matplotlib's objects, without a display."""

import os

import numpy as np
from jaxtyping import Float, Int
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from logo_jax.common.files import atomic_writer
from logo_jax.evaluation.calibration import reliability


def reliability_png(
    path: str | os.PathLike,
    probabilities: Float[np.ndarray, "N C"],
    labels: Int[np.ndarray, " N"],
    title: str,
) -> None:
    """Draw accuracy over confidence, one point per bin; a calibrated model is on the diagonal.

    Raises:
        UserError: the file cannot be written.
    """
    bins = reliability(probabilities, labels)
    figure = Figure(figsize=(5, 5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    axes.vlines(bins.confidence, bins.confidence, bins.accuracy, color="tab:red", alpha=0.5)
    axes.plot(bins.confidence, bins.accuracy, marker="o", color="tab:blue")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("confidence (mean of the bin)")
    axes.set_ylabel("accuracy (share recognized)")
    axes.set_title(
        f"{title}\nECE {bins.error:.4f}   {len(bins.clips)} bins of equal mass   "
        f"{len(labels):,} clips",
        parse_math=False,
        fontsize=10,
    )
    with atomic_writer(path, "wb") as file:
        figure.savefig(file, format="png", bbox_inches="tight")
