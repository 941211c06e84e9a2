"""How fast each attention scheme is beside the same module in PyTorch.

    python -m benchmarks.attention_vs_torch [--schemes=full,local_global] [--repeats=7]

The attention module alone (layer norms, projections, attention, residual), forward + backward,
float32, one clip. The PyTorch module is written below as its users write it: matrix product,
softmax, matrix product; a further column has PyTorch's fused attention in their place. All have the
same parameters and tokens, and their gradients are compared before anything is timed. They run in
turn in one process, so that drift of the machine hits all alike. A ratio is that of the shortest
times, since other programs can only add to a time; above 1 ours is the faster one.
"""

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.side_by_side import LEAVE_MEMORY
from logo_jax.common import heap
from logo_jax.common.progress import track
from logo_jax.common.versions import versions
from logo_jax.models.windows import by
from logo_jax.study.measure import Program, prepare, time_in_turn
from logo_jax.study.points import Point, Study
from logo_jax.study.run import describe_machine

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = None

# Tokens, window, dim.
SIZES = (((16, 14, 14), (4, 7, 7), 256), ((16, 4, 4), (4, 2, 2), 512))
HEADS = 8
GOAL = 0.9
CLOSE = 1e-3  # of gradients in float32

Tree = dict[str, Any]


# PyTorch: parameters are flax's tree, with kernels as `functional.linear` wants them.


def norm(x: Any, p: Tree) -> Any:
    return functional.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], 1e-5)


def linear(x: Any, p: Tree) -> Any:
    return functional.linear(x, p["kernel"], p.get("bias"))


def heads(x: Any, p: Tree) -> Any:
    return linear(x, p).unflatten(-1, (HEADS, -1)).transpose(-3, -2)  # [..., heads, n, d]


def merge(x: Any) -> Any:
    return x.transpose(-3, -2).flatten(-2)


def plain(q: Any, k: Any, v: Any) -> Any:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return scores.softmax(-1) @ v


def fused(q: Any, k: Any, v: Any) -> Any:
    flat = [x.reshape(-1, *x.shape[-3:]) for x in (q, k, v)]  # it is slow for more axes
    return functional.scaled_dot_product_attention(*flat).reshape(q.shape)


Attend = Callable[[Any, Any, Any], Any]
ATTEND: dict[str, Attend] = {"plain": plain, "fused": fused}


def self_attention(x: Any, p: Tree, attend: Attend) -> Any:
    q, k, v = (heads(x, p[name]) for name in ("query", "key", "value"))
    return linear(merge(attend(q, k, v)), p["out"])


