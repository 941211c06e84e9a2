"""predictions.csv read back: what was written comes back, and every defect is named."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.evaluation.predictions import paired, read_predictions
from logo_jax.evaluation.report import write_predictions
from logo_jax.evaluation.summary import summarize

HEAD = "clip_id,true,predicted,p:happy,p:sad\n"
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.fixture
def file(tmp_path):
    def write(text, name="predictions.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@given(
    clip_ids=st.lists(names, min_size=1, max_size=6, unique=True),
    class_names=st.lists(names, min_size=2, max_size=4, unique=True),
    seed=st.integers(0, 1000),
)
def test_what_was_written_comes_back(tmp_path_factory, clip_ids, class_names, seed):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(len(class_names), 0.2), len(clip_ids))
    labels = rng.integers(0, len(class_names), len(clip_ids))
    write_predictions(path, clip_ids, labels, probabilities, class_names)
    predictions = read_predictions([path])
    assert predictions.class_names == tuple(class_names)
    assert predictions.clip_ids == tuple(clip_ids)
    assert predictions.fold_names == ("1",)
    np.testing.assert_array_equal(predictions.labels, labels)
    np.testing.assert_array_equal(predictions.predicted, probabilities.argmax(1))
    np.testing.assert_array_equal(predictions.probabilities, probabilities)


def test_files_are_folds(file):
    first = file(HEAD + "1,happy,happy,0.75,0.25\n2,sad,happy,0.5,0.5\n", "a.csv")
    # The other order of classes, a byte order mark and Windows line ends.
    second = file(
        "\ufeffclip_id,true,predicted,p:sad,p:happy\r\n3,sad,sad,0.9,0.1\r\n\r\n", "b.csv"
    )
    predictions = read_predictions([first, second])
    assert predictions.fold_names == ("1", "2")
    assert predictions.folds.tolist() == [0, 0, 1]
    assert predictions.labels.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(predictions.probabilities[2], [0.1, 0.9])
    np.testing.assert_array_equal(predictions.confusions(), [[[1, 0], [1, 0]], [[0, 0], [0, 1]]])


def test_the_order_of_classes_may_be_given(file):
    path = file("clip_id,true,predicted,p:sad,p:happy\n1,happy,happy,0.25,0.75\n")
    predictions = read_predictions([path], ("happy", "sad"))
    assert (predictions.class_names, predictions.labels.tolist()) == (("happy", "sad"), [0])
    np.testing.assert_array_equal(predictions.probabilities, [[0.75, 0.25]])


def test_a_column_names_the_folds(file):
    path = file("fold,clip_id,true,predicted,p:a,p:b\n5,x,a,a,1,0\n2,y,b,a,1,0\n5,z,b,b,0,1\n")
    predictions = read_predictions([path])
    assert predictions.fold_names == ("2", "5")
    assert predictions.folds.tolist() == [1, 0, 1]


def test_the_order_of_lines_changes_no_number(file):
    rng = np.random.default_rng(0)
    lines = [
        f"{i},{('10', '9', 'x', '2')[i % 4]},{'ab'[i % 3 % 2]},{'ab'[int(p < 0.5)]},{p},{1 - p}"
        for i, p in enumerate(rng.random(60).round(3))
    ]
    head = "clip_id,fold,true,predicted,p:a,p:b"
    found = [
        read_predictions([file("\n".join([head, *(lines[i] for i in order)]), f"{n}.csv")])
        for n, order in enumerate((range(60), rng.permutation(60)))
    ]
    assert found[0].fold_names == found[1].fold_names == ("2", "9", "10", "x")
    numbers = [summarize(one, 0, 50) for one in found]
    assert numbers[0]["pooled"] == numbers[1]["pooled"]  # intervals, too
    assert numbers[0]["folds"] == numbers[1]["folds"]


def test_an_empty_fold_is_the_place_of_the_file(file):
    """A set with one split has the column, but no folds."""
    with_column = "fold,clip_id,true,predicted,p:a,p:b\n,x,a,a,1,0\n"
    without = "clip_id,true,predicted,p:a,p:b\nx,a,a,1,0\n"
    first, second = read_predictions([file(with_column)]), read_predictions([file(without)])
    assert first.fold_names == second.fold_names == ("1",)
    assert paired(first, second).clip_ids == ("x",)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "is empty"),
        (HEAD, "no clips"),
        ("clip,true,predicted,p:a\n", 'no column "clip_id".*Did you mean "clip"'),
        ("clip_id,true,predicted\n", "no probabilities"),
        ("clip_id,true,predicted,p:a,p:a\n", 'column "p:a" twice'),
        (HEAD + "1,happy,happy,0.75\n", "line 2 has 4 fields.*names 5"),
        (HEAD + "1,hapy,happy,0.75,0.25\n", 'column true: there is no class "hapy".*"happy"'),
        (HEAD + "1,happy,glad,0.75,0.25\n", 'column predicted: there is no class "glad"'),
        (HEAD + "1,,happy,0.75,0.25\n", "column true: it is empty"),
        (HEAD + "1,happy,happy,0.75,0.75\n", "sum to 1.5, but must sum to 1"),
        (HEAD + "1,happy,happy,2.5,-1.5\n", "not all between 0 and 1"),
        (HEAD + "1,happy,happy,nan,0.5\n", "not all between 0 and 1"),
        (HEAD + "1,happy,happy,?,0.5\n", '"\\?" is not a number'),
        (HEAD + "1,happy,sad,0.75,0.25\n", "probability 0.25, but another has 0.75"),
        (HEAD + "1,sad,sad,0,1\n1,sad,sad,0,1\n", 'line 3: the clip "1" stands in .* line 2'),
        (HEAD + '1,"sad\n', "not a csv file"),
    ],
)
def test_defects_are_named(file, text, words):
    with pytest.raises(UserError, match=words):
        read_predictions([file(text)])


def test_defects_of_several_files(file, tmp_path):
    first = file(HEAD + "1,happy,happy,1,0\n", "a.csv")
    other = file("clip_id,true,predicted,p:happy,p:fear\n2,happy,happy,1,0\n", "b.csv")
    with pytest.raises(
        UserError, match="b.csv has the classes happy, fear, but .* have happy, sad"
    ):
        read_predictions([first, other])
    with pytest.raises(UserError, match='"1" stands in .*a.csv, line 2 already.*--compare'):
        read_predictions([first, file(HEAD + "1,happy,happy,1,0\n", "c.csv")])
    with pytest.raises(UserError, match="Cannot read .*none.csv"):
        read_predictions([tmp_path / "none.csv"])
    (tmp_path / "latin.csv").write_bytes(b"clip_id\xe9")
    with pytest.raises(UserError, match="not a csv file in UTF-8"):
        read_predictions([tmp_path / "latin.csv"])


def test_two_models_are_brought_into_one_order(file):
    first = read_predictions([file(HEAD + "1,happy,happy,1,0\n2,sad,happy,0.6,0.4\n")])
    second = read_predictions(
        [file("clip_id,true,predicted,p:sad,p:happy\n2,sad,sad,0.7,0.3\n1,happy,happy,0.2,0.8\n")]
    )
    same = paired(first, second)
    assert same.clip_ids == ("1", "2") and same.class_names == ("happy", "sad")
    assert same.labels.tolist() == [0, 1] and same.predicted.tolist() == [0, 1]
    np.testing.assert_array_equal(same.probabilities, [[0.8, 0.2], [0.3, 0.7]])


def test_models_that_cannot_be_compared(file):
    first = read_predictions([file(HEAD + "1,happy,happy,1,0\n2,sad,happy,0.6,0.4\n")])

    def refused(words, **changes):
        with pytest.raises(UserError, match=words):
            paired(first, dataclasses.replace(first, **changes))

    refused("classes of the two models differ", class_names=("happy", "fear"))
    refused('2 clips were judged by one .* "2"', clip_ids=("1", "3"))
    refused('true class of the clip "2" is sad .* happy', labels=np.array([0, 0]))
    refused('"1" is in fold 1 .* fold 2', fold_names=("2",))
