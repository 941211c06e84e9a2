"""The doctor on names: frames of two extractions, links that lead nowhere, parts without clips."""

import shutil

import pytest

from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from logo_jax.data.doctor.order import in_order
from tests.data import doctor_trees as trees

pytestmark = pytest.mark.usefixtures("small_is_official")


def test_two_extractions_in_one_clip(copy):
    root = copy("dfew")
    folder = trees.first_frame(root).parent
    for number, path in enumerate(sorted(folder.iterdir()), 1):
        path.rename(folder / f"00003_{number:05d}.jpg")
        (folder / f"frame_{number}.jpg").write_bytes(trees.frame((7, number)))
    found = examine("dfew", root, Declared())
    assert "same_number" in trees.codes(found)
    assert "00003_00001.jpg and frame_1.jpg" in trees.text(found, "same_number")


@pytest.mark.parametrize(
    "names",
    [
        ["0_0.jpg", "0_1.jpg", "1_0.jpg", "1_1.jpg"],  # seconds and frames
        ["f_10_face0.jpg", "f_9_face0.jpg"],
        ["a1.jpg", "b2.jpg", "c3.jpg"],
    ],
)
def test_one_extraction_is_not_two(names):
    assert "same_number" not in [code for code, _ in in_order(names)[1]]


@pytest.mark.parametrize("name", ["frame_folders", "afew"])
def test_links_that_lead_to_no_clip(name, copy):
    root = copy(name)
    folder = root / "train" / ("calm" if name == "frame_folders" else "Happy")
    (folder / "x").symlink_to("nowhere")
    (folder / "y").symlink_to("y")
    (folder / "z").symlink_to(root, target_is_directory=True)
    found = examine(name, root, Declared())
    assert trees.codes(found) - {"fold_size"} == {"dead_link"}, found.findings.lines()
    said = trees.text(found, "dead_link")
    assert "3 links" in said and "leads nowhere: No such file" in said and "which holds it" in said


def test_links_in_the_place_of_listed_clips(copy):
    root = copy("dfew")
    clips = root / "Clip" / "clip_224x224"
    for number, target in ((1, "nowhere"), (2, "00002")):
        shutil.rmtree(clips / f"{number:05d}")
        (clips / f"{number:05d}").symlink_to(target)
    assert trees.codes(examine("dfew", root, Declared())) == {"dead_link"}


def test_a_set_without_a_test_part(copy):
    root = copy("frame_folders")
    shutil.rmtree(root / "test")
    for partial in (False, True):
        found = examine("frame_folders", root, Declared(), partial=partial)
        assert trees.codes(found) == {"part_empty"} and found.findings.of("error")
        (line,) = [line for line in found.findings.lines() if line.startswith("error")]
        assert "test of the split" in line and "for evaluation" in line


def test_clips_beside_the_lists(copy):
    root = copy("mafw")
    for path in (root / "data" / "frames").iterdir():
        path.rename(root / path.name)
    found = examine("mafw", root, Declared(frame_folder="."))
    assert trees.codes(found) == {"unlisted_clip"}, found.findings.lines()  # the folder of lists
    assert found.tally.num_frames.all()
