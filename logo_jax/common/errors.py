"""Errors that a user can mend: one sentence that names the file, row or field, and the mend."""

import difflib
import signal
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class UserError(Exception):
    """Something in the input, the config or the machine that the user can mend.

    `launch.py` prints the message alone, without a traceback, and exits with `status`.
    """

    status = 2


class Unreached(UserError):
    """Other processes of the job are not there: they may be when the job is started again.

    So the status is not that of an error which a person must mend (scripts/until_done.sh).
    """

    status = 1


# Ctrl-C, a scheduler's stop, and the end of the terminal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """A stop signal came; the work is saved, and the message says how to go on."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return ` Did you mean "x"?` for the nearest of `choices`, or an empty string."""
    near = difflib.get_close_matches(name, [str(choice) for choice in choices], n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


def pick(table: Mapping[str, Value], name: str, what: str) -> Value:
    """Look `name` up in `table`.

    Raises:
        UserError: `name` is not there; the message lists the choices and suggests the nearest.
    """
    if name in table:
        return table[name]
    choices = ", ".join(sorted(table))
    raise UserError(f'Unknown {what} "{name}": choose one of {choices}.{suggest(name, table)}')
