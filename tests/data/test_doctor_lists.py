"""The doctor on lists and folders: bases of labels, sizes of folds, folders that are not read."""

import os
import shutil

import pytest

from logo_jax.data.doctor import verdict
from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from tests.data import doctor_trees as trees

pytestmark = pytest.mark.usefixtures("small_is_official")


def own_lists(root, parts, classes):
    """Lists of a user's own clips: part -> labels as written, one clip each."""
    for part, labels in parts.items():
        for number, _ in enumerate(labels):
            trees.clip(root / part / f"c{number}", (len(part), number))
        rows = [f"{part}/c{number} {label}" for number, label in enumerate(labels)]
        trees.write(root / f"{part}.txt", rows)
    trees.write(root / "classes.txt", classes)


@pytest.mark.parametrize("declared", ["zero_based", "one_based"])
def test_labels_that_fit_both_bases(declared, tmp_path):
    own_lists(tmp_path, {"train": range(1, 7), "test": range(1, 7)}, trees.SEVEN)
    found = examine("frame_folders", tmp_path, Declared(lists="videomae", labels=declared))
    assert trees.codes(found) == {"label_base_unsure", "class_absent", "class_not_judged"}
    said = trees.text(found, "label_base_unsure")
    assert "labels 1 to 6 of 7 classes fit both" in said and f'declared is "{declared}"' in said


def test_a_class_folder_that_may_not_be_read(copy, monkeypatch):
    root = copy("frame_folders")
    scandir = os.scandir

    def refuse(path="."):
        if str(path) == str(root / "train" / "calm"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = examine("frame_folders", root, Declared())
    said = trees.text(found, "unreadable_folder")
    assert f"{root / 'train' / 'calm'} (Permission denied)" in said


def test_a_part_without_a_class(copy):
    root = copy("frame_folders")
    for part, code, severity in (
        ("test", "class_not_judged", "warning"),
        ("train", "class_absent", "error"),  # preparing stops at it
    ):
        for clip in (root / part / "calm").iterdir():
            shutil.rmtree(clip)
        found = examine("frame_folders", root, Declared(), partial=True)
        (finding,) = [f for f in found.findings.sorted() if f.code == code]
        assert finding.severity == severity and f'"calm" in {part}' in finding.sentence
        assert ("allow_empty_classes" in finding.mend) == (part == "train")


def test_clips_in_train_and_test_count_in_both(copy):
    root = copy("dfew")
    rows = trees.list_of(root, "test").read_text().splitlines()[1:3]
    path = trees.list_of(root, "train")
    trees.write(path, [*path.read_text().splitlines()[:-2], *rows])  # in place of two others
    found = examine("dfew", root, Declared())
    assert "id_overlap" in trees.codes(found) and "fold_size" not in trees.codes(found)


def rename_clips(root):
    for folder in (root / "Clip" / "clip_224x224").iterdir():
        folder.rename(folder.with_name(str(int(folder.name))))


def name_in_lists(pattern):
    def spoil(root):
        for path in trees.each_list(root):
            header, *rows = path.read_text().splitlines()
            names = [row.split(",") for row in rows]
            lines = [f"{pattern.format(int(name))},{label}" for name, label in names]
            trees.write(path, [header, *lines])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "listed", "there"),
    [
        (rename_clips, "00008", "1"),
        (name_in_lists("Clip/clip_224x224_16f/{:05d}"), "Clip/clip_224x224_16f/00008", "00001"),
        (name_in_lists(r"clip_224x224\{:05d}"), r"clip_224x224\00008", "00001"),
    ],
)
def test_names_that_lead_to_no_clip(spoil, listed, there, copy):
    root = copy("dfew")
    spoil(root)
    found = examine("dfew", root, Declared())
    assert trees.codes(found) == {"names_differ"}, found.findings.lines()
    said = trees.text(found, "names_differ")
    assert f'leads to "{listed}"' in said and f'there is "{there}"' in said
    assert verdict.report(found)["verdict"][0].startswith("There are frames of DFEW, but")


def test_names_with_backslashes(copy):
    root = copy("ferv39k")
    for path in (root / "4_setups" / "All_scenes").iterdir():
        trees.replace(path, b"/", b"\\", -1)
    assert trees.codes(examine("ferv39k", root, Declared())) == {"names_differ"}


def test_folders_are_not_called_lists(copy):
    root = copy("afew")
    shutil.rmtree(root / "train" / "Happy" / "01")
    (root / "train" / "Sad").rename(root / "train" / "Bored")
    found = examine("afew", root, Declared())
    assert {"fold_size", "bad_class_folder"} <= trees.codes(found)
    lines = [*found.findings.lines(), *verdict.report(found)["verdict"]]
    assert not [line for line in lines if "rows" in line or "official lists" in line]
    assert "its clips are not the official ones" in lines[-3]


def test_an_example_that_stands_for_several(copy):
    root = copy("dfew")
    for number in range(1, 6):
        for path in trees.first_frame(root, number).parent.iterdir():
            path.write_bytes(trees.frame((number, int(path.stem)), 112))
    said = trees.text(examine("dfew", root, Declared()), "unusual_size")
    assert "5 clips with" in said and said.endswith("112 x 112 in 5 clips.")


def test_decimal_labels(tmp_path):
    own_lists(tmp_path, {"train": ("1.0", "2.0"), "test": ("1.0", "2.")}, ("calm", "moved"))
    found = examine("frame_folders", tmp_path, Declared(lists="videomae", labels="one_based"))
    assert trees.codes(found) == {"label_decimal"}, found.findings.lines()
    assert 'train.txt, row 1: "1.0"' in trees.text(found, "label_decimal")


def test_three_fields_with_commas_are_no_clip_frames_label(copy):
    root = copy("dfew")
    for path in trees.each_list(root):
        rows = path.read_text().splitlines()[1:]
        trees.write(path, [f"{row},x" for row in rows])
    found = examine("dfew", root, Declared())
    assert trees.codes(found) & {"dialect", "frame_count", "bad_row"} == set()
    assert 'row 1: "8,1,x"' in trees.text(found, "list_unreadable")


def test_a_header_with_a_space(copy):
    root = copy("ferv39k")
    for path in (root / "4_setups" / "All_scenes").iterdir():
        path.write_text("video label\n" + path.read_text())
    found = examine("ferv39k", root, Declared())
    assert trees.codes(found) == {"header_not_wanted"}, found.findings.lines()
    assert 'train_All.csv begins with "video label"' in trees.text(found, "header_not_wanted")


def test_a_dialect_is_advised_only_where_there_is_one(copy):
    root = copy("ferv39k")
    for header, code in (("video,label", "list_form"), ("video_name,label", "dialect")):
        for path in (root / "4_setups" / "All_scenes").iterdir():
            rows = path.read_text().replace(" ", ",").splitlines()
            trees.write(path, [header, *(row for row in rows if not row.endswith("label"))])
        found = examine("ferv39k", root, Declared())
        assert code in trees.codes(found), found.findings.lines()
    lists = {f"{part}_list": f"4_setups/All_scenes/{part}_All.csv" for part in ("train", "test")}
    found = examine("ferv39k", root, Declared(lists="csv", labels="words", **lists))
    assert trees.codes(found) == set(), found.findings.lines()


def test_words_that_are_no_classes_are_not_advised(tmp_path):
    own_lists(tmp_path, {"train": "ab", "test": "ab"}, ("calm", "moved"))
    found = examine("frame_folders", tmp_path, Declared(lists="videomae"))
    assert "bad_label" in trees.codes(found) and "label_base" not in trees.codes(found)
