"""One of two processes that sweep over seeds without training: a script for test_sweep.py.

python played_sweep.py train|cross_validate <workdir> <coordinator> <id>
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax

from logo_jax.common import distributed
from logo_jax.experiments import cross_validate, sweep
from tests.experiments.judged import FOLDS, settings, write_run


def train(config, workdir):
    """Write a finished run, as process 0 of the real training does, and return its results."""
    if jax.process_index() == 0:
        write_run(workdir, config)
    distributed.wait_for_all()
    return json.loads((workdir / "results.json").read_text())


def main(mode: str, workdir: str, coordinator: str, number: str) -> None:
    distributed.start(coordinator, 2, int(number))
    cross_validate.train = sweep.train = train
    cross_validate.parts.open_set = lambda config: SimpleNamespace(folds=FOLDS)
    write = sweep._write

    def tell(path, rows):
        print(f"wrote {path.name}")
        write(path, rows)

    sweep._write = tell
    job = cross_validate.cross_validate if mode == "cross_validate" else None
    with distributed.end_together():
        sweep.sweep(settings(1), Path(workdir), [], 2, job)


if __name__ == "__main__":
    main(*sys.argv[1:])
