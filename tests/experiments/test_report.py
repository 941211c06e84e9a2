"""The report of real small runs: opened in Chromium, with the numbers that the files give."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from sklearn.metrics import confusion_matrix, recall_score

import launch as launch_file
from logo_jax.common.errors import UserError
from logo_jax.experiments import command_line, report
from logo_jax.experiments.report import write_report
from logo_jax.experiments.report_runs import by_method, read_models
from logo_jax.experiments.train import train
from tests.common.chromium import open_page

CLASSES = ["calm", "joy", "rage"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where the run of this file lies, once it is trained."""
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def trained(config, kept, tmp_path):
    if not kept.exists():
        config.selection = "best_on_val"
        train(config, kept)
    shutil.copytree(kept, tmp_path / "run")
    results = json.loads((kept / "results.json").read_text())
    results["checkpoint"] = results["checkpoint"].replace(str(kept), str(tmp_path / "run"))
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    return tmp_path / "run"


def predictions(folder):
    rows = list(csv.DictReader((folder / "predictions.csv").open(newline="")))
    return [row["true"] for row in rows], [row["predicted"] for row in rows]


def csv_rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def shown(opened, start):
    """The table whose caption starts so: head and rows."""
    (rows,) = (rows for caption, rows in opened.tables.items() if caption.startswith(start))
    return rows


@pytest.mark.slow
def test_one_run_in_a_browser(trained, tmp_path):
    page = write_report([trained], tmp_path / "report")
    opened = open_page(page, tmp_path / "browser")
    assert opened.errors == [] and opened.fetched == []
    assert opened.images > 30 and opened.broken == 0
    assert not re.search(r"""(src|href|srcset)=["'](?!data:)|url\(|@import|<script""",
                         page.read_text())  # fmt: skip
    assert page.stat().st_size < 5 * 2**20

    truth, predicted = predictions(trained)
    recalls = recall_score(truth, predicted, average=None, labels=CLASSES)
    head, row = shown(opened, "95 %: bootstrap")
    numbers = dict(zip(head, row, strict=True))
    right = np.mean(np.array(truth) == np.array(predicted))
    assert numbers["WAR %"] == f"{100 * right:.2f}"
    assert numbers["UAR %"] == f"{100 * recalls.mean():.2f}"
    body = shown(opened, "Recall of each class")[1:]
    assert [row[2] for row in body] == [f"{100 * recall:.2f}" for recall in recalls]
    matrix = confusion_matrix(truth, predicted, labels=CLASSES)
    for row, counts in zip(shown(opened, "Rows are true classes")[1:], matrix, strict=True):
        assert [int(cell.split(" ")[0]) for cell in row[2:]] == counts.tolist()
        shares = [float(re.search(r"\((.*) %\)", c)[1]) if "(" in c else 0 for c in row[2:]]
        np.testing.assert_allclose(shares, 100 * counts / counts.sum(), atol=0.051)

    for words in (
        "No published numbers are known here for frame_folders",
        "t-SNE of 9 clips shows nothing",
        "config.optimizer.rho = 0.05",
        "What the model looks at",
        "The most confident errors",
    ):
        assert words in opened.text
    facts = {row[0]: row[1] for row in shown(opened, "What was run")[1:]}
    results = json.loads((trained / "results.json").read_text())
    assert facts["data fingerprint"] == results["data"]["fingerprint"][:16]
    assert facts["hardware"] == results["device"] and "best UAR on the val" in facts["checkpoint"]
    assert results["versions"]["jax"] in facts["versions"]

    files = sorted(path.stem for path in (page.parent / "tables").glob("*.csv"))
    assert files == sorted(path.stem for path in (page.parent / "tables").glob("*.tex"))
    tables = list(opened.tables.values())
    for name in files:  # the page and its files have the same cells
        assert csv_rows(page.parent / "tables" / f"{name}.csv") in tables, name
    assert {"runs", "results", "recalls", "confusion", "calibration", "frames", "clips"} <= {*files}


def test_what_is_missing_is_said(trained, tmp_path):
    shutil.rmtree(trained / "checkpoints")
    (trained / "metrics.jsonl").unlink()
    results = json.loads((trained / "results.json").read_text())
    results["data"] |= {"name": "dfew", "fold": 1, "folds": [1, 2, 3, 4, 5]}
    (trained / "results.json").write_text(json.dumps(results))
    text = write_report([trained], tmp_path / "report").read_text()
    assert "No curves: there is no metrics.jsonl of run, fold 1." in text
    assert "lacks folds of the set&#x27;s protocol: 2, 3, 4, 5" in text
    assert text.count("no: 5 folds, ours 1") == 16 and "66.98" in text  # DFEW's published rows
    assert text.count("Not shown of run: the checkpoint of step") == 3
    assert "The most confident errors" in text and "<table" in text
    results["data"]["caveats"] = ["AN EXCERPT: results are not comparable."]
    (trained / "results.json").write_text(json.dumps(results))
    text = write_report([trained], tmp_path / "report").read_text()
    assert "run: AN EXCERPT: results are not comparable." in text
    assert text.count("ours not the set as it was published") == 16
    results["data"]["caveats"] = []
    results["val"] = results.pop("test")
    (trained / "results.json").write_text(json.dumps(results))
    text = write_report([trained], tmp_path / "report").read_text()
    assert "run: judged on val; these are not the numbers of the set&#x27;s protocol" in text
    assert "best_on_val, UAR" in text and text.count("ours judged on val") == 16
    (trained / "predictions.csv").unlink()
    with pytest.raises(UserError, match="Cannot read .*predictions.csv"):
        write_report([trained], tmp_path / "report")
    with pytest.raises(UserError, match="There is no folder"):
        write_report([tmp_path / "none"], tmp_path / "report")


