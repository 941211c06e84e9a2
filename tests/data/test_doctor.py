"""The doctor on small copies: a clean one is clean, and what is wrong with one is told."""

import argparse
import dataclasses
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.data.datasets import facts
from logo_jax.data.doctor import add_arguments
from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from logo_jax.data.doctor.order import in_order
from logo_jax.data.faces import FaceDetector
from logo_jax.data.frames import frame_order
from tests.data import doctor_trees as trees

pytestmark = pytest.mark.usefixtures("small_is_official")


@pytest.mark.parametrize("name", trees.TREES)
def test_a_clean_copy_is_clean(name, patterns):
    found = examine(name, patterns(name), Declared())
    assert trees.codes(found) == set(), found.findings.lines()
    assert len(found.copy.clips) == (found.tally.num_frames > 0).sum()


def test_a_part_of_the_set_is_an_error_unless_declared(copy, monkeypatch):
    monkeypatch.setattr(
        facts, "DFEW",
        dataclasses.replace(facts.DFEW, folds={f"fold_{k}": ((9356, 2341),) for k in range(1, 6)}),
    )  # fmt: skip
    found = examine("dfew", copy("dfew"), Declared())
    assert trees.codes(found) == {"fold_size"} and found.findings.of("error")
    found = examine("dfew", copy("ferv39k").parent / "DFEW", Declared(), partial=True)
    assert trees.codes(found) == {"fold_size"} and not found.findings.of("error")
    for path in trees.each_list(found.copy.root):
        path.rename(path.with_suffix(".txt"))
    found = examine("dfew", found.copy.root, Declared(), partial=True)
    assert re.search(
        r"The list .*set_1.csv is missing; .* holds set_1.txt", trees.text(found, "refused")
    )


def test_the_counts_tell_the_order_of_the_labels(copy, monkeypatch):
    counts = {"Happy": 7, "Sad": 6, "Neutral": 5, "Angry": 4, "Surprise": 3, "Disgust": 2,
              "Fear": 1}  # fmt: skip
    alphabetical = sorted(trees.SEVEN)
    root = copy("ferv39k")
    for part in ("train", "test"):
        rows = []
        for emotion in trees.SEVEN:
            for number in range(counts[emotion]):
                name = f"Action/c/{part}{emotion}{number}"
                trees.clip(root / "2_ClipsforFaceCrop" / name, hash(name) % 2**31)
                rows.append(f"{name} {trees.FRAMES} {alphabetical.index(emotion)}")
        trees.write(root / f"{part}.txt", rows)
    monkeypatch.setattr(
        facts, "FERV39K",
        dataclasses.replace(facts.FERV39K, folds={"split": ((28, 28),)},
                            test_counts=(7, 6, 5, 4, 3, 2, 1)),
    )  # fmt: skip
    lists = {"lists": "former_dfer", "train_list": "train.txt", "test_list": "test.txt"}
    found = examine("ferv39k", root, Declared(list_order="alphabetical", **lists))
    assert trees.codes(found) == {"unlisted_clip", "refused"}  # no emotion is called c
    found = examine("ferv39k", root, Declared(list_order="dfew", **lists))
    assert trees.codes(found) == {"unlisted_clip", "label_order"}
    assert "read as happy are angry" in trees.text(found, "label_order")


def test_declared_frame_counts(copy):
    root = copy("ferv39k")
    for part in ("train", "test"):
        path = root / "4_setups" / "All_scenes" / f"{part}_All.csv"
        rows = [line.rsplit(" ", 1) for line in path.read_text().splitlines()]
        lines = [f"/home/x/{n} 3 {trees.SEVEN.index(word)}" for n, word in rows]
        lines[0] = lines[0].replace(" 3 ", " 16 ")
        trees.write(root / f"{part}.txt", lines)
    declared = Declared(lists="former_dfer", train_list="train.txt", test_list="test.txt",
                        list_order="dfew")  # fmt: skip
    found = examine("ferv39k", root, declared)
    assert trees.codes(found) == {"frame_count", "absolute_path"}
    assert "Action/Happy/0001 has 3, declared are 16" in trees.text(found, "frame_count")
    found = examine("ferv39k", root, dataclasses.replace(declared, strip_prefix="/home/x"))
    assert trees.codes(found) == {"frame_count"}


