"""Folders of folders: split, class, clip."""

from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.data.frames import SUFFIXES, natural_key, target_around


def inner_folders(parent: Path) -> list[Path]:
    """List the folders in `parent` in natural order; those that start with a dot are passed over.

    Raises:
        UserError: images lie beside them, which is a mistake, or a link leads nowhere or to a
            folder that holds it.
    """
    inner = [path for path in parent.iterdir() if not path.name.startswith(".")]
    images = sorted(
        path.name for path in inner if path.suffix.lower() in SUFFIXES and not path.is_dir()
    )
    if images:
        raise UserError(
            f"{parent}: {images[0]} should be in a folder of its clip, "
            "<split>/<class>/<clip>/<frame>."
        )
    for path in inner:
        if path.is_symlink():
            _refuse_loop(path)
    return sorted((path for path in inner if path.is_dir()), key=natural_key)


def by_path(item: tuple[str, Any]) -> tuple[str, str, tuple[int, str]]:
    """Key that orders (`a/b/clip`, anything) by the two folders, then by the clip's number."""
    outer, inner, clip = item[0].split("/")
    return outer, inner, natural_key(clip)


def _refuse_loop(link: Path) -> None:
    try:
        target = target_around(link)
    except OSError as error:
        raise UserError(f"The link {link} leads nowhere ({error.strerror}): remove it.") from error
    if target:
        raise UserError(f"The link {link} leads to {target}, which holds it: remove it.")
