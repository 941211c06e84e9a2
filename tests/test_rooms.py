"""Each room imports only the rooms that the architecture allows it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "logo_jax"

ALLOWED = {
    "common": set(),
    "models": {"common"},
    "data": {"common"},
    "evaluation": {"common"},
    "training": {"models", "evaluation.metrics", "common"},
    "study": {"models", "common"},
    "experiments": {"common", "models", "data", "evaluation", "training", "study"},
}
# Command lines stand on top of the rooms: nothing imports them.
ENTRY_POINTS = {"models/__main__.py": {"study"}, "study/__main__.py": {"experiments"}}


def imported_modules(path: Path) -> set[str]:
    """Full names of all modules that a file imports, at its top or inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def forbidden_imports(path: Path, room: str) -> list[str]:
    allowed = ALLOWED[room] | {room}
    allowed |= ENTRY_POINTS.get(f"{room}/{path.name}", set())
    return [
        name
        for name in imported_modules(path)
        if name.startswith("logo_jax.")
        and not any((name + ".").startswith(f"logo_jax.{other}.") for other in allowed)
    ]


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_only_rooms_below(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        forbidden = forbidden_imports(path, room)
        assert not forbidden, f"{path}: {forbidden}"


def test_every_folder_is_a_room():
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(ALLOWED)


def test_finds_what_it_forbids(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text("def f():\n    from logo_jax.training.sam import sam\n")
    assert forbidden_imports(path, "data") == ["logo_jax.training.sam.sam"]
    assert not forbidden_imports(path, "experiments")


def test_no_tensorflow_or_torch_at_run_time():
    for path in PACKAGE.rglob("*.py"):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"torch", "tensorflow", "torchvision"}, path


WITHOUT_TORCH = """
import sys, pytest
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Finder())
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider"]))
"""


@pytest.mark.slow
def test_all_tests_are_collected_without_torch():
    """PyTorch is an extra that `make test` does without; what needs it is skipped."""
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=PACKAGE.parent, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-2000:]
