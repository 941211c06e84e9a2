"""Lists of a user's own clips: dialects, and what is wrong with them."""

import pytest

from logo_jax.common.errors import UserError
from logo_jax.data import shards
from tests.data.datasets.own_clips import load, write_frames


@pytest.fixture
def listed(tmp_path):
    """The same kind of clips with lists: two classes."""
    root = tmp_path / "clips"
    for i in range(4):
        write_frames(root / "all" / f"clip {i}", 3 + i, seed=i)
    (root / "classes.txt").write_text("calm\nmoved\n")
    (root / "train.txt").write_text("all/clip 0 3 0\nall/clip 1 4 1\n")
    (root / "test.txt").write_text("all/clip 2 5 1\n")
    return root


def test_lists(listed):
    # Windows line ends, a byte order mark and blank lines are no clips.
    path = listed / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n\r\n"))
    prepared = load(listed)
    assert prepared.classes == ("calm", "moved")
    assert prepared.clip_ids == ["all/clip 0", "all/clip 1", "all/clip 2"]
    assert prepared.labels.tolist() == [0, 1, 1]
    assert prepared.rows("train").tolist() == [0, 1]


def test_a_clip_is_one_however_its_folder_is_written(listed):
    path = listed / "train.txt"
    path.write_text("./all//clip 0/ 3 0\nall/x/../clip 1 4 1\n")
    prepared = load(listed)
    assert prepared.clip_ids == ["all/clip 0", "all/clip 1", "all/clip 2"]
    for name in ("./all/clip 2", "all//clip 2", "all/clip 2/"):
        path.write_text(f"all/clip 0 3 0\nall/clip 1 4 1\n{name} 5 1\n")
        with pytest.raises(
            UserError, match=f'"all/clip 2" stands already in .*row 3 as "{name}"; remove one'
        ):
            load(listed, set_name="other")
    # A capital letter makes another folder.
    write_frames(listed / "All" / "clip 2", 5)
    path.write_text("all/clip 0 3 0\nall/clip 1 4 1\nAll/clip 2 5 1\n")
    ids = load(listed, set_name="capital").clip_ids
    assert ids == ["all/clip 0", "all/clip 1", "All/clip 2", "all/clip 2"]


BROKEN_LISTS = {
    "a header": ("all/clip 0 3 0\n", "dir num_frames label\n", r"row 1: .* has no header"),
    "no label": ("all/clip 1 4 1\n", "all/clip 1\n", r'row 2: "all/clip 1" is no row'),
    "label 2": ("clip 1 4 1", "clip 1 4 2", r'none of 0 to 1 .*\n.*row 2: label "2"'),
    "label -1": ("clip 1 4 1", "clip 1 4 -1", r'row 2: label "-1"'),
    "twice": ("all/clip 1 4 1", "all/clip 0 3 0", r"row 2: .* stands already in .*row 1"),
    "in test": (
        "all/clip 1 4 1",
        "all/clip 2 5 1",
        r'test.txt, row 1: the clip "all/clip 2" stands',
    ),
    "a climb": ("all/clip 1", "all/../../clip", r"lies outside of .*clips; write folders relative"),
    "absolute": ("all/clip 1", "/etc", r'"/etc" lies outside of'),
    "too many": ("clip 1 4 1", "clip 1 9 1", r"clip 1: 9 frames are declared, 4 are there"),
    "missing": ("clip 1 4 1", "clip 7 4 1", r"clip 7: No such file"),
}


@pytest.mark.parametrize("case", BROKEN_LISTS)
def test_broken_lists_are_refused(listed, case):
    old, new, message = BROKEN_LISTS[case]
    path = listed / "train.txt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        load(listed)


def test_class_names_are_needed(listed):
    path = listed / "classes.txt"
    for text, message in (
        ("calm\ncalm\n", r'classes.txt: the class name "calm" occurs twice\.'),
        ("Calm\nglad\ncalm\n", 'the class name "calm" occurs twice, in another case as "Calm"'),
        ("calm\n", "at least two class names"),
        ("", "classes.txt is empty"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            load(listed)
    path.unlink()
    with pytest.raises(UserError, match=r"classes.txt cannot be read: No such file"):
        load(listed)


def test_a_clip_of_another_length_is_not_passed_over(listed):
    load(listed)
    frame = listed / "all" / "clip 2" / "9.png"
    frame.write_bytes(b"")
    with pytest.raises(UserError, match="all/clip 2 of .* had 5 frames .*: 5 .* declared, 6 are"):
        load(listed)


LISTED = {  # rows of clip number, number of frames and class, and the options
    "videomae": (lambda n, frames, k: f"all/clip {n} {k}", ".txt", {}),
    "csv": (lambda n, frames, k: f"all/clip {n},{k}", ".csv", {}),
    "former_dfer": (
        lambda n, frames, k: f"/home/me/my clips/all/clip {n} {frames} {('calm', 'moved')[k]}",
        ".txt",
        {"labels": "words", "strip_prefix": "/home/me/my clips"},
    ),
}


@pytest.mark.parametrize("form", LISTED)
def test_lists_of_other_dialects(listed, form):
    before = load(listed)
    row, suffix, given = LISTED[form]
    clips = {"train": [(0, 3, 0), (1, 4, 1)], "test": [(2, 5, 1)]}
    for part, rows in clips.items():
        (listed / f"{part}.txt").unlink()
        lines = ["video_name,label"] * (form == "csv") + [row(*clip) for clip in rows]
        (listed / f"{part}{suffix}").write_text("\n".join(lines))
    prepared = load(listed, set_name="other", lists=form, **given)
    assert prepared.clip_ids == before.clip_ids
    assert prepared.labels.tolist() == before.labels.tolist()
    other = "csv" if suffix == ".txt" else "videomae"
    with pytest.raises(UserError, match=f'no list .* of the dialect "{other}"'):
        load(listed, set_name="third", lists=other)


def test_one_clip_in_train_and_test_under_two_names_is_a_warning(listed, capsys):
    warning = (
        "Warning: clips with the same frames in several parts of split: 1, the first is "
        "train (all/clip 1) and test (all/alias). Results on them are not to be trusted."
    )
    assert not any("Warning" in remark for remark in load(listed).remarks)
    (listed / "all" / "alias").symlink_to("clip 1")
    (listed / "test.txt").write_text("all/clip 2 5 1\nall/alias 4 1\n")
    capsys.readouterr()
    assert load(listed, set_name="aliased").remarks[-1] == warning
    assert warning in capsys.readouterr().err


def test_counts_that_an_earlier_attempt_accepted_are_refused(listed, monkeypatch):
    monkeypatch.setattr(shards, "CLIPS_PER_SHARD", 1)
    path = listed / "train.txt"
    path.write_text("all/clip 0 9 0\nall/clip 1 4 1\n")
    last = listed / "all" / "clip 2" / "1.png"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="1 clips .* cannot be used"):
        load(listed, allow_frame_counts=True)  # clip 0 is stored
    last.write_bytes(whole)
    with pytest.raises(UserError, match="clip 0: 9 frames are declared, 3 are there"):
        load(listed)
    assert load(listed, allow_frame_counts=True).num_frames.tolist() == [3, 4, 5]
    with pytest.raises(UserError, match="was prepared with allow_frame_counts=True and not False"):
        load(listed)
