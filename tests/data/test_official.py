"""Lists of the size of the real sets, beside the official counts."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data import official
from logo_jax.data.datasets import facts
from logo_jax.data.entries import ClipEntry


def entries_of(found):
    """A set with the official counts: each clip is tested in one fold, trained in the others."""
    tests = np.repeat(np.arange(len(found.classes)), found.test_counts)
    tests = np.random.default_rng(0).permutation(tests)
    sizes = [sizes[0][1] for sizes in found.folds.values()]
    fold_of = np.repeat(np.arange(len(sizes)), sizes)
    columns = list(found.folds)
    entries = [
        ClipEntry(
            str(number),
            int(label),
            None,
            partitions={c: "test" if k == fold else "train" for k, c in enumerate(columns)},
        )
        for number, (label, fold) in enumerate(zip(tests, fold_of, strict=True))
    ]
    if len(columns) == 1:  # the training clips are others
        train = found.folds[columns[0]][0][0]
        entries += [
            ClipEntry(f"t{i}", 0, None, partitions={columns[0]: "train"}) for i in range(train)
        ]
    return entries


@pytest.mark.parametrize("found", [facts.DFEW, facts.FERV39K, facts.MAFW])
def test_official_counts_pass_and_one_clip_less_does_not(found):
    entries = entries_of(found)
    official.require_official(found, Path("copy"), entries, False)
    remarks = official.count_remarks(found, entries)
    assert len(remarks) == len(found.folds) and all("official:" in text for text in remarks)
    # A reader that skips the first row of a list without a header loses a clip.
    with pytest.raises(UserError) as error:
        official.require_official(found, Path("copy"), entries[1:], False)
    column = next(iter(found.folds))
    train, test = found.folds[column][0]
    assert f"{train:,} train and {test - 1:,} test clips, official are {train:,} and {test:,}" in (
        str(error.value)
    )
    assert "copy: its clips contradict the official counts of" in str(error.value)
    official.require_official(found, Path("copy"), entries[1:], True)
    assert "NOT OFFICIAL" in official.count_remarks(found, entries[1:])[-1]


def test_dfew_pools_to_its_clips():
    assert sum(facts.DFEW.test_counts) == 11_697
    assert all(sum(sizes[0]) == 11_697 for sizes in facts.DFEW.folds.values())


def test_labels_in_another_order_show_both_counts():
    entries = entries_of(facts.FERV39K)
    order = facts.SEVEN_ORDERS["alphabetical"]
    # Numbers of alphabetical lists, taken for DFEW's.
    mistaken = [
        ClipEntry(e.clip_id, order.index(facts.SEVEN[e.label]), None, partitions=e.partitions)
        for e in entries
    ]
    with pytest.raises(UserError) as error:
        official.require_official(facts.FERV39K, Path("copy"), mistaken, False)
    message = str(error.value)
    assert "happy 1,487, sad 467, neutral 431" in message  # angry, disgust, fear
    assert "official are happy 1,473, sad 1,393, neutral 1,958" in message
    assert "the lists count the classes in another order" in message


def test_an_excerpt_is_said():
    entries = entries_of(facts.DFEW)[:100]
    official.require_official(facts.DFEW, Path("copy"), entries, False)
    assert official.count_remarks(facts.DFEW, entries)[-1].startswith("AN EXCERPT: fewer than half")


def test_both_sizes_of_afew_are_official():
    def afew(test):
        parts = ["train"] * 773 + ["test"] * test
        return [
            ClipEntry(str(i), 0, None, partitions={"split": part}) for i, part in enumerate(parts)
        ]

    for test in (383, 381):
        official.require_official(facts.AFEW, Path("copy"), afew(test), False)
    with pytest.raises(UserError, match=r"773 train and 382 test clips, official are 773 "):
        official.require_official(facts.AFEW, Path("copy"), afew(382), False)


@pytest.mark.parametrize("found", [facts.DFEW, facts.MAFW])
def test_one_fold_tells_the_order_of_the_labels_too(found):
    first = next(iter(found.folds))

    def of_one_fold(turn):
        return [
            dataclasses.replace(
                entry,
                label=(entry.label + turn) % len(found.classes),
                partitions={first: entry.partitions[first]},
            )
            for entry in entries_of(found)
        ]

    official.require_official(found, Path("copy"), of_one_fold(0), False)
    with pytest.raises(UserError, match="the clips of each class are .* in another order"):
        official.require_official(found, Path("copy"), of_one_fold(1), False)
