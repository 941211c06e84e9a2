"""What the benchmarks against PyTorch share: both networks with the same parameters, and rates.

LOGO-Former of the paper's size here and in torch_network.py. They are compared before anything is
timed, take their turns, each in a process of its own, and stand in one table.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from typing import Any

# Both libraries share the memory of a GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from logo_jax.common import heap
from logo_jax.common.versions import versions
from logo_jax.models import build
from logo_jax.models.token_model import TORCH_NAMES
from logo_jax.models.torch_form import to_torch
from logo_jax.study.count import multiply_adds
from logo_jax.study.measure import free_memory, matmul_rate, time_in_turn
from logo_jax.study.run import describe_machine

try:
    import torch

    from benchmarks import torch_network
except ImportError:
    torch = None

LEAVE_MEMORY = "freed memory as the C library has it; else both keep it, as launch.py does"
MISSING = "PyTorch is not installed: pip install -r requirements-torch.txt, and try again."
CLASSES = 7
CLOSE = 1e-3  # of float32 logits, in units of the largest
POSITIONS = ("space_position", "time_position", "class_token")
Row = dict[str, Any]


def arguments(description: str, batches: str, **more: str) -> argparse.Namespace:
    """The flags of both benchmarks, lists taken apart; `more` are further ones with defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--batch", default=batches, help="batch sizes, comma-separated")
    parser.add_argument("--dtype", default="float32,bfloat16", help="types, comma-separated")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=112, help="pixels")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no_compile", action="store_true", help="without torch.compile")
    parser.add_argument("--leave_memory", action="store_true", help=LEAVE_MEMORY)
    for name, value in more.items():
        parser.add_argument(f"--{name}", default=value)
    found = parser.parse_args()
    found.keep_memory = not found.leave_memory and heap.keep_freed_memory()
    found.batch = [int(size) for size in found.batch.split(",")]
    found.dtype = found.dtype.split(",")
    return found


class Pair:
    """Both networks with the same parameters, for clips of one shape."""

    def __init__(self, frames: int, side: int):
        self.shape = (frames, side, side, 3)
        self.device = torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")
        self.set_up_torch()
        variables = jax.jit(build("logo_former", CLASSES).init)(
            jax.random.key(0), jnp.zeros((1, *self.shape))
        )
        self.variables = jax.tree.map(np.asarray, variables)  # goes into other processes
        self.check()

    def set_up_torch(self) -> None:
        """All cores of the process, or the precision that is JAX's default on a GPU."""
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32
            torch.backends.cudnn.allow_tf32 = True
        else:
            torch.set_num_threads(len(os.sched_getaffinity(0)))

    def ours(self, dtype: str) -> Any:
        return build("logo_former", CLASSES, dtype=dtype)

    def theirs(self) -> Any:
        """The PyTorch network with our parameters.

        Raises:
            RuntimeError: a tensor without a counterpart.
        """
        params = self.variables["params"]
        network = torch_network.LogoFormer(
            CLASSES, {name: params[name].shape for name in POSITIONS}
        )
        state = network.state_dict()
        found = to_torch(self.variables, TORCH_NAMES)
        state.update({name: torch.from_numpy(np.array(x)) for name, x in found.items()})
        network.load_state_dict(state)
        return network.to(self.device).to(memory_format=torch.channels_last)

    def check(self) -> None:
        """Refuse to time networks that differ in parameters or in what they compute."""
        theirs = self.theirs().eval()
        counts = (
            sum(x.size for x in jax.tree.leaves(self.variables["params"])),
            sum(p.numel() for p in theirs.parameters()),
        )
        if counts[0] != counts[1]:
            raise SystemExit(f"{counts[0]:,} parameters here, {counts[1]:,} in PyTorch")
        clips = np.random.default_rng(0).random((1, *self.shape), np.float32)
        out: Any = jax.jit(self.ours("float32").apply)(self.variables, clips)
        with torch.inference_mode():
            expected = theirs(torch.from_numpy(clips).to(self.device)).cpu().numpy()
        off = np.abs(out.logits - expected).max() / np.abs(expected).max()
        if self.device.type == "cpu" and off > CLOSE:  # on a GPU TF32 is less exact
            raise SystemExit(f"The logits differ from PyTorch's by {off:.1e}")
        print(f"{counts[0]:,} parameters in both; logits differ by {off:.1e} of the largest")

    def multiply_adds(self) -> int:
        """Of a forward pass of one clip, those of the attention products included."""
        apply = self.ours("float32").apply
        clip = jax.ShapeDtypeStruct((1, *self.shape), jnp.float32)
        return multiply_adds(apply, self.variables, clip, products=True)


