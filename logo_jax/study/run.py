"""Run a study: count and measure every point, `study.jsonl` growing as it goes.

One line is one finished point. A study that is started again reads the lines that are there and
goes on with the others; a longer study keeps what a shorter one measured.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax

from logo_jax.common.cores import num_cores
from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder
from logo_jax.common.progress import Progress
from logo_jax.models.blocks import BUILT_IN
from logo_jax.models.windows import by
from logo_jax.study.count import MultiplyAdds, breakdown
from logo_jax.study.formulas import FORMULAS, attention_cost, blocks_cost, inequality_holds
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
from logo_jax.study.memory import measured
from logo_jax.study.points import EXPONENTS_REPEATS, Point, Study
from logo_jax.study.rows import MEASURED, Row, append_row, identity, read_rows, write_csv

LINES, TABLE = "study.jsonl", "study.csv"
PASSES = ("forward", "training")  # training = forward + backward
MIB = 2**20


def run_study(study: Study, workdir: Path) -> list[Row]:
    """Count and measure all points; write `study.jsonl` and `study.csv`.

    Returns:
        The rows of this study, in its order, those measured before included.

    Raises:
        UserError: the workdir holds a study of another machine or a training run, or cannot be
            written to.
    """
    make_folder(workdir)
    if (workdir / "config.json").exists():
        raise UserError(
            f"{workdir} holds a training run, whose report the study's would replace: choose "
            "another --workdir."
        )
    machine = describe_machine()
    rows = read_rows(workdir / LINES, machine)
    # What failed is tried again each time. What did not fit is when it may take another share of
    # the memory, and each time where that is what happens to be free.
    known = {
        identity(row): row
        for row in rows
        if row["status"] == MEASURED
        or (row.get("memory_gib") == study.memory_gib > 0 and not row.get("failed"))
    }
    groups = study.groups()
    points = [point for group in groups for point in group]
    left = [[p for p in group if identity(p.record()) not in known] for group in groups]
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
            repeats = study.repeats
            if group[0].series == "exponents":
                repeats = min(repeats, EXPONENTS_REPEATS)
            for row in _measure_group(group, repeats, limit, rates[dtype], progress):
                row |= {"memory_gib": study.memory_gib, "machine": machine}
                known[identity(row)] = row
                append_row(workdir / LINES, row)
    finally:
        progress.close()
    found = [known[identity(point.record())] for point in points]
    write_csv(workdir / TABLE, found)
    return found


def goes_on(workdir: Path) -> str:
    """What there is of a study that was stopped."""
    return f"finished points are in {workdir / LINES}, and the same command goes on with the others"


def describe_machine() -> str:
    """What the times depend on, in words."""
    device = jax.devices()[0]
    name = device.device_kind
    if device.platform == "cpu":
        models = [line for line in _lines_of_cpuinfo() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
        name += f", {num_cores()} cores"
    return f"{name}, jax {jax.__version__}"


def _lines_of_cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")  # Linux
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _measure_group(
    group: Sequence[Point], repeats: int, limit: int | None, rate: float, progress: Progress
) -> list[Row]:
    """Count all points of a group, compile them, and time them in turn."""
    rows = {point: point.record() | {"status": MEASURED} for point in group}

    def note(what: str, point: Point, error: Exception) -> None:
        whose = f"{point.scheme}: "
        if point.scheme in BUILT_IN or isinstance(error, DoesNotFit):
            whose = ""
        before = "" if rows[point]["status"] == MEASURED else f"{rows[point]['status']}; "
        rows[point]["status"] = f"{before}{what}: {whose}{in_words(error)}"
        # What is too large, or a form that is not for this machine, is as it should be.
        if point.scheme not in BUILT_IN and not isinstance(error, DoesNotFit):
            rows[point]["failed"] = True
        if isinstance(error, jax.errors.JaxRuntimeError):
            rows[point]["failed"] = True

    for point in group:
        try:
            rows[point] |= count_point(point)
        except _failures(point) as error:
            note("counting", point, error)
    counted = [point for point in group if rows[point]["status"] == MEASURED]
    for name, backward in zip(PASSES, (False, True), strict=True):
        if backward and group[0].series == "exponents":  # the paper's claim: the forward pass
            continue
        programs: dict[Point, Program] = {}
        for point in counted:
            row = rows[point]
            room = free_memory() if limit is None else limit
            try:
                program = prepare(point, backward, room)
                # The series on growth shows no memory.
                taken = None if point.series == "exponents" else measured(program.run)
            except _failures(point) as error:
                note(name, point, error)
                continue
            programs[point] = program
            row[f"{name}_temporary_mib"] = program.temporary / MIB
            row[f"{name}_peak_mib"] = program.peak / MIB
            if taken is not None:
                row[f"{name}_measured_mib"] = taken / MIB
            if program.compiler_flops is not None:
                row[f"{name}_compiler_flops"] = program.compiler_flops
        found = time_in_turn(programs, repeats, partial(note, name))
        for point, samples in found.items():
            row = rows[point]
            seconds, spread = median_and_spread(samples)
            row[f"{name}_ms"] = 1e3 * seconds
            row[f"{name}_spread_ms"] = 1e3 * spread
            row[f"{name}_shortest_ms"] = 1e3 * min(samples)
            row[f"{name}_share"] = row[f"{name}_multiply_adds"] * point.batch / seconds / rate
    for point in group:
        rows[point] |= {"repeats": repeats, "matmul_multiply_adds_per_s": rate}
        if rows[point].get("failed"):
            progress.say(f"{point.label} {rows[point]['grid']}: {rows[point]['status']}")
    # At once, since they are done at once: the time that is left is told by the rate.
    progress.update(len(group), by(group[-1].grid))
    return list(rows.values())


def _failures(point: Point) -> tuple[type[Exception], ...]:
    """What may go wrong with a point: of a scheme of one's own, whatever its code raises."""
    if point.scheme not in BUILT_IN:
        return (Exception,)
    # Of OverflowError: a grid of more tokens than 64 bits can count.
    return (DoesNotFit, UserError, OverflowError, jax.errors.JaxRuntimeError)


