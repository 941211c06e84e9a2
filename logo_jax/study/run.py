"""Run a study: count and measure every point, `study.jsonl` growing as it goes.

One line is one finished point. A study that is started again reads the lines that are there and
goes on with the others; a longer study keeps what a shorter one measured.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from logo_jax.common.errors import UserError
from logo_jax.common.files import atomic_writer, make_folder
from logo_jax.common.progress import Progress
from logo_jax.study.count import MultiplyAdds, breakdown
from logo_jax.study.formulas import CONVENTION, FORMULAS, attention_cost
from logo_jax.study.measure import (
    DoesNotFit,
    Program,
    forward,
    forward_backward,
    free_memory,
    matmul_rate,
    median_and_spread,
    module_and_shapes,
    prepare,
    time_in_turn,
)
from logo_jax.study.points import Point, Study

LINES, TABLE = "study.jsonl", "study.csv"
PASSES = ("forward", "training")  # training = forward + backward
IDENTITY = ("series", "label", "grid", "window", "dim", "num_heads", "dtype", "batch")
MIB = 2**20
Row = dict[str, Any]


def run_study(study: Study, workdir: Path) -> list[Row]:
    """Count and measure all points; write `study.jsonl` and `study.csv`.

    Returns:
        The rows of this study, in its order, those measured before included.

    Raises:
        UserError: the workdir holds a study of another machine, or cannot be written to.
    """
    make_folder(workdir)
    machine = describe_machine()
    rows = read_rows(workdir / LINES, machine)
    # What did not fit is tried again when it may take another share of the memory.
    known = {
        _identity(row): row
        for row in rows
        if row["status"] == "measured" or row.get("memory_gib") == study.memory_gib
    }
    groups = study.groups()
    points = [point for group in groups for point in group]
    left = [[p for p in group if _identity(p.record()) not in known] for group in groups]
    limit = int(study.memory_gib * 2**30) if study.memory_gib else None
    rates: dict[str, float] = {}
    done = len(points) - sum(map(len, left))
    progress = Progress(len(points), "study", "points", done)
    try:
        for line in study.unused():
            progress.say(line)
        for group in filter(None, left):
            dtype = group[0].dtype
            if dtype not in rates:
                rates[dtype] = matmul_rate(dtype)
            for row in _measure_group(group, study.repeats, limit, rates[dtype], progress):
                row |= {"memory_gib": study.memory_gib, "machine": machine}
                known[_identity(row)] = row
                _append(workdir / LINES, row)
    finally:
        progress.close()
    found = [known[_identity(point.record())] for point in points]
    write_csv(workdir / TABLE, found)
    return found


def describe_machine() -> str:
    """What the times depend on, in words."""
    device = jax.devices()[0]
    name = device.device_kind
    if device.platform == "cpu":
        models = [line for line in _lines_of_cpuinfo() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
        name += f", {os.cpu_count()} cores"
    return f"{name}, jax {jax.__version__}"


def _lines_of_cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")  # Linux
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def read_rows(path: Path, machine: str) -> list[Row]:
    """Read the finished points of a workdir; a last line that a crash cut off is dropped.

    Raises:
        UserError: a line is damaged, or was measured on another machine.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
        with atomic_writer(path) as file:
            file.writelines(lines)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            other, _, _ = row["machine"], row["status"], _identity(row)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number} is no point of a study: delete that line, and the point "
                "is measured again."
            ) from error
        if other != machine:
            raise UserError(
                f"{path} was measured on another machine ({other}; this one is {machine}): choose "
                "another --workdir, since times of two machines cannot be compared."
            )
        rows.append(row)
    return rows


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in IDENTITY)


def _measure_group(
    group: Sequence[Point], repeats: int, limit: int | None, rate: float, progress: Progress
) -> list[Row]:
    """Count all points of a group, compile them, and time them in turn."""
    rows = {point: point.record() | count_point(point) for point in group}
    for name, backward in zip(PASSES, (False, True), strict=True):
        if backward and group[0].series == "exponents":  # the paper's claim: the forward pass
            continue
        programs: dict[Point, Program] = {}
        for point in group:
            row = rows[point]
            row.setdefault("status", "measured")
            room = free_memory() if limit is None else limit
            try:
                programs[point] = program = prepare(point, backward, room)
            except (DoesNotFit, UserError) as error:  # too large, or a form that is not for here
                before = "" if row["status"] == "measured" else f"{row['status']}; "
                row["status"] = f"{before}{name}: {error}"
            else:
                row[f"{name}_temporary_mib"] = program.temporary / MIB
                row[f"{name}_peak_mib"] = program.peak / MIB
                row[f"{name}_compiler_flops"] = program.compiler_flops
        for point, samples in time_in_turn(programs, repeats).items():
            row = rows[point]
            seconds, spread = median_and_spread(samples)
            row[f"{name}_ms"] = 1e3 * seconds
            row[f"{name}_spread_ms"] = 1e3 * spread
            row[f"{name}_shortest_ms"] = 1e3 * min(samples)
            row[f"{name}_share"] = row[f"{name}_multiply_adds"] * point.batch / seconds / rate
    for point in group:
        rows[point] |= {"repeats": repeats, "matmul_multiply_adds_per_s": rate}
        progress.update(1, f"{point.label} {rows[point]['grid']}")
    return list(rows.values())


def count_point(point: Point) -> Row:
    """Multiply-adds for one clip: by formula, if the scheme has one, and counted on the plain form.

    Of a training pass only the count is known: the backward pass has two products for each of the
    forward pass, but for gradients that nobody asks for.
    """
    plain = Point(point.scheme, "xla", point.grid, point.window, point.dim, point.num_heads)
    module, shapes = module_and_shapes(plain)
    counts = breakdown(forward(module), *shapes)
    row: Row = {
        "counted_dense": counts.convolutions + counts.dense,
        "counted_products": counts.products,
        "forward_multiply_adds": _sum(counts),
        "training_multiply_adds": _sum(breakdown(forward_backward(module), *shapes)),
    }
    if point.scheme in FORMULAS:
        parts = attention_cost(point.scheme, point.grid, point.dim, plain.options)
        row |= {
            "projections": parts.projections,
            "products": parts.products,
            "pooling": parts.pooling,
            "weighted_pooling": parts.weighted_pooling,
            "formula_matches_count": (parts.dense, parts.products)
            == (row["counted_dense"], row["counted_products"]),
        }
    return row


def _sum(counts: MultiplyAdds) -> int:
    return counts.convolutions + counts.dense + counts.products


def _append(path: Path, row: Row) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


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