def copy_of(run, folder, fold=None, turn=(), **fields):
    """A run as if it had other config fields, and other predictions in the clips of `turn`."""
    folder.mkdir(parents=True)
    results = json.loads((run / "results.json").read_text())
    results["data"]["fold"], results["config"]["data"]["fold"] = fold, fold or 0
    results["data"]["folds"] = [1, 2] if fold else []
    for name, value in fields.items():
        group = results["config"]
        *path, last = name.split("__")
        for part in path:
            group = group[part]
        group[last] = value
    results["seed"] = results["config"]["seed"]
    head, *rows = csv_rows(run / "predictions.csv")
    true, first = head.index("true"), head.index("p:calm")
    for number, row in enumerate(rows):
        if number in turn:
            shares = [0.2] * len(CLASSES)
            shares[(CLASSES.index(row[true]) + 1) % 3] = 0.6
            row[true + 1] = CLASSES[(CLASSES.index(row[true]) + 1) % 3]
            row[first:] = map(str, shares)
        row[0] = f"{fold or ''}{row[0]}"
    with (folder / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    matrix = confusion_matrix(*predictions(folder), labels=CLASSES)
    results["test"]["confusion"] = matrix.tolist()
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.mark.slow
def test_several_runs_seeds_and_folds(trained, tmp_path):
    paths = []
    for seed in range(3):
        paths.append(copy_of(trained, tmp_path / f"with-seed={seed}", seed=seed))
        paths.append(copy_of(trained, tmp_path / f"without-seed={seed}", seed=seed,
                             turn=range(seed + 1), loss__compact_regularizer=0.0))  # fmt: skip
    models = read_models(paths)
    assert {name: [model.seed for model in of] for name, of in by_method(models).items()} == {
        "with": [0, 1, 2], "without": [0, 1, 2],
    }  # fmt: skip
    page = write_report(paths, tmp_path / "report")
    opened = open_page(page, tmp_path / "browser", width=390)
    assert opened.errors == [] and opened.fetched == [] and opened.broken == 0
    assert not opened.wider  # tables scroll by themselves on a phone
    _, *rows = shown(opened, "Config fields in which")
    assert {row[0] for row in rows} == {"seed", "loss.compact_regularizer"}
    tests = shown(opened, "Methods over seeds")[1:]
    assert [row[2] for row in tests] == ["0", "1", "2", "mean"] * 2
    for row, path in zip(tests[:3], paths[1::2], strict=True):
        before, after = (np.mean(np.array(a) == np.array(b)) for a, b in
                         (predictions(paths[0]), predictions(path)))  # fmt: skip
        assert row[3] == f"{100 * (before - after):+.2f}"

    claim = "a claim about a method needs 3 seeds or more"
    assert claim not in opened.text
    for given in (paths[:2], paths[:4]):  # one seed, two seeds
        text = write_report(given, tmp_path / "few").read_text()
        assert claim in text and claim in (tmp_path / "few" / "tables" / "tests.tex").read_text()

    folds = [copy_of(trained, tmp_path / "cv" / f"fold{k}", fold=k) for k in (1, 2)]
    for given in ([tmp_path / "cv"], folds):  # a folder of folds, or the folds by themselves
        (model,) = read_models(given)
        assert [run.fold for run in model.runs] == [1, 2]
        assert len(model.predictions.clip_ids) == 18
    text = write_report([tmp_path / "cv"], tmp_path / "cv").read_text()
    assert "Every fold" in text and "pooled over 2 folds" in text
    assert (tmp_path / "cv" / "tables" / "confusion_fold2.csv").is_file()


@pytest.mark.slow
def test_the_command_line_ends_a_run_with_its_report(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "EFFECTS_OF", 4)
    monkeypatch.setattr(command_line, "load", lambda _: config)

    def launch(*given):
        flags = launch_file.flags.FLAGS
        with flagsaver.flagsaver():
            overrides = command_line.parse_flags(["launch.py", *given])[1:]
            command_line.run(flags, overrides)
        return capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    run = Path("run")  # relative, as people give it
    assert f"report: {run / 'report.html'}" in launch("--config=own.py", f"--workdir={run}")
    judged = run / "evaluation" / "test" / "report.html"
    assert f"report: {judged}" in launch("--mode=evaluate", f"--workdir={run}")
    assert "Report: run, test" in judged.read_text()
    assert "there is no metrics.jsonl" not in judged.read_text()  # the run has it
    assert "Not shown" not in (run / "report.html").read_text()
    (run / "report.html").unlink()
    launch("--mode=report", f"--workdir={run}")
    assert (run / "report.html").is_file()
    launch("--mode=report", f"--runs={run},{judged.parent}", f"--output={tmp_path / 'both'}")
    assert "Report: 2 models" in (tmp_path / "both" / "report.html").read_text()


@pytest.mark.slow
def test_a_system_without_attention_shows_replaced_frames(config, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "EFFECTS_OF", 4)
    for name in ("stage", "dim", "mlp_dim", "num_heads", "num_blocks", "window"):
        config.model[name] = None
    config.model.update(name="resnet18_gru", hidden_size=8)
    train(config, tmp_path / "run")
    text = write_report([tmp_path / "run"], tmp_path / "report").read_text()
    assert "resnet18_gru has no class token whose attention is known to the rollout" in text
    assert "|change of p|" in text and "replaced: change of p" in text
