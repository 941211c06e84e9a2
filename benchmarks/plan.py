"""Step time and clips a second of a larger run, on paper, from figures of one device.

    python -m benchmarks.plan --clips_per_second=300 --link_gb_s=100 [--latency_us=15] \\
        [--input_clips_per_second=250] [--cores=16] [--batch=32] [--devices=1,8,64,512]

`clips_per_second` is what one device trains, measured by `python -m benchmarks.train_step` on that
device with SAM; `input_clips_per_second` what one core delivers, by `python -m
benchmarks.input_pipeline`. Bytes and numbers of collectives are read off the model. What is assumed
stands in docs/scaling.md.
"""

import argparse
import json

import jax
import jax.numpy as jnp

from logo_jax.models import build

PASSES = 2  # of SAM
CLIP = (1, 16, 112, 112, 3)


def collectives() -> tuple[int, int]:
    """Bytes of all gradients, and the number of sums of batch statistics of a pass."""
    variables = jax.eval_shape(build("logo_former", 7).init, jax.random.key(0), jnp.zeros(CLIP))
    gradients = sum(
        leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables["params"])
    )
    # Each batch norm has a mean and a variance, summed over devices forward and again backward.
    return gradients, 2 * len(jax.tree.leaves(variables["batch_stats"]))


def step_seconds(devices: int, batch: int, arguments: argparse.Namespace) -> dict[str, float]:
    """The parts of the time of a step; the sums over devices do not overlap with computing."""
    gradients, sums = collectives()
    ring = 2 * (devices - 1) / devices * gradients / (arguments.link_gb_s * 1e9)
    small = sums * arguments.latency_us * 1e-6 if devices > 1 else 0.0
    return {
        "compute": batch / devices / arguments.clips_per_second,
        "gradients": PASSES * ring,
        "batch statistics": PASSES * small,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips_per_second", type=float, required=True)
    parser.add_argument("--link_gb_s", type=float, required=True)
    parser.add_argument("--latency_us", type=float, default=15.0)
    parser.add_argument("--input_clips_per_second", type=float, default=250.0)
    parser.add_argument("--cores", type=int, default=16, help="for the input of one host")
    parser.add_argument("--devices_per_host", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32, help="clips of a step, over all devices")
    parser.add_argument("--devices", default="1,8,64,512")
    arguments = parser.parse_args()
    rows = []
    print(f"{'devices':>8}{'batch':>7}{'compute':>10}{'gradients':>11}{'statistics':>12}"
          f"{'step':>10}{'clips/s':>9}{'speed-up':>10}  input limit, clips/s")  # fmt: skip
    for devices in map(int, arguments.devices.split(",")):
        for batch in sorted({max(arguments.batch, devices), arguments.batch * devices}):
            found = step_seconds(devices, batch, arguments)
            seconds = sum(found.values())
            rate = batch / seconds
            hosts = -(-devices // arguments.devices_per_host)
            limit = hosts * arguments.cores * arguments.input_clips_per_second
            rows.append({"devices": devices, "batch": batch, **found, "clips_per_second": rate,
                         "input_limit": limit})  # fmt: skip
            milliseconds = [1e3 * value for value in (*found.values(), seconds)]
            speed_up = rate / arguments.clips_per_second
            print(f"{devices:>8}{batch:>7}{milliseconds[0]:>7.1f} ms{milliseconds[1]:>8.1f} ms"
                  f"{milliseconds[2]:>9.1f} ms{milliseconds[3]:>7.1f} ms{rate:>9,.0f}"
                  f"{speed_up:>10.1f}  {limit:,.0f}")  # fmt: skip
    print(json.dumps({"benchmark": "plan", "assumed": vars(arguments), "rows": rows}))


if __name__ == "__main__":
    main()
