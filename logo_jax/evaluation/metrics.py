"""Recall per class, WAR and UAR, all from one confusion matrix whose rows are the true classes.

WAR, the weighted average recall, is the accuracy; UAR, the unweighted average recall, is the mean
of the recalls of the classes, so that a rare class counts as much as a common one. All three are
fractions. Counts are whole numbers, so that matrices of parts (batches, devices, folds) may be
added exactly and in any order.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from logo_jax.common.errors import UserError


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> Int[np.ndarray, "C C"]:
    """Count how many clips of class i (row) were taken for class j (column).

    Args:
        labels: true classes, [N] whole numbers in 0..C-1.
        predictions: predicted classes, [N], likewise.
        num_classes: C; classes that occur in neither list have a row and a column all the same.

    Raises:
        UserError: the lists differ in length, or hold anything but classes.
    """
    truth, predicted = np.asarray(labels), np.asarray(predictions)
    if truth.ndim != 1 or truth.shape != predicted.shape:
        raise UserError(
            f"There are labels of shape {truth.shape} and predictions of shape {predicted.shape}, "
            "but there must be one of each for every clip."
        )
    for what, classes in (("label", truth), ("prediction", predicted)):
        if not classes.size:
            continue
        if not np.issubdtype(classes.dtype, np.integer):
            raise UserError(f"The {what}s are {classes.dtype}, but must be whole class numbers.")
        wrong = np.flatnonzero((classes < 0) | (classes >= num_classes))
        if wrong.size:
            raise UserError(
                f"The {what} of clip {wrong[0]} (counted from 0) is {classes[wrong[0]]}, but with "
                f"{num_classes} classes it must be between 0 and {num_classes - 1}."
            )
    pairs = truth.astype(np.int64) * num_classes + predicted.astype(np.int64)
    counts = np.bincount(pairs, minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def recalls(confusion: Int[np.ndarray, "C C"]) -> Float[np.ndarray, " C"]:
    """Share of the clips of each class that were recognized; NaN for a class without clips."""
    totals = confusion.sum(axis=1)
    right = np.diagonal(confusion)
    return np.divide(right, totals, out=np.full(len(totals), np.nan), where=totals > 0)


def war(confusion: Int[np.ndarray, "C C"]) -> float:
    """Weighted average recall: the share of all clips that were recognized (accuracy).

    Raises:
        UserError: there is no clip at all.
    """
    return float(np.trace(confusion) / _num_clips(confusion))


def uar(confusion: Int[np.ndarray, "C C"]) -> float:
    """Unweighted average recall: the mean of `recalls` over the classes that have clips.

    Whoever prints this says which classes were left out: `empty_classes`.

    Raises:
        UserError: there is no clip at all.
    """
    _num_clips(confusion)
    return float(np.nanmean(recalls(confusion)))


def empty_classes(confusion: Int[np.ndarray, "C C"], class_names: Sequence[str]) -> list[str]:
    """Names of the classes without clips, which `uar` leaves out."""
    totals = confusion.sum(axis=1)
    return [name for name, total in zip(class_names, totals, strict=True) if total == 0]


def _num_clips(confusion: Int[np.ndarray, "C C"]) -> int:
    total = int(confusion.sum())
    if total == 0:
        raise UserError("There are no clips to judge: WAR and UAR are not defined.")
    return total
