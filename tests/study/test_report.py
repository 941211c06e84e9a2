"""The page and the command line of a study, from end to end on a tiny one."""

import html
import re
import signal
import sys
from math import prod

import jax
import numpy as np
import pytest

from configs import study as config_file
from logo_jax.common.errors import Interrupted, UserError
from logo_jax.experiments import study as experiment
from logo_jax.experiments.study import from_config, study
from logo_jax.models import blocks
from logo_jax.models.windows import by
from logo_jax.study import __main__ as command_line
from logo_jax.study import formulas, plots, points, report, run, scaling
from logo_jax.study.points import Study
from logo_jax.study.scaling import THEORY, counted_exponents
from logo_jax.training.signals import Stopped


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(run, "matmul_rate", lambda dtype: 1e9)
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("scheme", THEORY)
def test_counted_exponents_are_those_of_theory(scheme):
    assert counted_exponents(scheme) == pytest.approx(THEORY[scheme], abs=0.01)


@pytest.mark.parametrize("scheme", THEORY)
def test_a_scheme_of_ones_own_is_counted_on_smaller_grids(scheme, monkeypatch):
    monkeypatch.setitem(blocks.SCHEMES, "mine", blocks.SCHEMES[scheme])
    if scheme in blocks.FRAME_CLASS_TOKENS:
        monkeypatch.setattr(blocks, "FRAME_CLASS_TOKENS", blocks.FRAME_CLASS_TOKENS | {"mine"})
        monkeypatch.setattr(formulas, "FRAME_CLASS_TOKENS", blocks.FRAME_CLASS_TOKENS)
    sizes, traced = [], scaling.module_and_shapes
    monkeypatch.setattr(
        scaling, "module_and_shapes", lambda p: sizes.append(prod(p.grid)) or traced(p)
    )
    assert counted_exponents("mine") == pytest.approx(THEORY[scheme], abs=0.15)
    assert max(sizes) == 2**13


def test_exponent_of_a_power_law():
    assert plots.exponent([(x, 3 * x**1.5) for x in (2, 5, 11)]) == pytest.approx(1.5)
    assert np.isnan(plots.exponent([(1, 1)]))


def test_sweeps_take_one_axis_and_one_window():
    row = {"window": "", "dim": 8, "dtype": "float32", "num_heads": 2, "batch": 1, "label": "full"}
    grids = ["4 x 7 x 7", "8 x 7 x 7", "16 x 7 x 7", "8 x 14 x 14"]
    rows = [row | {"grid": grid} for grid in grids] + [
        row | {"grid": "8 x 7 x 7", "window": "1 x 7 x 7"},
        row | {"grid": "8 x 7 x 7", "window": "4 x 7 x 7"},
        row | {"grid": "32 x 7 x 7", "dim": 16},
    ]
    assert [r["grid"] for r in plots.sweep(rows, "frames")] == [
        "4 x 7 x 7", "8 x 7 x 7", "8 x 7 x 7", "16 x 7 x 7",
    ]  # fmt: skip
    assert {r["grid"] for r in plots.sweep(rows, "resolution")} == {"8 x 7 x 7", "8 x 14 x 14"}
    assert plots.tokens(rows[3]) == 8 * 14 * 14


def test_labels_move_apart_and_no_further():
    heights = {"a": 0.0, "b": 0.1, "c": 0.1, "d": 5.0}
    found = plots._spread(heights, 1.0)
    assert found == pytest.approx({"a": 0.2 / 3 - 1, "b": 0.2 / 3, "c": 0.2 / 3 + 1, "d": 5})


def test_growth_takes_the_grids_of_its_axis():
    row = {"series": "exponents", "scheme": "full"}
    rows = [row | {"grid": by(grid), "forward_ms": float(prod(grid) ** 2)}
            for grids in points.EXPONENTS_GRIDS.values() for grid in grids]  # fmt: skip
    rows.append({"series": "grid", "scheme": "full", "grid": "4 x 7 x 7", "forward_ms": 1.0})
    for axis, first in (("frames", 384), ("positions", 28 * 28)):
        (curve,) = plots.growth(rows, axis, "forward_ms").values()
        assert len(curve) == len(points.EXPONENTS_GRIDS[axis]) and curve[0][0] == first
        assert plots.exponent(curve) == pytest.approx(2)


def test_config_has_the_defaults_of_a_study():
    assert from_config(config_file.get_config()) == Study()


def test_config_of_another_kind_is_refused():
    config = config_file.get_config()
    config.study.winows = 3
    with pytest.raises(UserError, match='no field winows. Did you mean "windows"'):
        from_config(config)
    del config.study
    for absent in (config, None):
        with pytest.raises(UserError, match="There is no study"):
            from_config(absent)


