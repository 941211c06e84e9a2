"""`python -m logo_jax.models`: the table of all systems."""

import csv
import sys

import pytest

from logo_jax.models import __main__ as table
from logo_jax.models import systems


def test_a_row_has_the_published_size():
    cells = dict(zip(table.COLUMNS, table.row("former_dfer"), strict=True))
    assert float(cells["parameters (M)"]) == pytest.approx(18.03, rel=0.005)
    assert float(cells["conv + dense (G)"]) == pytest.approx(8.30, rel=0.005)
    assert "18.03 M" in cells["published"]
    deeper = dict(zip(table.COLUMNS, table.row("former_dfer", spatial_depth=3), strict=True))
    assert float(deeper["conv + dense (G)"]) == pytest.approx(9.11, rel=0.005)
    assert deeper["system"] == "former_dfer, spatial_depth=3"
    assert cells["parity test"] == "tests/models/test_former_dfer.py"


@pytest.mark.slow
def test_the_table_is_printed_and_written(tmp_path, monkeypatch, capsys):
    few = {name: systems.SYSTEMS[name] for name in ("resnet18_gru", "i3d")}
    monkeypatch.setattr(table, "SYSTEMS", few)
    monkeypatch.setattr(sys, "argv", ["logo_jax.models", f"--csv={tmp_path / 'systems.csv'}"])
    table.main()
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:3]] == ["system", "resnet18_gru", "i3d"]
    assert "One multiply-add is one" in printed[4]
    with (tmp_path / "systems.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == ["resnet18_gru", "i3d"]


@pytest.mark.parametrize("name", systems.SYSTEMS)
def test_parity_tests_that_are_named_exist(name, pytestconfig):
    assert (pytestconfig.rootpath / systems.SYSTEMS[name].parity_test).is_file()
