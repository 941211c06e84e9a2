"""A small study from its choices to its files, interrupted and resumed."""

import csv
import json
import os
from dataclasses import replace

import jax
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models import blocks
from logo_jax.study import run, tables
from logo_jax.study.points import Point, Study

TINY = {
    "schemes": ("full", "local_global"),
    "grids": ((2, 2, 2),),
    "windows": ((2, 1, 1),),
    "dims": (8,),
    "num_heads": 2,
    "repeats": 2,
    "series": ("grid",),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(run, "matmul_rate", lambda dtype: 1e9)
    jax.config.update("jax_disable_most_optimizations", True)  # compiles in half the time
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def lines(folder):
    return [json.loads(line) for line in (folder / "study.jsonl").read_text().splitlines()]


def test_study_resumes_and_grows(tmp_path, monkeypatch, capsys):
    rows = run.run_study(Study(**TINY), tmp_path)
    assert rows == lines(tmp_path) and len(rows) == 2
    for row in rows:
        assert row["status"] == "measured" and row["formula_matches_count"]
        for name in ("forward", "training"):
            ms, macs = row[f"{name}_ms"], row[f"{name}_multiply_adds"]
            assert ms > 0 and row[f"{name}_spread_ms"] >= 0
            assert row[f"{name}_peak_mib"] > row[f"{name}_temporary_mib"] > 0
            assert row[f"{name}_share"] == pytest.approx(macs / (ms / 1e3) / 1e9)
        # Two backward products for each forward one.
        assert row["training_multiply_adds"] == 3 * row["forward_multiply_adds"]
    head, *table = (tmp_path / "study.csv").read_text().splitlines()
    assert "One multiply-add is one" in head
    assert [r["label"] for r in csv.DictReader(table)] == [r["label"] for r in rows]

    # A crash in the middle of a line: only that point is measured again.
    text = (tmp_path / "study.jsonl").read_text()
    (tmp_path / "study.jsonl").write_text(text[:-20])
    measured = []
    original = run.count_point
    monkeypatch.setattr(run, "count_point", lambda p: measured.append(p.label) or original(p))
    again = run.run_study(Study(**TINY), tmp_path)
    assert measured == ["local_global"] and again[:1] == rows[:1]
    # A longer study measures what is new; the rows come in the order of the study.
    longer = run.run_study(Study(**TINY | {"schemes": ("local", *TINY["schemes"])}), tmp_path)
    assert measured == ["local_global", "local"]
    assert [row["label"] for row in longer] == ["local", "full", "local_global"]
    assert "study: 3 of 3 points" in capsys.readouterr().err


@pytest.mark.slow
def test_what_does_not_fit_does_not_stop_the_study(tmp_path):
    # The weights of full, 8 heads x 513^2 x 4 bytes, are 8 MiB; local_global has an eighth.
    study = Study(
        schemes=("full", "full:cudnn", "local_global"), grids=((8, 8, 8),), windows=((8, 1, 8),),
        dims=(8,), repeats=1, memory_gib=8 / 1024, series=("grid",),
    )  # fmt: skip
    full, cudnn, ours = run.run_study(study, tmp_path)
    assert full["status"].startswith("forward: needs") and "; training: needs" in full["status"]
    assert "forward_ms" not in full
    assert full["counted_products"] == 2 * 8 * 513**2  # what it costs is known all the same
    assert "needs a GPU" in cudnn["status"]
    assert ours["status"] == "measured" and ours["training_ms"] > 0
    # With the same limit it is not tried again, with another one it is.
    assert run.run_study(study, tmp_path) == [full, cudnn, ours]
    again = run.run_study(replace(study, memory_gib=1), tmp_path)
    assert again[0]["status"] == "measured" and again[2] == ours


def test_a_point_has_the_whole_model_and_inequality_9():
    point = Point("local_global", "xla", (2, 2, 4), (2, 2, 1), 8, 2)
    row = run.count_point(point)
    assert row["mlp"] == 4 * 2 * 17 * 8 * 16  # 4 blocks, 16 tokens and a class token
    assert row["model"] == 4 * row["forward_multiply_adds"] + row["mlp"]
    assert row["inequality_9"]  # 4 tokens a window lie between 2 frames and 8 positions
    assert not run.count_point(replace(point, window=(2, 1, 1)))["inequality_9"]
    full = run.count_point(replace(point, scheme="full", window=None))
    assert "inequality_9" not in full and full["model"] > row["model"]
    page = tables.points([point.record() | row | {"status": "counted"}])
    assert "<td>holds</td>" in page and f"<td>{row['model'] / 1e6:,.1f}</td>" in page


def test_a_study_does_not_replace_the_report_of_a_training(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds a training run, .* choose another --workdir"):
        run.run_study(Study(**TINY), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_what_did_not_fit_into_the_free_memory_is_tried_again(tmp_path, monkeypatch):
    study = Study(**TINY | {"schemes": ("full",)})
    monkeypatch.setattr(run, "free_memory", lambda: 100)
    (row,) = run.run_study(study, tmp_path)
    assert row["status"].startswith("forward: needs") and row["memory_gib"] == 0
    monkeypatch.undo()
    monkeypatch.setattr(run, "matmul_rate", lambda dtype: 1e9)
    (row,) = run.run_study(study, tmp_path)
    assert row["status"] == "measured"


def test_progress_counts_a_group_when_it_is_done(tmp_path, monkeypatch):
    """Its points are finished together: one at a time they gave 12 times the time that was left."""
    done = []
    monkeypatch.setattr(run.Progress, "update", lambda _, count, note: done.append((count, note)))
    run.run_study(Study(**TINY), tmp_path)
    assert done == [(2, "2 x 2 x 2")]


def test_a_compiler_without_an_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr(jax.stages.Compiled, "cost_analysis", lambda _: {})
    (row,) = run.run_study(Study(**TINY | {"schemes": ("full",)}), tmp_path)
    assert row["status"] == "measured" and "forward_compiler_flops" not in row


def test_the_cores_are_those_of_the_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert ", 3 cores, jax" in run.describe_machine()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("memory_gib", float("nan"), "memory_gib is nan: give a number of GiB"),
        ("memory_gib", float("inf"), "memory_gib is inf"),
        ("memory_gib", -1, "memory_gib is -1"),
        ("schemes", ("full:",), "attention_impl"),
        ("schemes", ("full", "mixing:chunked"), "dims has 8: .* give at least 16, or leave mixing"),
    ],
)
def test_choices_that_no_study_can_use(field, value, message):
    with pytest.raises(UserError, match=message):
        Study(**TINY | {field: value})


def test_a_study_without_a_point():
    with pytest.raises(UserError, match="nothing to measure: the window 3 x 3 x 3 does not divide"):
        Study(**TINY | {"schemes": ("local",), "windows": ((3, 3, 3),)})


def test_a_scheme_of_ones_own_needs_no_formula(tmp_path, monkeypatch):
    monkeypatch.setitem(blocks.SCHEMES, "mine", blocks.SCHEMES["full"])
    study = Study(**TINY | {"schemes": ("mine",)})
    (row,) = run.run_study(study, tmp_path)
    assert row["label"] == "mine" and row["forward_ms"] > 0
    assert row["counted_products"] == 2 * 8 * 9**2 and "products" not in row
