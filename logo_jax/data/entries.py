"""The list of the clips of a data set, before any frame is read, and what must hold of it."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from logo_jax.common.errors import UserError

PARTS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class ClipEntry:
    """One clip of a data set, before its frames are read.

    Attributes:
        clip_id: name of the clip, unique in the set.
        label: class number, 0-based, in the order of the builder's `classes`.
        payload: what `make_frames` needs to make the frames; picklable and small.
        group: identity or source of the clip, "" where the set has none.
        partitions: partition column (`split`, or `fold_1` ...) -> "train", "val", "test" or "".
        factors: further facts of the clip by name; stored as columns `factor_<name>`.
    """

    clip_id: str
    label: int
    payload: Any
    group: str = ""
    partitions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    factors: Mapping[str, float | int | str] = dataclasses.field(default_factory=dict)


def check_entries(origin: str, entries: Sequence[ClipEntry], classes: Sequence[str]) -> None:
    """Refuse entries that cannot be stored.

    Raises:
        UserError: a clip occurs twice, or a name cannot be written; begins with `origin`.
        ValueError: the entries do not agree in their columns, which is a fault of the builder.
    """
    repeated = [name for name, n in Counter(entry.clip_id for entry in entries).items() if n > 1]
    if repeated:
        raise UserError(f'{origin}: the clip "{repeated[0]}" occurs twice.')
    for name in (*classes, *(entry.clip_id for entry in entries)):
        if not_utf8(name):
            raise UserError(f"{origin}: the name {name!r} is not UTF-8; rename it.")
    columns = {tuple(e.partitions) for e in entries}, {tuple(e.factors) for e in entries}
    if any(len(names) > 1 for names in columns):
        raise ValueError(f"{origin}: the entries differ in their partitions or factors.")


def not_utf8(name: str) -> bool:
    """Whether a file name is not UTF-8: such names reach Python with surrogates in them."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


@contextlib.contextmanager
def readable(source: Path) -> Iterator[None]:
    """Say in a sentence what of a source cannot be read in the block.

    Raises:
        UserError: names the file or folder.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{error.filename or source} cannot be read: {error.strerror or error}; give this user "
            "the right to read it."
        ) from error


def check_classes(
    where: Any,
    classes: Sequence[str],
    labels: Int[np.ndarray, " N"],
    partitions: Mapping[str, np.ndarray],
    parts: Sequence[str],
) -> None:
    """Refuse a class that has no clip in one of `parts`, in any partition.

    Raises:
        UserError: names the class, the part and the fold, and begins with `where`.
    """
    for column, part in itertools.product(partitions, parts):
        counts = np.bincount(labels[partitions[column] == part], minlength=len(classes))
        empty = [f'"{name}"' for name, count in zip(classes, counts, strict=True) if count == 0]
        if empty:
            fold = "" if column == "split" else f" in {column.replace('_', ' ')}"
            raise UserError(
                f"{where}: no {part} clip{fold} is of class {', '.join(empty)}; mend the lists or "
                "folders, or pass allow_empty_classes=True if this is meant."
            )


def entries_digest(entries: Sequence[ClipEntry]) -> str:
    """Return a SHA-256 that tells one list of clips, labels and folds from another."""
    digest = hashlib.sha256()
    for entry in entries:
        row = [entry.clip_id, entry.label, entry.group, dict(entry.partitions), dict(entry.factors)]
        digest.update(json.dumps(row, default=str).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