class Apart:
    """A program in a process of its own, where no other library's arrays lie in its heap.

    A step here takes its memory in one piece, 8 GiB at batch 32. In one heap PyTorch's arrays lie
    in it by the next turn, and the system has to make another piece.

    Args:
        make: a class whose `run()` returns a number or None, and whose `needed`, where it has one,
            is the memory of a run in bytes; it is made there, of `pair` and `arguments`.

    Raises:
        RuntimeError: what was raised there, or the process was killed.
    """

    def __init__(self, make: Callable[..., Any], pair: Pair, *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, end = context.Pipe()
        served = (end, heap.keeps(), make, pair, arguments)
        self._process = context.Process(target=_serve, args=served, daemon=True)
        self._process.start()
        end.close()
        self.needed = self._answer()

    def run(self) -> float | None:
        with suppress(BrokenPipeError):  # the process has ended, which `_answer` tells
            self._pipe.send("run")
        return self._answer()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            raise RuntimeError(f"The program's process ended with code {code}.") from None
        if isinstance(answer, RuntimeError):
            raise answer
        return answer


def _serve(
    pipe: Connection, keep: bool, make: Callable[..., Any], pair: Pair, arguments: Sequence[Any]
) -> None:
    """What the process of an `Apart` does: make the program, and run it until the pipe closes."""
    if keep:
        heap.keep_freed_memory()
    pair.set_up_torch()
    try:
        program = make(pair, *arguments)
        pipe.send(getattr(program, "needed", None))
        while pipe.recv() == "run":
            pipe.send(program.run())
    except EOFError:  # closed by the other side
        return
    except Exception as error:  # whatever a compiler raises
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


def wait(device: Any) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def try_compiled(make: Callable[[], Apart], note: str) -> Apart | None:
    """What `make` gives, run once; None, with a sentence, where torch.compile fails."""
    start = time.perf_counter()
    try:
        program = make()
        program.run()
    except RuntimeError as error:
        first = str(error).splitlines()[0]
        print(f"torch.compile does not work here ({note}): {first}", flush=True)
        return None
    print(
        f"torch.compile, {note}: {time.perf_counter() - start:.0f} s for the first run", flush=True
    )
    return program


def rates(dtypes: list[str], device: Any) -> dict[tuple[str, str], float]:
    """Multiply-adds a second of square matrix products, by library and type."""
    found = {}
    for dtype in dtypes:
        found["ours", dtype] = matmul_rate(dtype)
        found["torch", dtype] = torch_matmul_rate(dtype, device)
        ours, theirs = found["ours", dtype], found["torch", dtype]
        print(f"matrix products, {dtype}: {ours / 1e9:.0f} G multiply-adds/s here, "
              f"{theirs / 1e9:.0f} in PyTorch")  # fmt: skip
    return found


def torch_matmul_rate(dtype: str, device: Any, longest: float = 0.1) -> float:
    """As `matmul_rate`, in PyTorch."""
    best, size = 0.0, 256
    while size <= 16384:
        a = torch.randn(size, size, device=device).to(getattr(torch, dtype))
        samples = []
        for _ in range(7):
            wait(device)
            start = time.perf_counter()
            torch.matmul(a, a)
            wait(device)
            samples.append(time.perf_counter() - start)
        seconds = statistics.median(samples[2:])
        best = max(best, size**3 / seconds)
        if seconds > longest:
            break
        size *= 2
    return best


def fit_together(needed: int, others: int) -> bool:
    """Whether ours and so many programs of PyTorch fit at once; True where nobody knows.

    With freed memory kept, ours was seen to hold 1.3 times what its plan needs, PyTorch 1.7 times.
    """
    free = free_memory()
    return free is None or (1.3 + 1.7 * others) * needed < free


def time_one_at_a_time(
    starts: Mapping[str, Callable[[], Apart]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    """Seconds of each program while no other one is there, and what its first run gave.

    Each is started twice, for half of the samples, the second time in reverse order.
    """
    samples: dict[str, list[float]] = {name: [] for name in starts}
    first = {}
    for name in [*starts, *reversed(starts)]:
        with closing(starts[name]()) as program:
            first[name] = program.run()
            samples[name] += time_in_turn({name: program}, -(-repeats // 2))[name]
    return samples, first


def row_of(case: Row, samples: dict[str, list[float]], work: float, rate: dict) -> Row:
    """Medians, ratio and shares of one case.

    Args:
        case: batch, dtype and what else names it.
        samples: seconds by program: "ours", and PyTorch's "eager" and "compiled".
        work: multiply-adds of a run.
    """
    median = {name: statistics.median(values) for name, values in samples.items()}
    others = [name for name in samples if name != "ours"]
    best = min(others, key=lambda name: median[name])
    # Of each turn one ratio: what slows the machine slows its neighbours in time as well.
    ratios = {
        name: statistics.median(b / a for a, b in zip(samples["ours"], samples[name], strict=True))
        for name in others
    }
    share = {
        name: work / value / rate["ours" if name == "ours" else "torch", case["dtype"]]
        for name, value in median.items()
    }
    return {
        **case,
        "seconds": samples,
        "median_s": median,
        "clips_per_s": {name: case["batch"] / value for name, value in median.items()},
        "best_of_torch": best,
        "ratio": ratios[best],
        "ratio_to": ratios,
        "ratio_of_shortest": min(samples[best]) / min(samples["ours"]),
        "share_of_matmul_rate": share,
    }


def report(
    name: str, rows: list[Row], keys: tuple[str, ...], pair: Pair, rate: dict, keeps: bool
) -> None:
    """Print the table and the JSON line."""
    print()
    head = ("program", "median, ms", "min", "max", "clips/s", "of matmul", "PyTorch/ours")
    print("".join(f"{title:>14}" for title in (*keys, *head)))
    for row in rows:
        for program, values in row["seconds"].items():
            ms = [1e3 * value for value in (row["median_s"][program], min(values), max(values))]
            cells = [str(row[key]) for key in keys] + [program]
            cells += [f"{value:.1f}" for value in ms] + [f"{row['clips_per_s'][program]:.2f}"]
            cells.append(f"{row['share_of_matmul_rate'][program]:.0%}")
            if program in row["ratio_to"]:
                cells.append(f"{row['ratio_to'][program]:.2f}")
            print("".join(f"{cell:>14}" for cell in cells))
    for row in rows:
        label = ", ".join(f"{key} {row[key]}" for key in keys)
        print(f"{label}: {row['ratio']:.2f} times the speed of PyTorch ({row['best_of_torch']}); "
              f"of the shortest times {row['ratio_of_shortest']:.2f}")  # fmt: skip
    load = os.getloadavg()
    print(f"load average: {load[0]:.1f} (1 minute), {load[1]:.1f} (5 minutes)")
    record = {
        "benchmark": name,
        "ratio": min((row["ratio"] for row in rows), default=None),
        "rows": rows,
        "clip": pair.shape,
        "matmul_multiply_adds_per_s": {" ".join(key): value for key, value in rate.items()},
        "load_average": load,
        "device": describe_machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "keep_memory": keeps,
        "versions": versions(),
    }
    print(json.dumps(record))
