"""The rows of a study, one for each finished point: `study.jsonl`, which grows, and `study.csv`."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.common.files import atomic_writer
from logo_jax.study.formulas import CONVENTION

IDENTITY = (
    "series", "label", "grid", "window", "dim", "num_heads", "dtype", "batch", "source",
)  # fmt: skip
MEASURED = "measured"  # the status of a row that has all its numbers
Row = dict[str, Any]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _shape(value: Any) -> bool:
    return _text(value) and re.fullmatch(r"\d+ x \d+ x \d+", value) is not None


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _positive(value: Any) -> bool:
    return type(value) is int and value > 0


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


# What a field must be, by name: of every row, of those that were measured, and where it stands.
EVERY: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("series", "label", "scheme", "impl", "dtype", "status", "machine"), _text),
    "grid": _shape,
    "window": lambda value: value == "" or _shape(value),
    **dict.fromkeys(("dim", "num_heads", "batch"), _positive),
}
COUNTS = (
    "counted_dense", "counted_products", "forward_multiply_adds", "training_multiply_adds",
)  # fmt: skip
TIMES = ("ms", "spread_ms", "shortest_ms", "share")
ALL_MEASURED: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys((*COUNTS, "matmul_multiply_adds_per_s"), _number),
    **dict.fromkeys((f"forward_{name}" for name in TIMES), _number),
    "repeats": _positive,
}
OPTIONAL: dict[str, Callable[[Any], bool]] = {
    **ALL_MEASURED,
    **dict.fromkeys((f"training_{name}" for name in TIMES), _number),
    **{
        f"{passes}_{name}_mib": _number
        for passes in ("forward", "training")
        for name in ("temporary", "peak", "measured")
    },
    **dict.fromkeys(("memory_gib", "projections", "products", "pooling", "mlp", "model"), _number),
    "formula_matches_count": _truth,
    "inequality_9": _truth,
    "failed": _truth,
    "source": _text,
}


def check_row(row: Any) -> None:
    """Raise ValueError where a row lacks a field, or has one that cannot be."""
    if not isinstance(row, dict):
        raise ValueError("no fields")
    needed = EVERY | (ALL_MEASURED if row.get("status") == MEASURED else {})
    if row.get("status") == MEASURED and row.get("series") != "exponents":
        needed |= {f"training_{name}": _number for name in TIMES}
    for name, fits in (OPTIONAL | needed).items():
        if (name in row or name in needed) and not fits(row.get(name)):
            raise ValueError(f"{name} is {row.get(name)!r}")
    if row["label"].partition(":")[0] != row["scheme"]:
        raise ValueError("label and scheme are of two schemes")


def identity(row: Row) -> tuple[Any, ...]:
    """What tells a point from the others; rows of older versions have no `source`."""
    return tuple(row.get(name, "") for name in IDENTITY)


def read_rows(path: Path, machine: str) -> list[Row]:
    """Read the finished points of a workdir; a last line that a crash cut off is dropped.

    Raises:
        UserError: the file cannot be read, a line is damaged, or was measured on another machine.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): move it away, or choose another --workdir."
        ) from error
    if lines and not lines[-1].endswith(b"\n"):
        lines.pop()
        with atomic_writer(path, "wb") as file:
            file.writelines(lines)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            check_row(row)
        except (ValueError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{path}, line {number} is no point of a study: delete that line, and the point "
                "is measured again."
            ) from error
        if row["machine"] != machine:
            raise UserError(
                f"{path} was measured on another machine ({row['machine']}; this one is "
                f"{machine}): choose another --workdir, since times of two machines cannot be "
                "compared."
            )
        rows.append(row)
    return rows


def append_row(path: Path, row: Row) -> None:
    """Add a line that is on the disk when this returns.

    Raises:
        UserError: the file cannot be written to, or the disk is full.
    """
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}; free some space there or choose "
            "another --workdir."
        ) from error


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows; a first line says what is counted."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = io.StringIO()
    table.write(f"# {CONVENTION}\n")
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_writer(path) as file:
        file.write(table.getvalue())
