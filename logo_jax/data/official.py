"""The clips of a data set beside its official counts.

Lists that hold about the whole set must have the official counts: a row that a reader skipped, a
fold of somebody's own or labels in another order show there. Lists of fewer than half the clips are
an excerpt that nobody takes for the set: that is said, and nothing is compared.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from logo_jax.common.errors import UserError
from logo_jax.data.datasets.facts import Facts
from logo_jax.data.entries import ClipEntry

# A share of the official clips below which lists are an excerpt.
EXCERPT = 0.5


def require_official(
    facts: Facts, source: Path, entries: Sequence[ClipEntry], allow_unofficial: bool
) -> None:
    """Refuse clips whose numbers contradict the official ones, excerpts excepted.

    Args:
        facts: the official numbers.
        source: for the message.
        entries: all clips, labelled in the order of `facts.classes`.
        allow_unofficial: accept them all the same.

    Raises:
        UserError: shows the numbers found and the official ones.
    """
    wrong = _contradictions(facts, entries)
    if wrong and not allow_unofficial and not _is_excerpt(facts, entries):
        raise UserError(
            f"{source}: its clips contradict the official counts of {facts.title}: "
            f"{'; '.join(wrong)}.{_other_order(facts, entries)} Check that lists and "
            "folders are whole and that labels and list_order say how lists are written "
            "(docs/data.md), or pass allow_unofficial=True if this is no official copy."
        )


def count_remarks(facts: Facts, entries: Sequence[ClipEntry]) -> list[str]:
    """Sentences for the user: the size of each fold beside the official one, and what follows."""
    found = []
    for column in entries[0].partitions:
        train, test = _sizes(column, entries)
        official = " or ".join(f"{a:,} and {b:,}" for a, b in facts.folds[column])
        fold = "" if column == "split" else f" {column.replace('_', ' ')}"
        found.append(
            f"{facts.title}{fold}: {train:,} train and {test:,} test clips (official: {official})."
        )
    tests = [
        [column.replace("_", " ") for column, part in entry.partitions.items() if part == "test"]
        for entry in entries
    ]
    if any(len(columns) > 1 for columns in tests):
        place = next(place for place, columns in enumerate(tests) if len(columns) > 1)
        found.append(
            f"{sum(len(columns) > 1 for columns in tests):,} CLIPS ARE TESTED IN SEVERAL FOLDS "
            f"(first: {entries[place].clip_id}, in {' and '.join(tests[place])}): results over "
            "these folds are not comparable with those of a cross-validation."
        )
    if _is_excerpt(facts, entries):
        found.append(
            f"AN EXCERPT: fewer than half of {facts.title}'s clips. Results on it are not "
            f"comparable with results on {facts.title}."
        )
    elif _contradictions(facts, entries):
        found.append(
            f"NOT OFFICIAL (allow_unofficial=True): results are not comparable with those on the "
            f"official {facts.title}."
        )
    return found


def _sizes(column: str, entries: Sequence[ClipEntry]) -> tuple[int, int]:
    parts = Counter(entry.partitions[column] for entry in entries)
    return parts["train"], parts["test"]


def _is_excerpt(facts: Facts, entries: Sequence[ClipEntry]) -> bool:
    official = max(sum(sizes[0]) for sizes in facts.folds.values())
    return len(entries) < EXCERPT * official


def _contradictions(facts: Facts, entries: Sequence[ClipEntry]) -> list[str]:
    wrong = []
    for column in entries[0].partitions:
        sizes = _sizes(column, entries)
        if sizes not in facts.folds[column]:
            official = " or ".join(f"{a:,} and {b:,}" for a, b in facts.folds[column])
            where = "" if column == "split" else f"{column.replace('_', ' ')} has "
            wrong.append(
                f"{where}{sizes[0]:,} train and {sizes[1]:,} test clips, official are {official}"
            )
    counts = _class_counts(facts, entries)
    if counts is not None and counts != facts.test_counts:
        what = "test clips" if set(entries[0].partitions) == set(facts.folds) else "clips"
        wrong.append(
            f"the {what} of each class are {_named(facts.classes, counts)}, official are "
            f"{_named(facts.classes, facts.test_counts)}"
        )
    return wrong


def _class_counts(facts: Facts, entries: Sequence[ClipEntry]) -> tuple[int, ...] | None:
    """Clips of each class that are to be `facts.test_counts`; None where these are not known.

    Over all folds each clip is tested once, and one fold trains and tests on all clips: where some
    folds are read, the clips of the first are those that all folds test.
    """
    if not facts.test_counts:
        return None
    columns = list(entries[0].partitions)
    if set(columns) == set(facts.folds):
        labels = [
            entry.label for entry in entries for part in entry.partitions.values() if part == "test"
        ]
    else:
        labels = [entry.label for entry in entries if entry.partitions[columns[0]]]
    return tuple(np.bincount(np.array(labels, int), minlength=len(facts.classes)).tolist())


def _other_order(facts: Facts, entries: Sequence[ClipEntry]) -> str:
    """A hint where the counts are the official ones in another order."""
    counts = _class_counts(facts, entries)
    if counts is None or counts == facts.test_counts:
        return ""
    if sorted(counts) == sorted(facts.test_counts):
        return " The same numbers, in another order: the lists count the classes in another order."
    return ""


def _named(classes: Sequence[str], counts: Sequence[int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in zip(classes, counts, strict=True))
