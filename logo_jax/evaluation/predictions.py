"""predictions.csv read back, so that anybody can recompute every number from it.

A file has one line per clip, as `report.write_predictions` writes it:
`clip_id,[fold,]true,predicted,p:<class>,...`. Several files of one model are its folds: where the
column `fold` is missing or empty, a file is one fold, named by its place in the list (1, 2, ...).
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from logo_jax.common.errors import UserError, suggest
from logo_jax.evaluation.metrics import confusion_matrix

PROBABILITY = "p:"
# Files that were rounded to four digits still pass.
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Predictions:
    """What a model said of every clip of its test set, over all folds.

    `labels`, `predicted` and `folds` are numbers into `class_names` and `fold_names`; folds stand
    in the order of their numbers, whatever that of the clips is.
    """

    class_names: tuple[str, ...]
    fold_names: tuple[str, ...]
    clip_ids: tuple[str, ...]
    folds: Int[np.ndarray, " N"]
    labels: Int[np.ndarray, " N"]
    predicted: Int[np.ndarray, " N"]
    probabilities: Float[np.ndarray, "N C"]

    def confusions(self) -> Int[np.ndarray, "F C C"]:
        """One confusion matrix per fold; their sum is the pooled one."""
        num_classes = len(self.class_names)
        parts = (self.folds == fold for fold in range(len(self.fold_names)))
        return np.stack(
            [confusion_matrix(self.labels[p], self.predicted[p], num_classes) for p in parts]
        )


def read_predictions(
    paths: Sequence[str | os.PathLike], class_names: tuple[str, ...] = ()
) -> Predictions:
    """Read the files of one model and merge them as its folds.

    Classes are in the order of `class_names`, or else of the first file; a file may have its
    columns in another order. A clip may occur once in all files together, since pooled numbers
    would count it twice.

    Raises:
        UserError: a file cannot be read, lacks a column or a value, names an unknown class, or has
            probabilities that do not sum to 1 or do not belong to the predicted class; a clip
            occurs twice; there are no clips.
    """
    fold_names: dict[str, int] = {}
    where: dict[str, str] = {}
    folds: list[int] = []
    labels: list[int] = []
    predicted: list[int] = []
    probabilities: list[list[float]] = []
    for number, path in enumerate(paths, 1):
        lines = _read_lines(path)
        columns = _columns(path, lines)
        own = tuple(name[len(PROBABILITY) :] for name in columns if name.startswith(PROBABILITY))
        class_names = class_names or own
        if set(own) != set(class_names):
            raise UserError(
                f"{path} has the classes {', '.join(own)}, but those before it have "
                f"{', '.join(class_names)}; give files of the same classes."
            )
        classes = {name: index for index, name in enumerate(class_names)}
        shares = [columns[PROBABILITY + name] for name in class_names]
        for line, row in lines[1:]:
            place = f"{path}, line {line}"
            if len(row) != len(columns):
                raise UserError(
                    f"{place} has {len(row)} fields, but the heading names {len(columns)}: write "
                    "the file again."
                )
            clip_id = row[columns["clip_id"]]
            if clip_id in where:
                raise UserError(
                    f'{place}: the clip "{clip_id}" stands in {where[clip_id]} already. Give the '
                    "folds of one model only; another model goes to --compare."
                )
            where[clip_id] = place
            fold = (row[columns["fold"]] if "fold" in columns else "") or str(number)
            folds.append(fold_names.setdefault(fold, len(fold_names)))
            labels.append(_class(row[columns["true"]], classes, f"{place}, column true"))
            predicted.append(
                _class(row[columns["predicted"]], classes, f"{place}, column predicted")
            )
            values = [_number(row[column], place) for column in shares]
            _check_probabilities(values, predicted[-1], place)
            probabilities.append(values)
    if not where:
        raise UserError(f"There are no clips in {', '.join(map(str, paths))}.")
    ordered = sorted(fold_names, key=_fold_order)
    place_of = np.array([ordered.index(fold) for fold in fold_names])
    return Predictions(
        class_names,
        tuple(ordered),
        tuple(where),
        place_of[folds],
        np.array(labels, np.int64),
        np.array(predicted, np.int64),
        np.array(probabilities, np.float64),
    )


def paired(first: Predictions, second: Predictions) -> Predictions:
    """`second` with the clips, classes and folds in the order of `first`.

    Raises:
        UserError: the two do not judge the same clips, or disagree about classes, folds or truth.
    """
    if set(first.class_names) != set(second.class_names):
        raise UserError(
            f"The classes of the two models differ: {', '.join(first.class_names)} against "
            f"{', '.join(second.class_names)}; compare models of the same classes."
        )
    rows = {clip_id: row for row, clip_id in enumerate(second.clip_ids)}
    if lone := sorted(set(first.clip_ids) ^ set(rows)):
        raise UserError(
            f"{len(lone)} clips were judged by one of the two models only, the first is "
            f'"{lone[0]}"; compare models on the same clips.'
        )
    order = np.array([rows[clip_id] for clip_id in first.clip_ids])
    classes = np.array([first.class_names.index(name) for name in second.class_names])
    labels = classes[second.labels[order]]
    for row in np.flatnonzero(labels != first.labels)[:1]:
        raise UserError(
            f'The true class of the clip "{first.clip_ids[row]}" is '
            f"{first.class_names[first.labels[row]]} for the first model and "
            f"{first.class_names[labels[row]]} for the second; their lists differ."
        )
    own_folds = [second.fold_names[fold] for fold in second.folds[order]]
    for clip_id, fold, own in zip(first.clip_ids, first.folds, own_folds, strict=True):
        if first.fold_names[fold] != own:
            raise UserError(
                f'The clip "{clip_id}" is in fold {first.fold_names[fold]} of the first model and '
                f"in fold {own} of the second; give the folds of both in the same order."
            )
    return Predictions(
        first.class_names,
        first.fold_names,
        first.clip_ids,
        first.folds,
        labels,
        classes[second.predicted[order]],
        second.probabilities[order][:, np.argsort(classes)],
    )


def _read_lines(path: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """All csv lines that are not empty, each with the number of its last line in the file."""
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a csv file in UTF-8: {error}.") from error
    if not lines:
        raise UserError(f"{path} is empty; it must start with a heading.")
    return lines


def _columns(path: str | os.PathLike, lines: list[tuple[int, list[str]]]) -> dict[str, int]:
    names = lines[0][1]
    columns = {name: index for index, name in enumerate(names)}
    if len(columns) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f'{path} has the column "{twice}" twice; write the file again.')
    for name in ("clip_id", "true", "predicted"):
        if name not in columns:
            raise UserError(
                f'{path} has no column "{name}"; its columns are {", ".join(names)}.'
                f"{suggest(name, names)}"
            )
    if not any(name.startswith(PROBABILITY) for name in names):
        raise UserError(
            f'{path} has no probabilities: each class needs a column named "{PROBABILITY}" and '
            "the class."
        )
    return columns


def _fold_order(name: str) -> tuple[bool, int, str]:
    """Numbers first, by value, then other names."""
    number = name.isdecimal()
    return not number, int(name) if number else 0, name


def _class(name: str, classes: dict[str, int], place: str) -> int:
    if name in classes:
        return classes[name]
    if not name:
        raise UserError(f"{place}: it is empty, but numbers can only be had with the true classes.")
    raise UserError(
        f'{place}: there is no class "{name}" among {", ".join(classes)}.{suggest(name, classes)}'
    )


def _number(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f'{place}: the probability "{text}" is not a number.') from error


def _check_probabilities(values: list[float], predicted: int, place: str) -> None:
    # Written so that NaN fails, too.
    if not all(0 <= value <= 1 + SUM_TOLERANCE for value in values):
        raise UserError(f"{place}: the probabilities {values} are not all between 0 and 1.")
    total = sum(values)
    if abs(total - 1) > SUM_TOLERANCE:
        raise UserError(
            f"{place}: the probabilities sum to {total:.6g}, but must sum to 1; logits must pass "
            "a softmax first."
        )
    if values[predicted] < max(values):
        raise UserError(
            f"{place}: the predicted class has the probability {values[predicted]}, but another "
            f"has {max(values)}; the two columns come from different runs."
        )