def in_words(error: Exception) -> str:
    """The error in one line, with its class where it is not made for reading."""
    words = next(iter(str(error).splitlines()), "")
    readable = isinstance(error, UserError | DoesNotFit)
    return words if readable else f"{type(error).__name__}: {words}"


def count_point(point: Point) -> Row:
    """Multiply-adds for one clip: by formula, if the scheme has one, and counted on the plain form.

    Counted is half of two clips: of one, `jnp.matmul` drops the batch axis, and a product of
    attention could not be told from one by parameters.

    Of a training pass only the count is known: the backward pass has two products for each of the
    forward pass, but for gradients that nobody asks for.
    """
    plain = Point(
        point.scheme, "xla", point.grid, point.window, point.dim, point.num_heads, batch=2
    )
    module, shapes = module_and_shapes(plain)
    counts = breakdown(forward(module), *shapes) // 2
    row: Row = {
        "counted_dense": counts.convolutions + counts.dense,
        "counted_products": counts.products,
        "forward_multiply_adds": _sum(counts),
        "training_multiply_adds": _sum(breakdown(forward_backward(module), *shapes) // 2),
    }
    if point.scheme in FORMULAS:
        parts = attention_cost(point.scheme, point.grid, point.dim, plain.options)
        model = blocks_cost(point.scheme, point.grid, point.dim, plain.options)
        row |= {
            "projections": parts.projections,
            "products": parts.products,
            "pooling": parts.pooling,
            "weighted_pooling": parts.weighted_pooling,
            "mlp": model.mlp,
            "model": model.total(products=True),
            "formula_matches_count": (parts.dense, parts.products)
            == (row["counted_dense"], row["counted_products"]),
        }
    if point.window:
        row["inequality_9"] = inequality_holds(point.grid, point.window)
    return row


def _sum(counts: MultiplyAdds) -> int:
    return counts.convolutions + counts.dense + counts.products
