"""A user's own scheme: the file of docs/schemes.md, in the study and in training."""

import html
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from configs import study as config_file
from logo_jax.common.errors import UserError
from logo_jax.experiments import parts
from logo_jax.experiments.study import study
from logo_jax.models import blocks, register_scheme
from logo_jax.study import formulas, plots, register_formula, run
from logo_jax.study.points import Study

DOCS = Path(__file__).parents[2] / "docs" / "schemes.md"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Whatever a test registers is gone after it."""
    monkeypatch.setattr(run, "matmul_rate", lambda dtype: 1e9)
    tables = (blocks.SCHEMES, blocks.WINDOWED, blocks.FRAME_CLASS_TOKENS, formulas.FORMULAS)
    kept = [table.copy() for table in tables]
    yield
    for table, before in zip(tables, kept, strict=True):
        table.clear()
        table.update(before)
    for name in [name for name in sys.modules if name.startswith("schemes of ")]:
        del sys.modules[name]


@pytest.fixture
def scheme_file(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    path = tmp_path / "frame_means.py"
    path.write_text(code)
    return str(path)


def test_the_documented_scheme_is_attention_to_frame_means(scheme_file):
    blocks.load_schemes(scheme_file)
    module = blocks.SCHEMES["frame_means"](blocks.AttentionOptions(num_heads=1))
    rng = np.random.default_rng(0)
    grid, cls = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((1, 3, 2, 2, 4), (1, 1, 4)))
    variables = module.init(jax.random.key(0), grid, cls, train=False)
    found, of_cls = module.apply(variables, grid, cls, train=False)

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)

    p, grid, cls = jax.tree.map(np.asarray, (variables["params"], grid, cls))
    tokens = np.concatenate([cls[0], grid.reshape(-1, 4)])
    means = norm(np.concatenate([cls[0], grid[0].mean((1, 2))]))
    scores = norm(tokens) @ p["query"]["kernel"] @ (means @ p["key"]["kernel"]).T / 2
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = tokens + weights @ (means @ p["value"]["kernel"]) @ p["out"]["kernel"]
    np.testing.assert_allclose(of_cls[0], expected[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.reshape(-1, 4), expected[1:], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_is_in_every_table_and_plot(scheme_file, tmp_path, monkeypatch):
    drawn = []
    original = plots.colour
    monkeypatch.setattr(plots, "colour", lambda n, t: drawn.append(n) or original(n, t))
    config = config_file.get_config()
    config.scheme_file = scheme_file
    config.study.update(
        schemes=("local_global",), grids=((2, 2, 2), (4, 2, 2)), windows=((2, 1, 1),), dims=(8,),
        num_heads=2, repeats=1, series=("grid",),
    )  # fmt: skip
    study(config, tmp_path / "study")
    lines = (tmp_path / "study" / "study.jsonl").read_text().splitlines()
    own = [row for row in map(json.loads, lines) if row["scheme"] == "frame_means"]
    assert [row["grid"] for row in own] == ["2 x 2 x 2", "4 x 2 x 2"]
    for row in own:
        assert row["formula_matches_count"] and row["status"] == "measured" and not row["window"]
    page = html.unescape((tmp_path / "study" / "report.html").read_text())
    assert page.count("<td>frame_means</td>") == 2 + 1 + 2  # ratios, exponents, all points
    assert "frame_means" in drawn


def test_a_config_trains_it(scheme_file):
    config = quickstart.get_config()
    config.scheme_file = scheme_file
    config.model.attention = "frame_means"
    model = parts.build_model(config, num_classes=7)
    clip = jax.ShapeDtypeStruct((1, *parts.clip_shape(config)), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), clip)
    assert "mean_norm" in variables["params"]["block_0"]["attention"]


def test_names_and_files_that_cannot_be(tmp_path):
    with pytest.raises(UserError, match='cannot be registered as "full"'):
        register_scheme("full", blocks.SCHEMES["local"], windows=True)
    with pytest.raises(UserError, match='cannot be registered as "a:b"'):
        register_scheme("a:b", blocks.SCHEMES["local"], windows=True)
    with pytest.raises(UserError, match='built-in scheme "full"'):
        register_formula("full", formulas.full)
    (tmp_path / "mine.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(UserError, match=r'no Python file ".*min.py".* Did you mean ".*mine.py"'):
        Study(scheme_file=str(tmp_path / "min.py"))
    for _ in range(2):  # what the file raises is her own to see, each time
        with pytest.raises(RuntimeError, match="broken"):
            Study(scheme_file=str(tmp_path / "mine.py"))


def test_registering_says_what_it_looks_at():
    register_scheme("mine", blocks.SCHEMES["spatial"], windows=True, frame_class_tokens=True)
    assert formulas.class_tokens("mine", 5) == 5 and "mine" in blocks.WINDOWED
    register_scheme("mine", blocks.SCHEMES["full"], windows=False)  # as in a notebook
    assert formulas.class_tokens("mine", 5) == 1 and "mine" not in blocks.WINDOWED
