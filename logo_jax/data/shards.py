"""The shards of a preparation: each whole or absent, and kept for the next attempt.

A preparation of hundreds of thousands of frames may be interrupted. Its shards are collected in a
folder of their own (the stage); started again with the same plan, it makes only those that are not
there, and those in which a user has mended a clip since. Each shard is an
ArrayRecord file with a JSON file beside it, written last, that says what the shard holds.
"""

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from logo_jax.common import files
from logo_jax.common.progress import Progress
from logo_jax.data import pool
from logo_jax.data.entries import ClipEntry

# What an interruption costs is one shard; DFEW, with 256 clips a shard, has 46.
CLIPS_PER_SHARD = 256
PLAN = "plan.json"
FEW_CLIPS = 32

# A clip as stored, (frames, bytes of the frames, hash of them), or the sentence that says why it is
# not.
Outcome = tuple[int, int, str] | str


@dataclasses.dataclass
class Shard:
    """A finished shard: its file, and the outcome of each clip that was planned for it."""

    path: Path
    outcomes: list[Outcome]

    @property
    def num_stored(self) -> int:
        """Number of its records."""
        return sum(not isinstance(outcome, str) for outcome in self.outcomes)


def fill(
    stage: Path,
    plan: Any,
    entries: Sequence[ClipEntry],
    make: Callable[[Any], list[bytes] | str],
    serialize: Callable[[ClipEntry, list[bytes]], bytes],
    num_workers: int,
    unchanged: Callable[[ClipEntry, int], bool],
    desc: str,
) -> list[Shard]:
    """Make all shards of a preparation that are not in `stage` yet.

    Args:
        stage: folder of the shards; one of another plan is emptied first.
        plan: what the shards are made from, as JSON can hold it.
        entries: the clips in stored order; each shard holds the next `CLIPS_PER_SHARD`.
        make: of the payload of a clip, its frames or a problem; called in the workers.
        serialize: of a clip and its frames, the record to write; called in this process.
        num_workers: see `pool.ordered_map`.
        unchanged: whether a clip still has so many frames in the source; the shard of one that has
            others is made anew.
        desc: of the progress.

    Returns:
        The shards in order.

    Raises:
        UserError: the stage cannot be written to, or a worker died.
        OSError, RuntimeError: the disk is full (ArrayRecord raises either).
    """
    _open(stage, plan)
    slices = [entries[i : i + CLIPS_PER_SHARD] for i in range(0, len(entries), CLIPS_PER_SHARD)]
    shards = {index: _finished(stage, index) for index in range(len(slices))}
    for index, shard in shards.items():
        if shard is not None and not _is_current(slices[index], shard, unchanged):
            shards[index] = None
    _try_again(shards, slices, make, num_workers)
    missing = [index for index, shard in shards.items() if shard is None]
    work = [entry.payload for index in missing for entry in slices[index]]
    progress = Progress(len(entries), desc, "clips", done=len(entries) - len(work))
    if len(work) < len(entries):
        progress.say(
            f"{desc}: {len(entries) - len(work):,} of {len(entries):,} clips are there from an "
            "earlier attempt."
        )
    results = pool.ordered_map(make, work, num_workers)
    try:
        for index in missing:
            shards[index] = _write(stage, index, slices[index], results, serialize, progress)
    finally:
        results.close()
        progress.close()
    return [shard for shard in shards.values() if shard is not None]


def _open(stage: Path, plan: Any) -> None:
    """Make the stage, or take the one that is there if it is of this plan."""
    text = json.dumps(plan, sort_keys=True)
    try:
        same = (stage / PLAN).read_text("utf-8") == text
    except (OSError, UnicodeDecodeError):
        same = False
    if not same:
        shutil.rmtree(stage, ignore_errors=True)
        files.make_folder(stage)
        with files.atomic_writer(stage / PLAN) as file:
            file.write(text)


def _names(stage: Path, index: int) -> tuple[Path, Path]:
    return stage / f"{index:05d}.array_record", stage / f"{index:05d}.json"


def _finished(stage: Path, index: int) -> Shard | None:
    records, note = _names(stage, index)
    try:
        content = json.loads(note.read_text("utf-8"))
        size = records.stat().st_size
    except (OSError, ValueError):  # not there: the attempt ended before
        return None
    shard = Shard(records, [x if isinstance(x, str) else tuple(x) for x in content["outcomes"]])
    return shard if size == content["size"] else None


def _try_again(
    shards: dict[int, Shard | None],
    slices: Sequence[Sequence[ClipEntry]],
    make: Callable[[Any], list[bytes] | str],
    num_workers: int,
) -> None:
    """Read the clips with a problem again: the shard of one that is mended is made anew."""
    broken = [
        (index, place)
        for index, shard in shards.items()
        if shard is not None
        for place, found in enumerate(shard.outcomes)
        if isinstance(found, str)
    ]
    work = [slices[index][place].payload for index, place in broken]
    # Few are read before a worker has started.
    results = pool.ordered_map(make, work, num_workers if len(work) > FEW_CLIPS else 0)
    for (index, place), found in zip(broken, results, strict=True):
        shard = shards[index]
        if not isinstance(found, str):
            shards[index] = None
        elif shard is not None:
            shard.outcomes[place] = found


def _is_current(
    entries: Sequence[ClipEntry], shard: Shard, unchanged: Callable[[ClipEntry, int], bool]
) -> bool:
    return all(
        isinstance(outcome, str) or unchanged(entry, outcome[0])
        for entry, outcome in zip(entries, shard.outcomes, strict=True)
    )


def _write(
    stage: Path,
    index: int,
    entries: Sequence[ClipEntry],
    results: Iterator[list[bytes] | str],
    serialize: Callable[[ClipEntry, list[bytes]], bytes],
    progress: Progress,
) -> Shard:
    records, note = _names(stage, index)
    note.unlink(missing_ok=True)
    outcomes: list[Outcome] = []
    # One record in a group, as TFDS writes it: a clip is read without its neighbours. Frames are
    # compressed already; compressing them again would save 5 % and slow every reading down.
    writer = ArrayRecordWriter(str(records), "group_size:1,uncompressed")
    try:
        for entry in entries:
            frames = next(results)
            if isinstance(frames, str):
                outcomes.append(frames)
            else:
                writer.write(serialize(entry, frames))
                outcomes.append((len(frames), sum(map(len, frames)), _digest(frames)))
            progress.update()
    finally:
        writer.close()
    with open(records, "rb") as file:
        os.fsync(file.fileno())
    files.write_json(note, {"size": records.stat().st_size, "outcomes": outcomes})
    return Shard(records, outcomes)


def _digest(frames: Sequence[bytes]) -> str:
    """Hash the frames of a clip, and where each ends."""
    digest = hashlib.blake2b(digest_size=8)
    for frame in frames:
        digest.update(b"%d " % len(frame))
        digest.update(frame)
    return digest.hexdigest()
