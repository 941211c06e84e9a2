"""What a preparation leaves beside its shards: table, record, list of problems, summary."""

import csv
import hashlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from logo_jax.common import files
from logo_jax.common.errors import UserError
from logo_jax.data.entries import ClipEntry
from logo_jax.data.prepared import RECORD, TABLE
from logo_jax.data.shards import Outcome

PROBLEMS_SHOWN = 20


class Stored(NamedTuple):
    """A clip that was stored, the number of its frames, their bytes, and a hash of them."""

    entry: ClipEntry
    num_frames: int
    num_bytes: int
    digest: str


def sort_out(
    entries: Sequence[ClipEntry], outcomes: Sequence[Outcome]
) -> tuple[list[Stored], list[str]]:
    """Tell the clips that were stored from those with a problem, a sentence for each."""
    stored, problems = [], []
    for entry, found in zip(entries, outcomes, strict=True):
        if isinstance(found, str):
            problems.append(f"clip {entry.clip_id}: {found}")
        else:
            stored.append(Stored(entry, *found))
    return stored, problems


def leaks(stored: Sequence[Stored]) -> list[str]:
    """Say, for each split or fold, which clips are in several parts under different names.

    Such clips have the same frames, byte for byte: a copy, or a link to the same folder.
    """
    found = []
    for column in stored[0].entry.partitions:
        names: dict[tuple[str, int], dict[str, str]] = {}
        for clip in stored:
            if part := clip.entry.partitions[column]:
                names.setdefault((clip.digest, clip.num_bytes), {})[part] = clip.entry.clip_id
        shared = [parts for parts in names.values() if len(parts) > 1]
        if shared:
            first = " and ".join(f"{part} ({name})" for part, name in shared[0].items())
            found.append(
                f"Warning: clips with the same frames in several parts of {column}: {len(shared):,}"
                f", the first is {first}. Results on them are not to be trusted."
            )
    return found


def report_problems(builder: Any, problems: Sequence[str]) -> None:
    """Write all problems to `problems.txt` beside the set, and print the first.

    Raises:
        UserError: there are some, and the builder does not allow it.
    """
    # Beside the prepared folder, which is not there when the preparation stops.
    full_list = builder.folder.parent / "problems.txt"
    if not problems:
        full_list.unlink(missing_ok=True)  # of an earlier attempt
        return
    with files.atomic_writer(full_list) as file:
        file.writelines(f"{problem}\n" for problem in problems)
    shown = "\n".join(f"  {problem}" for problem in problems[:PROBLEMS_SHOWN])
    count = f"{len(problems):,} clips of {builder.name} cannot be used"
    text = f"(the first {PROBLEMS_SHOWN}; all of them in {full_list}):\n{shown}\n"
    if not builder.allow_missing:
        raise UserError(
            f"{count} {text}Mend them, or pass allow_missing=True to leave them out, and start "
            "again: the other clips are kept."
        )
    print(f"{count} and are left out {text}", file=sys.stderr, flush=True)


def write_table(folder: Path, stored: Sequence[Stored]) -> None:
    """Write the table of the clips, in stored order."""
    partitions = list(stored[0].entry.partitions)
    factors = list(stored[0].entry.factors)
    with files.atomic_writer(folder / TABLE) as file:
        writer = csv.writer(file)
        fixed = ["clip_id", "label", "num_frames", "group", "bytes", "digest"]
        writer.writerow([*fixed, *partitions, *(f"factor_{name}" for name in factors)])
        for entry, num_frames, num_bytes, digest in stored:
            writer.writerow(
                [entry.clip_id, entry.label, num_frames, entry.group, num_bytes, digest]
                + [entry.partitions[name] for name in partitions]
                + [entry.factors[name] for name in factors]
            )


def write_record(
    builder: Any, entries_digest: str, problems: Sequence[str], remarks: Sequence[str]
) -> None:
    """Write what the set was made from, sizes and a hash of its files; the last to be written."""
    sizes = {path.name: path.stat().st_size for path in sorted(builder.folder.iterdir())}
    record = {
        "name": builder.name,
        "config": builder.config_name,
        "classes": list(builder.classes),
        "options": builder.options,
        "source": str(builder.source) if builder.needs_source else "",
        "entries": entries_digest,
        "left_out": list(problems),
        "remarks": list(remarks),
        "files": sizes,
        "table": hashlib.sha256((builder.folder / TABLE).read_bytes()).hexdigest(),
    }
    files.write_json(builder.folder / RECORD, record)


def summary(builder: Any, stored: Sequence[Stored], problems: Sequence[str]) -> str:
    """Clips, frames, bytes, clips left out, and clips of each class, as one line."""
    counts = Counter(clip.entry.label for clip in stored)
    per_class = ", ".join(f"{name} {counts[i]:,}" for i, name in enumerate(builder.classes))
    return (
        f"Prepared {builder.name}/{builder.config_name}: {len(stored):,} clips, "
        f"{sum(clip.num_frames for clip in stored):,} frames, "
        f"{sum(clip.num_bytes for clip in stored) / 2**20:,.1f} MiB, "
        f"{len(problems):,} left out. Clips per class: {per_class}."
    )
