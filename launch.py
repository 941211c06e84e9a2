"""Train, evaluate or apply a model.

python launch.py --config=configs/quickstart.py
python launch.py --config=configs/dfew.py:3 --config.data.source=<folder DFEW>
python launch.py --mode=evaluate --workdir=runs/dfew-fold3 --split=test
python launch.py --mode=predict --workdir=runs/dfew-fold3 --input=<folder of frames>
"""

import sys
from pathlib import Path

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from logo_jax.common.errors import Interrupted, UserError

CONFIG = config_flags.DEFINE_config_file("config", None, "Recipe: configs/<file>.py[:argument].")
MODE = flags.DEFINE_enum(
    "mode", "train", ("train", "evaluate", "predict"), "What to do; train evaluates at its end."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; runs/<config>[-fold<k>].")
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "", "last, best, or a folder; default: the one that the run selects."
)
SPLIT = flags.DEFINE_enum("split", "test", ("train", "val", "test"), "What evaluate judges on.")
INPUT = flags.DEFINE_string("input", None, "For predict: folder of frames, of folders, or a list.")
SWEEP = flags.DEFINE_multi_string("sweep", [], "Train every value: model.num_blocks=1,2,4.")
SEEDS = flags.DEFINE_integer("seeds", 0, "Train with so many seeds, from config.seed on.")
OUTPUT = flags.DEFINE_string("output", None, "Folder of the results; default: in the workdir.")


def parse(argv: list[str]) -> list[str]:
    from logo_jax.experiments.config import parse_flags

    return parse_flags(argv)


def main(argv: list[str]) -> None:
    from logo_jax.experiments import config as configs

    configs.quiet_libraries()
    configs.use_compilation_cache()
    if CONFIG.value is not None:
        config = CONFIG.value
        name = configs.run_name(config_flags.get_config_filename(flags.FLAGS["config"]), config)
        workdir = Path(WORKDIR.value or Path("runs") / name)
    elif WORKDIR.value and MODE.value != "train":
        workdir = Path(WORKDIR.value)
        config = ConfigDict(configs.read(workdir))
    else:
        raise UserError("Give --config=configs/<file>.py (or, to evaluate or predict, --workdir).")
    configs.check(config)
    output = OUTPUT.value and Path(OUTPUT.value)
    if MODE.value == "train" and (SWEEP.value or SEEDS.value):
        from logo_jax.experiments.sweep import sweep

        sweep(config, workdir, SWEEP.value, SEEDS.value or 1)
    elif MODE.value == "train":
        from logo_jax.experiments.train import train

        train(config, workdir)
    elif MODE.value == "evaluate":
        from logo_jax.experiments.evaluate import evaluate

        output = output or workdir / "evaluation" / SPLIT.value
        evaluate(config, workdir, CHECKPOINT.value, SPLIT.value, output)
    else:
        from logo_jax.experiments.predict import predict

        output = output or workdir / "predictions"
        predict(config, workdir, CHECKPOINT.value, INPUT.value or "", output)


def run() -> None:
    try:
        app.run(main, flags_parser=parse)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as message:
        print(message)


if __name__ == "__main__":
    run()
