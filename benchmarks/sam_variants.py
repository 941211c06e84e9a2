"""What each form of sharpness-aware training costs, and the accuracy that it reaches.

    python -m benchmarks.sam_variants [--batch_size=16] [--rounds=5]
    python -m benchmarks.sam_variants --accuracy [--seeds=0,1,2] [--epochs=15] [--folder=DIR]

The model is the quickstart's: a small LOGO-Former on 8 frames of 48 px, AdamW. Cost: steps of the
training loop, all forms in turn in one process; each round takes as many steps of every form as
LookSAM needs for one ascent, and the median over rounds of its time relative to the plain optimizer
is the result. The radius does not change the cost.

`--accuracy` then trains every form with every seed on the "quick" synthetic faces, 280 training
clips for 15 epochs, and prints mean and standard deviation of the test WAR beside the cost. It goes
on where it stopped: finished runs are read from the folder. Every form has the quickstart's rho but
`asam`, which has ten times as much.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.random_batch import random_batch
from configs import quickstart
from logo_jax.common.mesh import data_mesh
from logo_jax.common.progress import track
from logo_jax.common.versions import versions
from logo_jax.experiments import config as configs
from logo_jax.experiments import parts
from logo_jax.experiments.train import train
from logo_jax.training.state import create_state, init_variables

FORMS: dict[str, dict[str, Any]] = {
    "plain": {"optimizer.rho": 0.0},
    "sam": {},
    "asam": {"optimizer.sharpness": "asam", "optimizer.rho": 0.2},
    "looksam": {"optimizer.sharpness": "looksam"},
    "looksam, alpha 0.1": {"optimizer.sharpness": "looksam", "optimizer.look_alpha": 0.1},
    "esam": {"optimizer.sharpness": "esam"},
    "msam": {"optimizer.sharpness": "msam", "optimizer.m": 4},
    "mesa": {
        "optimizer.sharpness": "mesa",
        "ema_decay": 0.99,
        "judged_parameters": "trained",
    },
    "plain, EMA judged": {"optimizer.rho": 0.0, "ema_decay": 0.99},
}


def config_of(form: str) -> ConfigDict:
    config = quickstart.get_config()
    config.evaluation.controls = ""
    with config.unlocked():
        config.update_from_flattened_dict(FORMS[form])
    return config


def runner(config: ConfigDict, batch: dict, mesh: jax.sharding.Mesh):
    """A function that does so many steps and waits for the last; it has done one already."""
    model = parts.build_model(config, 7)
    tx, rate = parts.optimizer_of(config, 1000)
    variables = init_variables(model, parts.clip_shape(config), config.seed)
    objective = parts.make_objective(config, np.ones(7, np.int64))
    loss_state = parts.init_loss_state(objective, model, config, variables)
    state = create_state(
        variables, tx, config.seed, mesh, loss_state, keep_ema=config.ema_decay > 0
    )
    step = parts.train_step_of(config, model, tx, objective, rate, mesh)

    def run(count: int) -> float:
        nonlocal state
        start = time.perf_counter()
        for _ in range(count):
            state, metrics = step(state, batch)
        jax.block_until_ready(metrics)
        return time.perf_counter() - start

    run(config.optimizer.look_every)  # so that the next one begins with an ascent
    return run


def cost(batch_size: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds of a step, and relative to the plain one, of every form."""
    config = quickstart.get_config()
    mesh = data_mesh()
    batch = random_batch(config, batch_size, mesh)
    runs = {}
    for form in track(FORMS, len(FORMS), "compiling", "forms"):
        config = config_of(form)
        config.batch_size = batch_size
        runs[form] = runner(config, batch, mesh)
    steps = config.optimizer.look_every
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in track(range(rounds), rounds, "measuring", "rounds"):
        for form, run in runs.items():
            seconds[form].append(run(steps) / steps)
    found: dict[str, dict[str, Any]] = {}
    print(f"{'form':<20}{'seconds a step':>16}{'relative':>10}{'lowest':>8}{'highest':>8}")
    for form, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["plain"], strict=True)]
        ratio = statistics.median(ratios)
        found[form] = {"seconds": statistics.median(values), "relative": ratio}
        print(
            f"{form:<20}{statistics.median(values):>16.4f}{ratio:>10.2f}"
            f"{min(ratios):>8.2f}{max(ratios):>8.2f}"
        )
    return found


def accuracy(folder: Path, seeds: list[int], epochs: int) -> dict[str, dict[str, list[float]]]:
    """WAR and UAR of the test split, form -> one number a seed."""
    configs.quiet_libraries()
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:  # so that an early stop leaves every form with as many seeds
        for form in FORMS:
            config = config_of(form)
            config.seed = seed
            config.data.options.num_train = 280
            config.num_epochs = epochs
            workdir = folder / f"{form.replace(', ', '-').replace(' ', '-')}-{seed}"
            results = workdir / "results.json"
            if results.exists():
                test = json.loads(results.read_text(encoding="utf-8"))["test"]
            else:
                test = train(config, workdir)["test"]
            numbers = found.setdefault(form, {"war": [], "uar": []})
            numbers["war"].append(test["war"])
            numbers["uar"].append(test["uar"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--accuracy", action="store_true", help="train every form, too")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--folder", type=Path, default=Path("runs/sam_variants"))
    arguments = parser.parse_args()
    configs.use_compilation_cache()
    found: dict[str, dict[str, Any]] = cost(arguments.batch_size, arguments.rounds)
    if arguments.accuracy:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        reached = accuracy(arguments.folder, seeds, arguments.epochs)
        print(f"{'form':<20}{'relative cost':>14}{'test WAR':>10}{'std':>8}{'test UAR':>10}")
        for form, numbers in reached.items():
            found[form] |= numbers
            spread = statistics.stdev(numbers["war"]) if len(seeds) > 1 else float("nan")
            print(
                f"{form:<20}{found[form]['relative']:>14.2f}{statistics.mean(numbers['war']):>10.4f}"
                f"{spread:>8.4f}{statistics.mean(numbers['uar']):>10.4f}"
            )
        print(f"mean and standard deviation over {len(seeds)} seeds")
    line = {
        "benchmark": "sam_variants",
        "batch_size": arguments.batch_size,
        "forms": found,
        "device": jax.devices()[0].device_kind,
        "versions": versions(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
