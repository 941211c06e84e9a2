"""Checkpoints whose files are not what was written: found by checksums, and set aside.

Orbax notices a missing or a cut file, by errors of many kinds, but not a changed byte of an array.
So every file of a finished checkpoint stands with its size and CRC-32 in `<step>/checksums.json`.
A checkpoint without that file (the process was killed before it was there) is read to see.
"""

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from logo_jax.common.distributed import wait_for_all
from logo_jax.common.errors import UserError
from logo_jax.common.files import write_json

CHECKSUMS = "checksums.json"
ITEMS = ("variables", "progress", "meta")  # every checkpoint has these folders


def write_checksums(checkpoint: Path) -> None:
    """Record the files of the checkpoint step in the folder `checkpoint`, on the first host."""
    if jax.process_index() == 0:
        files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]
        sums = {str(path.relative_to(checkpoint)): _checksum(path) for path in files}
        write_json(checkpoint / CHECKSUMS, sums)


def damage(checkpoint: Path, item: str = "") -> str:
    """Say what is wrong with the files of a checkpoint step, or of one item of it; "" if nothing.

    Without checksums, only what is missing is seen.

    Raises:
        UserError: a file cannot be read for another reason than that it is not there.
    """
    lost = [name for name in [item or ITEMS[0], *ITEMS] if not (checkpoint / name).is_dir()]
    if lost:
        return f"{lost[0]} is missing"
    problem = _changed(checkpoint, item)
    if not problem and item in ("", "meta"):
        problem = _misnamed(checkpoint)
    return problem


def _changed(checkpoint: Path, item: str) -> str:
    path = checkpoint / CHECKSUMS
    if not path.exists():
        return ""
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
        wanted = {name: list(map(int, numbers)) for name, numbers in sums.items()}
    except (ValueError, TypeError, AttributeError):
        return f"{CHECKSUMS} cannot be read"
    for name, numbers in wanted.items():
        if not name.startswith(item):
            continue
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if _checksum(file) != numbers:
            return f"{name} is not what was written"
    return ""


def _misnamed(checkpoint: Path) -> str:
    """Orbax goes by the names of folders: below a wrong high one it would save nothing."""
    try:
        step = json.loads((checkpoint / "meta" / "metadata").read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return "meta cannot be read"
    return "" if str(step) == checkpoint.name else f"it is that of step {step}"


def set_aside_damaged(workdir: Path) -> None:
    """Move damaged newest checkpoints away, so that the run goes on from the one before.

    They go to `checkpoints/damaged/<step>`, with a warning that names both. A damaged checkpoint
    that has no whole one before it stays, and whoever reads it says what is wrong.
    """
    folder = workdir.absolute() / "checkpoints" / "last"
    if jax.process_index() == 0 and folder.is_dir():
        steps = sorted((int(p.name) for p in folder.iterdir() if p.name.isdigit()), reverse=True)
        problems: dict[int, str] = {}
        for step in steps:
            checkpoint = folder / str(step)
            problem = damage(checkpoint)
            if not problem and not (checkpoint / CHECKSUMS).exists():
                problem = _unreadable(checkpoint)
            if not problem:
                break
            problems[step] = problem
        if len(problems) < len(steps):
            for step, problem in problems.items():
                _set_aside(folder / str(step), folder / str(steps[len(problems)]), problem)
    wait_for_all()


def _set_aside(checkpoint: Path, before: Path, problem: str) -> None:
    place = checkpoint.parent.parent / "damaged" / checkpoint.name
    number = 1
    while place.exists():  # the same step was damaged before
        number += 1
        place = place.with_name(f"{checkpoint.name}-{number}")
    try:
        place.parent.mkdir(exist_ok=True)
        checkpoint.rename(place)
    except OSError as error:
        raise UserError(
            f"The checkpoint {checkpoint} is damaged ({problem}) and cannot be moved to {place} "
            f"({error.strerror}): delete this folder, and the run goes on from {before}."
        ) from error
    print(
        f"WARNING: the checkpoint {checkpoint} is damaged ({problem}) and was moved to {place}; "
        f"the run goes on from {before}.",
        file=sys.stderr,
        flush=True,
    )


def read_arrays(item: Path) -> Any:
    """Return an item of a checkpoint as host arrays of whatever it holds.

    Raises:
        Exception: Orbax has many kinds of errors for what it cannot read.
    """
    with _alone(ocp.PyTreeCheckpointHandler) as checkpointer:
        metadata = checkpointer.metadata(item).item_metadata
        if metadata is None:  # Orbax's word for files that are not there
            raise ValueError(f"{item.name} cannot be read")
        as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        args = ocp.args.PyTreeRestore(restore_args=jax.tree.map(lambda _: as_numpy, metadata.tree))
        return checkpointer.restore(item, args=args)


def _alone(handler: Any) -> ocp.Checkpointer:
    """A reader that waits for no other process of the job."""
    me = jax.process_index()
    options = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me})
    return ocp.Checkpointer(
        handler(multiprocessing_options=options), multiprocessing_options=options
    )


def _unreadable(checkpoint: Path) -> str:
    """Say which item cannot be read; "" where all can."""
    name = ""
    try:
        for name in ("variables", "ema", "progress"):
            if (checkpoint / name).is_dir():
                read_arrays(checkpoint / name)
        name = "meta"
        with _alone(ocp.JsonCheckpointHandler) as checkpointer:
            checkpointer.restore(checkpoint / name)
    except Exception:  # whatever it is, the answer is the same
        return f"{name} cannot be read"
    return ""


def _checksum(path: Path) -> list[int]:
    """Size in bytes and CRC-32 of a file."""
    try:
        size = crc = 0
        with path.open("rb") as file:
            while block := file.read(2**20):
                size, crc = size + len(block), zlib.crc32(block, crc)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return [size, crc]
