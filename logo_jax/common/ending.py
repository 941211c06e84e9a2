"""The end of a program in the midst of its work."""

import os
import sys
from typing import NoReturn

from logo_jax.common.errors import UserError


def end_at_once(status: int) -> NoReturn:
    """End the process with this exit status, its output flushed, and without handlers of its exit.

    XLA compiles in a thread, which a stop signal does not end: an orderly exit would take the
    devices away beneath it, and end in a segmentation fault.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def stopped_status() -> int:
    """The exit status of a run that saved and stopped at a signal; scripts/until_done.sh sets it.

    Raises:
        UserError: the variable LOGO_JAX_STOPPED_STATUS is no status.
    """
    text = os.environ.get("LOGO_JAX_STOPPED_STATUS", "0")
    if not (text.isascii() and text.isdecimal() and int(text) < 256):
        raise UserError(f"LOGO_JAX_STOPPED_STATUS={text}: give a status from 0 to 255.")
    return int(text)
