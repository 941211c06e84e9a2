"""Recompute every number from predictions.csv: python -m logo_jax.evaluation predictions.csv

Several files are the folds of one model. `--compare` names the files of another model on the same
clips, and may be given several times.
"""

import argparse
import string
from collections.abc import Sequence
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.common.files import write_json
from logo_jax.evaluation import statistics, summary
from logo_jax.evaluation.predictions import read_predictions
from logo_jax.evaluation.scenes import by_scene, scene_rows


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python -m logo_jax.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("predictions", nargs="+", help="files of one model, one per fold")
    flags.add_argument(
        "--compare", nargs="+", action="append", default=[], metavar="FILE",
        help="files of another model, folds in the same order; may be repeated",
    )  # fmt: skip
    flags.add_argument(
        "--calibrate-on", nargs="+", metavar="FILE",
        help="predictions of the first model on its validation clips, one file per fold: fit a "
        "temperature on them",
    )  # fmt: skip
    flags.add_argument(
        "--scenes", action="store_true",
        help="also results per scene of the first model, for FERV39K's clip ids",
    )  # fmt: skip
    flags.add_argument("--json", metavar="FILE", help="also write all numbers to this file")
    flags.add_argument("--reliability", metavar="PNG", help="draw the reliability diagram")
    flags.add_argument("--draws", type=int, default=statistics.DRAWS, help="bootstrap draws")
    flags.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return flags


def run(arguments: argparse.Namespace) -> None:
    files = [arguments.predictions, *arguments.compare]
    models = [read_predictions(paths) for paths in files]
    if len(models) > len(string.ascii_uppercase):
        raise UserError(f"There are {len(models)} models; compare at most 26 at once.")
    names = list(string.ascii_uppercase[: len(models)])
    results: dict[str, Any] = {"models": []}
    for number, (name, paths, predictions) in enumerate(zip(names, files, models, strict=True)):
        numbers = summary.summarize(predictions, arguments.seed, arguments.draws)
        if number == 0 and arguments.calibrate_on:
            validation = [
                read_predictions([path], predictions.class_names) for path in arguments.calibrate_on
            ]
            numbers["temperature"] = summary.with_temperature(predictions, validation)
        if len(models) > 1:
            print(f"{name}: {', '.join(paths)}\n")
        print(summary.summary_text(numbers), end="\n\n" if len(models) > 1 else "\n")
        results["models"].append({"name": name, "files": paths, **numbers})
    if len(models) > 1:
        results["comparisons"] = summary.compare(models, arguments.seed, arguments.draws)
        print(summary.comparison_text(results["comparisons"], names))
    if arguments.scenes:
        scenes = by_scene(models[0])
        rows = scene_rows(scenes, models[0].class_names)
        print("\n".join(["", *summary.table(rows), "(UAR over the classes present in the scene)"]))
        results["scenes"] = [
            {
                "scene": scene.name,
                "clips": scene.clips,
                "war": scene.war,
                "uar": scene.uar,
                "classes_present": scene.num_present,
                "confusion": scene.confusion.tolist(),
            }
            for scene in scenes
        ]
    if arguments.reliability:
        from logo_jax.evaluation.reliability_plot import reliability_png  # matplotlib is slow

        first = models[0]
        title = ", ".join(arguments.predictions)
        reliability_png(arguments.reliability, first.probabilities, first.labels, title)
    if arguments.json:
        write_json(arguments.json, results)


def main(argv: Sequence[str] | None = None) -> None:
    flags = parser()
    arguments = flags.parse_args(argv)
    try:
        run(arguments)
    except UserError as error:
        flags.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
