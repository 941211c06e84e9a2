"""Checkpoints whose files are not what was written: found by checksums, and set aside.

Orbax notices a missing or a cut file, by errors of many kinds, but not a changed byte of an array.
So every file of a checkpoint's items stands with its size and CRC-32 in `<step>/checksums.json`.
That is written before the folder gets its name, so a step without it has lost it.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from zlib_ng import zlib_ng

from logo_jax.common.distributed import wait_for_all
from logo_jax.common.errors import UserError
from logo_jax.common.files import write_json

CHECKSUMS = "checksums.json"
ITEMS = ("variables", "progress", "meta")  # every checkpoint has these folders
OTHER_STEP = "it is that of step"


def write_checksums(checkpoint: Path) -> None:
    """Record the files of all items of the checkpoint step in the folder `checkpoint`."""
    sums = {name: _checksum(path) for name, path in _files(checkpoint).items() if "/" in name}
    write_json(checkpoint / CHECKSUMS, sums)


class WithChecksums(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """A folder of Orbax that is renamed when it is whole, which includes its checksums."""

    async def finalize(self) -> None:
        """Orbax calls this on the first host, once all hosts have written their files."""
        if self.get_final().name.isdecimal():  # of a step; its items are folders like it
            write_checksums(Path(self.get()))
        await super().finalize()


def step_folders(folder: Path) -> list[int]:
    """The steps whose checkpoints lie in `folder`, checkpoints/last or best; [] without a folder.

    Raises:
        UserError: a file stands where a folder must be, or a step has zeros before its number,
            by which Orbax would find it under a name that is not there.
    """
    for place in (folder.parent, folder):
        if (place.exists() or place.is_symlink()) and not place.is_dir():
            raise UserError(f"{place} is a file, and must be a folder: move it away.")
    steps = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.isascii() and path.name.isdecimal():
            steps.append(int(path.name))
            if path.name != str(steps[-1]):
                raise UserError(f"{path} is not the name of a step: rename it to {steps[-1]}.")
    return steps


def mend(problem: str) -> str:
    """What to do about a checkpoint of which `damage` says `problem`."""
    if problem.startswith(OTHER_STEP):
        return "rename this folder to that step, and what has its name to the step it is of"
    return "delete this folder, and the run goes on from the checkpoint before it, if there is one"


def damage(checkpoint: Path, item: str = "") -> str:
    """Say what is wrong with the files of a checkpoint step, or of one item of it; "" if nothing.

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
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
        wanted = {name: list(map(int, numbers)) for name, numbers in sums.items()}
    except FileNotFoundError:
        return f"{CHECKSUMS} is missing"
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return f"{CHECKSUMS} cannot be read"
    except OSError as error:
        if path.is_dir():
            return f"{CHECKSUMS} cannot be read"
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    found = _files(checkpoint)
    for name, numbers in wanted.items():
        if not name.startswith(item):
            continue
        if name not in found:  # so a name that leads elsewhere is never opened
            return f"{name} is missing"
        if _checksum(found[name]) != numbers:
            return f"{name} is not what was written"
    for name in found:
        if "/" in name and name.startswith(item) and name not in wanted:
            return f"{CHECKSUMS} does not list {name}"
    return ""


def _files(checkpoint: Path) -> dict[str, Path]:
    """The files of a checkpoint by their names there, hidden ones left out."""
    found = {path.relative_to(checkpoint).as_posix(): path for path in checkpoint.rglob("[!.]*")}
    return {name: found[name] for name in sorted(found) if found[name].is_file()}


def _misnamed(checkpoint: Path) -> str:
    """Orbax goes by the names of folders: below a wrong high one it would save nothing."""
    try:
        step = json.loads((checkpoint / "meta" / "metadata").read_text(encoding="utf-8"))["step"]
    except (OSError, ValueError, KeyError, TypeError):
        return "meta cannot be read"
    return "" if str(step) == checkpoint.name else f"{OTHER_STEP} {step}"


def set_aside_damaged(workdir: Path) -> None:
    """Move damaged newest checkpoints away, so that the run goes on from the one before.

    They go to `checkpoints/damaged/<step>`, with a warning that names both. A damaged checkpoint
    that has no whole one before it stays, and whoever reads it says what is wrong.
    """
    folder = workdir.absolute() / "checkpoints" / "last"
    if jax.process_index() == 0:
        step_folders(folder.with_name("best"))  # refused here, before anything is trained
        steps = sorted(step_folders(folder), reverse=True)
        problems: dict[int, str] = {}
        for step in steps:
            problem = damage(folder / str(step))
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


def _checksum(path: Path) -> list[int]:
    """Size in bytes and CRC-32 of a file."""
    try:
        size = crc = 0
        with path.open("rb") as file:
            while block := file.read(2**20):
                size, crc = size + len(block), zlib_ng.crc32(block, crc)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return [size, crc]
