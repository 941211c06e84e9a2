"""How much longer a SAM step takes than a step of its base optimizer.

    python -m benchmarks.sam_step [--batch_size=2] [--repeats=5]

Both steps are those of the training loop: LOGO-Former of the paper's size (16 frames of 112 px),
compact regularizer, SGD. They run in turn in one process, after a warm-up, so that drift of the
machine hits both alike; each pair gives one ratio, and the median of the ratios is the result. SAM
needs two forward and backward passes, so 2.0 is the floor.
"""

import argparse
import json
import statistics
import time

import jax
import numpy as np

from benchmarks.random_batch import random_batch
from configs import default
from logo_jax.common.mesh import data_mesh
from logo_jax.common.progress import track
from logo_jax.common.versions import versions
from logo_jax.experiments import parts
from logo_jax.training.state import create_state, init_variables
from logo_jax.training.step import make_train_step


def make_runner(config, rho: float, batch: dict, mesh):
    """Return a function that does one step and waits for it."""
    config = config.copy_and_resolve_references()
    config.optimizer.rho = rho
    model = parts.build_model(config, 7)
    tx, rate = parts.optimizer_of(config, 1000)
    variables = init_variables(model, parts.clip_shape(config), config.seed)
    objective = parts.make_objective(config, np.ones(7, np.int64))
    loss_state = parts.init_loss_state(objective, model, config, variables)
    state = create_state(variables, tx, config.seed, mesh, loss_state)
    step = make_train_step(model, tx, objective, parts.make_prepare(config, train=True), rate, mesh)

    def run(state):
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)
        return state

    return run, state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    config = default.get_config()
    mesh = data_mesh()
    batch = random_batch(config, arguments.batch_size, mesh)
    plain, plain_state = make_runner(config, 0.0, batch, mesh)
    sam, sam_state = make_runner(config, 0.05, batch, mesh)
    plain_state, sam_state = plain(plain_state), sam(sam_state)  # compile and warm up

    seconds: dict[str, list[float]] = {"plain": [], "sam": []}
    for _ in track(range(arguments.repeats), arguments.repeats, "pairs of steps", "pairs"):
        start = time.perf_counter()
        plain_state = plain(plain_state)
        middle = time.perf_counter()
        sam_state = sam(sam_state)
        seconds["plain"].append(middle - start)
        seconds["sam"].append(time.perf_counter() - middle)
    ratios = [b / a for a, b in zip(seconds["plain"], seconds["sam"], strict=True)]
    print(f"{'step':<8}{'median s':>10}{'min s':>10}{'max s':>10}")
    for name, values in seconds.items():
        print(
            f"{name:<8}{statistics.median(values):>10.3f}{min(values):>10.3f}{max(values):>10.3f}"
        )
    print(f"SAM step / plain step: {statistics.median(ratios):.3f} (goal: at most 2.1)")
    print(
        json.dumps(
            {
                "benchmark": "sam_step",
                "ratio": statistics.median(ratios),
                "ratios": ratios,
                "batch_size": arguments.batch_size,
                "seconds": seconds,
                "device": jax.devices()[0].device_kind,
                "versions": versions(),
            }
        )
    )


if __name__ == "__main__":
    main()
