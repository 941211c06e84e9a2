"""The face detector: coordinates in the caller's image, and weights that are none."""

import cv2
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data.faces import FaceDetector


class Squares:
    """Stands in for YuNet: every white square of at least `smallest` pixels is a face."""

    smallest = 10

    def __init__(self):
        self.sizes = []

    def setInputSize(self, size):
        self.sizes.append(size)

    def detect(self, image):
        assert image.flags["C_CONTIGUOUS"]
        if not self.sizes:
            return 1, None
        assert image.shape[:2][::-1] == self.sizes[-1]
        # Blue alone is white where the caller's image is RGB (0, 0, 255).
        mask = (image[..., 0] > 127).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        found = [row[:4] for row in stats[1:count] if min(row[2:4]) >= self.smallest]
        faces = np.zeros((len(found), 15), np.float32)
        for face, box in zip(faces, found, strict=True):
            face[:4], face[14] = box, 0.75
        return 1, faces if found else None


@pytest.fixture
def detector(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *args, **options: Squares())
    (tmp_path / "weights.onnx").write_bytes(b"any")
    return FaceDetector(tmp_path / "weights.onnx")


def picture(height, width, *boxes):
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, w, h in boxes:
        image[y : y + h, x : x + w, 2] = 255
    return image


def test_the_largest_of_several(detector):
    image = picture(200, 240, (10, 20, 30, 30), (100, 50, 60, 80), (200, 10, 12, 12))
    assert detector.largest(image) == (100, 50, 60, 80, 0.75)


def test_no_face(detector):
    assert detector.largest(picture(100, 100)) is None
    assert detector.largest(picture(1, 1)) is None


def test_boxes_of_a_large_frame_are_in_its_own_pixels(detector):
    box = (480, 240, 600, 360)
    found = detector.largest(picture(1080, 1920, box))
    np.testing.assert_allclose(found[:4], box, atol=1920 / 320)
    assert detector._detector.sizes == [(320, 180)]


def test_a_far_face_is_found_in_the_second_look(detector):
    box = (900, 501, 45, 45)  # 7.5 pixels at the first look
    np.testing.assert_allclose(detector.largest(picture(1080, 1920, box))[:4], box, atol=3)
    assert detector._detector.sizes == [(320, 180), (1280, 720)]


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_files_that_are_no_weights(tmp_path, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(UserError, match=r"yunet\.onnx is not the face detector YuNet"):
        FaceDetector(path)
    assert cv2.utils.logging.getLogLevel() == level
    with pytest.raises(UserError, match=r"There is no file .*none\.onnx: name the ONNX file"):
        FaceDetector(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="There is no file"):
        FaceDetector(tmp_path)


def test_another_network(monkeypatch, tmp_path):
    class Other(Squares):
        def detect(self, image):
            raise cv2.error("no such output")

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *args, **options: Other())
    (tmp_path / "other.onnx").write_bytes(b"any")
    with pytest.raises(UserError, match="is not the face detector YuNet"):
        FaceDetector(tmp_path / "other.onnx")
