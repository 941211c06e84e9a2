"""Where the face is in a frame, by the YuNet detector in OpenCV.

The weights are one ONNX file of OpenCV's model zoo (face_detection_yunet, about 0.3 MB), which the
user names: this project holds none.
"""

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from logo_jax.common.errors import UserError

# YuNet was trained on faces of up to about 300 pixels, so a frame is first looked at with its
# longer side at the first length, where a near face is found, then at the next, for a far one.
LONGER_SIDES = (320, 1280)
# Candidates below this are dropped, and boxes that overlap by more than this are one face.
NMS_THRESHOLD = 0.3
ERRORS_ONLY = 2  # a level of OpenCV's log

Box = tuple[float, float, float, float, float]


class FaceDetector:
    """Finds faces in frames.

    Loads in some milliseconds, is not picklable and not safe to share between threads: a worker
    makes its own.
    """

    def __init__(self, weights: str | Path, min_score: float = 0.6):
        """Load the detector.

        Args:
            weights: the ONNX file of YuNet.
            min_score: least confidence of a face, between 0 and 1.

        Raises:
            UserError: the file is missing or is no YuNet model.
        """
        path = os.path.abspath(os.path.expanduser(weights))
        if not os.path.isfile(path):
            raise UserError(
                f"There is no file {weights}: name the ONNX file of the face detector YuNet "
                "(face_detection_yunet of OpenCV's model zoo)."
            )
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(ERRORS_ONLY)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                path, "", (64, 64), score_threshold=min_score, nms_threshold=NMS_THRESHOLD
            )
            # Another network loads as well, and fails only when it is used.
            self._detector.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise UserError(
                f"{weights} is not the face detector YuNet, or a damaged copy ({error.err}): get "
                "face_detection_yunet from OpenCV's model zoo again."
            ) from error
        finally:
            cv2.utils.logging.setLogLevel(level)

    def largest(self, image: UInt8[np.ndarray, "H W 3"]) -> Box | None:
        """Find the largest face of an RGB image.

        Returns:
            x, y, width, height of its box in pixels of `image` and its score; None without a face.
            The box may reach beyond the image.
        """
        height, width = image.shape[:2]
        for longer_side in LONGER_SIDES:
            scale = min(1.0, longer_side / max(height, width))
            size = max(1, round(width * scale)), max(1, round(height * scale))
            small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            self._detector.setInputSize(size)
            _, faces = self._detector.detect(np.ascontiguousarray(small[..., ::-1]))
            if faces is not None and len(faces):
                x, y, w, h, score = map(float, max(faces, key=_area)[[0, 1, 2, 3, -1]])
                across, down = width / size[0], height / size[1]
                return x * across, y * down, w * across, h * down, score
            if scale == 1:
                break
        return None


def _area(face: np.ndarray) -> float:
    return float(face[2] * face[3])
