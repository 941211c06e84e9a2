"""One fault in a small copy of DFEW is found as that fault."""

import os
import re
import shutil

import cv2
import numpy as np
import pytest

from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from tests.data import doctor_trees as trees
from tests.data.doctor_trees import (
    FOLDS,
    codes,
    each_list,
    first_frame,
    list_of,
    only_videos,
    rename_to_time_interpolated,
    replace,
)

pytestmark = pytest.mark.usefixtures("small_is_official")


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
        lambda r: replace(list_of(r), b"8,1\n", b"8,1\n1,1\n"), {"id_overlap", "fold_size"},
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
