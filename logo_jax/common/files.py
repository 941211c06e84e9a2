"""Files that are either whole or absent."""

import contextlib
import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from logo_jax.common.errors import UserError


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside `path` and rename it to `path` when the block ends well.

    A reader, or a run that is started again after a crash, sees the old file or the new one,
    never a half of either. `mode` is "w" (UTF-8 text, line ends as written) or "wb".

    Raises:
        UserError: the folder is missing or read-only, or the disk is full.
    """
    path = Path(path)
    encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; results are for the whole group.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}; free some space there or choose a "
            "folder that you may write to."
        ) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write `content` to `path` as indented JSON, atomically."""
    with atomic_writer(path) as file:
        json.dump(content, file, indent=2, ensure_ascii=False)
        file.write("\n")


@contextlib.contextmanager
def locked(path: str | os.PathLike, waiting: str) -> Iterator[None]:
    """Hold the lock of the file `path`; who waits for another holder prints `waiting` first.

    A holder that is killed frees it.

    Raises:
        UserError: the file can be neither made nor read.
    """
    try:
        # One that another user has made can be locked by who may read it.
        file = open(path) if os.path.exists(path) else open(path, "w")
    except OSError as error:
        raise UserError(
            f"Cannot open {path}: {error.strerror}; choose a folder that you may write to."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_folder(path: str | os.PathLike) -> Path:
    """Make a folder with its parents, and check that files can be written there.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(b"x" * 4096)  # an empty file can be made on a full disk
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise UserError(
            f"Cannot write to the folder {path}: {error.strerror or error}; free some space there "
            "or choose a folder that you may write to."
        ) from error
    return path