@pytest.mark.slow
def test_study_writes_one_page_that_needs_nothing_else(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(points.EXPONENTS_GRIDS, "frames", ((2, 2, 2), (4, 2, 2), (6, 2, 2)))
    monkeypatch.setitem(points.EXPONENTS_GRIDS, "positions", ((2, 2, 2), (2, 4, 4), (2, 6, 6)))
    monkeypatch.setattr(points, "EXPONENTS_FIRST", {})
    monkeypatch.setattr(points, "WINDOW_SIZES", ((4, 4, 4), (4, 8, 4)))
    config = config_file.get_config()
    config.study.update(
        schemes=("full", "full:cudnn", "local_global"), grids=((2, 2, 2), (4, 2, 2)),
        windows=((2, 1, 1),), dims=(8,), num_heads=2, repeats=2,
    )  # fmt: skip
    study(config, tmp_path)
    page = html.unescape((tmp_path / "report.html").read_text())
    assert not re.search(r'(src|href|srcset)="(?!data:)', page)
    assert page.count("One multiply-add is one") >= 5  # on every table
    assert page.count("<table") == 4 and "prefers-color-scheme: dark" in page
    # Table 2, our counts beside the paper's.
    for number in ("9.11", "25.16", "10.27", "9.10", "25.37", "10.28"):
        assert f"<td>{number}</td>" in page
    assert "needs a GPU" in page and "DIFFERS" not in page
    for name in ("time", "memory", "cost", "exponents", "figure_1", "inequality", "window"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    # 6 of the grid, 2 schemes on 4 grids, 2 windows.
    assert "16 points" in capsys.readouterr().out
    assert "Measured forward, " in page and "tokens are the fastest of 64, 128." in page

    # The same workdir by the command line: nothing is measured again.
    before = (tmp_path / "study.jsonl").read_text()
    command_line.main([
        "--schemes=full,local_global", "--grids=2x2x2,4x2x2", "--windows=2x1x1", "--dims=8",
        "--num_heads=2", "--series=grid", f"--workdir={tmp_path}",
    ])  # fmt: skip
    assert (tmp_path / "study.jsonl").read_text() == before


def test_command_line_says_what_is_wrong(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        command_line.main(["--schemes=locl", f"--workdir={tmp_path}"])
    assert stop.value.code == 2
    assert 'error: Unknown attention scheme "locl"' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command_line.main(["--grids=16x14"])
    assert '"16x14" is no grid' in capsys.readouterr().err
    for argument, message in (
        ("--dims=a", '"a" is no whole number: give one as 8, several as 8,16'),
        ("--repeats=1.5", '"1.5" is no whole number'),
        ("--memory_gib=x", '"x" is no number: give one as 4.5'),
    ):
        with pytest.raises(SystemExit):
            command_line.main([argument])
        assert message in capsys.readouterr().err


def stop(error):
    def raise_it(*_):
        raise error

    return raise_it


def test_a_stopped_study_says_what_is_kept(tmp_path, capsys, monkeypatch):
    kept = f"finished points are in {tmp_path / 'study.jsonl'}, and the same command goes on"
    monkeypatch.setattr(command_line, "end_at_once", sys.exit)
    monkeypatch.setattr(command_line, "run_study", stop(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--schemes=full", f"--workdir={tmp_path}"])
    assert ended.value.code == 130 and f"Ctrl-C: stopped; {kept}" in capsys.readouterr().err
    monkeypatch.setattr(command_line, "run_study", stop(Interrupted("the run is saved")))
    with pytest.raises(SystemExit) as ended:
        command_line.main(["--schemes=full", f"--workdir={tmp_path}"])
    assert ended.value.code == 130 and "the run is saved" in capsys.readouterr().err
    # As launch.py stops.
    monkeypatch.setattr(experiment, "run_study", stop(Stopped(signal.SIGTERM)))
    with pytest.raises(Stopped, match="SIGTERM: stopped; finished points") as stopped:
        study(config_file.get_config(), tmp_path)
    assert kept in str(stopped.value) and stopped.value.status == 143


def test_points_that_failed_are_said_at_the_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report, "_drawings", lambda *_: [])
    monkeypatch.setattr(report.tables, "table_2", lambda: "")
    monkeypatch.setattr(report.tables, "exponents", lambda rows: "")
    row = points.Point("full", "xla", (2, 2, 2), None, 8).record() | {"machine": "an abacus"}
    report.write_report([row | {"status": "counting: broken", "failed": True}], tmp_path)
    assert "1 points failed (full): the column status says why" in capsys.readouterr().out
