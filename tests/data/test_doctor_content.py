"""The doctor and content that occurs twice: parts of a fold that share clips."""

import shutil

import pytest

from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from tests.data import doctor_trees as trees

pytestmark = pytest.mark.usefixtures("small_is_official")


@pytest.mark.parametrize("other", ["train", "test"])
def test_a_validation_part_that_is_a_copy(other, copy):
    root = copy("frame_folders")
    shutil.copytree(root / other, root / "val")
    found = examine("frame_folders", root, Declared())
    assert trees.codes(found) == {"content_overlap"} and found.findings.of("error")
    said = trees.text(found, "content_overlap")
    assert "4 pairs" in said and "validated on" in said, said


def test_frames_that_validation_and_test_share(copy):
    root = copy("frame_folders")
    for place, name in enumerate(("calm", "moved")):
        trees.clip(root / "val" / name / "c0", (99, place))
    shutil.copy(root / "test/calm/c0/00001.jpg", root / "val/calm/c0/00001.jpg")
    found = examine("frame_folders", root, Declared())
    assert trees.codes(found) == {"shared_frames"}
