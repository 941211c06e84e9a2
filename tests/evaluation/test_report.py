"""The terminal table and predictions.csv, with the odd names that people give to classes."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.evaluation.report import display_width, results_table, shorten, write_predictions

CONFUSION = np.array([[8, 2, 0], [1, 1234, 3], [0, 0, 0]])


def test_table_of_three_classes():
    assert results_table(CONFUSION, ("happy", "sad", "fear")).splitlines() == [
        "class  clips  recall  happy    sad  fear",
        "-----  -----  ------  -----  -----  ----",
        "happy     10   80.00      8      2     0",
        "sad    1,238   99.68      1  1,234     3",
        "fear       0       -      0      0     0",
        "WAR 99.52 %   UAR 89.84 %   (1,248 clips; a row is a true class)",
        "No clips, so left out of UAR: fear",
    ]


def test_table_of_one_class():
    lines = results_table(np.array([[3]]), ("only",)).splitlines()
    assert lines[2].split() == ["only", "3", "100.00", "3"]
    assert "No clips" not in lines[-1]


def test_odd_names_keep_the_table_aligned():
    names = ("快乐", "a name so long that no table would hold it", "two\nlines\x1b[31m")
    lines = results_table(CONFUSION, names).splitlines()
    assert len(lines) == 7
    assert "\x1b" not in "".join(lines)
    assert r"two\nlines\x1b[31m" in lines[-1]
    # The last column ends at the same place in every row, counted in terminal columns.
    assert len({display_width(line) for line in lines[:5]}) == 1


def test_headings_that_would_be_the_same_are_numbers():
    names = [f"expression {letter}" for letter in "abc"]
    head, _, *rows = results_table(CONFUSION, names).splitlines()
    assert head.endswith("row 1  row 2  row 3")
    assert rows[1].startswith("expression b")


def test_many_classes_name_the_main_confusion_instead_of_the_matrix():
    confusion = np.eye(100, dtype=np.int64) * 5
    confusion[3, 7] = 4
    confusion[3, 9] = 2
    lines = results_table(confusion, [f"class_{i}" for i in range(100)]).splitlines()
    assert lines[2 + 3].split() == ["class_3", "11", "45.45", "class_7", "(4)"]
    assert lines[2 + 4].split() == ["class_4", "5", "100.00", "-"]
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize("num_classes", [2, 16, 17])
def test_an_empty_name_is_no_obstacle(num_classes):
    names = ["", *(str(i) for i in range(1, num_classes))]
    assert len(results_table(np.eye(num_classes, dtype=np.int64), names).splitlines()) > num_classes


def test_names_of_another_number_of_classes_are_refused():
    with pytest.raises(ValueError):
        results_table(CONFUSION, ("happy", "sad"))


def test_no_clips_have_no_table():
    with pytest.raises(UserError, match="no clips"):
        results_table(np.zeros((2, 2), np.int64), ("a", "b"))


@given(st.text(max_size=40), st.integers(1, 20))
def test_shorten_keeps_within_the_width(text, width):
    result = shorten(text, width)
    assert display_width(result) <= width
    assert result == text or result.endswith("…")


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_predictions(tmp_path):
    path = tmp_path / "predictions.csv"
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    write_predictions(path, ["00001", "00002"], np.array([0, 1]), probabilities, ("happy", "sad"))
    assert read(path) == [
        ["clip_id", "true", "predicted", "p:happy", "p:sad"],
        ["00001", "happy", "sad", "0.25", "0.75"],
        ["00002", "sad", "happy", "0.5", "0.5"],
    ]
    write_predictions(path, ["00001", "00002"], None, probabilities, ("happy", "sad"))
    assert [row[1] for row in read(path)] == ["true", "", ""]
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.csv"]  # no temporary file is left


def test_predictions_name_the_fold_of_every_clip(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, ["1", "2"], [0, 0], np.ones((2, 1), np.float32), ("x",), ["2", ""])
    assert [row[:3] for row in read(path)] == [
        ["clip_id", "fold", "true"],
        ["1", "2", "x"],
        ["2", "", "x"],
    ]


def test_predictions_of_no_clips_are_a_heading(tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [], None, np.zeros((0, 2), np.float32), ("happy", "sad"))
    assert len(read(path)) == 1


# Everything that UTF-8 can hold.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(
    clip_ids=st.lists(texts, min_size=1, max_size=5),
    class_names=st.lists(texts, min_size=2, max_size=4, unique=True),
    seed=st.integers(0, 1000),
)
def test_predictions_survive_a_round_trip(tmp_path_factory, clip_ids, class_names, seed):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(len(class_names), 0.01), len(clip_ids)).astype(np.float32)
    labels = rng.integers(0, len(class_names), len(clip_ids))
    write_predictions(path, clip_ids, labels, probabilities, class_names)
    head, *rows = read(path)
    assert head[3:] == [f"p:{name}" for name in class_names]
    assert [row[0] for row in rows] == clip_ids
    assert [row[1] for row in rows] == [class_names[label] for label in labels]
    assert [row[2] for row in rows] == [class_names[i] for i in probabilities.argmax(axis=1)]
    np.testing.assert_array_equal(np.array([row[3:] for row in rows], np.float32), probabilities)


@pytest.mark.parametrize("name", ["a,b", 'say "x"', "two\nlines", "a\rb", "\r\n", " lead", "é快"])
def test_names_that_trouble_csv(tmp_path, name):
    path = tmp_path / "predictions.csv"
    write_predictions(path, [name], None, np.array([[0.25, 0.75]], np.float32), ("x", name))
    assert read(path) == [
        ["clip_id", "true", "predicted", "p:x", f"p:{name}"],
        [name, "", name, "0.25", "0.75"],
    ]


def test_a_file_name_that_is_no_text_is_escaped(tmp_path):
    path = tmp_path / "predictions.csv"
    name = b"clip\xff".decode("utf-8", "surrogateescape")  # what os.listdir returns for it
    write_predictions(path, [name], None, np.ones((1, 1), np.float32), ("x",))
    assert read(path)[1][0] == r"clip\udcff"


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("old")
    with pytest.raises(ValueError):  # one clip id too few
        write_predictions(path, ["00001"], None, np.ones((2, 1), np.float32), ("x",))
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UserError, match="Cannot write"):
        write_predictions(tmp_path / "no" / "p.csv", [], None, np.ones((0, 1), np.float32), ("x",))
