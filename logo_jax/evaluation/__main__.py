"""Recompute every number from predictions.csv: python -m logo_jax.evaluation predictions.csv

Several files are the folds of one model, or, with --seeds, its seeds, each with a column `fold`
where there is more than one. `--compare` names the files of another model on the same clips, and
may be given several times.
"""

import argparse
import signal
import string
from collections.abc import Sequence
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.common.files import write_json
from logo_jax.evaluation import seeds, statistics, summary
from logo_jax.evaluation.predictions import Predictions, read_predictions
from logo_jax.evaluation.scenes import by_scene, scene_numbers, scene_rows


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
        "--seeds", action="store_true", help="the files of a model are its seeds, not its folds"
    )
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
    flags.add_argument(
        "--reliability", metavar="PNG", help="draw the reliability diagram of the first model"
    )
    flags.add_argument("--draws", type=int, default=statistics.DRAWS, help="bootstrap draws")
    flags.add_argument("--seed", type=int, default=0, help="seed of the bootstrap")
    return flags


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print the tables, write the files, return what goes to --json."""
    files = [arguments.predictions, *arguments.compare]
    if len(files) > len(string.ascii_uppercase):
        raise UserError(f"There are {len(files)} models; compare at most 26 at once.")
    if not arguments.seeds:
        return judge_models(arguments, files, [read_predictions(paths) for paths in files])
    if arguments.calibrate_on or arguments.scenes or arguments.reliability:
        raise UserError(
            "--calibrate-on, --scenes and --reliability judge one trained model; leave out --seeds "
            "and give its files alone."
        )
    return judge_seeds(
        arguments, files, [[read_predictions([p]) for p in paths] for paths in files]
    )


def judge_models(
    arguments: argparse.Namespace, files: Sequence[Sequence[str]], models: Sequence[Predictions]
) -> dict[str, Any]:
    names = string.ascii_uppercase[: len(models)]
    results: dict[str, Any] = {"models": []}
    for name, paths, predictions in zip(names, files, models, strict=True):
        numbers = summary.summarize(predictions, arguments.seed, arguments.draws)
        if predictions is models[0] and arguments.calibrate_on:
            classes = predictions.class_names
            validation = [read_predictions([path], classes) for path in arguments.calibrate_on]
            numbers["temperature"] = summary.with_temperature(predictions, validation)
        if len(models) > 1:
            print(f"{name}: {', '.join(paths)}\n")
        print(summary.summary_text(numbers), end="\n\n" if len(models) > 1 else "\n")
        results["models"].append({"name": name, "files": list(paths), **numbers})
    if len(models) > 1:
        results["comparisons"] = summary.compare(models, arguments.seed, arguments.draws)
        print(summary.comparison_text(results["comparisons"], names))
    first = models[0]
    if arguments.scenes:
        scenes = by_scene(first)
        rows = scene_rows(scenes, first.class_names)
        print("\n".join(["", *summary.table(rows), "(UAR over the classes present in the scene)"]))
        results["scenes"] = scene_numbers(scenes)
    if arguments.reliability:
        from logo_jax.evaluation.reliability_plot import reliability_png  # matplotlib is slow

        title = ", ".join(files[0])
        reliability_png(arguments.reliability, first.probabilities, first.labels, title)
    return results


def judge_seeds(
    arguments: argparse.Namespace,
    files: Sequence[Sequence[str]],
    methods: Sequence[Sequence[Predictions]],
) -> dict[str, Any]:
    names = string.ascii_uppercase[: len(methods)]
    results: dict[str, Any] = {"methods": []}
    for name, paths, method in zip(names, files, methods, strict=True):
        numbers = [summary.summarize(one, arguments.seed, arguments.draws) for one in method]
        print(f"{name}: {', '.join(paths)}\n{seeds.seeds_text(numbers)}\n")
        results["methods"].append({"name": name, "files": list(paths), "seeds": numbers})
    if len(methods) > 1:
        pairs = seeds.compare_seeds(methods, arguments.seed, arguments.draws)
        print(seeds.differences_text(pairs, names))
        results["comparisons"] = pairs
    return results


def main(argv: Sequence[str] | None = None) -> None:
    flags = parser()
    arguments = flags.parse_args(argv)
    try:
        results = run(arguments)
        if arguments.json:
            write_json(arguments.json, results)
    except UserError as error:
        flags.exit(2, f"{error}\n")


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # piped into head, it ends as other tools do
    main()
