"""What fails at one point is said there, and the others go on."""

import json
import sys

import jax
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models import blocks
from logo_jax.study import formulas, measure, run, scaling
from logo_jax.study.measure import DoesNotFit, prepare, time_in_turn
from logo_jax.study.points import Point, Study

TINY = {
    "schemes": ("full",), "grids": ((2, 2, 2), (4, 2, 2)), "windows": ((2, 1, 1),), "dims": (8,),
    "num_heads": 2, "repeats": 1, "series": ("grid",),
}  # fmt: skip
FAULTY = """
import flax.linen as nn
import jax
import jax.numpy as jnp
from logo_jax.models import register_scheme
from logo_jax.study import Parts, register_formula
from logo_jax.models.blocks import SCHEMES
from logo_jax.models.layers import join, split


def scheme(name, call):
    def __call__(self, grid, cls, *, train):
        return call(grid, cls)

    fields = {"__annotations__": {"options": object}, "__call__": __call__}
    register_scheme(name, type(name, (nn.Module,), fields), windows=False)


def large(grid, cls):
    if grid.shape[1] > 3:
        raise ValueError("only 3 frames\\nand no more")
    return grid, cls


def loops(grid, cls):
    return jax.lax.while_loop(lambda x: x.sum() < 10, lambda x: x @ jnp.ones((8, 8)), grid), cls


def products(grid, cls):  # [B, n, D] by jnp.matmul, which drops a batch axis of 1
    x = join(cls, grid)
    weights = jax.nn.softmax(x @ jnp.swapaxes(x, 1, 2))
    return split(weights @ x, cls, grid)


half = Parts()
vars(half)["mlp"] = 0.5  # as where types are not checked


def broken(*_):
    raise KeyError("f")


SCHEMES["nc"] = 5  # as register_scheme does where types are not checked
scheme("large", large)
scheme("flat", lambda grid, cls: (grid[:, 0], cls))
scheme("swapped", lambda grid, cls: (cls, grid))
scheme("alone", lambda grid, cls: grid)
scheme("loops", loops)
scheme("products", products)
for name, formula in (
    ("fraises", broken), ("ftype", lambda *_: 5), ("fhalf", lambda *_: half),
):
    scheme(name, lambda grid, cls: (grid, cls))
    register_formula(name, formula)
"""


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(run, "matmul_rate", lambda dtype: 1e9)
    tables = (blocks.SCHEMES, blocks.WINDOWED, blocks.FRAME_CLASS_TOKENS, formulas.FORMULAS)
    kept = [table.copy() for table in tables]
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)
    forget()


def forget():
    """As a new process, which runs the scheme file again."""
    for name in [name for name in sys.modules if name.startswith("schemes of ")]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_faulty_scheme_is_no_ones_else_fault(tmp_path):
    (tmp_path / "mine.py").write_text(FAULTY)
    rows = run.run_study(Study(**TINY, scheme_file=str(tmp_path / "mine.py")), tmp_path)
    found = {(row["label"], row["grid"]): row for row in rows}
    expected = {
        "nc": "counting: nc: TypeError: 'int' object is not callable",
        "flat": "flat: The module flat gives arrays of",
        "swapped": "must give the tuple (grid, cls) in the shapes it was given",
        "alone": "The module alone gives arrays of",
        "loops": "Cannot count multiply-adds inside a while",
        "fraises": "fraises: KeyError: 'f'",
        "ftype": 'The formula of "ftype" gives a int: it must give Parts',
        "fhalf": 'The formula of "fhalf" gives mlp=0.5: it must be a whole number',
    }
    for name, words in expected.items():
        for grid in ("2 x 2 x 2", "4 x 2 x 2"):
            assert words in found[name, grid]["status"] and found[name, grid]["failed"]
    assert found["large", "2 x 2 x 2"]["status"] == "measured"
    large = found["large", "4 x 2 x 2"]["status"]
    assert large == "counting: large: ValueError: only 3 frames"
    for grid, n in (("2 x 2 x 2", 9), ("4 x 2 x 2", 17)):
        assert found["full", grid]["status"] == "measured"
        row = found["products", grid]
        assert (row["counted_dense"], row["counted_products"]) == (0, 2 * 8 * n**2)
    # What failed is tried again.
    (tmp_path / "mine.py").write_text(FAULTY)
    lines = (tmp_path / "study.jsonl").read_text().count("\n")
    run.run_study(Study(**TINY, scheme_file=str(tmp_path / "mine.py")), tmp_path)
    assert (tmp_path / "study.jsonl").read_text().count("\n") == lines + 2 * len(expected) + 1


