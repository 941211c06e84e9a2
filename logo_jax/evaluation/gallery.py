"""Clips worth looking at, as small pictures: errors, narrow hits, and where a model looks."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import matplotlib
import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from logo_jax.common import page
from logo_jax.common.figures import Draw, Theme, style
from logo_jax.evaluation.curves import COLOURS, legend
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.tables import Table

SIDE = 80  # pixels of a small picture
QUALITY = 72  # of its JPEG


def confident_errors(predictions: Predictions, number: int) -> Int[np.ndarray, " n"]:
    """Rows of the errors with the highest probability of the predicted class, highest first."""
    rows = np.flatnonzero(predictions.predicted != predictions.labels)
    confidence = predictions.probabilities[rows].max(axis=1)
    return rows[np.argsort(-confidence, kind="stable")[:number]]


def narrow_hits(predictions: Predictions, number: int) -> Int[np.ndarray, " n"]:
    """Rows of the hits with the lowest probability of the predicted class, lowest first."""
    rows = np.flatnonzero(predictions.predicted == predictions.labels)
    confidence = predictions.probabilities[rows].max(axis=1)
    return rows[np.argsort(confidence, kind="stable")[:number]]


def median_clips(predictions: Predictions, number: int) -> Int[np.ndarray, " n"]:
    """One row for each of the classes with the most clips, at most `number`, in class order: the
    clip whose probability of the true class is the (lower) median of its class."""
    counts = np.bincount(predictions.labels, minlength=len(predictions.class_names))
    classes = np.sort(np.argsort(-counts, kind="stable")[:number])
    of_truth = predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]
    chosen = []
    for label in classes:
        rows = np.flatnonzero(predictions.labels == label)
        if len(rows):
            order = rows[np.argsort(of_truth[rows], kind="stable")]
            chosen.append(order[(len(order) - 1) // 2])
    return np.array(chosen, np.int64)


def thumbnail(
    frame: UInt8[np.ndarray, "S S 3"], heat: Float[np.ndarray, "H W"] | None = None
) -> bytes:
    """A frame as a small JPEG; `heat`, from 0 to 1, is laid over it in colours (inferno)."""
    small = cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if heat is not None:
        wide = cv2.resize(
            heat.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST
        ).clip(0, 1)
        colours = matplotlib.colormaps["inferno"](wide)[..., :3] * 255
        gray = np.repeat(small.mean(axis=-1, keepdims=True), 3, axis=-1)
        opacity = 0.25 + 0.45 * wide[..., None]
        small = ((1 - opacity) * gray + opacity * colours).astype(np.uint8)
    encoded = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )[1]
    return encoded.tobytes()


def describe(predictions: Predictions, row: int | np.integer) -> str:
    """The clip, its true and its predicted class, and their probabilities."""
    label, predicted = predictions.labels[row], predictions.predicted[row]
    shares = predictions.probabilities[row]
    true = f"true {predictions.class_names[label]} ({shares[label]:.3f})"
    found = f"predicted {predictions.class_names[predicted]} ({shares[predicted]:.3f})"
    return f"{predictions.clip_ids[row]}: {true}, {found}"


def clip_strip(
    predictions: Predictions, row: int | np.integer, frames: UInt8[np.ndarray, "T S S 3"]
) -> str:
    """The frames of a clip side by side, above what the model said of it."""
    pictures = [
        page.image(thumbnail(frame), f"frame {number}", "jpeg")
        for number, frame in enumerate(frames, 1)
    ]
    return page.strip(pictures, describe(predictions, row))


def probabilities_table(
    predictions: Predictions,
    groups: Sequence[tuple[str, np.ndarray]],
    name: str,
    of: str = "",
) -> Table:
    """The probabilities of chosen clips; `groups` are words and rows, `of` says which model."""
    body = []
    for words, rows in groups:
        for row in rows:
            shares = predictions.probabilities[row]
            cells = [
                page.Marked(f"{share:.3f}", "best") if column == predictions.predicted[row]
                else f"{share:.3f}"
                for column, share in enumerate(shares)
            ]  # fmt: skip
            truth = predictions.class_names[predictions.labels[row]]
            body.append([predictions.clip_ids[row], words, truth, *cells])
    return Table(
        name,
        f"{of}Probabilities; that of the predicted class is bold. Those of all clips are in "
        "predictions.csv.",
        ["clip", "group", "true class", *predictions.class_names],
        body,
    )


def rows_of(predictions: Predictions, rows: Int[np.ndarray, " n"]) -> Predictions:
    """The predictions of some clips."""
    return replace(
        predictions,
        clip_ids=tuple(predictions.clip_ids[row] for row in rows),
        folds=predictions.folds[rows],
        labels=predictions.labels[rows],
        predicted=predictions.predicted[rows],
        probabilities=predictions.probabilities[rows],
    )


def looks_table(
    frames: UInt8[np.ndarray, "n S S 3"],
    maps: dict[str, Float[np.ndarray, "T H W"]],
    change: Float[np.ndarray, " T"],
    chosen: Int[np.ndarray, " n"],
    caption: str,
) -> str:
    """Frames as columns: the frame, each map laid over it, its mass per frame, and what happens
    to the probability of the true class when the frame is replaced.

    Args:
        frames: the chosen ones.
        maps: name -> mass on the tokens of all frames, summing to 1. Each is coloured relative to
            its own highest token, so that frames of one row can be compared.
        change: of the probability of the true class, per frame.
        chosen: the frames, of T, that are shown.
    """
    numbers = chosen + 1
    body: list[list[str]] = [
        ["frame", *(page.image(thumbnail(f), f"frame {n}", "jpeg") for n, f in zip(numbers, frames,
                                                                                strict=True))]
    ]  # fmt: skip
    for name, mass in maps.items():
        heat = (mass / max(mass.max(), np.finfo(np.float32).tiny))[chosen]
        pictures = [
            page.image(thumbnail(frame, one), f"{name}, frame {number}", "jpeg")
            for number, frame, one in zip(numbers, frames, heat, strict=True)
        ]
        body.append([name, *pictures])
        body.append([f"{name}, %", *(f"{100 * share:.1f}" for share in mass.sum((1, 2))[chosen])])
    body.append(["replaced: change of p", *(f"{value:+.3f}" for value in change[chosen])])
    return page.table(caption, ["", *map(str, numbers)], body)


def frames_table(
    mass: dict[str, Float[np.ndarray, "N T"]],
    change: Float[np.ndarray, "N T"],
    name: str,
    of: str = "",
) -> Table:
    """The numbers of `contribution_plots`; `of` says in the caption which model."""
    body = [[f"{words}, %", *(f"{100 * share:.2f}" for share in shares.mean(axis=0))]
            for words, shares in mass.items()]  # fmt: skip
    body.append(["|change of p|", *(f"{value:.4f}" for value in np.abs(change).mean(axis=0))])
    return Table(
        name,
        f"{of}Contribution of each frame, mean over {len(change)} clips: its share of the "
        "attention, and the absolute change of the true class's probability when it is replaced. "
        "Dashed: every frame alike.",
        ["frame", *map(str, range(1, change.shape[1] + 1))],
        body,
    )


def contribution_plots(
    mass: dict[str, Float[np.ndarray, "N T"]], change: Float[np.ndarray, "N T"]
) -> dict[str, Draw]:
    """Drawings of the mean contribution of each frame over N clips, by name: attention mass (one
    line per map; none without maps) and absolute change of the true class's probability."""
    numbers = np.arange(1, change.shape[1] + 1)

    def attention(theme: Theme) -> Figure:
        figure, axes = _frame_axes(theme, "% of the mass on tokens")
        for (name, shares), colour in zip(mass.items(), COLOURS, strict=False):
            axes.plot(numbers, 100 * shares.mean(axis=0), "o-", ms=3, color=colour, label=name)
        axes.axhline(100 / len(numbers), color=theme.spare, ls="--", lw=1)
        axes.set_ylim(bottom=0)
        legend(axes, theme)
        return figure

    def effect(theme: Theme) -> Figure:
        figure, axes = _frame_axes(theme, "mean |change of p(true class)|")
        axes.bar(numbers, np.abs(change).mean(axis=0), color=COLOURS[0])
        return figure

    drawings: dict[str, Draw] = {"attention": attention} if mass else {}
    return drawings | {"replaced": effect}


def _frame_axes(theme: Theme, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    axes.set_xlabel("frame")
    axes.set_ylabel(title)
    style(axes, theme)
    axes.set_axisbelow(True)
    return figure, axes
