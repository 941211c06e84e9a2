"""Time and memory of attention modules on this machine.

A time is the median over samples, each long enough for the clock; the samples of all points of a
group are taken in turn, so that a drift of the machine hits all alike. The spread is the distance
between the quartiles. Memory here is what the compiler plans for the program: `temporary` without
its arguments and results, `peak` with them; `memory.py` measures what a CPU takes. (The compiler's
own `peak_memory_in_bytes` leaves the temporary arena out on CPU, so it is not used.)
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from logo_jax.common import heap
from logo_jax.common.errors import UserError
from logo_jax.models.blocks import SCHEMES
from logo_jax.study.count import largest_product
from logo_jax.study.formulas import class_tokens
from logo_jax.study.points import Point

SHORTEST_SAMPLE = 0.01  # seconds
SHARE = 0.9  # of the free memory; the rest is for the process itself
Key = TypeVar("Key")


@runtime_checkable
class Runnable(Protocol):
    """What can be timed: `run` returns when the work is done."""

    def run(self) -> Any: ...


class DoesNotFit(Exception):
    """A program needs more memory than there is; the text says how much of how much."""


def module_and_shapes(point: Point) -> tuple[nn.Module, tuple[Any, Any, Any]]:
    """The attention module of a point, and the shapes of (variables, grid, class tokens)."""
    module = SCHEMES[point.scheme](point.options)
    dtype = point.options.dtype
    count = class_tokens(point.scheme, point.grid[0])
    grid = jax.ShapeDtypeStruct((point.batch, *point.grid, point.dim), dtype)
    cls = jax.ShapeDtypeStruct((point.batch, count, point.dim), dtype)
    variables = jax.eval_shape(
        lambda grid, cls: module.init(jax.random.key(0), grid, cls, train=False), grid, cls
    )
    return module, (variables, grid, cls)


def forward(module: nn.Module) -> Any:
    """The function `(variables, grid, cls) -> (grid, cls)`.

    Tracing it raises UserError where what the module gives is not of the shapes it was given.
    """

    def apply(variables: Any, grid: Any, cls: Any) -> Any:
        out: Any = module.apply(variables, grid, cls, train=False)
        found = [jnp.shape(leaf) for leaf in jax.tree.leaves(out)]
        if not isinstance(out, tuple) or len(out) != 2 or found != [grid.shape, cls.shape]:
            raise UserError(
                f"The module {type(module).__name__} gives arrays of {found}: it must give the "
                f"tuple (grid, cls) in the shapes it was given, {[grid.shape, cls.shape]}."
            )
        return out

    return apply


def forward_backward(module: nn.Module) -> Any:
    """Gradients by parameters and tokens of the sum of squares of what the module gives."""

    def loss(variables: Any, grid: Any, cls: Any) -> Any:
        out = forward(module)(variables, grid, cls)
        return sum((jnp.square(x.astype(jnp.float32)).sum() for x in out), jnp.zeros(()))

    return jax.grad(loss, (0, 1, 2))


@dataclass
class Program:
    """A compiled function with arguments, ready to be timed.

    Attributes:
        compiled: takes `arguments`.
        temporary: bytes beside arguments and results.
        peak: bytes held while it runs, arguments and results included.
        compiler_flops: the compiler's own estimate, for information (`count.py` says why it
            differs from a count); None where it has none.
    """

    compiled: Any
    arguments: tuple[Any, ...]
    temporary: int
    peak: int
    compiler_flops: float | None

    def run(self) -> None:
        jax.block_until_ready(self.compiled(*self.arguments))


def prepare(point: Point, backward: bool, limit: int | None) -> Program:
    """Compile the module of a point and make random arguments.

    Args:
        backward: forward + backward instead of forward.
        limit: bytes that it may need; None = unknown, try it.

    Raises:
        DoesNotFit: more than `limit`, or the compiler or the allocator gave up.
        UserError: the machine cannot compute this form, or what the module gives is not of the
            shapes that it was given.
        jax.errors.JaxRuntimeError: the compiler or the program failed otherwise.
    """
    module, shapes = module_and_shapes(point)
    return compile_program(forward_backward(module) if backward else forward(module), shapes, limit)


def compile_program(fn: Any, shapes: tuple[Any, ...], limit: int | None) -> Program:
    """Compile `fn` for arguments of these shapes and make random ones; raises as `prepare` does."""
    try:
        traced = jax.jit(fn).trace(*shapes)
        # Known before it is compiled: XLA ends the process where a size outgrows 64 bits. On a CPU
        # the fused kernels have scratch, see memory.py.
        products = 2 if jax.devices()[0].platform == "cpu" else 1
        least = _size((shapes, traced.out_info)) + products * largest_product(traced.jaxpr.jaxpr)
        most = sys.maxsize if limit is None else limit
        if least > most:
            raise DoesNotFit(f"needs {gib(least)}, has {gib(most)}")
        compiled = traced.lower().compile()
        memory = compiled.memory_analysis()
        arguments, results, temporary = (
            int(getattr(memory, f"{name}_size_in_bytes")) for name in ("argument", "output", "temp")
        )
        peak = arguments + results + temporary
        if peak > most:
            raise DoesNotFit(f"needs {gib(peak)}, has {gib(most)}")
        flops = (compiled.cost_analysis() or {}).get("flops")
        program = Program(compiled, _random(shapes), temporary, peak, flops)
        program.run()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
            raise
        raise DoesNotFit("ran out of memory") from error
    return program


def _size(shapes: Any) -> int:
    """Bytes of arrays of these shapes."""
    return sum(prod(x.shape) * jnp.dtype(x.dtype).itemsize for x in jax.tree.leaves(shapes))


def _random(shapes: Any) -> Any:
    """Arrays of normal numbers with standard deviation 0.02 for parameters and 1 for tokens; ones
    for other variables, as a variance is positive."""
    random = np.random.default_rng(0)
    variables, *tokens = shapes

    def array(shape: Any, scale: float | int) -> Any:
        return jnp.asarray(scale * random.standard_normal(shape.shape, np.float32), shape.dtype)

    def variable(path: Any, shape: Any) -> Any:
        if path[0].key == "params":
            return array(shape, 0.02)
        return jnp.ones(shape.shape, shape.dtype)

    return (jax.tree.map_with_path(variable, variables), *(array(s, 1) for s in tokens))


def gib(count: float | int) -> str:
    return f"{count / 2**30:,.1f} GiB"


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that a program may use on the first device, None where the system does not say.

    What this process has freed is given back to the system first.

    On a CPU this is `SHARE` of what the kernel calls available, or of what the control group (a
    container, a batch job) has left where that is less: beyond it the process would be killed.
    """
    heap.give_back()
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    available = [line for line in _lines(root / "proc/meminfo") if line.startswith("MemAvailable")]
    found = [int(line.split()[1]) * 1024 for line in available]
    found += [room for group in _control_groups(root) if (room := _room(group)) is not None]
    return int(SHARE * min(found)) if found else None