def test_labels_beside_the_emotions_of_the_paths(copy):
    root = copy("ferv39k")
    path = root / "4_setups" / "All_scenes" / "train_All.csv"
    trees.replace(path, b"Action/Happy/0001 Happy", b"Action/Happy/0001 Sad")
    found = examine("ferv39k", root, Declared())
    assert trees.codes(found) == {"label_and_folder"}


def test_sixteen_frames_everywhere_are_not_the_original_length(copy):
    root = copy("dfew")
    for folder in (root / "Clip" / "clip_224x224").iterdir():
        shutil.rmtree(folder)
        trees.clip(folder, int(folder.name), 16)
    assert trees.codes(examine("dfew", root, Declared())) == {"all_sixteen"}


def test_interpolated_clips_without_sixteen_frames_are_told(copy):
    root = copy("dfew")
    trees.rename_to_time_interpolated(root)
    (root / "Clip" / "clip_224x224_16f" / "00005" / "16.jpg").unlink()
    found = examine("dfew", root, Declared())
    assert "not_sixteen" in trees.codes(found) and "00005 has 15" in trees.text(
        found, "not_sixteen"
    )


def test_damage_in_the_middle_needs_decoding(copy):
    root = copy("dfew")
    path = trees.first_frame(root).with_name("00003.jpg")  # the middle one of four
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    assert trees.codes(examine("dfew", root, Declared())) == set()
    for decode in ("sample", "all"):
        assert trees.codes(examine("dfew", root, Declared(), decode=decode)) == {"damaged_frame"}


def test_film_frames_look_uncropped(copy):
    root = copy("dfew")
    for number, path in enumerate(sorted((root / "Clip").rglob("*.jpg"))):
        image = cv2.imdecode(np.frombuffer(trees.frame(number), np.uint8), 1)[:126]
        path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    assert trees.codes(examine("dfew", root, Declared())) == {"uncropped", "not_square"}


class Detector(FaceDetector):
    """Finds a face of a given share in every frame."""

    def __init__(self, share):
        self.share = share

    def largest(self, image):
        height, width = image.shape[:2]
        side = self.share**0.5
        return (0.0, 0.0, width * side, height * side, 0.9) if self.share else None


@pytest.mark.parametrize(
    ("share", "expected"), [(0.6, set()), (0.05, {"uncropped"}), (0, {"no_face"})]
)
def test_faces_in_the_frames(patterns, share, expected):
    found = examine("dfew", patterns("dfew"), Declared(), detector=Detector(share))
    assert {f.code for f in found.findings.sorted()} == expected
    shares = [x for sample in found.samples for x in sample.shares]
    np.testing.assert_allclose(shares, share, atol=1e-6)


def test_hostile_trees_do_not_stop_it(copy):
    root = copy("dfew")
    clips = root / "Clip" / "clip_224x224"
    for number in (1, 2, 4):
        shutil.rmtree(clips / f"{number:05d}")
    (clips / "00001").symlink_to(clips / "00001")  # leads to itself
    (clips / "00002").write_text("a file")
    (clips / "00004").symlink_to(root, target_is_directory=True)
    (trees.first_frame(root, 5).parent / "line\nbreak 7.jpg").write_bytes(b"")
    os.mkfifo(trees.first_frame(root, 6).parent / "00009.txt")
    with open(os.fsencode(trees.first_frame(root, 7).parent) + b"/\xff\xfe 8.jpg", "wb") as file:
        file.write(b"no image")
    found = examine("dfew", root, Declared())
    assert trees.codes(found) == {
        "missing_clip", "dead_link", "empty_frame", "other_file", "not_image",
    }  # fmt: skip
    lines = found.findings.lines()
    assert any(r"line\nbreak" in line for line in lines) and not any("\n" in line for line in lines)
    for line in lines:
        line.encode()  # no surrogates


