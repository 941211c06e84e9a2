"""Tables: the page, the csv file and the LaTeX file have the same cells, and the right ones."""

import csv
import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score

from logo_jax.common.page import Marked
from logo_jax.evaluation import seeds, summary, tables
from logo_jax.evaluation.predictions import Predictions
from logo_jax.evaluation.tables import Table, tex
from tests.common.test_page import read

CLASSES = ("calm & glad", "joy_%", "rage")


def predictions(seed, folds=2, clips=60):
    """A model that is right in about 60 % of the clips; clips and classes do not depend on it."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    labels = fixed.integers(0, 3, clips)
    logits = rng.normal(size=(clips, 3)) + 1.2 * np.eye(3)[labels]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Predictions(
        CLASSES,
        tuple(map(str, range(1, folds + 1))),
        tuple(f"clip {i}" for i in range(clips)),
        np.arange(clips) % folds,
        labels,
        shares.argmax(1),
        shares,
    )


def balanced(text):
    depth = 0
    for token in re.findall(r"\\.|[{}]", text):
        depth += (token == "{") - (token == "}")
        assert depth >= 0
    return depth == 0


def test_page_csv_and_latex_have_the_same_cells(tmp_path):
    odd = ["a & b_c", "100 %", "$x^2$ #1 {~}\\", Marked("1,234.50", "best")]
    table = Table("odd", "a caption\nof 50 %", ["", "x_1", "y", "z"], [odd, ["a\nb", "±", "<", ""]])
    table.write(tmp_path)
    with (tmp_path / "odd.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [list(table.head), *map(list, table.body)]
    shown = read(table.html())
    for cell in ["a & b_c", "$x^2$ #1 {~}\\", "1,234.50"]:
        assert cell in shown.text

    latex = (tmp_path / "odd.tex").read_text()
    assert latex.startswith("% a caption\\nof 50 %\n\\begin{tabular}{lrrr}")
    lines = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 3
    for line in lines:  # as many columns as the head, nothing that TeX would read as a command
        assert len(re.findall(r"(?<!\\)&", line)) == 3
        bare = re.sub(r"\\[&%$#_{}\\]|\\text[a-z]+|\$\\pm\$|\$[<>|-]\$", "", line)
        assert not re.search(r"[%$#_^~]", bare), line
    assert r"\textbf{1,234.50}" in lines[1]
    assert balanced(latex) and latex.count(r"\begin") == latex.count(r"\end") == 1


def test_tex_escapes_every_special_character():
    assert tex("&%$#_{}") == r"\&\%\$\#\_\{\}"
    assert tex("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert tex('"a"') == r"\char34{}a\char34{}"  # \textquotedbl needs another font encoding


def test_tex_sets_every_character_by_itself():
    assert tex("a--b---c -1") == "a-{}-b-{}-{}-c -1"
    assert tex("``x''?`") == "`{}`x'{}'?{}`"
    table = Table("t", "t", ["x", "y"], [["[2pt] a", "1"], ["*", "2"]])
    assert "\n{[}2pt] a & 1" in table.latex()  # else a length after the end of the row
    assert "\n{*} & 2" in table.latex()


def test_scores_and_recalls_are_those_of_scikit_learn():
    found = predictions(1)
    words = [("best_on_test, UAR", "800")]
    table = tables.scores_table("results", [("A", summary.summarize(found, 0, 50))], words)
    row = dict(zip(table.head, table.body[0], strict=True))
    assert (row["selection"], row["training clips"]) == words[0]
    assert row["WAR %"] == f"{100 * accuracy_score(found.labels, found.predicted):.2f}"
    recall = recall_score(found.labels, found.predicted, average=None)
    assert row["UAR %"] == f"{100 * recall.mean():.2f}"
    of_folds = [
        accuracy_score(found.labels[found.folds == f], found.predicted[found.folds == f])
        for f in range(2)
    ]
    mean, deviation = np.mean(of_folds), np.std(of_folds, ddof=1)
    assert row["WAR, mean of folds"] == f"{100 * mean:.2f} ± {100 * deviation:.2f}"
    numbers = summary.summarize(found, 0, 50)
    rows = tables.recalls_table(numbers, "recalls").body
    assert [row[2] for row in rows] == [f"{100 * r:.2f}" for r in recall]
    folds = tables.folds_table(numbers, "folds").body
    assert [row[2] for row in folds] == [f"{100 * value:.2f}" for value in of_folds]


def test_confusion_cells_have_counts_and_row_percentages():
    confusion = np.array([[8, 2, 0], [0, 0, 0], [1, 3, 1234]])
    body = tables.confusion_table(confusion, CLASSES, "c", "").body
    assert body[0] == ["calm & glad", "10", "8 (80.0 %)", "2 (20.0 %)", "0"]
    assert body[1] == ["joy_%", "0", "0", "0", "0"]
    assert body[2][-1] == "1,234 (99.7 %)"
    assert body[0][2].mark == "shade5" and body[0][3].mark == "shade2"
    assert body[2][2].mark == "shade1" and body[2][4].mark == "shade5"


def test_pairs_of_models_and_of_methods():
    models = [predictions(seed) for seed in (1, 2)]
    pairs = summary.compare(models, 0, 100)
    rows = tables.models_table(pairs, ["A", "B"]).body
    difference = np.mean(models[0].predicted == models[0].labels) - np.mean(
        models[1].predicted == models[1].labels
    )
    assert rows[0][:3] == ["A − B", "WAR", f"{100 * difference:+.2f}"]
    assert rows[0][5] == f"{pairs[0]['war']['p']:.4g}" and rows[1][4] == "bootstrap"

    methods = [[predictions(s) for s in group] for group in ((1, 2, 3), (4, 5, 6))]
    found = seeds.compare_seeds(methods, 0, 100)
    rows = tables.methods_table(found, ["A", "B"], (0, 7, 8)).body
    assert [row[2] for row in rows] == ["0", "7", "8", "mean"] * 2
    folds = [float(x) for row in rows[:3] for x in row[4].split(", ")]
    mean, deviation = np.mean(folds), np.std(folds, ddof=1)
    assert float(rows[3][3].split(" ± ")[0]) == pytest.approx(mean, abs=0.011)
    assert float(rows[3][3].split(" ± ")[1]) == pytest.approx(deviation, abs=0.011)
