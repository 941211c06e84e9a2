"""Time from the command to the end of the first training step, cold and with compiled programs.

    python -m benchmarks.startup [--repeats=3]

Runs `launch.py --config=configs/quickstart.py` for one step on a small prepared set of synthetic
faces, in a new process each time: cold, with an empty compilation cache, and warm, with the cache
that the cold run left. The two run in turn; medians and the median of the ratios are printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from logo_jax.common.progress import track
from logo_jax.common.versions import versions

ROOT = Path(__file__).parents[1]


def seconds_to_first_step(data_dir: str, cache: Path, workdir: Path) -> float:
    """Start launch.py, and return the time until its log has the line of the first step."""
    command = [sys.executable, str(ROOT / "launch.py"), "--config=configs/quickstart.py"]
    command += [f"--workdir={workdir}", f"--config.data.data_dir={data_dir}"]
    command += ["--config.max_steps=1", "--config.log_every=1", "--config.data.num_workers=0"]
    command += ["--config.data.options.num_train=28", "--config.data.options.num_val=14"]
    command += ["--config.data.options.num_test=14"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    log = workdir / "metrics.jsonl"
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    while not (log.exists() and log.stat().st_size):
        if process.poll():
            assert process.stderr is not None
            sys.exit(process.stderr.read().decode())
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    process.communicate()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data_dir = str(folder / "data")
        seconds_to_first_step(data_dir, folder / "unused", folder / "prepare")
        for repeat in track(range(repeats), repeats, "cold and warm starts", "pairs"):
            for kind in times:
                workdir = folder / f"{kind}{repeat}"
                times[kind].append(
                    seconds_to_first_step(data_dir, folder / f"cache{repeat}", workdir)
                )
    ratio = statistics.median(b / a for a, b in zip(times["cold"], times["warm"], strict=True))
    print(f"{'start':<8}{'median s':>10}{'min s':>10}{'max s':>10}")
    for kind, values in times.items():
        print(
            f"{kind:<8}{statistics.median(values):>10.1f}{min(values):>10.1f}{max(values):>10.1f}"
        )
    print(f"warm / cold: {ratio:.2f}")
    print(
        json.dumps(
            {"benchmark": "startup", "ratio": ratio, "seconds": times, "versions": versions()}
        )
    )


if __name__ == "__main__":
    main()
