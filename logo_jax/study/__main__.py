"""Count and measure attention schemes: python -m logo_jax.study [--schemes=full,local_global]"""

import argparse
import ast
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from logo_jax.common import heap
from logo_jax.common.ending import end_at_once
from logo_jax.common.errors import Interrupted, UserError
from logo_jax.study.formulas import Shape
from logo_jax.study.points import Study
from logo_jax.study.report import write_report
from logo_jax.study.run import goes_on, run_study


def shape(text: str) -> Shape:
    """Read "16x14x14"."""
    try:
        frames, height, width = (int(size) for size in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'"{text}" is no grid: give frames, height and width as 16x14x14'
        ) from None
    return frames, height, width


def shapes(text: str) -> tuple[Shape, ...]:
    return tuple(shape(item) for item in text.split(","))


def names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'"{text}" is no whole number: give one as 8, several as 8,16'
        ) from None


def numbers(text: str) -> tuple[int, ...]:
    return tuple(whole(item) for item in text.split(","))


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is no number: give one as 4.5') from None


def fields(text: str) -> dict[str, Any]:
    """Read "{'num_epochs': 15, 'data': {'options': {'num_train': 280}}}"."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise argparse.ArgumentTypeError(
            f"\"{text}\" is no fields of a config: give them as {{'num_epochs': 15}}"
        )
    return value


def written(value: object) -> str:
    """A default as the command line has it."""
    if not isinstance(value, tuple):
        return str(value)
    return ",".join("x".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m logo_jax.study", description=__doc__)
    arguments: dict[str, tuple[Callable[[str], Any], str]] = {
        "schemes": (names, "names, with :chunked or :cudnn for another form of the products"),
        "grids": (shapes, "token grids, frames x height x width"),
        "windows": (shapes, "attention windows; each is used on the grids that it divides"),
        "dims": (numbers, "channels of a token"),
        "dtypes": (names, "float32, bfloat16"),
        "num_heads": (whole, "attention heads"),
        "batch": (whole, "clips at a time"),
        "repeats": (whole, "samples of each time"),
        "memory_gib": (number, "points that need more are left out; 0 = what is free"),
        "series": (names, "grid: the fields above; exponents, window: at fixed sizes"),
        "scheme_file": (str, "Python file that registers schemes, which join --schemes"),
    }
    for name, (read, text) in arguments.items():
        default = Study.__dataclass_fields__[name].default
        parser.add_argument(
            f"--{name}", type=read, default=default, help=f"{text} ({written(default)})"
        )
    parser.add_argument("--workdir", type=Path, default=Path("runs/study"), help="(runs/study)")
    parser.add_argument(
        "--with_accuracy", action="store_true", help="train every scheme too, with several seeds"
    )
    parser.add_argument(
        "--accuracy_config", default="configs/wild.py", help="recipe to train by (configs/wild.py)"
    )
    parser.add_argument("--accuracy_seeds", type=whole, default=3, help="of each scheme (3)")
    parser.add_argument(
        "--accuracy_overrides", type=fields, default={}, metavar="FIELDS",
        help="fields that differ from the recipe, as {'num_epochs': 15}",
    )  # fmt: skip
    options = vars(parser.parse_args(argv))
    workdir = options.pop("workdir")
    with_accuracy = options.pop("with_accuracy")
    training = [options.pop(f"accuracy_{name}") for name in ("config", "seeds", "overrides")]
    try:
        study = Study(**options)
        if with_accuracy:
            from logo_jax.experiments.study import run_with_accuracy  # only this needs all rooms

            run_with_accuracy(study, workdir, *training)
        else:
            write_report(run_study(study, workdir), workdir)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as message:  # a training is saved
        print(message, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print(f"Ctrl-C: stopped; {goes_on(workdir)}", file=sys.stderr)
        end_at_once(130)


if __name__ == "__main__":
    heap.keep_freed_memory()
    main()
