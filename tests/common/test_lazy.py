"""Names that people use after `import logo_jax` alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import logo_jax

ROOT = Path(__file__).parents[2]
# The public names of the project's design that stand in no page of docs/.
NAMES = {
    "logo_jax.models.build",
    "logo_jax.models.SYSTEMS",
    "logo_jax.pretrained.load",
    "logo_jax.training.sam.sam",
    "logo_jax.training.losses.compact_regularizer",
    "logo_jax.data.sampling.dynamic_sampling",
    "logo_jax.data.dynamic_sampling",
    "logo_jax.evaluation.metrics.war",
    "logo_jax.evaluation.metrics.uar",
    "logo_jax.evaluation.metrics.recalls",
    "logo_jax.study.multiply_adds",
    "logo_jax.experiments.train.train",
}


def names_of_the_pages():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        yield from re.findall(r"\blogo_jax(?:\.[A-Za-z]\w*)+", page.read_text())


def python(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_public_names_need_no_import_of_their_own():
    """In one process each begins anew: what an earlier name imported would help the later ones."""
    names = sorted(NAMES | {name.removesuffix(".py") for name in names_of_the_pages()})
    assert len(names) > 20
    python(f"""
import os, sys, jax, flax.linen, optax
for name in {names}:
    child = os.fork()
    if not child:
        import logo_jax
        try:
            eval(name)
        except BaseException as error:
            print(name, error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
""")


def test_import_loads_no_room():
    loaded = python("import sys, logo_jax; print(*sys.modules)").split()
    assert "jax" not in loaded and "logo_jax.models" not in loaded


def test_dir_names_what_is_not_imported_yet():
    shown = python("import logo_jax; print(*dir(logo_jax), *dir(logo_jax.training))").split()
    assert {"training", "pretrained", "__version__", "sam", "losses"} <= set(shown)


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'logo_jax.training' has no attribute 'sham'"):
        _ = logo_jax.training.sham
