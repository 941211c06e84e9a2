"""Whether the frames are crops of faces: by a face detector on a sample, or by their size alone."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8

from logo_jax.common.errors import UserError
from logo_jax.common.progress import track
from logo_jax.data.decode import decode_image, read_image_file
from logo_jax.data.doctor.clip import frame_paths
from logo_jax.data.doctor.copy import Copy
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.doctor.scan import Tally
from logo_jax.data.faces import Box, FaceDetector

SAMPLED_CLIPS = 200
FRAMES_OF_CLIP = 3
# Share of the frame's area that the box of the face takes. Crops around a face have about half or
# more; of a film's frames, most have less than a tenth. In between lies a choice of ours.
SMALL_FACE = 0.2
# A frame whose longer side is this many times its shorter one is a frame of a film.
FILM_RATIO = 1.25


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the detector saw in one clip: the face's share of each frame, 0 without a face."""

    clip: str
    shares: tuple[float, ...]

    @property
    def share(self) -> float:
        """Median over the frames that have a face; 0 where none has."""
        found = [share for share in self.shares if share > 0]
        return float(np.median(found)) if found else 0.0


def check_crops(
    copy: Copy, tally: Tally, detector: FaceDetector | None, findings: Findings
) -> list[Sample]:
    """Note frames that look un-cropped; returns what the detector saw in the sample."""
    if detector is None:
        findings.add("faces_not_examined", "sizes of frames were looked at, faces were not")
        wide = sum(
            clips
            for (width, height), clips in tally.sizes.items()
            if max(width, height) >= FILM_RATIO * min(width, height)
        )
        there = int((tally.num_frames > 0).sum())
        if copy.facts is not None and wide > there / 2:
            findings.add("uncropped", f"{wide:,} of {there:,} clips have wide frames")
        return []
    samples = [
        _sample(copy, int(row), detector)
        for row in track(
            spread(np.flatnonzero(tally.num_frames), SAMPLED_CLIPS), desc="Faces", unit="clips"
        )
    ]
    samples = [sample for sample in samples if sample.shares]
    small = [sample for sample in samples if 0 < sample.share < SMALL_FACE]
    none = [sample for sample in samples if sample.share == 0]
    if len(small) > len(samples) / 2:
        median = float(np.median([sample.share for sample in samples if sample.share > 0]))
        findings.add(
            "uncropped",
            f"in {len(small)} of {len(samples)} clips looked at, the face takes less than "
            f"{SMALL_FACE:.0%} of the frame (median {median:.0%})",
            clips=[sample.clip for sample in small[:2]],
        )
    else:
        for sample in small:
            example = f"{sample.clip} (the face takes {sample.share:.0%})"
            findings.add("small_face", example, clips=[sample.clip])
    for sample in none:
        findings.add("no_face", sample.clip, clips=[sample.clip])
    return samples


def spread(rows: Sequence[int] | np.ndarray, count: int) -> list[int]:
    """At most `count` of the rows, at even distances."""
    if len(rows) <= count:
        return [int(row) for row in rows]
    return [int(rows[i]) for i in np.linspace(0, len(rows) - 1, count).astype(int)]


def with_box(image: UInt8[np.ndarray, "H W 3"], box: Box) -> UInt8[np.ndarray, "H W 3"]:
    """Draw the box of a face into a copy of an image."""
    x, y, width, height, _ = box
    corner, other = (round(x), round(y)), (round(x + width), round(y + height))
    thick = max(1, max(image.shape[:2]) // 80)
    return cv2.rectangle(image.copy(), corner, other, (255, 220, 0), thick)


def read_image(path: str) -> UInt8[np.ndarray, "H W 3"] | None:
    """Decode an image; None where it is damaged, which has its own finding."""
    try:
        return decode_image(read_image_file(path))
    except (OSError, UserError):
        return None


def _sample(copy: Copy, row: int, detector: FaceDetector) -> Sample:
    clip = copy.clips[row]
    shares = []
    try:
        paths = frame_paths(copy.folder(clip))
    except OSError:
        paths = []
    for place in spread(range(len(paths)), FRAMES_OF_CLIP):
        image = read_image(paths[place])
        if image is not None:
            box = detector.largest(image)
            shares.append(visible_share(box, *image.shape[:2]) if box else 0.0)
    return Sample(clip.name, tuple(shares))


def visible_share(box: Box, height: int, width: int) -> float:
    """Share of an image that the part of the box inside of it takes."""
    x, y, w, h, _ = box
    across = min(x + w, width) - max(x, 0.0)
    down = min(y + h, height) - max(y, 0.0)
    return max(across, 0.0) * max(down, 0.0) / (height * width)