def test_a_scheme_without_products_has_no_exponent(monkeypatch):
    monkeypatch.setattr(scaling, "breakdown", lambda *_: run.MultiplyAdds())
    assert all(slope != slope for slope in scaling.counted_exponents("full"))


MINE = """
import flax.linen as nn
from logo_jax.models import register_scheme


class Mine(nn.Module):
    options: object

    @nn.compact
    def __call__(self, grid, cls, *, train):
        return nn.Dense(grid.shape[-1])(grid), cls


register_scheme("mine", Mine, windows=False)
"""


def test_another_text_of_the_file_is_another_scheme(tmp_path):
    file = tmp_path / "mine.py"
    study = {**TINY, "grids": ((2, 2, 2),), "scheme_file": str(file)}
    counts = []
    for text in (MINE, MINE.replace("(grid), cls", "(nn.Dense(80)(grid)), cls"), MINE):
        file.write_text(text)
        forget()
        full, mine = run.run_study(Study(**study), tmp_path)
        counts.append(mine["counted_dense"])
        assert full["source"] == "" and len(mine["source"]) == 16
    assert counts == [8 * 8 * 8, 2 * 8 * 80 * 8, 8 * 8 * 8]
    # full once, mine once for each text.
    lines = (tmp_path / "study.jsonl").read_text().splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["full", "mine", "mine"]
    # In one process the file is not run again: the rows stay those of what was run.
    source = Study(**study).source("mine")
    file.write_text(MINE + "# more\n")
    assert Study(**study).source("mine") == source


def test_a_file_without_a_scheme_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UserError, match=r"empty.py registers no scheme: call register_scheme"):
        Study(**TINY, scheme_file=str(tmp_path / "empty.py"))


def test_twice_the_weights_must_fit():
    """8 heads of 513^2 weights are 8 MiB, which the plan of the forward pass may not have."""
    point = Point("full", "xla", (8, 8, 8), None, 8, 8)
    with pytest.raises(DoesNotFit, match="needs 0.0 GiB, has 0.0 GiB"):
        prepare(point, False, 16 * 2**20)
    assert prepare(point, False, 17 * 2**20).peak < 17 * 2**20


def test_what_cannot_fit_is_not_compiled(tmp_path, monkeypatch):
    """XLA ends the process where the size of an array outgrows 64 bits."""
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda _: pytest.fail("compiled"))
    point = Point("full", "xla", (2**10, 2**10, 2**10), None, 8, 8)
    for limit in (2**30, None):
        with pytest.raises(DoesNotFit, match=r"needs 68,719,476,928.0 GiB"):
            prepare(point, False, limit)
    monkeypatch.setattr(run, "free_memory", lambda: 2**30)
    (row,) = run.run_study(Study(**TINY | {"grids": ((10**9, 10**9, 10**9),)}), tmp_path)
    assert "OverflowError" in row["status"] and "failed" not in row


def failing(*_):
    raise jax.errors.JaxRuntimeError("INTERNAL: YNNPACK operation failed\nat a place")


def test_a_program_that_fails_does_not_end_the_study(tmp_path, monkeypatch):
    prepared = run.prepare

    def prepare_some(point, backward, limit):
        return failing() if point.grid[0] == 4 else prepared(point, backward, limit)

    monkeypatch.setattr(run, "prepare", prepare_some)
    good, bad = run.run_study(Study(**TINY), tmp_path)
    assert good["status"] == "measured" and bad["failed"]
    one = "JaxRuntimeError: INTERNAL: YNNPACK operation failed"
    assert bad["status"] == f"forward: {one}; training: {one}"
    assert bad["counted_products"] == 2 * 8 * 17**2


def test_a_program_that_fails_while_timed_leaves_the_turn():
    runs = {"good": 0, "bad": 0}

    class Counting(measure.Program):
        def run(self):
            name = self.arguments[0]
            runs[name] += 1
            if name == "bad" and runs[name] > 3:
                failing()

    programs = {name: Counting(None, (name,), 0, 0, 0.0) for name in runs}
    failed = {}
    samples = time_in_turn(programs, 2, lambda key, error: failed.update({key: error}))
    assert list(samples) == ["good"] and len(samples["good"]) == 2 and list(failed) == ["bad"]
    with pytest.raises(jax.errors.JaxRuntimeError):
        time_in_turn(programs, 2)
