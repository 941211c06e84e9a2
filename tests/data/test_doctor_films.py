"""The doctor on clips that are video files."""

import shutil

import pytest

from logo_jax.data.doctor import verdict
from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.examination import examine
from logo_jax.data.doctor.page import write_report_page
from logo_jax.data.faces import FaceDetector
from tests.data import doctor_trees as trees

pytestmark = pytest.mark.usefixtures("small_is_official")


@pytest.fixture
def films(copy):
    """DFEW with its videos only, and the folder of them."""
    root = copy("dfew")
    trees.only_videos(root)
    return root, root / "Clip" / "original"


def test_the_same_video_in_train_and_test(films):
    root, folder = films
    shutil.copy(folder / "00003.mp4", folder / "00010.mp4")
    found = examine("dfew", root, Declared())
    assert trees.codes(found) == {"videos_only", "content_overlap"}
    said = trees.text(found, "content_overlap")
    assert "00010 is trained on, 00003 tested on in fold 1" in said
    shutil.copy(folder / "00003.mp4", folder / "00004.mp4")
    assert "two_labels" in trees.codes(examine("dfew", root, Declared()))


def test_videos_are_counted(films):
    root, folder = films
    trees.video(folder / "00003.mp4", 3, frames=1)
    found = examine("dfew", root, Declared())
    assert trees.codes(found) == {"videos_only", "single_frame"}
    assert "with 69 frames (1 to 2 a clip" in verdict.report(found)["verdict"][1]


def test_a_truncated_video_needs_decoding(films):
    root, folder = films
    (folder / "00003.mp4").unlink()
    path = folder / "00003.avi"  # its index stands behind the frames, and is not needed
    trees.video(path, 3, frames=40, code="MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert trees.codes(examine("dfew", root, Declared())) == {"videos_only"}
    for decode in ("sample", "all"):
        found = examine("dfew", root, Declared(), decode=decode)
        assert trees.codes(found) == {"videos_only", "damaged_video"}
        assert "00003.avi: it declares 40 frames" in trees.text(found, "damaged_video")


def test_the_page_of_videos(films, tmp_path):
    found = examine("dfew", films[0], Declared())
    report = {"seconds": 1, **verdict.report(found)}
    write_report_page(tmp_path / "report.html", report, found, None)
    assert "70 frames" in (tmp_path / "report.html").read_text()


def test_a_face_detector_for_videos_is_said_to_do_nothing(films):
    found = examine("dfew", films[0], Declared(), detector=FaceDetector.__new__(FaceDetector))
    assert trees.codes(found) == {"videos_only", "faces_in_videos"}


def test_declared_counts_of_videos(films):
    root, _ = films
    for path in trees.each_list(root):
        rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
        part = path.parent.name.partition("(")[0]
        lines = [f"{name} {3 if name == '4' else 2} {label}" for name, label in rows]
        trees.write(root / f"{part}_{path.stem[-1]}.txt", lines)
    lists = {"train_list": "train_{fold}.txt", "test_list": "test_{fold}.txt"}
    found = examine("dfew", root, Declared(lists="former_dfer", labels="one_based", **lists))
    assert trees.codes(found) == {"videos_only", "frame_count"}
    assert "00004 has 2, declared are 3" in trees.text(found, "frame_count")
