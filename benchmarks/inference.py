"""How fast the paper's model judges clips beside the same network in PyTorch.

    python -m benchmarks.inference [--batch=1,8,32] [--dtype=float32,bfloat16] [--repeats=11]
        [--no_compile]

Probabilities of clips of 16 frames of 112 px that lie on the device as bytes: scaling, LOGO-Former
of the paper's size, softmax. The time of batch 1 is the latency, clips/s of the larger ones the
throughput. Here it is the evaluation step of the package; in PyTorch `inference_mode`, channels
last, autocast for bfloat16, by itself ("eager") and under `torch.compile` ("compiled"). A ratio is
that of the times of one turn, median over turns; above 1 ours is faster.
"""

from contextlib import ExitStack, closing
from typing import Any

import numpy as np

from benchmarks import side_by_side as both
from logo_jax.common.mesh import data_mesh, to_devices
from logo_jax.study.measure import time_in_turn
from logo_jax.training.step import make_eval_step

if both.torch is not None:
    import torch
import jax
import jax.numpy as jnp


class Ours:
    def __init__(self, pair: both.Pair, dtype: str, frames: np.ndarray):
        mesh = data_mesh()
        self.step = make_eval_step(
            pair.ours(dtype), lambda batch: batch["frames"].astype(jnp.float32) / 255, mesh
        )
        variables = jax.device_put(pair.variables)
        self.variables = (variables["params"], variables["batch_stats"])
        self.batch = to_devices({"frames": frames}, mesh)

    def run(self) -> None:
        jax.block_until_ready(self.step(*self.variables, self.batch))


class Theirs:
    def __init__(self, pair: both.Pair, dtype: str, frames: np.ndarray, compiled: bool = False):
        network = pair.theirs().eval()
        self.forward = torch.compile(network) if compiled else network
        self.frames = torch.from_numpy(frames).to(pair.device)
        self.device, self.half = pair.device, dtype == "bfloat16"

    def run(self) -> None:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.half),
        ):
            self.forward(self.frames.float() / 255).float().softmax(-1)
        both.wait(self.device)


def compare(pair: both.Pair, case: both.Row, options: Any, rate: dict) -> both.Row:
    shape = (case["batch"], *pair.shape)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    arguments = (pair, case["dtype"], frames)
    with ExitStack() as stack:
        programs = {
            "ours": stack.enter_context(closing(both.Apart(Ours, *arguments))),
            "eager": stack.enter_context(closing(both.Apart(Theirs, *arguments))),
        }
        if not options.no_compile:
            note = f"batch {case['batch']}, {case['dtype']}"
            compiled = both.try_compiled(lambda: both.Apart(Theirs, *arguments, True), note)
            if compiled:
                programs["compiled"] = stack.enter_context(closing(compiled))
        samples = time_in_turn(programs, options.repeats)
    return both.row_of(case, samples, case["batch"] * pair.multiply_adds(), rate)


def main() -> None:
    options = both.arguments(__doc__.splitlines()[0], "1,8,32")
    if both.torch is None:
        print(both.MISSING)
        return
    pair = both.Pair(options.frames, options.side)
    rate = both.rates(options.dtype, pair.device)
    cases = [{"batch": size, "dtype": dtype} for size in options.batch for dtype in options.dtype]
    rows = [compare(pair, case, options, rate) for case in cases]
    both.report("inference", rows, ("batch", "dtype"), pair, rate, options.keep_memory)


if __name__ == "__main__":
    main()
