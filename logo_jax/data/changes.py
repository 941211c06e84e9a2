"""Whether a source is still what a set was prepared from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.data.entries import ClipEntry, entries_digest, readable


def check_source(build: Callable[..., Any], source: str | Path, prepared: Any) -> None:
    """Refuse a source that is not the folder that a set was prepared from, or has changed since.

    Compared are the folder, the lists and the number of frames of each clip, not the content of
    the frames, which would take as long as preparing again.

    Args:
        build: makes the builder of the set from the keyword `source`.
        source: the folder that is given now.
        prepared: the PreparedSet.

    Raises:
        UserError: says what differs.
    """
    if not os.path.isdir(Path(source).expanduser()):
        raise UserError(
            f"There is no folder {source}: name the one that {prepared.folder} was prepared from "
            f"({prepared.source}), or leave source empty to use what is prepared."
        )
    # Counts that were accepted then are no change; that they are not now is said by the options.
    accepted = {"allow_frame_counts": True} if prepared.options.get("allow_frame_counts") else {}
    builder = build(source=source, **accepted)
    other = "data_dir or set_name" if "set_name" in builder.options else "data_dir"
    mend = (
        f"delete {prepared.folder} to prepare it anew, choose another {other}, or leave source "
        "empty to use what is prepared."
    )
    if os.path.realpath(builder.source) != os.path.realpath(prepared.source):
        raise UserError(
            f"{prepared.folder} was prepared from {prepared.source} and not from "
            f"{builder.source}: {mend}"
        )
    with readable(builder.source):
        entries = builder.entries() if builder.classes == prepared.classes else []
    if entries_digest(entries) != prepared.entries_digest:
        raise UserError(
            f"The lists in {builder.source} are not those that {prepared.folder} was prepared "
            f"from: {mend}"
        )
    before = dict(zip(prepared.clip_ids, prepared.num_frames.tolist(), strict=True))
    for entry in entries:
        if entry.clip_id in before:  # the others were left out
            _check_count(builder, entry, before[entry.clip_id], mend)


def _check_count(builder: Any, entry: ClipEntry, before: int, mend: str) -> None:
    try:
        count = builder.count_frames(entry.payload)
        now = f"now it has {count:,}"
    except UserError as error:
        count, now = 0, str(error)
    if count != before:
        raise UserError(
            f"The clip {entry.clip_id} of {builder.source} had {before:,} frames when it was "
            f"prepared, {now}: {mend}"
        )
