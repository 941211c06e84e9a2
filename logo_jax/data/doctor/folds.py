"""Sizes and class counts of the folds beside the official ones."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from logo_jax.data.datasets import facts
from logo_jax.data.doctor.copy import Copy, column_words, part_sizes
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.entries import PARTS

JUDGED = ("train", "test")


def check_folds(copy: Copy, needed: Sequence[str], findings: Findings) -> None:
    """Compare every fold with the official numbers; classes must not be absent.

    Args:
        copy: whose folds.
        needed: parts in which preparing wants every class.
        findings: where differences are noted.
    """
    sizes_right = True
    lists_lack = any(code in findings for code in ("list_missing", "list_unreadable"))
    for place, column in enumerate(copy.columns):
        sizes = part_sizes(copy, place)
        if not sizes.keys() & set(PARTS) and lists_lack:
            sizes_right = False
            continue
        if copy.facts is not None:
            found = sizes["train"], sizes["test"]
            official = copy.facts.folds[column]
            if found not in official:
                sizes_right = False
                findings.add(
                    "fold_size",
                    f"{column_words(column)} has {_pair(found)} (train and test), official is "
                    + " or ".join(map(_pair, official)),
                )
        for part in present_parts(copy):
            if not sizes[part]:
                if not lists_lack:
                    findings.add("part_empty", f"{part} of {column_words(column)}")
                continue
            counts = class_counts(copy, place, part)
            for name, count in zip(copy.classes, counts, strict=True):
                if not count:
                    code = "class_absent" if part in needed else "class_not_judged"
                    findings.add(code, f'"{name}" in {part} of {column_words(column)}')
    labels_right = not any(code in findings for code in ("bad_label", "label_contradiction"))
    if sizes_right and labels_right and copy.facts is not None and copy.facts.test_counts:
        _check_counts(copy, copy.facts, findings)


def class_counts(copy: Copy, column: int, part: str) -> list[int]:
    """Clips of each class in a part of a partition column."""
    counts = Counter(clip.label for clip in copy.clips if part in clip.listed(column))
    return [counts[label] for label in range(len(copy.classes))]


def pooled_test_counts(copy: Copy) -> tuple[int, ...]:
    """Test clips of each class over all folds."""
    found = [class_counts(copy, column, "test") for column in range(len(copy.columns))]
    return tuple(np.sum(found, axis=0).tolist())


def present_parts(copy: Copy) -> list[str]:
    """The parts that must have clips of every class: train, test, and val where there is one."""
    columns = range(len(copy.columns))
    found = {part for clip in copy.clips for column in columns for part in clip.listed(column)}
    return [part for part in PARTS if part in found or part in JUDGED]


def _check_counts(copy: Copy, known: facts.Facts, findings: Findings) -> None:
    counts, official = pooled_test_counts(copy), known.test_counts
    if counts == official:
        return
    fits = _other_order(counts, official, copy.classes)
    if fits:
        findings.add("label_order", fits)
        return
    for name, found, wanted in zip(copy.classes, counts, official, strict=True):
        if found != wanted:
            findings.add(
                "class_counts", f"{found:,} test clips are {name}, official are {wanted:,}"
            )


def _other_order(counts: Sequence[int], official: Sequence[int], classes: Sequence[str]) -> str:
    """What the lists call each class, where the counts are the official ones in another order."""
    if sorted(counts) != sorted(official) or len(set(official)) < len(official):
        return ""
    meant = [classes[list(official).index(count)] for count in counts]
    wrong = [f"{a} are {b}" for a, b in zip(classes, meant, strict=True) if a != b]
    return "by the official counts, the clips that are read as " + ", those read as ".join(wrong)


def _pair(sizes: tuple[int, int]) -> str:
    return f"{sizes[0]:,} and {sizes[1]:,}"
