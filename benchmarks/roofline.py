"""Which part of LOGO-Former is held up by what: operations, bytes, bound and what is achieved.

    python -m benchmarks.roofline [--batch=8] [--dtype=float32] [--repeats=5]

Each part of the paper-size model is a program of its own, forward + backward (gradients by its
parameters and, but for the images, its input), of the shapes that it has in the model; the parts
are timed in turn. The bound is the longer of two times (Williams, Waterman and Patterson 2009):
multiply-adds over the machine's measured rate of square matrix products, and bytes over its
measured bandwidth. Bytes are those that the compiler says the program reads and writes. A part can
be faster than its bound on a CPU: what stays in a cache counts as bytes, and Winograd's form of a
convolution needs fewer multiply-adds than the convolution has, which are those that count.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from logo_jax.common import heap
from logo_jax.common.versions import versions
from logo_jax.models.backbones import BLOCKS_PER_STAGE, BasicBlock, ResNet18
from logo_jax.models.blocks import MLP
from logo_jax.models.layers import AttentionOptions, Linear
from logo_jax.models.token_model import LogoFormer
from logo_jax.models.windowed import GlobalAttention, LocalAttention
from logo_jax.study.count import multiply_adds
from logo_jax.study.measure import Program, compile_program, gib, matmul_rate, time_in_turn
from logo_jax.study.run import describe_machine

CLASSES = 7
WORDS = 2**26  # of the arrays that the bandwidth is measured with


class Stage(nn.Module):
    """A stage of ResNet-18 by itself: its blocks, as `ResNet18` builds them."""

    channels: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = partial(nn.BatchNorm, use_running_average=False, dtype=self.dtype)
        for index in range(BLOCKS_PER_STAGE):
            stride = self.stride if index == 0 else 1
            x = BasicBlock(self.channels, stride, norm, self.dtype, name=f"block{index}")(x)
        return x


@dataclass(frozen=True)
class Part:
    """A module with its input shapes, and how often the model has it."""

    name: str
    module: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    train: bool | None  # passed on where the module asks for it
    times: int = 1
    by_input: bool = True  # False: nobody asks for the gradient by the input

    @property
    def passes(self) -> int:
        """Products of forward + backward, in units of the forward pass."""
        return 3 if self.by_input else 2


def parts_of(model: LogoFormer, batch: int, frames: int, side: int) -> list[Part]:
    """The parts of a model with ResNet-18 and `local_global`, for clips of `[frames side side 3]`.

    What is left out: positions, class token and head.
    """
    dtype = jnp.dtype(model.dtype)
    images = batch * frames
    found = [
        Part(
            "stem",
            ResNet18(0, model.width, dtype),
            ((images, side, side, 3),),
            True,
            by_input=False,
        )
    ]
    side, channels = -(-side // 4), model.width
    for stage in range(1, model.stage + 1):
        shape = (images, side, side, channels)
        if stage > 1:
            side, channels = -(-side // 2), 2 * channels
        module = Stage(channels, 2 if stage > 1 else 1, dtype)
        found.append(Part(f"stage {stage}", module, (shape,), None))
    project = Linear(model.dim, dtype=dtype)
    found.append(Part("projection", project, ((images, side, side, channels),), None))
    options = AttentionOptions(
        num_heads=model.num_heads, window=model.window, pool=model.pool, dtype=dtype
    )
    grid, cls = (batch, frames, side, side, model.dim), (batch, 1, model.dim)
    blocks = model.num_blocks
    return [
        *found,
        Part("local attention", LocalAttention(options), (grid,), None, blocks),
        Part("global attention", GlobalAttention(options), (grid, cls), None, blocks),
        Part("MLP", MLP(model.mlp_dim, options), (grid, cls), True, blocks),
    ]


def functions(part: Part) -> tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]:
    """Forward, forward + backward, and the shapes of their arguments: variables, then inputs."""
    options = {} if part.train is None else {"train": part.train}
    dtype = getattr(part.module, "dtype", None) or part.module.options.dtype  # type: ignore[attr-defined]
    inputs = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in part.shapes)
    variables = jax.eval_shape(
        lambda *xs: part.module.init(jax.random.key(0), *xs, **options), *inputs
    )

    def forward(variables: Any, *xs: Any) -> Any:
        mutable = [name for name in variables if name != "params"]
        return part.module.apply(variables, *xs, mutable=mutable, **options)

    def loss(params: Any, rest: Any, *xs: Any) -> Any:
        out, new = forward(rest | {"params": params}, *xs)
        squares = [jnp.square(x.astype(jnp.float32)).sum() for x in jax.tree.leaves(out)]
        return sum(squares), new  # batch statistics

    def gradients(variables: Any, *xs: Any) -> Any:
        rest = {name: value for name, value in variables.items() if name != "params"}
        wanted = (0, *(range(2, 2 + len(xs)) if part.by_input else ()))
        return jax.grad(loss, wanted, has_aux=True)(variables["params"], rest, *xs)

    return forward, gradients, (variables, *inputs)


def bandwidth() -> float:
    """Bytes a second that `x + 1` reads and writes, of an array that no cache holds."""
    x = jnp.zeros(WORDS, jnp.float32)
    program = Program(jax.jit(lambda x: x + 1).lower(x).compile(), (x,), 0, 0, None)
    program.run()
    return 2 * x.nbytes / min(time_in_turn({"copy": program}, 9)["copy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8, help="clips")
    parser.add_argument("--dtype", default="float32", help="or bfloat16")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=112, help="pixels")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    keeps = heap.keep_freed_memory()
    rate, speed = matmul_rate(arguments.dtype), bandwidth()
    print(f"{describe_machine()}: {rate / 1e9:.0f} G multiply-adds/s, {gib(speed)}/s")
    model = LogoFormer(CLASSES, dtype=arguments.dtype)
    found = parts_of(model, arguments.batch, arguments.frames, arguments.side)
    programs, rows = {}, []
    for part in found:
        forward, gradients, shapes = functions(part)
        programs[part.name] = program = compile_program(gradients, shapes, None)
        work = part.passes * multiply_adds(forward, *shapes, products=True)
        moved = program.compiled.cost_analysis()["bytes accessed"]
        rows.append({"part": part.name, "times": part.times, "multiply_adds": work, "bytes": moved})
    samples = time_in_turn(programs, arguments.repeats)
    print(f"\nforward + backward, {arguments.batch} clips, {arguments.dtype}\n"
          f"{'part':<20}{'times':>6}{'G mult-adds':>13}{'GiB':>8}{'bound, ms':>11}{'by':>10}"
          f"{'median, ms':>12}{'achieved':>10}")  # fmt: skip
    for row in rows:
        products, memory = row["multiply_adds"] / rate, row["bytes"] / speed
        row |= {
            "bound_s": max(products, memory),
            "by": "products" if products > memory else "memory",
            "seconds": samples[row["part"]],
            "median_s": statistics.median(samples[row["part"]]),
        }
        row["achieved"] = row["bound_s"] / row["median_s"]
        print(f"{row['part']:<20}{row['times']:>6}{row['multiply_adds'] / 1e9:>13.2f}"
              f"{row['bytes'] / 2**30:>8.2f}{1e3 * row['bound_s']:>11.1f}{row['by']:>10}"
              f"{1e3 * row['median_s']:>12.1f}{row['achieved']:>10.0%}")  # fmt: skip
    bound, total = (sum(row["times"] * row[key] for row in rows) for key in ("bound_s", "median_s"))
    print(f"{'all':<20}{'':>6}{'':>13}{'':>8}{1e3 * bound:>11.1f}{'':>10}{1e3 * total:>12.1f}"
          f"{bound / total:>10.0%}")  # fmt: skip
    print(json.dumps({
        "benchmark": "roofline", "batch": arguments.batch, "dtype": arguments.dtype, "rows": rows,
        "matmul_multiply_adds_per_s": rate, "bytes_per_s": speed, "device": describe_machine(),
        "keep_memory": keeps, "versions": versions(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