def _control_groups(root: Path) -> list[Path]:
    """Folders of the process's control group and of those around it (version 2)."""
    own = next((line[3:] for line in _lines(root / "proc/self/cgroup") if line[:3] == "0::"), "/")
    group = root / "sys/fs/cgroup" / own.lstrip("/")
    return [group, *group.parents][: len(Path(own).parts)]


def _room(group: Path) -> int | None:
    """Bytes that a control group has left, None without a limit."""
    most, used = _lines(group / "memory.max"), _lines(group / "memory.current")
    if not (most and used and most[0].isdigit()):  # "max" is no limit
        return None
    files = [line for line in _lines(group / "memory.stat") if line.startswith("inactive_file ")]
    cached = sum(int(line.split()[1]) for line in files)  # given back when others need it
    return max(0, int(most[0]) - int(used[0]) + cached)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().split("\n")
    except OSError:  # another system
        return []


def time_in_turn(
    programs: Mapping[Key, Runnable],
    repeats: int,
    failed: Callable[[Key, Exception], None] | None = None,
) -> dict[Key, list[float]]:
    """Seconds of one run of each program, `repeats` samples each, the programs in turn.

    A short program is run several times for a sample. The order is reversed every second time.

    Args:
        failed: called with the error of a program that fails at run time, which is then left out;
            None raises it.
    """
    runs = dict.fromkeys(programs, 1)
    samples: dict[Key, list[float]] = {key: [] for key in programs}

    def sample(key: Key) -> float | None:
        start = time.perf_counter()
        try:
            for _ in range(runs[key]):
                programs[key].run()
        except jax.errors.JaxRuntimeError as error:
            if failed is None:
                raise
            del samples[key]
            failed(key, error)
            return None
        return (time.perf_counter() - start) / runs[key]

    for key in programs:
        seconds = sample(key)
        if seconds is not None and seconds < 10 * SHORTEST_SAMPLE:
            seconds = sample(key)  # the first run after others is slower
        if seconds is not None:
            runs[key] = max(1, int(np.ceil(SHORTEST_SAMPLE / max(seconds, 1e-9))))
    order = list(programs)
    for _ in range(repeats):
        for key in filter(samples.__contains__, order):
            seconds = sample(key)
            if seconds is not None:
                samples[key].append(seconds)
        order.reverse()
    return samples


def median_and_spread(samples: Sequence[float]) -> tuple[float, float]:
    """The median, and the distance between the quartiles."""
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    return float(middle), float(high - low)


def matmul_rate(dtype: str, longest: float = 0.1) -> float:
    """Multiply-adds a second in products of square matrices, at the best of the sizes.

    Sizes from 256 on are doubled until one product takes `longest` seconds.
    """
    best, size = 0.0, 256
    while size <= 16384:
        a = jnp.asarray(np.random.default_rng(0).standard_normal((size, size)), dtype)
        product = jax.jit(jnp.matmul).lower(a, a).compile()
        program = Program(product, (a, a), 0, 0, 0.0)
        program.run()
        seconds, _ = median_and_spread(time_in_turn({size: program}, 5)[size])
        best = max(best, size**3 / seconds)
        if seconds > longest:
            break
        size *= 2
    return best
