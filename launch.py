"""Train, evaluate or apply a model.

python launch.py --config=configs/dfew.py:3 --config.data.source=<folder DFEW>
python launch.py --mode=evaluate --workdir=runs/dfew-fold3
python launch.py --mode=predict --workdir=runs/dfew-fold3 --input=<folder of frames>
python launch.py --mode=cross_validate --config=configs/dfew.py
python launch.py --mode=compare --runs=runs/a,runs/b
python launch.py --mode=study --config=configs/study.py
"""

import sys

from absl import app, flags

from logo_jax.common.ending import end_at_once, stopped_status
from logo_jax.common.errors import Interrupted, UserError
from logo_jax.training.signals import Stopped, raise_on_stop

CONFIG = flags.DEFINE_string("config", None, "Recipe: configs/<file>.py[:argument].")
MODES = ("train", "cross_validate", "summarize", "compare", "report", "evaluate", "verify",
         "predict", "study")  # fmt: skip
MODE = flags.DEFINE_enum("mode", "train", MODES, "What to do; train also evaluates.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; runs/<config>[-fold<k>].")
CHECKPOINT = flags.DEFINE_string("checkpoint", "", "last, best, or a folder; default: selected.")
SPLIT = flags.DEFINE_enum("split", "test", ("train", "val", "test"), "What evaluate judges on.")
INPUT = flags.DEFINE_string("input", "", "For predict: folder of frames, of folders, or a list.")
SWEEP = flags.DEFINE_multi_string("sweep", [], "Train every value: model.num_blocks=1,2,4.")
SEEDS = flags.DEFINE_integer("seeds", 0, "Train with so many seeds, from config.seed on.")
FOLDS = flags.DEFINE_string("folds", "", "For cross_validate: these folds, as 2,3; default: all.")
RUNS = flags.DEFINE_string("runs", "", "For summarize, compare, report: folders, comma-separated.")
COORDINATOR = flags.DEFINE_string("coordinator", "", "On several hosts: host:port of process 0.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", 0, "Of the job; default: the cluster's.")
PROCESS_ID = flags.DEFINE_integer("process_id", -1, "Of this process, from 0.")
WITH_ACCURACY = flags.DEFINE_bool("with_accuracy", False, "For study: train the schemes too.")
SKIP_NONFINITE = flags.DEFINE_bool("skip_nonfinite", False, "The config field of this name.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the results; default: in the workdir.")


def parse(argv: list[str]) -> list[str]:
    from logo_jax.experiments.command_line import parse_flags

    return parse_flags(argv)


def main(argv: list[str]) -> None:
    from logo_jax.common import distributed, heap
    from logo_jax.experiments import command_line

    heap.keep_freed_memory()
    distributed.start(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
    with distributed.end_together():
        command_line.run(flags.FLAGS, argv[1:])


def run() -> None:
    try:
        stopped = stopped_status()
        raise_on_stop()
        app.run(main, flags_parser=parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except Interrupted as message:
        print(message)
        sys.exit(stopped)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        end_at_once(stop.status)


if __name__ == "__main__":
    run()
