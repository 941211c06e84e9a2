"""The doctor and what it is told: wrong options, folders that are not what they are called, and
lists that preparing takes."""

import shutil

import pytest

from logo_jax.common.errors import UserError
from logo_jax.data.doctor import verdict
from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from tests.data import doctor_trees as trees


@pytest.fixture
def tree(tmp_path):
    def make(name):
        trees.TREES[name](tmp_path / name)
        return tmp_path / name

    return make


def look(name, root, **declared):
    """What is found in a part of a set: codes of errors and warnings, all lines, the verdict."""
    found = examine(name, root, Declared(**declared), partial=True)
    told = [f for f in found.findings.sorted() if f.severity != "note"]
    return {f.code for f in told}, found.findings.lines(), verdict.report(found)["verdict"][0]


WRONG = {
    "dialect": ("frame_folders", {"lists": "bogus"}, 'dialect of lists "bogus": choose one of csv'),
    "official": ("frame_folders", {"lists": "official"}, 'Unknown dialect of lists "official"'),
    "labels": ("frame_folders", {"labels": "bogus"}, 'Unknown way to write labels "bogus"'),
    "own lists": (
        "frame_folders", {"train_list": "x"}, '--train_list="x": frame_folders has no such option',
    ),
    "own order": ("frame_folders", {"list_order": "x"}, 'no such option; leave it out .*labels'),
    "own folder": ("frame_folders", {"frame_folder": "x"}, "has no such option"),
    "FERV39K's folder": ("ferv39k", {"frame_folder": "x"}, "ferv39k has no such option"),
    "FERV39K's order": ("ferv39k", {"list_order": "x"}, 'Unknown order of labels "x"'),
    "AFEW's folder": ("afew", {"frame_folder": "x"}, "afew has no such option"),
    "AFEW's lists": ("afew", {"train_list": "x"}, "train_list: AFEW's own clips are read from"),
    "AFEW's order": ("afew", {"list_order": "x"}, "list_order: AFEW's own clips are read from"),
    "DFEW's order": ("dfew", {"list_order": "dfew"}, "dfew has no such option"),
    "DFEW's folder": ("dfew", {"frame_folder": "clip_224"}, 'Did you mean "clip_224x224"'),
    "MAFW's folder": ("mafw", {"frame_folder": "../x"}, "name a folder inside of the source"),
    "a brace": ("dfew", {"train_list": "l/{fold.txt}"}, "write {fold} where the number"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_the_set_does_not_know_is_refused(case, tmp_path):
    name, declared, message = WRONG[case]
    with pytest.raises(UserError, match=message):
        examine(name, tmp_path, Declared(**declared))


def test_a_wrong_word_is_refused_where_lists_are_there(tmp_path):
    spaced(tmp_path, "former_dfer")
    for wrong in ({"lists": "bogus"}, {"labels": "bogus"}, {"list_order": "bogus"}):
        with pytest.raises(UserError, match="bogus"):
            examine("frame_folders", tmp_path, Declared(**wrong))


def test_a_renamed_folder_is_not_time_interpolated(tree):
    root = tree("dfew")
    clips = root / "Clip" / "clip_224x224"
    ti = clips.rename(clips.with_name("clip_224x224_16f"))
    found, lines, said = look("dfew", root)
    assert found == {"not_interpolated"} and "(35 of 35 clips)" in lines[0], lines
    assert "most clips of clip_224x224_16f do not have the 16 frames" in said
    assert not any("set of time-interpolated" in line for line in lines)
    for folder in sorted(ti.iterdir())[5:]:  # a few deviations are known of DFEW
        shutil.rmtree(folder)
        trees.clip(folder, int(folder.name), 16)
    found, lines, said = look("dfew", root)
    assert found == {"not_sixteen"} and "with time-interpolated 16-frame clips" in said
    assert any("set of time-interpolated" in line for line in lines)


def test_sixteen_frames_everywhere_are_not_called_the_original_length(tree):
    root = tree("dfew")
    for folder in (root / "Clip" / "clip_224x224").iterdir():
        shutil.rmtree(folder)
        trees.clip(folder, int(folder.name), 16)
    found, _, said = look("dfew", root)
    assert found == {"all_sixteen"} and "original length" not in said


def test_a_frame_folder_that_is_missing(tree):
    found, _, said = look("dfew", tree("dfew"), frame_folder="original")
    assert found == {"no_frames"} and said == "The frames of DFEW were not found."


def test_frames_in_a_folder_called_clips(tree):
    root = tree("mafw")
    (root / "data" / "frames").rename(root / "data" / "clips")
    found, lines, said = look("mafw", root, frame_folder="data/clips")
    assert found == set(), lines
    assert "videos" not in said
    first = root / "data" / "clips" / "00001" / "00001.jpg"
    first.write_bytes(b"")  # what is there is examined
    assert look("mafw", root)[0] == {"empty_frame"}


def test_clips_and_lists_under_names_of_ones_own(tree):
    root = tree("mafw")
    (root.parent / "data").mkdir()  # prepared sets lie there by default
    (root / "data" / "frames").rename(root / "faces")
    (root / "data").rmdir()
    (root / "Train & Test Set" / "single" / "no_caption").rename(root / "lists")
    shutil.rmtree(root / "Train & Test Set")
    lists = {part: f"lists/set_{{fold}}/{part[:-5]}.txt" for part in ("train_list", "test_list")}
    found, lines, _ = look("mafw", root, frame_folder="faces", **lists)
    assert found == set(), lines


def test_videos_in_a_folder_called_faces(tree):
    root = tree("mafw")
    shutil.rmtree(root / "data")
    faces = root / "faces"
    for number in range(1, 56):
        trees.video(faces / f"{number:05d}.mp4", number)
    found, lines, said = look("mafw", root, frame_folder="faces")
    assert found == {"videos_only"}, lines
    assert "--as_videos" in lines[0] and "=original" not in lines[0]
    assert "with its videos only" in said
    for path in list(faces.iterdir()):  # videos of other clips
        path.rename(path.with_name(f"9{path.name}"))
    found, lines, said = look("mafw", root, frame_folder="faces")
    assert "no_videos" in found and "videos_only" not in found
    assert "has a video of none of the 55 clips" in lines[0]
    assert said == "The videos of MAFW were not found."


def test_a_mend_offers_what_the_set_has(tree):
    for name, folder in (("ferv39k", "2_ClipsforFaceCrop"), ("dfew", "Clip")):
        root = tree(name)
        shutil.rmtree(root / folder)
        found, lines, _ = look(name, root)
        assert found == {"no_frames"} and ("--frame_folder" in lines[0]) == (name == "dfew")


def spaced(root, dialect):
    """Clips whose names look like rows of another dialect."""
    for part in ("train", "test"):
        rows = []
        for label in range(2):
            for number in range(2):
                name = (
                    f"{part}/{'a,' if dialect == 'former_dfer' else 'person '}{2 * label + number}"
                )
                trees.clip(root / name, (label, number, len(part)))
                rows.append(f"{name} 3 {label}" if dialect == "former_dfer" else f"{name} {label}")
        trees.write(root / f"{part}.txt", rows)
    trees.write(root / "classes.txt", ["calm", "moved"])


@pytest.mark.parametrize("dialect", ["former_dfer", "videomae"])
def test_names_that_look_like_another_dialect(tmp_path, dialect):
    spaced(tmp_path, dialect)
    found, lines, _ = look("frame_folders", tmp_path, lists=dialect)
    assert found == set(), lines
    if dialect == "videomae":  # `person 1 0` of a folder "person" is the other dialect
        for part in ("train", "test"):
            shutil.rmtree(tmp_path / part)
            trees.clip(tmp_path / part / "person", len(part), 1)
        assert "dialect" in look("frame_folders", tmp_path, lists=dialect)[0]


def test_quoted_names_with_commas(tmp_path):
    for part in ("train", "test"):
        for label in range(2):
            trees.clip(tmp_path / part / f"a,{label}", (label, len(part)))
        rows = ["video_name,label", *(f'"{part}/a,{label}",{label}' for label in range(2))]
        trees.write(tmp_path / f"{part}.csv", rows)
    trees.write(tmp_path / "classes.txt", ["calm", "moved"])
    found, lines, _ = look("frame_folders", tmp_path, lists="csv")
    assert found == set(), lines


def test_only_lists_that_are_read_are_examined(tree):
    root = tree("frame_folders")
    trees.write(root / "train.csv", ["id,age", "1,2"])
    found, lines, _ = look("frame_folders", root)
    assert found == set(), lines
    trees.write(root / "classes.txt", ["calm", "moved"])
    for part in ("train", "test"):
        rows = [f"{part}/calm/c0,0", f"{part}/moved/c0,1"]
        trees.write(root / f"{part}.csv", ["video_name,label", *rows])
        trees.write(root / f"{part}.txt", ["this is no list"])
    found, lines, _ = look("frame_folders", root, lists="csv")
    assert found == set(), lines
    assert "list_unreadable" not in found
    assert "dialect" in look("frame_folders", root)[0]  # the default reads the others


def test_folders_of_one_class_in_two_cases(tree):
    root = tree("frame_folders")
    (root / "train" / "calm").rename(root / "train" / "Calm")
    found, lines, _ = look("frame_folders", root)
    assert "wrong_case" in found, lines
