"""The doctor on small copies: a clean one is clean, and one fault is found as that fault."""

import argparse
import dataclasses
import importlib.util
import os
import re
import shutil
from pathlib import Path

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

spec = importlib.util.spec_from_file_location("t", Path(__file__).parent / "doctor_trees.py")
trees = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trees)

FOLDS = "EmoLabel_DataSplit"


@pytest.fixture(scope="session")
def patterns(tmp_path_factory):
    """A clean copy of each data set, made when first asked for."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("pattern") / name
            trees.TREES[name](made[name])
        return made[name]

    return make


@pytest.fixture(autouse=True)
def small_is_official(monkeypatch):
    """The small copies have the official sizes."""
    seven = {f"fold_{k}": ((28, 7),) for k in range(1, 6)}
    eleven = {f"fold_{k}": ((44, 11),) for k in range(1, 6)}
    for name, folds, counts in (
        ("DFEW", seven, (5,) * 7),
        ("FERV39K", {"split": ((14, 14),)}, (2,) * 7),
        ("AFEW", {"split": ((14, 14),)}, ()),
        ("MAFW", eleven, (5,) * 11),
    ):
        known = dataclasses.replace(getattr(facts, name), folds=folds, test_counts=counts)
        monkeypatch.setattr(facts, name, known)


@pytest.fixture
def copy(patterns, tmp_path):
    """A copy of a clean tree to spoil."""
    return lambda name: trees.copy_of(patterns(name), tmp_path / name.upper())


def codes(found):
    """What was found, without the note that faces were not looked at."""
    return {f.code for f in found.findings.sorted()} - {"faces_not_examined"}


def text(found, code):
    (finding,) = [f for f in found.findings.sorted() if f.code == code]
    return finding.sentence


@pytest.mark.parametrize("name", trees.TREES)
def test_a_clean_copy_is_clean(name, patterns):
    found = examine(name, patterns(name), Declared())
    assert codes(found) == set(), found.findings.lines()
    assert len(found.copy.clips) == (found.tally.num_frames > 0).sum()


def first_frame(root, number=3):
    return root / "Clip" / "clip_224x224" / f"{number:05d}" / "00001.jpg"


def replace(path, old, new, count=1):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))


def list_of(root, part="train", fold=1):
    return root / FOLDS / f"{part}(single-labeled)" / f"set_{fold}.csv"


def each_list(root):
    return sorted((root / FOLDS).rglob("*.csv"))


def shift_labels(root):
    for path in each_list(root):
        rows = path.read_text().splitlines()
        shifted = [f"{row[:-1]}{int(row[-1]) - 1}" for row in rows[1:]]
        trees.write(path, [rows[0], *shifted])


def png(size):
    return cv2.imencode(".png", np.zeros((size, size, 3), np.uint8))[1].tobytes()


def header_of_a_huge_png(root):
    data = bytearray(png(8))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    first_frame(root).write_bytes(data)


def rename_to_time_interpolated(root):
    (root / "Clip" / "clip_224x224").rename(root / "Clip" / "clip_224x224_16f")
    for folder in (root / "Clip" / "clip_224x224_16f").iterdir():
        shutil.rmtree(folder)
        trees.clip(folder, int(folder.name), 16, "{}.jpg")


def only_videos(root):
    shutil.rmtree(root / "Clip" / "clip_224x224")
    folder = root / "Clip" / "original"
    folder.mkdir()
    writer = cv2.VideoWriter(
        str(folder / "00001.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (16, 16)
    )
    for shade in (0, 255):
        writer.write(np.full((16, 16, 3), shade, np.uint8))
    writer.release()
    for number in range(2, 36):
        shutil.copy(folder / "00001.mp4", folder / f"{number:05d}.mp4")


def spoiled_videos(root):
    only_videos(root)
    first, second, third, fourth, _ = sorted((root / "Clip" / "original").iterdir())[:5]
    first.write_bytes(first.read_bytes()[:-300])
    second.write_bytes(b"")
    third.unlink()
    third.symlink_to("nowhere")
    fourth.unlink()
    os.mkfifo(fourth)


def same_content(root, number, other):
    shutil.rmtree(first_frame(root, other).parent)
    shutil.copytree(first_frame(root, number).parent, first_frame(root, other).parent)


def nest(folder):
    inner = folder / folder.name
    moved = folder.rename(folder.with_name("moving"))
    folder.mkdir()
    moved.rename(inner)


def zipped(root):
    shutil.rmtree(root / "Clip" / "clip_224x224")
    (root / "Clip" / "clip_224x224.zip").write_bytes(b"PK")


def gray_wide(root):
    for path in first_frame(root).parent.iterdir():
        path.write_bytes(cv2.imencode(".jpg", np.zeros((224, 300), np.uint8))[1].tobytes())
        with path.open("ab") as file:
            file.write(bytes([int(path.stem[-1])]) * 8)  # not the same bytes


FAULTS = {
    # layout
    "elsewhere": (lambda r: nest(r), {"elsewhere"}, "it lies in .*DFEW/DFEW"),
    "zipped": (zipped, {"archive", "no_frames"}, r"clip_224x224\.zip"),
    "lists in small letters": (
        lambda r: (r / FOLDS).rename(r / FOLDS.lower()), {"wrong_case", "list_missing"}, "should",
    ),
    "frames too deep": (
        lambda r: nest(r / "Clip" / "clip_224x224"), {"nested_folder"}, "clip_224x224/clip_224x224",
    ),
    "clip too deep": (
        lambda r: nest(first_frame(r).parent), {"nested_folder"}, "00003/00003",
    ),
    "time interpolated": (
        rename_to_time_interpolated, {"time_interpolated", "text_order"}, "clip_224x224_16f",
    ),
    "videos": (only_videos, {"videos_only"}, "original"),
    "spoiled videos": (
        spoiled_videos, {"videos_only", "unreadable_video"}, "4 videos that cannot be opened",
    ),
    # lists
    "no list": (lambda r: list_of(r).unlink(), {"list_missing", "fold_size"}, r"set_1\.csv"),
    "binary list": (
        lambda r: list_of(r).write_bytes(b"\xff\xfe\x00"), {"list_unreadable", "fold_size"},
        "not UTF-8",
    ),
    "no header": (
        lambda r: replace(list_of(r), b"video_name,label\n", b""), {"header"}, 'begins with "8,1"',
    ),
    "windows line ends": (lambda r: replace(list_of(r), b"\n", b"\r\n", 99), set(), ""),
    "zero based": (shift_labels, {"label_base"}, 'declared is "one_based".*"zero_based"'),
    "bad row": (
        lambda r: replace(list_of(r), b"8,1\n", b"8,1\nthis,is,none\n"), {"bad_row"}, "row 3",
    ),
    "bad label": (
        lambda r: replace(list_of(r), b"8,1\n", b"8,nan\n"),
        {"bad_label", "class_absent"}, 'row 2: "nan"',
    ),
    "two labels": (
        lambda r: replace(list_of(r), b"8,1\n", b"8,2\n"),
        {"label_contradiction", "class_absent"}, '1 clip with two .* "00008" is 1, but 2',
    ),
    "twice": (
        lambda r: replace(list_of(r), b"8,1\n", b"8,1\n008,1\n"), {"repeated_clip"}, "row 3",
    ),
    "in train and test": (
        lambda r: replace(list_of(r), b"8,1\n", b"8,1\n1,1\n"), {"id_overlap"},
        '"00001" is also in train of fold 1',
    ),
    "tested twice": (
        lambda r: replace(list_of(r, "test"), b"1,1\n", b"1,1\n8,1\n"),
        {"tested_twice", "id_overlap", "fold_size"}, "00008",
    ),
    "a clip less": (
        lambda r: replace(list_of(r), b"8,1\n", b""), {"fold_size"},
        "fold 1 has 27 and 7 .train and test., official is 28 and 7",
    ),
    # clips
    "missing clip": (lambda r: shutil.rmtree(first_frame(r).parent), {"missing_clip"}, "00003"),
    "empty clip": (
        lambda r: [p.unlink() for p in first_frame(r).parent.iterdir()], {"empty_clip"}, "00003",
    ),
    "unlisted clip": (
        lambda r: trees.clip(r / "Clip" / "clip_224x224" / "00099", 99), {"unlisted_clip"}, "00099",
    ),
    "empty frame": (lambda r: first_frame(r).write_bytes(b""), {"empty_frame"}, "00003/00001.jpg"),
    "web page": (
        lambda r: first_frame(r).write_bytes(b"<html>not found</html>"), {"not_image"}, "00001.jpg",
    ),
    "truncated": (
        lambda r: first_frame(r).write_bytes(first_frame(r).read_bytes()[:-300]),
        {"damaged_frame"}, "00001.jpg .*truncated",
    ),
    "a PNG named .jpg": (
        lambda r: first_frame(r).write_bytes(png(224)), {"wrong_suffix"}, "00001.jpg is PNG",
    ),
    "truncated PNG": (
        lambda r: first_frame(r).write_bytes(png(224)[:-9]), {"damaged_frame"}, "00001.jpg",
    ),
    "huge": (header_of_a_huge_png, {"huge_frame"}, "60000 x 60000"),
    "a broken link": (
        lambda r: (first_frame(r).unlink(), first_frame(r).symlink_to("nowhere")),
        {"unreadable_frame"}, "a broken link, No such file",
    ),
    "a text beside": (
        lambda r: (first_frame(r).parent / "Thumbs.db").write_bytes(b"x"), {"other_file"}, "Thumbs",
    ),
    "hidden files": (
        lambda r: (first_frame(r).parent / "._00001.jpg").write_bytes(b"x"), set(), "",
    ),
    # sizes
    "mixed sizes": (
        lambda r: first_frame(r).write_bytes(trees.frame(0, 256)), {"mixed_sizes"}, "00003",
    ),
    "not square": (gray_wide, {"not_square"}, "00003"),
    "unusual size": (
        lambda r: [p.write_bytes(trees.frame(i, 112))
                   for i, p in enumerate(first_frame(r).parent.iterdir())],
        {"unusual_size"}, "112 x 112 in 1 clips",
    ),
    "single frame": (
        lambda r: [p.unlink() for p in sorted(first_frame(r).parent.iterdir())[1:]],
        {"single_frame"}, "00003",
    ),
    # names
    "unpadded": (
        lambda r: (shutil.rmtree(first_frame(r).parent),
                   trees.clip(first_frame(r).parent, 77, 11, "{}.jpg")),
        {"text_order"}, "10.jpg would come before 2.jpg",
    ),
    "gap": (
        lambda r: (first_frame(r).parent / "00003.jpg").rename(
            first_frame(r).parent / "00009.jpg"),
        {"gaps"}, "5 numbers are missing, the first after",
    ),
    "mixed padding": (
        lambda r: first_frame(r).rename(first_frame(r).with_name("1.jpg")),
        {"mixed_padding", "text_order"}, "1 beside 0000",
    ),
    "two of a number": (
        lambda r: first_frame(r).with_suffix(".png").write_bytes(png(224)),
        {"same_number"}, "number 1",
    ),
    # duplicates; clips 3 and 10 are of class 3, fold 1 tests on 3, fold 2 on 10
    "repeated frame": (
        lambda r: shutil.copy(first_frame(r), first_frame(r).with_name("00002.jpg")),
        {"repeated_frames"}, "1 of 4 frames are repeats",
    ),
    "frozen": (
        lambda r: [p.write_bytes(first_frame(r).read_bytes())
                   for p in first_frame(r).parent.iterdir()],
        {"frozen_clip"}, "00003",
    ),
    "same content": (lambda r: same_content(r, 3, 10), {"content_overlap"},
                     "00010 is trained on, 00003 tested on in fold 1"),
    "same content, two labels": (
        lambda r: same_content(r, 3, 4), {"two_labels"}, "00003 and 00004 .neutral and angry",
    ),
    "tabs for commas": (
        lambda r: replace(list_of(r), b",", b"\t", -1), {"refused"}, "row 1: the header",
    ),
    "a quote that does not end": (
        lambda r: replace(list_of(r), b"\n8,", b'\n"8,'), {"refused"}, "row 2: .* is no row",
    ),
    "a zero byte": (
        lambda r: replace(list_of(r), b"\n8,", b"\n8\0,"), {"list_unreadable", "fold_size"},
        "row 2: there is a zero byte",
    ),
    "a row that climbs out": (
        lambda r: replace(list_of(r), b"\n8,", b"\n../../8,"), {"bad_row"},
        r"set_1.csv, row 2: .* lies outside",
    ),
    "a pipe for a frame": (
        lambda r: (first_frame(r).unlink(), os.mkfifo(first_frame(r))), {"unreadable_frame"},
        "no regular file",
    ),
    "no clip is there": (
        lambda r: [shutil.rmtree(r / "Clip" / "clip_224x224" / f"{n:05d}") for n in range(1, 36)],
        {"missing_clip", "no_frames"}, "has frames of none of the 35 clips",
    ),
    "a shared frame": (
        lambda r: shutil.copy(first_frame(r, 3), first_frame(r, 11)), {"shared_frames"},
        r"00011 and 00003 \(1 frame, fold 1\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_dfew(fault, copy):
    root = copy("dfew")
    spoil, expected, words = FAULTS[fault]
    spoil(root)
    found = examine("dfew", root, Declared())
    assert codes(found) == expected, found.findings.lines()
    assert not words or any(
        re.search(words, f.sentence) for f in found.findings.sorted() if f.code in expected
    ), found.findings.lines()


def test_a_part_of_the_set_is_an_error_unless_declared(copy, monkeypatch):
    monkeypatch.setattr(
        facts, "DFEW",
        dataclasses.replace(facts.DFEW, folds={f"fold_{k}": ((9356, 2341),) for k in range(1, 6)}),
    )  # fmt: skip
    found = examine("dfew", copy("dfew"), Declared())
    assert codes(found) == {"fold_size"} and found.findings.of("error")
    found = examine("dfew", copy("ferv39k").parent / "DFEW", Declared(), partial=True)
    assert codes(found) == {"fold_size"} and not found.findings.of("error")


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
                rows.append(f"{name} {FRAMES_OF_CLIP} {alphabetical.index(emotion)}")
        trees.write(root / f"{part}.txt", rows)
    monkeypatch.setattr(
        facts, "FERV39K",
        dataclasses.replace(facts.FERV39K, folds={"split": ((28, 28),)},
                            test_counts=(7, 6, 5, 4, 3, 2, 1)),
    )  # fmt: skip
    lists = {"lists": "former_dfer", "train_list": "train.txt", "test_list": "test.txt"}
    found = examine("ferv39k", root, Declared(list_order="alphabetical", **lists))
    assert codes(found) == {"unlisted_clip", "refused"}  # no emotion is called c
    found = examine("ferv39k", root, Declared(list_order="dfew", **lists))
    assert codes(found) == {"unlisted_clip", "label_order"}
    assert "read as happy are angry" in text(found, "label_order")


FRAMES_OF_CLIP = trees.FRAMES


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
    assert codes(found) == {"frame_count", "absolute_path"}
    assert "Action/Happy/0001 has 3, declared are 16" in text(found, "frame_count")
    found = examine("ferv39k", root, dataclasses.replace(declared, strip_prefix="/home/x"))
    assert codes(found) == {"frame_count"}


def test_labels_beside_the_emotions_of_the_paths(copy):
    root = copy("ferv39k")
    path = root / "4_setups" / "All_scenes" / "train_All.csv"
    replace(path, b"Action/Happy/0001 Happy", b"Action/Happy/0001 Sad")
    found = examine("ferv39k", root, Declared())
    assert codes(found) == {"label_and_folder"}


def test_sixteen_frames_everywhere_are_not_the_original_length(copy):
    root = copy("dfew")
    for folder in (root / "Clip" / "clip_224x224").iterdir():
        shutil.rmtree(folder)
        trees.clip(folder, int(folder.name), 16)
    assert codes(examine("dfew", root, Declared())) == {"all_sixteen"}


def test_interpolated_clips_without_sixteen_frames_are_told(copy):
    root = copy("dfew")
    rename_to_time_interpolated(root)
    (root / "Clip" / "clip_224x224_16f" / "00005" / "16.jpg").unlink()
    found = examine("dfew", root, Declared())
    assert "not_sixteen" in codes(found) and "00005 has 15" in text(found, "not_sixteen")


def test_damage_in_the_middle_needs_decoding(copy):
    root = copy("dfew")
    path = first_frame(root).with_name("00003.jpg")  # the middle one of four
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    assert codes(examine("dfew", root, Declared())) == set()
    for decode in ("sample", "all"):
        assert codes(examine("dfew", root, Declared(), decode=decode)) == {"damaged_frame"}


def test_film_frames_look_uncropped(copy):
    root = copy("dfew")
    for number, path in enumerate(sorted((root / "Clip").rglob("*.jpg"))):
        image = cv2.imdecode(np.frombuffer(trees.frame(number), np.uint8), 1)[:126]
        path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    assert codes(examine("dfew", root, Declared())) == {"uncropped", "not_square"}


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
    (first_frame(root, 5).parent / "line\nbreak 7.jpg").write_bytes(b"")
    os.mkfifo(first_frame(root, 6).parent / "00009.txt")
    with open(os.fsencode(first_frame(root, 7).parent) + b"/\xff\xfe 8.jpg", "wb") as file:
        file.write(b"no image")
    found = examine("dfew", root, Declared())
    assert codes(found) == {
        "missing_clip", "unreadable_folder", "empty_clip", "empty_frame", "other_file", "not_image",
    } - {"unreadable_folder"} | ({"unreadable_folder"} & codes(found))  # fmt: skip
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
    assert codes(found) == {"unreadable_folder"}
    assert "00003 (Permission denied)" in text(found, "unreadable_folder")


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
    assert codes(found) & {"unreadable_folder", "refused"}, found.findings.lines()


def test_what_the_builder_refuses_is_an_error_of_a_part_too(copy):
    root = copy("frame_folders")
    for part in ("train", "test"):
        trees.write(root / f"{part}.txt", [f"{part}/calm/c0 3 0", f"{part}/moved/c0 3 1"])
    found = examine("frame_folders", root, Declared(), partial=True)
    assert "classes.txt cannot be read" in text(found, "refused")
    root = copy("dfew")
    list_of(root, fold=2).unlink()  # the other folds can be prepared
    found = examine("dfew", root, Declared(), partial=True)
    assert not found.findings.of("error"), found.findings.lines()


def test_workers_find_what_one_process_finds(copy):
    root = copy("dfew")
    for number in range(36, 120):  # so many that workers are started
        trees.clip(root / "Clip" / "clip_224x224" / f"{number:05d}", number, 2)
    rows = "".join(f"{n},1\n" for n in range(36, 120))
    for fold in range(1, 6):
        with list_of(root, fold=fold).open("a") as file:
            file.write(rows)
    first_frame(root).write_bytes(b"")
    alone, together = (examine("dfew", root, Declared(), num_workers=n) for n in (0, 2))
    assert alone.findings.lines() == together.findings.lines()
    np.testing.assert_array_equal(alone.tally.keys, together.tally.keys)


def test_every_kind_is_told_in_its_own_words():
    from logo_jax.data.doctor.kinds import KINDS

    for code, kind in KINDS.items():
        assert kind.one != kind.many and kind.mend.endswith("."), code


@given(
    st.lists(
        st.tuples(st.sampled_from(("", "f_", "1_")), st.sampled_from(("{}", "{:03d}", "x{}y")),
                  st.integers(0, 120)),
        min_size=1, max_size=9,
    )
)  # fmt: skip
def test_frames_are_ordered_as_the_builders_order_them(parts):
    names = sorted({prefix + form.format(number) + ".jpg" for prefix, form, number in parts})
    assert in_order(names)[0] == frame_order(names)


def test_arguments():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = parser.parse_args(["dfew", "--source=x", "--partial"])
    assert arguments.partial and arguments.decode == "none" and arguments.num_workers is None