def full(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    x = torch.cat([cls, grid.flatten(1, 3)], 1)
    return x + self_attention(norm(x, p["norm"]), p["full"], attend)


def spatial(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    x = torch.cat([cls[:, :, None], grid.flatten(2, 3)], 2)
    return x + self_attention(norm(x, p["norm"]), p["spatial"], attend)


def mixing(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    x = torch.cat([cls[:, :, None], grid.flatten(2, 3)], 2)
    y = norm(x, p["norm"])

    def shifted(z: Any) -> Any:  # [B, T, heads, n, d]
        width = z.shape[-1] // 8
        later = functional.pad(z[:, 1:, ..., :width], (0, 0) * 3 + (0, 1))
        earlier = functional.pad(z[:, :-1, ..., width : 2 * width], (0, 0) * 3 + (1, 0))
        return torch.cat([later, earlier, z[..., 2 * width :]], -1)

    q, k, v = (heads(y, p[name]) for name in ("query", "key", "value"))
    return x + linear(merge(attend(q, shifted(k), shifted(v))), p["out"])


def factorized(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    x = norm(grid, p["temporal"]["norm"]).permute(0, 2, 3, 1, 4)
    x = self_attention(x, p["temporal"]["attention"], attend).permute(0, 3, 1, 2, 4)
    grid = grid + (linear(x, p["temporal_fc"]) if "temporal_fc" in p else x)
    batch, frames, _, _, dim = grid.shape
    copies = norm(cls, p["spatial"]["norm"])[:, None].expand(batch, frames, -1, dim)
    x = torch.cat([copies, norm(grid, p["spatial"]["norm"]).flatten(2, 3)], 2)
    x = self_attention(x, p["spatial"]["attention"], attend)
    count = cls.shape[1]
    near = grid.flatten(1, 3) + x[:, :, count:].flatten(1, 2)
    return torch.cat([cls + x[:, :, :count].mean(1), near], 1)


def windows(x: Any, window: Any) -> Any:  # [B, T, H, W, D] -> [B, windows, fhw, D]
    f, a, b = window
    x = x.unflatten(3, (-1, b)).unflatten(2, (-1, a)).unflatten(1, (-1, f))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def inside(x: Any, p: Tree, window: Any, attend: Attend, shape: Any) -> Any:
    """Attention inside windows, of normed tokens, without the output projection."""
    mixed = self_attention_of_windows(windows(x, window), p, attend)
    batch, frames, height, width, dim = shape
    f, a, b = window
    mixed = mixed.reshape(batch, frames // f, height // a, width // b, f, a, b, dim)
    return mixed.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)


def self_attention_of_windows(x: Any, p: Tree, attend: Attend) -> Any:
    return merge(attend(*(heads(x, p[name]) for name in ("query", "key", "value"))))


def local(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    p = p["local"]
    x, c = norm(grid, p["norm"]), norm(cls, p["norm"])
    mixed = inside(x, p, window, attend, grid.shape).flatten(1, 3)
    tokens = torch.cat([c, x.flatten(1, 3)], 1)
    of_cls = merge(attend(heads(c, p["query"]), heads(tokens, p["key"]), heads(tokens, p["value"])))
    return torch.cat([cls, grid.flatten(1, 3)], 1) + linear(torch.cat([of_cls, mixed], 1), p["out"])


def global_(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    p = p["global"]
    x = torch.cat([cls, grid.flatten(1, 3)], 1)
    pooled = (windows(grid, window) * p["pool"]["weights"]).sum(2)
    y = norm(torch.cat([cls, pooled], 1), p["pooled_norm"])
    q = heads(norm(x, p["norm"]), p["query"])
    return x + merge(attend(q, heads(y, p["key"]), heads(y, p["value"])))


def local_global(grid: Any, cls: Any, p: Tree, window: Any, attend: Attend) -> Any:
    of_local = p["local"]
    x = norm(grid, of_local["norm"])
    grid = grid + linear(inside(x, of_local, window, attend, grid.shape), of_local["out"])
    return global_(grid, cls, p, window, attend)


FORMS = {
    "full": full,
    "spatial": spatial,
    "divided": factorized,
    "factorized": factorized,
    "mixing": mixing,
    "local": local,
    "global": global_,
    "local_global": local_global,
}


class TorchProgram:
    """Forward + backward in PyTorch, on the arguments of our program; made to be timed."""

    def __init__(self, point: Point, ours: Program, attend: Attend):
        self.tree = as_torch(ours.arguments)
        self.leaves = [leaf.requires_grad_() for leaf in jax.tree.leaves(self.tree)]
        self.form, self.window, self.attend = FORMS[point.scheme], point.window, attend

    def run(self) -> Any:
        """Gradients of the sum of squares by parameters, grid and class tokens."""
        variables, grid, cls = self.tree
        out = self.form(grid, cls, variables["params"], self.window, self.attend)
        return torch.autograd.grad(out.square().sum(), self.leaves)


def as_torch(tree: Any) -> Any:
    """The arrays of a tree as tensors; kernels turned, as `functional.linear` wants them."""

    def tensor(path: Any, x: Any) -> Any:
        kernel = getattr(path[-1], "key", "") == "kernel"
        return torch.from_numpy(np.array(x.T if kernel else x, order="C"))

    return jax.tree_util.tree_map_with_path(tensor, tree)


def difference(ours: Program, theirs: TorchProgram) -> float:
    """Largest difference of two gradients, in units of the largest entry of its array."""
    expected = jax.tree.leaves(as_torch(ours.compiled(*ours.arguments)))
    pairs = zip(expected, theirs.run(), strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


def compare(grid: Any, window: Any, dim: int, schemes: tuple[str, ...], repeats: int) -> list[Tree]:
    """Time all schemes at one size, ours and PyTorch's in turn; one row for each."""
    study = Study(schemes=schemes, grids=(grid,), windows=(window,), dims=(dim,), num_heads=HEADS,
                  series=("grid",))  # fmt: skip
    (points,) = study.groups()
    rows = []
    for point in track(points, len(points), f"{by(grid)}, dim {dim}", "schemes"):
        ours = prepare(point, backward=True, limit=None)
        theirs = {name: TorchProgram(point, ours, a) for name, a in ATTEND.items()}
        off = max(difference(ours, program) for program in theirs.values())
        if off > CLOSE:
            raise SystemExit(f"{point.label}: gradients differ from PyTorch's by {off:.1e}")
        samples = time_in_turn({"ours": ours, **theirs}, repeats)
        row: Tree = {"scheme": point.label, "grid": by(grid), "dim": dim, "difference": off}
        for name, seconds in samples.items():
            row[f"{name}_ms"] = [1e3 * value for value in seconds]
        for name in theirs:
            row[f"{name}_over_ours"] = min(samples[name]) / min(samples["ours"])
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schemes", default=",".join(Study.schemes), help="as in the study")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--leave_memory", action="store_true", help=LEAVE_MEMORY)
    arguments = parser.parse_args()
    if torch is None:
        print("PyTorch is not installed: pip install -r requirements-torch.txt, and try again.")
        return
    keeps = not arguments.leave_memory and heap.keep_freed_memory()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    names = tuple(arguments.schemes.split(","))
    rows = [row for size in SIZES for row in compare(*size, names, arguments.repeats)]
    print(
        f"\nforward + backward, ms, shortest of {arguments.repeats}; {HEADS} heads, float32, "
        "one clip"
    )
    print(f"{'scheme':<14}{'tokens':<14}{'dim':>5}{'ours':>10}{'PyTorch':>10}{'fused':>10}"
          f"{'PyTorch/ours':>14}{'fused/ours':>12}")  # fmt: skip
    for row in rows:
        ms = [min(row[f"{name}_ms"]) for name in ("ours", *ATTEND)]
        print(f"{row['scheme']:<14}{row['grid']:<14}{row['dim']:>5}"
              + "".join(f"{value:>10.1f}" for value in ms)
              + f"{row['plain_over_ours']:>14.2f}{row['fused_over_ours']:>12.2f}")  # fmt: skip
    worst = min(rows, key=lambda row: row["plain_over_ours"])
    print(f"lowest PyTorch/ours: {worst['plain_over_ours']:.2f}, {worst['scheme']} at "
          f"{worst['grid']} (goal: at least {GOAL})")  # fmt: skip
    record = {
        "benchmark": "attention_vs_torch",
        "ratio": worst["plain_over_ours"],
        "rows": rows,
        "device": describe_machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "keep_memory": keeps,
        "versions": versions(),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
