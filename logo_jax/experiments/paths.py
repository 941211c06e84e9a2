"""Values that are meant for paths and are none."""

import os

from logo_jax.common.errors import UserError


def refuse_no_path(name: str, value: str) -> None:
    """Refuse what is no path, or several of them with commas between: a NUL byte in it, a home that
    is not there, or the address of an object store, which `Path` would take for a folder `gs:`.

    Args:
        name: what the value is given to, such as "--workdir".

    Raises:
        UserError: `value` is one.
    """
    if "\0" in value:
        raise UserError(f"{name}={value!r} has a NUL byte, which no path may: leave it out.")
    if "://" in value:
        raise UserError(
            f"{name}={value}: logs, checkpoints and results are local files; mount the object "
            "store as a folder (docs/tpu.md), and name that."
        )
    for path in value.split(","):
        refuse_lost_home(name, path.strip())


def refuse_lost_home(name: str, value: str) -> None:
    """Refuse a path that begins with the home of a user whom this machine does not know.

    Raises:
        UserError: `value` is one.
    """
    user = value.partition("/")[0]
    if user.startswith("~") and os.path.expanduser(user) == user:
        raise UserError(f'{name}={value}: "{user}" is no home folder here; write the path out.')
