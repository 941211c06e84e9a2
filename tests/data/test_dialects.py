"""Lists in all dialects, and what contradicts what was declared."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.data import dialects, lists
from logo_jax.data.dialects import Dialect

CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
ORDERS = {"dfew": CLASSES, "alphabetical": tuple(sorted(CLASSES))}
# The five dialects in use: how they are written, how labels are, and three clips.
IN_USE = {
    "official DFEW": ("header", "one_based", "video_name,label\n17,1\n4,7\n9,3\n"),
    "official FERV39K": ("plain", "words", "17 Happy\n4 Fear\n9 Neutral\n"),
    "Former-DFER": ("frames", "zero_based", "17 16 0\n4 11 6\n9 144 2\n"),
    "VideoMAE": ("plain", "zero_based", "17 0\n4 6\n9 2\n"),
    "csv from 0": ("header", "zero_based", "video_name,label\n00017,0\n00004,6\n00009,2\n"),
}


def read(path, form, labels):
    return dialects.read(path, Dialect(form, labels), {"labels": labels}, CLASSES)


@pytest.mark.parametrize("name", IN_USE)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\n\r\n"])
def test_all_dialects_say_the_same(tmp_path, name, end):
    form, labels, text = IN_USE[name]
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", end).encode())
    rows = read(path, form, labels)
    assert [int(row.name) for row in rows] == [17, 4, 9]
    assert [row.label for row in rows] == [0, 6, 2]
    assert [row.num_frames for row in rows] == ([16, 11, 144] if form == "frames" else [None] * 3)


@pytest.mark.parametrize("name", IN_USE)
@pytest.mark.parametrize("declared", IN_USE)
def test_another_dialect_than_declared_is_an_error(tmp_path, name, declared):
    """Of all pairs of dialects; those that share a form but not labels fail by the labels."""
    form, labels, text = IN_USE[name]
    path = tmp_path / "list.txt"
    path.write_text(text)
    if IN_USE[declared][:2] == (form, labels):
        return
    if {form, IN_USE[declared][0]} == {"plain", "frames"} and form == "frames":
        # `<clip> <frames> <label>` read as `<clip> <label>`: the clip is then "17 16".
        assert [row.name for row in read(path, "plain", "zero_based")] == ["17 16", "4 11", "9 144"]
        return
    with pytest.raises(UserError, match=str(path)):
        read(path, *IN_USE[declared][:2])


WRONG = {
    "declared from 1, written from 0": (
        "video_name,label\n1,0\n2,6\n", "header", "one_based",
        r'1 labels are none of 1 to 7 \(the list has 0 to 6, which fits labels="zero_based"',
    ),
    "declared from 0, written from 1": (
        "1 1\n2 7\n", "plain", "zero_based",
        r'none of 0 to 6 \(the list has 1 to 7, which fits labels="one_based"',
    ),
    "declared words, written numbers": (
        "1 1\n2 7\n", "plain", "words",
        r'none of happy, sad, .* \(the list has 1 to 7, which fits labels="one_based"',
    ),
    "declared numbers, written words": (
        "1 Sad\n2 Happy\n", "plain", "zero_based",
        r'the list has words, such as Sad: declare labels="words"',
    ),
    "no word": ("1 Sad\n2 Hapy\n", "plain", "words", r'row 2: label "Hapy"'),
    "NaN": ("1 0\n2 nan\n", "plain", "zero_based", r'\n.*row 2: label "nan"'),
    "a fraction": ("1 0\n2 3.0\n", "plain", "zero_based", r'\n.*row 2: label "3.0"'),
    "a header": ("path label\n2 0\n", "plain", "zero_based", r"row 1: .*such a list has no header"),
    "a header of commas": (
        "video_name,label\n1,2\n", "plain", "words", r"row 1: .*such a list has no header",
    ),
    "other commas": (
        "video_name;label\n1;1\n",
        "header",
        "one_based",
        "write it above all clips, with commas between the fields",
    ),
    "no header": ("1,1\n2,2\n", "header", "one_based", 'row 1: the header "video_name,label" is'),
    "twice": ("1 0\n2 1\n1 0\n", "plain", "zero_based", "row 3: .* stands already in .*row 1"),
    "an open quote": ('video_name,label\n"1,1\n', "header", "one_based", "row 2: .* is no row of"),
    "nothing": ("\r\n \n", "plain", "words", "is empty"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_lists_are_sentences(tmp_path, case):
    text, form, labels, message = WRONG[case]
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read(path, form, labels)


def test_a_list_that_is_missing(tmp_path):
    (tmp_path / "other.csv").write_text("")
    with pytest.raises(UserError, match=r"list.txt is missing; .* holds other.csv"):
        read(tmp_path / "list.txt", "plain", "words")


word = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=6)


@given(
    clips=st.dictionaries(
        st.lists(word, min_size=1, max_size=3).map(" ".join), st.integers(0, 6), min_size=1
    ),
    labels=st.sampled_from(sorted(dialects.LABELS)),
    form=st.sampled_from(["plain", "frames"]),
)
def test_what_is_written_is_read(tmp_path_factory, clips, labels, form):
    """Names of several words, of any letters, with quotes and commas, in lists without header."""
    clips = {name: label for name, label in clips.items() if name == name.strip()}
    lines = []
    for name, label in clips.items():
        text = CLASSES[label] if labels == "words" else str(label + dialects.LABELS[labels])
        lines.append(f"{name} 16 {text}" if form == "frames" else f"{name} {text}")
    path = tmp_path_factory.mktemp("any") / "list"
    path.write_bytes("\r\n".join(lines).encode())
    try:
        rows = read(path, form, labels)
    except UserError as error:
        # Two ways to write one path (a/b, a//b) are one clip.
        assert "stands already" in str(error) or "is empty" in str(error)
        return
    assert [(row.name, row.label) for row in rows] == list(clips.items())


def row(name, label=0, where="list, row 1"):
    return lists.Row(where, name, label, None, str(label))


def test_names_of_one_clip(tmp_path):
    folder = tmp_path / "Clip" / "faces"
    (folder / "00001").mkdir(parents=True)
    names = ("00001", "./00001/", "faces/00001", "Clip/faces/00001", "Clip//faces/./00001")
    for name in names:
        assert dialects.clip_name(row(name), tmp_path, folder, "") == "00001"
    for prefix in ("/home/a b/DFEW/Clip/faces/", "/home/a b/DFEW/Clip/faces", "/home/a b/DFEW"):
        name = "/home/a b/DFEW/Clip/faces/00001"
        assert dialects.clip_name(row(name), tmp_path, folder, prefix) == "00001"
    assert dialects.clip_name(row("Clip/other/1"), tmp_path, folder, "") == "Clip/other/1"


BAD_NAMES = {
    "absolute": ("/home/me/faces/00001", "", 'perhaps strip_prefix="/home/me/faces/"'),
    "of Windows": ("D:\\DFEW\\faces\\00001", "", 'perhaps strip_prefix="D:\\DFEW\\faces\\"'),
    "a scene of Windows": (
        "D:\\x\\scene\\00002",
        "",
        "Write / for each \\ in the list. Pass its beginning as strip_prefix, perhaps "
        'strip_prefix="D:/x/"',
    ),
    "not known": ("/x/y/00002", "", 'perhaps strip_prefix="/x/y/"'),
    "another prefix": ("/x/y/00001", "/home", 'does not begin with strip_prefix="/home"'),
    "a climb": ("../../00001", "", "lies outside of"),
    "a climb behind the prefix": ("/x/../../00001", "/x", "lies outside of"),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_names_elsewhere(tmp_path, case):
    name, prefix, message = BAD_NAMES[case]
    folder = tmp_path / "Clip" / "faces"
    (folder / "00001").mkdir(parents=True)
    (folder / "scene" / "00002").mkdir(parents=True)
    with pytest.raises(UserError) as error:
        dialects.clip_name(row(name), tmp_path, folder, prefix)
    assert str(error.value).startswith("list, row 1: ") and message in str(error.value)


def test_merged_lists():
    first, again, other = row("a"), row("a", where="list, row 5"), row("b", 1)
    tables = [("fold_1", "train", [first]), ("fold_2", "test", [again, other])]
    merged = dialects.merge(["fold_1", "fold_2"], tables)
    assert {name: clip.partitions for name, clip in merged.items()} == {
        "a": {"fold_1": "train", "fold_2": "test"},
        "b": {"fold_1": "", "fold_2": "test"},
    }
    assert merged["a"].row is first
    # Both rows are named.
    with pytest.raises(
        UserError, match=r"row 5: clip a is also in the train list of fold 1 \(list, row 1\); a"
    ):
        dialects.merge(["fold_1"], [("fold_1", "train", [first]), ("fold_1", "test", [again])])
    with pytest.raises(UserError, match="clip a has label 1, but 0 in list, row 1"):
        dialects.merge(["fold_1", "fold_2"], [*tables[:1], ("fold_2", "test", [row("a", 1)])])


def test_lists_that_declare_other_numbers_of_frames():
    counted = [lists.Row(f"list {k}", "a", 0, k, "0") for k in (11, 16)]
    tables = [("fold_1", "train", counted[:1]), ("fold_2", "test", counted[1:])]
    with pytest.raises(UserError, match="list 16: clip a has 16 frames, but 11 in list 11; mend"):
        dialects.merge(["fold_1", "fold_2"], tables)
    assert dialects.merge(["fold_1", "fold_2"], tables, True)["a"].row.num_frames == 11


def options(**given):
    settings = {
        "lists": "csv", "train_list": "", "test_list": "", "labels": "", "list_order": "",
    }  # fmt: skip
    return dialects.check(dialects.COMMON, ORDERS, **settings | given)


def test_options_are_checked():
    full = options(list_order="dfew")
    assert (full["labels"], full["train_list"]) == ("zero_based", "train_set_{fold}.csv")
    assert options(labels="words")["list_order"] == ""
    with pytest.raises(UserError, match=r"are numbers, and 2 orders .* declare list_order, one of"):
        options()
    with pytest.raises(UserError, match='Unknown order of labels "dfe".*Did you mean "dfew"'):
        options(list_order="dfe")
    with pytest.raises(UserError, match='Unknown order of labels "dfe"'):
        options(labels="words", list_order="dfe")
    with pytest.raises(UserError, match='Unknown way to write labels "one"'):
        options(labels="one")
    with pytest.raises(UserError, match='Unknown dialect of lists "vidomae".*mean "videomae"'):
        options(lists="vidomae")
    with pytest.raises(UserError, match="have no customary place: give train_list and test_list"):
        options(lists="former_dfer", list_order="dfew")


def test_paths_of_lists():
    given = {"train_list": "a/train_{fold}.txt", "test_list": "/b/test_{fold}.txt"}
    found = dialects.paths(given, Path("/source"), 3)
    assert found == {"train": Path("/source/a/train_3.txt"), "test": Path("/b/test_3.txt")}
    for pattern, fold in (
        ("{fold}.txt", None), ("{x}.txt", 1), ("{.txt", 1), ("l/{fold.txt}", 1), ("{fold[0]}", 1),
    ):  # fmt: skip
        with pytest.raises(UserError, match="write {fold} where the number of the fold stands"):
            dialects.paths({"train_list": pattern, "test_list": pattern}, Path("/source"), fold)
    with pytest.raises(UserError, match="names one file for all folds"):
        dialects.paths({"train_list": "a.txt", "test_list": "b.txt"}, Path("/source"), 1)


@pytest.mark.parametrize("folds", [0, [], [6], 1.5, [1.0], None, "1,2", [[1]]])
def test_folds_that_are_none(folds):
    with pytest.raises(UserError, match="The folds of DFEW are the numbers 1 to 5, not "):
        dialects.chosen_folds(folds, (1, 2, 3, 4, 5), "DFEW")


def test_folds_in_any_container():
    for folds in ((2, 1), [1, 2, 2], range(1, 3), np.array([2, 1])):
        assert dialects.chosen_folds(folds, (1, 2, 3, 4, 5), "DFEW") == [1, 2]
    assert dialects.chosen_folds(np.int64(3), (1, 2, 3, 4, 5), "DFEW") == [3]
