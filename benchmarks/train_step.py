"""How fast the paper's model trains beside the same network in PyTorch.

    python -m benchmarks.train_step [--batch=8,32] [--dtype=float32,bfloat16] [--sam=no,yes]
        [--repeats=7] [--no_compile]

Whole training steps: LOGO-Former of the paper's size on clips of 16 frames of 112 px that lie on
the device as bytes and are only scaled there, cross entropy, SGD with momentum and weight decay.
Here it is the step of the training loop; in PyTorch a loop as its users write it: channels last,
autocast for bfloat16, SAM as two passes (the second moves the batch statistics too), by itself
("eager") and with the network under `torch.compile` ("compiled"). A ratio is that of the times of
one turn, median over turns; above 1 ours is faster. Programs that do not fit into the free memory
at once run one after the other, in two rounds.

The work of a step is three forward passes (six with SAM): the gradient by the inputs and the one by
the parameters of a layer take as many multiply-adds as the layer.
"""

from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from benchmarks import side_by_side as both
from logo_jax.common.mesh import data_mesh, to_devices
from logo_jax.study.measure import gib, time_in_turn
from logo_jax.training.objective import Objective
from logo_jax.training.optimizer import make_optimizer
from logo_jax.training.state import create_state
from logo_jax.training.step import make_train_step

if both.torch is not None:
    import torch
    from torch.nn import functional
import jax
import jax.numpy as jnp

RATE, MOMENTUM, DECAY, RHO = 0.01, 0.9, 1e-4, 0.05


class Ours:
    """The step of the training loop, compiled; keeps its state."""

    def __init__(self, pair: both.Pair, dtype: str, rho: float, batch: dict[str, np.ndarray]):
        mesh = data_mesh()
        tx, rate = make_optimizer(
            learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, rho=rho, total_steps=1000
        )
        objective = Objective(class_counts=np.ones(both.CLASSES, np.int64))
        step = make_train_step(
            pair.ours(dtype),
            tx,
            objective,
            lambda batch: batch["frames"].astype(jnp.float32) / 255,
            rate,
            mesh,
        )
        # A copy, since the step gives its state's memory away.
        variables = jax.tree.map(jnp.copy, pair.variables)
        self.state = create_state(variables, tx, 0, mesh, {})
        self.batch = to_devices(batch, mesh)
        self.step = step.lower(self.state, self.batch).compile()
        self.needed = int(self.step.memory_analysis().temp_size_in_bytes)

    def run(self) -> float:
        self.state, metrics = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return float(metrics["loss"])


class Theirs:
    """A training step in PyTorch."""

    def __init__(
        self,
        pair: both.Pair,
        dtype: str,
        rho: float,
        batch: dict[str, np.ndarray],
        compiled: bool = False,
    ):
        self.network = pair.theirs().train()
        self.forward = torch.compile(self.network) if compiled else self.network
        self.params = list(self.network.parameters())
        kept = [p for p in self.params if p.ndim == 1]
        decayed = [p for p in self.params if p.ndim > 1]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": kept, "weight_decay": 0}]
        self.optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)
        self.device, self.half, self.rho = pair.device, dtype == "bfloat16", rho
        self.frames = torch.from_numpy(batch["frames"]).to(self.device)
        self.labels = torch.from_numpy(batch["label"]).long().to(self.device)

    def run(self) -> float:
        loss = self.gradient()
        if self.rho:
            # The gradients become the way up, and the second pass makes new ones.
            norm = torch.nn.utils.get_total_norm([p.grad for p in self.params])
            way = torch._foreach_mul([p.grad for p in self.params], self.rho / norm)
            with torch.no_grad():
                torch._foreach_add_(self.params, way)
            self.gradient()
            with torch.no_grad():
                torch._foreach_sub_(self.params, way)
        self.optimizer.step()
        both.wait(self.device)
        return float(loss)

    def gradient(self) -> Any:
        self.optimizer.zero_grad()
        clips = self.frames.float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.forward(clips)
        loss = functional.cross_entropy(logits, self.labels)
        loss.backward()
        return loss.detach()


def compare(pair: both.Pair, case: both.Row, options: Any, rate: dict) -> both.Row:
    rng = np.random.default_rng(0)
    batch = {
        "frames": rng.integers(0, 256, (case["batch"], *pair.shape), dtype=np.uint8),
        "label": rng.integers(0, both.CLASSES, case["batch"]).astype(np.int32),
    }
    rho = RHO if case["sam"] == "yes" else 0.0
    arguments = (pair, case["dtype"], rho, batch)
    note = f"batch {case['batch']}, {case['dtype']}, SAM: {case['sam']}"
    starts = {
        "ours": lambda: both.Apart(Ours, *arguments),
        "eager": lambda: both.Apart(Theirs, *arguments),
    }
    with ExitStack() as stack:
        programs = {"ours": stack.enter_context(closing(starts["ours"]()))}
        needed = programs["ours"].needed
        together = both.fit_together(needed, 1 if options.no_compile else 2)
        if together:
            programs["eager"] = stack.enter_context(closing(starts["eager"]()))
            first = {name: program.run() for name, program in programs.items()}
            if not options.no_compile:
                compiled = both.try_compiled(lambda: both.Apart(Theirs, *arguments, True), note)
                if compiled:
                    programs["compiled"] = stack.enter_context(closing(compiled))
            samples = time_in_turn(programs, options.repeats)
    if not together:
        print(f"{note}: a step here alone needs {gib(needed)} of memory, so one program after the "
              "other, without torch.compile.", flush=True)  # fmt: skip
        samples, first = both.time_one_at_a_time(starts, options.repeats)
    if abs(first["ours"] / first["eager"] - 1) > (
        both.CLOSE if case["dtype"] == "float32" else 0.1
    ):
        raise SystemExit(f"{note}: the losses of the first step are {first}.")
    passes = 3 * (2 if rho else 1)
    return both.row_of(case, samples, passes * case["batch"] * pair.multiply_adds(), rate)


def main() -> None:
    options = both.arguments(__doc__.splitlines()[0], "8,32", sam="no,yes")
    if both.torch is None:
        print(both.MISSING)
        return
    sams = options.sam.split(",")
    if not set(sams) <= {"no", "yes"}:
        raise SystemExit(f"--sam={options.sam}: give no, yes or no,yes.")
    pair = both.Pair(options.frames, options.side)
    rate = both.rates(options.dtype, pair.device)
    cases = [
        {"batch": size, "dtype": dtype, "sam": sam}
        for size in options.batch
        for dtype in options.dtype
        for sam in sams
    ]
    rows = [compare(pair, case, options, rate) for case in cases]
    both.report("train_step", rows, ("batch", "dtype", "sam"), pair, rate, options.keep_memory)


if __name__ == "__main__":
    main()
