"""One process of a job, with as many virtual devices as asked for: a script for test_layouts.py.

python one_process.py <config.pickle> <workdir> <devices> [<coordinator> <processes> <id>]
"""

import pickle
import sys
from pathlib import Path

import jax

from logo_jax.common import distributed
from logo_jax.common.errors import Interrupted, UserError
from logo_jax.experiments import config as configs
from logo_jax.experiments.train import train


def main(recipe: str, workdir: str, devices: str, *cluster: str) -> None:
    jax.config.update("jax_num_cpu_devices", int(devices))
    if cluster:
        distributed.start(cluster[0], int(cluster[1]), int(cluster[2]))
    configs.quiet_libraries()
    with distributed.end_together():
        train(pickle.loads(Path(recipe).read_bytes()), Path(workdir))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (UserError, Interrupted) as message:
        print(message)
        sys.exit(2)
