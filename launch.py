"""Train, evaluate or apply a model.

python launch.py --config=configs/dfew.py:3 --config.data.source=<folder DFEW>
python launch.py --mode=evaluate --workdir=runs/dfew-fold3
python launch.py --mode=predict --workdir=runs/dfew-fold3 --input=<folder of frames>
python launch.py --mode=study --config=configs/study.py
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags

from logo_jax.common.errors import Interrupted, UserError
from logo_jax.training.signals import Stopped, raise_on_stop

CONFIG = flags.DEFINE_string("config", None, "Recipe: configs/<file>.py[:argument].")
MODE = flags.DEFINE_enum(
    "mode", "train", ("train", "evaluate", "predict", "study"), "What to do; train also evaluates."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; runs/<config>[-fold<k>].")
CHECKPOINT = flags.DEFINE_string("checkpoint", "", "last, best, or a folder; default: selected.")
SPLIT = flags.DEFINE_enum("split", "test", ("train", "val", "test"), "What evaluate judges on.")
INPUT = flags.DEFINE_string("input", "", "For predict: folder of frames, of folders, or a list.")
SWEEP = flags.DEFINE_multi_string("sweep", [], "Train every value: model.num_blocks=1,2,4.")
SEEDS = flags.DEFINE_integer("seeds", 0, "Train with so many seeds, from config.seed on.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the results; default: in the workdir.")


def parse(argv: list[str]) -> list[str]:
    from logo_jax.experiments.command_line import parse_flags

    return parse_flags(argv)


def main(argv: list[str]) -> None:
    from logo_jax.experiments import command_line, config

    config.quiet_libraries()
    config.use_compilation_cache()
    recipe, workdir = command_line.choose(MODE.value, CONFIG.value, WORKDIR.value, argv[1:])
    output = OUTPUT.value and Path(OUTPUT.value).expanduser()
    if (SWEEP.value or SEEDS.value) and MODE.value != "train":
        raise UserError(f"--sweep and --seeds train: leave --mode={MODE.value} out.")
    if SWEEP.value or SEEDS.value:
        function("sweep")(recipe, workdir, SWEEP.value, SEEDS.value or 1)
    elif MODE.value in ("train", "study"):
        function(MODE.value)(recipe, workdir)
    elif MODE.value == "evaluate":
        output = output or workdir / "evaluation" / SPLIT.value
        function("evaluate")(recipe, workdir, CHECKPOINT.value, SPLIT.value, output)
    else:
        output = output or workdir / "predictions"
        function("predict")(recipe, workdir, CHECKPOINT.value, INPUT.value, output)


def function(name: str) -> Callable[..., object]:
    """The function of experiments/<name>.py; what it needs is imported only then."""
    return getattr(importlib.import_module(f"logo_jax.experiments.{name}"), name)


def run() -> None:
    try:
        raise_on_stop()
        app.run(main, flags_parser=parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as message:
        print(message)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(stop.status)


if __name__ == "__main__":
    run()
