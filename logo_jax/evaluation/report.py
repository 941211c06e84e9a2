"""Results for people: a table for the terminal, and one line per clip in a csv file."""

import csv
import os
import unicodedata
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from logo_jax.common.files import atomic_writer
from logo_jax.evaluation.metrics import empty_classes, recalls, uar, war

# A confusion matrix of more classes than this is wider than a terminal.
MOST_COLUMNS = 16
LONGEST_NAME = 24
LONGEST_HEADING = 9


def results_table(confusion: Int[np.ndarray, "C C"], class_names: Sequence[str]) -> str:
    """The results as a table for the terminal, several lines without a final line end.

    One row per true class: its name, its number of clips, its recall in per cent, and how many of
    its clips were taken for which class (with more than 16 classes: only the one wrong class that
    it was most often taken for). Below stand WAR and UAR, and the classes that UAR leaves out since
    they have no clips.

    Raises:
        UserError: there is no clip at all.
    """
    whole_names = [printable(name) for name in class_names]
    names = [shorten(name, LONGEST_NAME) for name in whole_names]
    head = ["class", "clips", "recall"]
    body = [
        [name, f"{total:,}", f"{100 * recall:.2f}" if total else "-"]
        for name, total, recall in zip(
            names, confusion.sum(axis=1), recalls(confusion), strict=True
        )
    ]
    if len(names) <= MOST_COLUMNS:
        head += _headings(names)
        for row, counts in zip(body, confusion, strict=True):
            row += [f"{count:,}" for count in counts]
    else:
        head.append("most often taken for")
        for index, (row, counts) in enumerate(zip(body, confusion, strict=True)):
            row.append(_main_confusion(counts, index, names))
    lines = _align(head, body)
    lines.append(
        f"WAR {100 * war(confusion):.2f} %   UAR {100 * uar(confusion):.2f} %   "
        f"({confusion.sum():,} clips; a row is a true class)"
    )
    if empty := empty_classes(confusion, whole_names):
        lines.append(f"No clips, so left out of UAR: {', '.join(empty)}")
    return "\n".join(lines)


def _headings(names: Sequence[str]) -> list[str]:
    """Short names for the columns, or numbers where short names would be confused."""
    short = [shorten(name, LONGEST_HEADING) for name in names]
    if len(set(short)) == len(short):
        return short
    return [f"row {number}" for number in range(1, len(names) + 1)]


def _main_confusion(counts: Int[np.ndarray, " C"], index: int, names: Sequence[str]) -> str:
    wrong = np.where(np.arange(len(counts)) == index, 0, counts)
    most = int(wrong.argmax())
    return f"{names[most]} ({wrong[most]:,})" if wrong[most] else "-"


def _align(head: list[str], body: list[list[str]]) -> list[str]:
    """Columns of equal width: the first to the left, numbers to the right."""
    columns = list(zip(head, *body, strict=True))
    widths = [max(map(display_width, column)) for column in columns]
    numeric = [all(cell[:1].isdigit() or cell == "-" for cell in column[1:]) for column in columns]
    lines = []
    for row in [head, ["-" * width for width in widths], *body]:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - display_width(cell))
            cells.append(space + cell if index and numeric[index] else cell + space)
        lines.append("  ".join(cells).rstrip())
    return lines


def write_predictions(
    path: str | os.PathLike,
    clip_ids: Sequence[str],
    labels: ArrayLike | None,
    probabilities: Float[np.ndarray, "N C"],
    class_names: Sequence[str],
    folds: Sequence[str] | None = None,
) -> None:
    """Write one csv line per clip: `clip_id,[fold,]true,predicted,p:<class>,...`.

    `true` and `predicted` are class names; `true` is empty where `labels` is None. Probabilities
    are written with as many digits as their type needs to be read back exactly. `folds` names the
    fold of each clip, "" where the set has none; None leaves the column out.

    Raises:
        UserError: the file cannot be written; a file that was there before is then still whole.
    """
    predictions = probabilities.argmax(axis=1)
    if labels is None:
        truth = [""] * len(predictions)
    else:
        truth = [class_names[label] for label in np.asarray(labels)]
    with atomic_writer(path) as file:
        # With the two-character line end the writer quotes a lone "\r" in a name as well.
        writer = csv.writer(file, lineterminator="\r\n")
        shares = [f"p:{name}" for name in class_names]
        column = [] if folds is None else ["fold"]
        writer.writerow(["clip_id", *column, "true", "predicted", *shares])
        fold_of = [[]] * len(predictions) if folds is None else [[fold] for fold in folds]
        for clip_id, fold, true, predicted, row in zip(
            clip_ids, fold_of, truth, predictions, probabilities, strict=True
        ):
            named = [_encodable(clip_id), *fold, true, class_names[predicted]]
            writer.writerow([*named, *map(str, row)])


def _encodable(text: str) -> str:
    """Escape what UTF-8 cannot hold: bytes of a file name that were no valid text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """Escape line ends and other control characters, which would break a table or a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, width: int) -> str:
    """Cut `text` to at most `width` terminal columns, with an ellipsis where something is cut."""
    if display_width(text) <= width:
        return text
    while display_width(text) > width - 1:
        text = text[:-1]
    return text + "…"


def display_width(text: str) -> int:
    """Number of terminal columns: 2 for East Asian wide characters, 0 for combining marks."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
