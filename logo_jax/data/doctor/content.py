"""What the frames of all clips say together: counts, sizes, and content that occurs twice."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from logo_jax.data.datasets import facts
from logo_jax.data.datasets.dfew.builder import ENOUGH_CLIPS, TI_FRAMES
from logo_jax.data.doctor.copy import Clip, Copy, column_words
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.doctor.scan import Tally, digests

USUAL_SIDES = (224, 256)
# What a part of a fold is for, in words.
_USES = {"train": "trained on", "val": "validated on", "test": "tested on"}


def check_counts(copy: Copy, tally: Tally, findings: Findings) -> None:
    """Compare numbers of frames with those that lists declare or the folder's name promises."""
    there = tally.num_frames > 0  # missing clips have their own finding
    counts = tally.num_frames[there]
    others = int((counts != TI_FRAMES).sum())
    renamed = copy.interpolated and 2 * others > len(counts)
    if renamed:
        example = f"{copy.frames} ({others:,} of {len(counts):,} clips)"
        findings.add("not_interpolated", example)
    elif copy.interpolated and len(counts):
        findings.add("time_interpolated", str(copy.frames))
    for row in np.flatnonzero(there):
        clip, found = copy.clips[row], int(tally.num_frames[row])
        if clip.declared is not None and found != clip.declared:
            example = f"{clip.name} has {found}, declared are {clip.declared}"
            findings.add("frame_count", example, clips=[clip.name])
        elif copy.interpolated and not renamed and found != TI_FRAMES:
            findings.add("not_sixteen", f"{clip.name} has {found}", clips=[clip.name])
        elif found == 1:
            findings.add("single_frame", clip.name, clips=[clip.name])
    if len(there) and not len(counts):
        findings.add("no_frames", f"{copy.frames} has frames of none of the {len(there):,} clips")
    original = copy.title == "DFEW" and not copy.interpolated
    if original and len(counts) >= ENOUGH_CLIPS and (counts == TI_FRAMES).all():
        findings.add("all_sixteen", str(copy.frames))


def check_sizes(copy: Copy, tally: Tally, findings: Findings) -> None:
    """Mixed, not square and unusual sizes of frames."""
    for row in np.flatnonzero(tally.mixed):
        findings.add("mixed_sizes", copy.clips[row].name, clips=[copy.clips[row].name])
    for row in np.flatnonzero(tally.not_square):
        findings.add("not_square", copy.clips[row].name, clips=[copy.clips[row].name])
    if copy.facts is not facts.DFEW:  # of the others, users cut the faces out themselves
        return
    for (width, height), clips in sorted(tally.sizes.items()):
        if width == height and width not in USUAL_SIDES:
            findings.add("unusual_size", f"{width} x {height} in {clips:,} clips", clips)


def check_duplicates(copy: Copy, tally: Tally, findings: Findings, num_workers: int) -> None:
    """Clips with the same frames, and frames that two parts of a fold share.

    Equal keys are candidates only; their files are compared as a whole.
    """
    shared = _clips_that_share(tally)
    if not shared:
        return
    rows = sorted(set(itertools.chain.from_iterable(shared)))
    folders = {row: copy.folder(copy.clips[row]) for row in rows}
    hashes = digests(list(folders.values()), num_workers)
    content = {row: tuple(hashes[folder]) for row, folder in folders.items()}
    same: dict[tuple[bytes | int, ...], list[int]] = defaultdict(list)
    for row in rows:
        whole = content[row] if all(content[row]) else (b"", row)  # frames that cannot be compared
        same[whole].append(row)
    twins = {row: group[0] for group in same.values() for row in group}
    note_same_content(copy, same.values(), findings)
    holders: dict[bytes, set[int]] = defaultdict(set)
    for row in rows:
        for digest in content[row]:
            if digest:
                holders[digest].add(row)
    _note_shared_frames(copy, twins, holders.values(), findings)


def note_same_content(copy: Copy, same: Iterable[list[int]], findings: Findings) -> None:
    """Note clips with the same content.

    Args:
        copy: whose clips.
        same: rows of the clips, those with the same content in one group.
        findings: where they are noted.
    """
    for group in same:
        for first, second in itertools.pairwise(group):
            _note_twins(copy, copy.clips[first], copy.clips[second], findings)
        _note_overlap(copy, [copy.clips[row] for row in group], findings)


def _clips_that_share(tally: Tally) -> list[tuple[int, ...]]:
    """Groups of clips that have a frame key in common."""
    if not len(tally.keys):
        return []
    pairs = np.unique(np.stack([tally.keys, tally.clip_of_frame.astype(np.uint64)], 1), axis=0)
    starts = np.flatnonzero(np.r_[True, pairs[1:, 0] != pairs[:-1, 0]])
    ends = np.r_[starts[1:], len(pairs)]
    several = np.flatnonzero(ends - starts > 1)
    return [tuple(pairs[starts[i] : ends[i], 1].astype(int).tolist()) for i in several]


def _note_twins(copy: Copy, first: Clip, second: Clip, findings: Findings) -> None:
    pair = f"{first.name} and {second.name}"
    if first.label != second.label:
        names = [copy.classes[clip.label] if clip.label >= 0 else "?" for clip in (first, second)]
        example = f"{pair} ({names[0]} and {names[1]})"
        findings.add("two_labels", example, clips=[first.name, second.name])
    elif not _fold_that_splits(copy, first, second):
        findings.add("same_clip", pair, clips=[first.name, second.name])


def _note_overlap(copy: Copy, group: list[Clip], findings: Findings) -> None:
    """Clips of two parts of one fold among clips with the same content.

    Validation counts as a part like the others: the best checkpoint is selected on it.
    """
    for place, column in enumerate(copy.columns):
        first = {clip.parts[place]: clip for clip in reversed(group)}
        for one, other in itertools.combinations(_USES, 2):
            if one in first and other in first:
                a, b = first[one].name, first[other].name
                findings.add(
                    "content_overlap",
                    f"{a} is {_USES[one]}, {b} {_USES[other]} in {column_words(column)}",
                    clips=[a, b],
                )


def _note_shared_frames(
    copy: Copy, twins: dict[int, int], holders: Iterable[set[int]], findings: Findings
) -> None:
    """Pairs of clips that are not the same, but have frames in common across parts of a fold."""
    pairs: Counter[tuple[int, int]] = Counter()
    for rows in holders:
        different = sorted({twins[row] for row in rows})
        # A black frame may be in a thousand clips: neighbours are compared, not all pairs.
        pairs.update(itertools.pairwise(different))
    for (a, b), count in sorted(pairs.items()):
        first, second = copy.clips[a], copy.clips[b]
        column = _fold_that_splits(copy, first, second)
        if column:
            frames = f"{count} frame" + "s" * (count > 1)
            findings.add(
                "shared_frames",
                f"{first.name} and {second.name} ({frames}, {column_words(column)})",
                clips=[first.name, second.name],
            )


def _fold_that_splits(copy: Copy, first: Clip, second: Clip) -> str:
    """The first partition column that has two clips in different parts, or ""."""
    for column, parts in zip(copy.columns, zip(first.parts, second.parts, strict=True),
                             strict=True):  # fmt: skip
        if all(parts) and parts[0] != parts[1]:
            return column
    return ""