def test_folders_that_may_not_be_read(copy, monkeypatch):
    root = copy("dfew")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("00003"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = examine("dfew", root, Declared())
    assert trees.codes(found) == {"unreadable_folder"}
    assert "00003 (Permission denied)" in trees.text(found, "unreadable_folder")


@pytest.mark.parametrize("name", ["dfew", "mafw", "afew"])
def test_an_upper_folder_that_may_not_be_read(name, copy, monkeypatch):
    root = copy(name)
    hidden = {"dfew": "Clip", "mafw": "data/frames", "afew": "train/Happy"}[name]
    listed, looked, access = os.scandir, os.stat, os.access

    def inside(path):
        return str(path).startswith(f"{root / hidden}/")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    def scandir(path="."):
        return refuse(path) if f"{path}/" == f"{root / hidden}/" or inside(path) else listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name for entry in scandir(path)])
    monkeypatch.setattr(
        os, "stat", lambda path, **other: refuse(path) if inside(path) else looked(path, **other)
    )
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != root / hidden and access(path, mode)
    )
    found = examine(name, root, Declared(), partial=True)
    assert trees.codes(found) & {"unreadable_folder", "refused"}, found.findings.lines()


def test_what_the_builder_refuses_is_an_error_of_a_part_too(copy):
    root = copy("frame_folders")
    for part in ("train", "test"):
        trees.write(root / f"{part}.txt", [f"{part}/calm/c0 3 0", f"{part}/moved/c0 3 1"])
    found = examine("frame_folders", root, Declared(), partial=True)
    assert "classes.txt cannot be read" in trees.text(found, "refused")
    root = copy("dfew")
    trees.list_of(root, fold=2).unlink()  # the other folds can be prepared
    found = examine("dfew", root, Declared(), partial=True)
    assert not found.findings.of("error"), found.findings.lines()


def test_workers_find_what_one_process_finds(copy):
    root = copy("dfew")
    for number in range(36, 120):  # so many that workers are started
        trees.clip(root / "Clip" / "clip_224x224" / f"{number:05d}", number, 2)
    rows = "".join(f"{n},1\n" for n in range(36, 120))
    for fold in range(1, 6):
        with trees.list_of(root, fold=fold).open("a") as file:
            file.write(rows)
    trees.first_frame(root).write_bytes(b"")
    alone, together = (examine("dfew", root, Declared(), num_workers=n) for n in (0, 2))
    assert alone.findings.lines() == together.findings.lines()
    np.testing.assert_array_equal(alone.tally.keys, together.tally.keys)


def test_every_kind_is_told_in_its_own_words():
    from logo_jax.data.doctor.kinds import KINDS

    for code, kind in KINDS.items():
        assert kind.one != kind.many and kind.mend.endswith("."), code


@given(
    st.lists(
        st.tuples(st.sampled_from(("", "f_", "1_", "0.", "2.")),
                  st.sampled_from(("{}", "{:03d}", "x{}y")),
                  st.integers(0, 120)),
        min_size=1, max_size=9,
    )
)  # fmt: skip
def test_frames_are_ordered_as_the_builders_order_them(parts):
    names = sorted({prefix + form.format(number) + ".jpg" for prefix, form, number in parts})
    assert in_order(names)[0] == frame_order(names)


def test_numbers_that_contradict_each_other_are_told():
    names = [f"{i:04d}_0.{9999 - 7919 * i % 9000}.jpg" for i in range(1, 30)]
    ordered, issues = in_order(names)
    assert ordered == names and issues == [
        ("order_unsure", f"{names[0]}, {names[1]}, ..., {names[-1]}")
    ]
    seconds = [f"{i / 29.97:.3f}.jpg" for i in range(70)]
    assert in_order(seconds) == (seconds, [])


def test_arguments():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["dfew", "--source=x", "--partial"])
    assert arguments.partial and arguments.decode == "none" and arguments.num_workers is None
