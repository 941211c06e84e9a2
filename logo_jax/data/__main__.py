"""Prepare or examine a data set.

python -m logo_jax.data prepare dfew --source=<folder DFEW> --data_dir=data
python -m logo_jax.data doctor dfew --source=<folder DFEW>
"""

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.data import doctor
from logo_jax.data.prepared import BUILDERS, builder_class, load

STOPPED = 130  # what a shell expects of a program that Ctrl-C ended


def value(text: str) -> Any:
    """Read 1, True, 1,2 or a word as it would be written in a config."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def values(text: str) -> tuple[Any, ...]:
    """Read one value, or several with commas between, as a tuple."""
    found = value(text)
    if isinstance(found, (tuple, list)):
        return tuple(found)
    return tuple(text.split(",")) if found == text else (found,)


def switch(text: str) -> bool:
    """Read True or False, as messages and configs write them."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f'"{text}" is neither True nor False')
    return text.lower() == "true"


# A flag that may stand alone, for True.
SWITCH: dict[str, Any] = {"type": switch, "nargs": "?", "const": True, "metavar": "True"}


def add_prepare(parser: argparse.ArgumentParser, name: str) -> None:
    """Give the parser the flags of preparing `name`: those of all sets, then its own."""
    cls = builder_class(name)
    if cls.needs_source:
        parser.add_argument("--source", default="", help="folder of the set as its authors give it")
    parser.add_argument("--data_dir", default="data", help="folder of all prepared sets (data)")
    parser.add_argument(
        "--stored_size", type=int, default=0,
        help="side in pixels to which larger frames are made smaller; 0 = as they are (0)",
    )  # fmt: skip
    parser.add_argument(
        "--num_workers", type=int, help="processes that read the clips; default: the cores"
    )
    for flag, text in (
        ("allow_missing", "leave clips out whose frames are missing or broken"),
        ("allow_empty_classes", "accept a class without a clip to train or test on"),
    ):
        parser.add_argument(f"--{flag}", default=False, help=text, **SWITCH)
    said = described_options(inspect.getdoc(cls.configure) or "")
    for option, parameter in inspect.signature(cls.configure).parameters.items():
        default = parameter.default
        text = f"{said.get(option, '')} ({default!r})".replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(f"--{option}", default=default, help=text, **SWITCH)
        else:
            # A name may look like a number: set_name=2024.
            kinds: dict[type, Callable[[str], Any]] = {str: str, tuple: values}
            read = kinds.get(type(default), value)
            parser.add_argument(f"--{option}", type=read, default=default, help=text)


def described_options(docstring: str) -> dict[str, str]:
    """What a docstring says of each argument, in its section `Args`."""
    _, _, section = docstring.partition("Args:\n")
    section = section.partition("\n\n")[0]
    parts = re.split(r"^    (\w+(?:, \w+)*): ", section, flags=re.MULTILINE)
    texts = (" ".join(text.split()) for text in parts[2::2])
    return {
        name: text
        for names, text in zip(parts[1::2], texts, strict=True)
        for name in names.split(", ")
    }


def prepare(name: str, options: dict[str, Any]) -> int:
    """Prepare the set, or check that it is prepared from this source; say where it lies."""
    prepared = load(name, **options)
    print(f"{len(prepared):,} clips in {prepared.folder}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; the status is 0, or 2 after an error, or what the doctor says."""
    parser = argparse.ArgumentParser(
        prog="python -m logo_jax.data",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    preparing = commands.add_parser("prepare", help="read a data set and store it for training")
    sets = preparing.add_subparsers(dest="name", required=True, metavar="data_set")
    arguments = sys.argv[1:] if argv is None else argv
    for name in BUILDERS:
        # The flags of a set cost the import of its builder: only those of the named one are made.
        parser_of_set = sets.add_parser(name)
        if name in arguments:
            add_prepare(parser_of_set, name)
    doctor.add_arguments(commands.add_parser("doctor", help="examine a copy of a data set"))
    options = vars(parser.parse_args(arguments))
    command = options.pop("command")
    try:
        if command == "prepare":
            return prepare(options.pop("name"), options)
        return doctor.run(argparse.Namespace(**options))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        goes_on = command == "prepare"
        print(f"Stopped{'; started again, it goes on from here' * goes_on}.", file=sys.stderr)
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
