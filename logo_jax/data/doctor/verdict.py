"""The verdict in a few sentences, and the whole report as plain data."""

from collections import Counter
from typing import Any

import numpy as np

from logo_jax.data.doctor.copy import Copy, part_sizes
from logo_jax.data.doctor.examination import Examination
from logo_jax.data.doctor.findings import Findings, printable
from logo_jax.data.doctor.folds import class_counts, pooled_test_counts, present_parts
from logo_jax.data.doctor.kinds import ERROR, WARNING
from logo_jax.data.doctor.scan import Tally

_PARTLY = ("fold_size", "list_missing", "list_unreadable")


def verdict(copy: Copy, tally: Tally, findings: Findings) -> list[str]:
    """A few plain sentences: what this copy is, and whether it can be trained on."""
    return [_what(copy, tally, findings), *_how_much(copy, tally), _trainable(findings)]


def report(found: Examination) -> dict[str, Any]:
    """All that was found, as it stands in the JSON file."""
    copy, tally, findings = found.copy, found.tally, found.findings
    counts = Counter(tally.num_frames[tally.num_frames > 0].tolist())
    return {
        "root": printable(str(copy.root)),
        "verdict": verdict(copy, tally, findings),
        "training_would_be_wrong": bool(findings.of(ERROR)),
        "findings": [finding.to_json() for finding in findings.sorted()],
        "layout": [printable(line) for line in copy.layout],
        "lists": [[printable(text) for text in pair] for pair in copy.lists],
        "classes": [printable(name) for name in copy.classes],
        "folds": [_fold(copy, place) for place in range(len(copy.columns))],
        "test_counts": {"found": pooled_test_counts(copy), "official": _official_counts(copy)},
        "clips": len(copy.clips),
        "frames": int(tally.num_frames.sum()),
        "bytes": tally.num_bytes,
        "frames_per_clip": {str(number): counts[number] for number in sorted(counts)},
        "frame_sizes": {f"{w} x {h}": clips for (w, h), clips in tally.sizes.most_common()},
        "faces": [
            {"clip": printable(s.clip), "share_of_frame": [round(x, 4) for x in s.shares]}
            for s in found.samples
        ],
    }


def _what(copy: Copy, tally: Tally, findings: Findings) -> str:
    """What the copy is by what was found in it; the name of its folder alone says nothing."""
    if copy.videos and "no_videos" in findings:
        return f"The videos of {copy.title} were not found."
    if "names_differ" in findings:
        return f"There are frames of {copy.title}, but the lists name other clips."
    if copy.frames is None or not (copy.videos or tally.num_frames.any()):
        return f"The frames of {copy.title} were not found."
    start = f"This is {copy.title}"
    if any(code in findings for code in _PARTLY):
        what = "lists" if copy.lists or copy.title != "AFEW" else "clips"
        start = f"This looks like {copy.title}, but its {what} are not the official ones"
    name = printable(copy.frames.name)
    if "not_interpolated" in findings:
        return f"{start}; most clips of {name} do not have the 16 frames that its name promises."
    if "all_sixteen" in findings:
        return f"{start}; all clips of {name} have 16 frames, as time-interpolated ones have."
    if copy.interpolated:
        return (
            f"{start}, with time-interpolated 16-frame clips ({name}); results are not comparable "
            "with dynamic sampling."
        )
    if copy.videos:
        return (
            f"{start}, with its videos only ({name}); the faces are not cut out, and results on "
            "own crops are not comparable with those on the set's."
        )
    if copy.facts is None:
        return f"This is {copy.title}, with {len(copy.classes)} classes."
    return f"{start}, with frames of the original length ({name})."


def _how_much(copy: Copy, tally: Tally) -> list[str]:
    counts = tally.num_frames[tally.num_frames > 0]
    if not len(counts):
        return []
    shortest, longest = int(counts.min()), int(counts.max())
    spread = f"{shortest} to {longest} a clip, median {np.median(counts):.0f}"
    if shortest == longest:
        spread = f"{shortest} a clip"
    return [
        f"{len(counts):,} of {len(copy.clips):,} clips are there, with {counts.sum():,} frames "
        f"({spread}), {tally.num_bytes / 2**30:,.2f} GiB."
    ]


def _trainable(findings: Findings) -> str:
    errors, warnings = len(findings.of(ERROR)), len(findings.of(WARNING))
    also = _many(warnings, "kind", "kinds") + " of warnings"
    if errors:
        rest = f", and {also}" if warnings else ""
        return (
            f"Training on this copy would be wrong: {_many(errors, 'kind', 'kinds')} of errors"
            f"{rest}."
        )
    return "Nothing was found that makes training wrong" + (f"; {also}." if warnings else ".")


def _many(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _fold(copy: Copy, place: int) -> dict[str, Any]:
    column, sizes = copy.columns[place], part_sizes(copy, place)
    return {
        "name": column,
        "sizes": {part: sizes[part] for part in present_parts(copy)},
        "official": [list(pair) for pair in copy.facts.folds[column]] if copy.facts else [],
        "class_counts": {part: class_counts(copy, place, part) for part in present_parts(copy)},
    }


def _official_counts(copy: Copy) -> list[int] | None:
    return list(copy.facts.test_counts) if copy.facts and copy.facts.test_counts else None
