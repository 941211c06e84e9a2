"""What a result was made with: recorded beside every number."""

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this package, its main dependencies, and the git revision.

    They are those of the first call: the checkout may be another one when a long run ends.
    """
    import logo_jax

    found = {"python": platform.python_version(), "logo_jax": logo_jax.__version__}
    found.update({package: metadata.version(package) for package in PACKAGES})
    found["git"] = _git_revision(Path(logo_jax.__file__).parents[1])
    return found


def _git_revision(folder: Path) -> str:
    """The commit of the checkout, `+changes` where files differ from it, "" outside a checkout."""
    if not (folder / ".git").exists():
        return ""
    try:
        revision = _git(folder, "rev-parse", "HEAD")
        return revision + ("+changes" if _git(folder, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({type(error).__name__})"  # a checkout without commits, or without git


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
