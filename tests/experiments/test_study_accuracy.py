"""Accuracy beside cost: every scheme trained with every seed, once."""

import csv
import html
import json

import flax.linen as nn
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import study as config_file
from logo_jax.common.errors import UserError
from logo_jax.experiments import command_line
from logo_jax.experiments import study as module
from logo_jax.experiments.sweep import parse_field
from logo_jax.models import attention, blocks
from logo_jax.study import __main__ as study_main
from logo_jax.study import plots, report, run, tables
from logo_jax.study.points import Study

TINY = {
    "schemes": ("full", "full:chunked", "local_global"), "grids": ((2, 2, 2),),
    "windows": ((2, 1, 1),), "dims": (8,), "num_heads": 2, "repeats": 1, "series": ("grid",),
}  # fmt: skip
SMALL_TRAINING = {
    "data": {"options": {"num_train": 8, "num_val": 8, "num_test": 8}, "frame_size": 32,
             "segments": 2},
    "input": {"image_size": 32}, "batch_size": 4, "max_steps": 2,
    "model": {"stage": 3, "width": 4, "dim": 8, "mlp_dim": 8, "num_heads": 2, "num_blocks": 1,
              "window": (2, 1, 1)},
    "evaluation": {"controls": "", "batch_size": 8},
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(run, "matmul_rate", lambda dtype: 1e9)


@pytest.mark.slow
def test_schemes_are_trained_once_and_shown_beside_their_cost(tmp_path, monkeypatch):
    config = config_file.get_config()
    config.study.update(TINY)
    config.study.accuracy_config = "configs/quickstart.py"
    overrides = SMALL_TRAINING | {"data": SMALL_TRAINING["data"] | {"data_dir": str(tmp_path)}}
    config.study.accuracy_overrides = ConfigDict(overrides)
    workdir = tmp_path / "study"
    module.study(config, workdir, with_accuracy=True)
    rows = [json.loads(line) for line in (workdir / "accuracy.jsonl").read_text().splitlines()]
    assert [row["scheme"] for row in rows] == ["full", "local_global"]  # chunked is full, too
    for row in rows:
        assert row["seeds"] == [0, 1, 2] and row["status"] == "trained" and row["training_ms"] > 0
        for seed, war, uar in zip(row["seeds"], row["war"], row["uar"], strict=True):
            name = f"model.attention={row['scheme']}-seed={seed}"
            results = json.loads((workdir / "accuracy" / name / "results.json").read_text())
            assert (results["test"]["war"], results["test"]["uar"]) == (war, uar)
    # 2 x 2 x 2 tokens and a class token: two products of 8 channels for each pair.
    assert rows[0]["products"] == 2 * 8 * 9**2
    comment, *table = (workdir / "accuracy.csv").read_text().splitlines()
    assert "One multiply-add is one" in comment
    assert [(r["scheme"], r["seed"]) for r in csv.DictReader(table)] == [
        (scheme, seed) for scheme in ("full", "local_global") for seed in "012"
    ]
    page = html.unescape((workdir / "report.html").read_text())
    assert "Accuracy and cost" in page and (workdir / "plots" / "accuracy.png").is_file()
    mean, spread = 100 * np.mean(rows[0]["war"]), 100 * np.std(rows[0]["war"], ddof=1)
    assert f"<td>{mean:.1f} ± {spread:.1f}</td>" in page

    # Again: nothing is trained.
    def trained(*_):
        raise AssertionError

    monkeypatch.setattr(module, "train", trained)
    module.study(config, workdir, with_accuracy=True)
    again = [json.loads(line) for line in (workdir / "accuracy.jsonl").read_text().splitlines()]
    assert [row["war"] for row in again] == [row["war"] for row in rows]


@pytest.mark.slow
def test_the_report_has_what_could_be_trained(tmp_path, monkeypatch):
    def sweep(config, folder, fields, seeds, job):
        assert (fields, seeds) == (["model.attention='full','local_global'"], 3)
        folder.mkdir()
        lines = [f"full,{seed},0.{5 + seed},0.5,2,1,a,\n" for seed in range(3)]
        lines += ["local_global,0,0.5,0.25,2,1,a,\n", "local_global,1,,,,,b,no memory\n"]
        head = "model.attention,seed,war,uar,step,seconds,workdir,error\n"
        (folder / "sweep.csv").write_text(head + "".join(lines))
        raise UserError("1 of 6 runs failed")

    monkeypatch.setattr(module, "sweep", sweep)
    with pytest.raises(UserError, match="1 of 6 runs failed"):
        module.run_with_accuracy(
            Study(**TINY), tmp_path, "configs/quickstart.py", 3, SMALL_TRAINING
        )
    full, ours = map(json.loads, (tmp_path / "accuracy.jsonl").read_text().splitlines())
    assert full["war"] == [0.5, 0.6, 0.7] and ours["status"] == "no memory"
    assert full["products"] == 2 * 8 * 9**2 and full["training_ms"] > 0
    page = html.unescape((tmp_path / "report.html").read_text())
    assert "<td>60.0 ± 10.0</td>" in page and "<td>no memory</td>" in page


def test_the_recipe_is_changed_on_the_command_line(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(module, "check_recipe", lambda *_: {})
    monkeypatch.setattr(module, "run_study", lambda *_: [])
    monkeypatch.setattr(module, "sweep", lambda config, *_: seen.append(config))
    monkeypatch.setattr(module, "outcomes", lambda *_: {})
    monkeypatch.setattr(module, "costs", lambda *_: [])
    monkeypatch.setattr(module, "_write", lambda *_: None)
    monkeypatch.setattr(module, "write_report", lambda *_: None)
    fields = "{'num_epochs': 2, 'data': {'options': {'num_train': 280}}}"
    config = command_line.override(
        config_file.get_config(),
        [
            f"--config.study.accuracy_overrides={fields}",
            "--config.study.accuracy_config=configs/quickstart.py",
        ],
    )
    module.study(config, tmp_path, with_accuracy=True)
    recipe = "--accuracy_config=configs/quickstart.py"
    begin = [f"--workdir={tmp_path}", "--with_accuracy", recipe]
    study_main.main([*begin, f"--accuracy_overrides={fields}"])
    assert [(c.num_epochs, c.data.options.num_train, c.batch_size) for c in seen] == [
        (2, 280, 16), (2, 280, 16)
    ]  # fmt: skip
    for wrong in ("num_epochs=2", "[2]", "{2: 3}"):
        with pytest.raises(SystemExit):
            study_main.main([*begin, f"--accuracy_overrides={wrong}"])
        assert f'"{wrong}" is no fields of a config' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        study_main.main([*begin, "--accuracy_overrides={'num_epoch': 2}"])
    assert "accuracy_overrides does not fit" in capsys.readouterr().err


def test_a_name_of_digits_is_trained(tmp_path, monkeypatch):
    monkeypatch.setitem(blocks.SCHEMES, "2", blocks.SCHEMES["full"])
    swept = []
    monkeypatch.setattr(module, "check_recipe", lambda *_: {})
    monkeypatch.setattr(module, "run_study", lambda *_: [{"scheme": "2"}])
    monkeypatch.setattr(module, "sweep", lambda config, _, fields, *__: swept.extend(
        parse_field(config, fields[0])
    ))  # fmt: skip
    monkeypatch.setattr(module, "costs", lambda *_: [])
    monkeypatch.setattr(module, "write_report", lambda *_: None)
    monkeypatch.setattr(module, "_write", lambda *_: None)
    study = Study(**TINY | {"schemes": ("2", "full")})
    module.run_with_accuracy(study, tmp_path, "configs/quickstart.py", 3)
    assert swept == [("model.attention", "2"), ("model.attention", "full")]


def test_what_cannot_be_trained(tmp_path):
    tiny = Study(**TINY)
    with pytest.raises(UserError, match="fewer than 3 seeds"):
        module.run_with_accuracy(tiny, tmp_path, "configs/wild.py", 2)
    with pytest.raises(UserError, match='"former_dfer", which has no attention scheme'):
        module.run_with_accuracy(tiny, tmp_path, "configs/wild.py:former_dfer", 3)
    with pytest.raises(UserError, match="There is no config file"):
        module.run_with_accuracy(tiny, tmp_path, "configs/wld.py", 3)
    with pytest.raises(UserError, match='"none", which has no attention scheme'):
        module.run_with_accuracy(tiny, tmp_path, "configs/study.py", 3)
    with pytest.raises(UserError, match="accuracy_overrides does not fit") as error:
        module.run_with_accuracy(tiny, tmp_path, "configs/wild.py", 3, {"batch_sze": 4})
    assert str(error.value).endswith('no field "batch_sze". Did you mean "batch_size"?')
    for wrong in ({"batch_size": "x"}, {"model": {"window": 3}}, {"batch_size": {"a": 1}}):
        with pytest.raises(UserError, match="accuracy_overrides does not fit"):
            module.run_with_accuracy(tiny, tmp_path, "configs/wild.py", 3, wrong)


def test_failed_runs_are_told(tmp_path):
    (tmp_path / "sweep.csv").write_text(
        "model.attention,seed,war,uar,step,seconds,workdir,error\n"
        "full,1,0.5,0.25,4,1,a,\nfull,0,0.75,0.5,4,1,b,\nfull,2,,,,,c,no memory\n"
        "local,0,0.1,0.1,4,1,d,\nfull,3,0.9,0.9,4,1,e,\n"
    )
    assert module.outcomes(tmp_path / "sweep.csv", "full", range(3)) == {
        "seeds": [0, 1], "war": [0.75, 0.5], "uar": [0.5, 0.25], "status": "no memory",
    }  # fmt: skip
    for table in ("sweep.csv", "none.csv"):
        found = module.outcomes(tmp_path / table, "local", range(1, 4))
        assert found == {"seeds": [], "war": [], "uar": [], "status": "not trained"}


def recipe(**model):
    config = command_line.load("configs/quickstart.py")
    config.update(SMALL_TRAINING)
    config.model.update(model)
    return config


def test_a_recipe_that_a_scheme_does_not_go_with_ends_before_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "run_study", lambda *_: pytest.fail("measured"))
    wrong = SMALL_TRAINING | {"model": SMALL_TRAINING["model"] | {"window": (2, 3, 1)}}
    with pytest.raises(UserError, match=r'quickstart.py cannot train "local_global": .* 2 x 3 x 1'):
        module.run_with_accuracy(Study(**TINY), tmp_path, "configs/quickstart.py", 3, wrong)


class Broken(nn.Module):
    """Built where the channels allow it, but never trained."""

    options: object

    def __call__(self, grid, cls, *, train):
        if train or grid.shape[-1] == 8:
            raise ValueError("not so\nand more")
        return grid, cls


@pytest.mark.slow
def test_a_scheme_that_cannot_be_built_does_not_end_the_others(tmp_path, monkeypatch):
    monkeypatch.setitem(blocks.SCHEMES, "mine", Broken)
    row = {"failed": False, "status": "measured"}
    monkeypatch.setattr(
        module, "run_study", lambda *_: [row | {"scheme": name} for name in ("full", "mine")]
    )
    trained, reports = [], []
    monkeypatch.setattr(module, "sweep", lambda *args: trained.append(args[2]))
    monkeypatch.setattr(module, "write_report", lambda rows, _, *more: reports.append(more))
    tiny = Study(**TINY | {"schemes": ("mine", "full")})
    with pytest.raises(UserError, match='quickstart.py cannot build "mine": ValueError: not so$'):
        module.run_with_accuracy(tiny, tmp_path, "configs/quickstart.py", 3, SMALL_TRAINING)
    assert trained == [["model.attention='full'"]] and reports[0] == ()  # measured, told, trained
    mine, full = reports[1][0]
    assert mine["status"] == "not trained; cost: ValueError: not so" and "products" not in mine
    assert full["training_ms"] > 0 and full["products"] == 2 * 8 * 9**2
    # A row without cost has its place in the table, but none in the figure.
    page = tables.accuracy([mine])[1] + tables.accuracy([mine | {"war": [0.5], "uar": [0.5]}])[1]
    assert page.count("cost: ValueError: not so") == 2
    assert [name for name, *_ in report._drawings([], [mine | {"war": [0.5]}])] == ["inequality"]


def test_what_a_scheme_of_ones_own_raises_is_the_error_of_its_run(tmp_path, monkeypatch):
    def train(config, workdir):
        raise KeyError("f")

    monkeypatch.setattr(module, "train", train)
    with pytest.raises(UserError, match="KeyError: 'f'"):
        module._train(recipe(attention="mine"), tmp_path)
    with pytest.raises(KeyError):
        module._train(recipe(attention="full"), tmp_path)


def test_the_cost_is_that_of_the_plain_form(monkeypatch):
    monkeypatch.setattr(attention, "CHUNK", 5)  # 9 queries would be 10

    def prepare(*_):
        raise module.DoesNotFit("needs 2 GiB, has 1 GiB")

    monkeypatch.setattr(module, "compile_program", prepare)
    (row,) = module.costs(recipe(attention_impl="chunked"), ["full"], 1)
    assert row["products"] == 2 * 8 * 9**2
    assert row["status"] == "needs 2 GiB, has 1 GiB" and "training_ms" not in row


def test_trainings_of_another_scheme_file_are_refused(tmp_path):
    module.check_sources(tmp_path / "accuracy", {"full": ""})
    assert not (tmp_path / "accuracy").exists()
    folder = tmp_path / "accuracy"
    module.check_sources(folder, {"full": "", "a/b": "old"})
    module.check_sources(folder, {"a/b": "new"})  # nothing was trained yet
    (folder / "model.attention=a_b-seed=0").mkdir()
    module.check_sources(folder, {"a/b": "new"})
    with pytest.raises(UserError, match='"a/b" was trained .* delete .*=a_b-seed=0 and the other'):
        module.check_sources(folder, {"a/b": "old"})
    (folder / "sources.json").write_text("[")  # damaged: what was trained is not known
    with pytest.raises(UserError, match="read otherwise"):
        module.check_sources(folder, {"a/b": "new"})


def test_the_frontier_has_what_nothing_beats():
    points = {"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (2.0, 0.7), "d": (3.0, 0.7), "e": (4.0, 0.9)}
    assert plots.undominated(points) == [(1.0, 0.5), (2.0, 0.7), (4.0, 0.9)]
