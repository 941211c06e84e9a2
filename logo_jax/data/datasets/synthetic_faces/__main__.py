"""Draw the contact sheet of the synthetic faces.

python -m logo_jax.data.datasets.synthetic_faces --contact_sheet=docs/synthetic_faces.png
"""

import argparse

import cv2
import numpy as np
from jaxtyping import UInt8

from logo_jax.common.files import atomic_writer
from logo_jax.data.datasets.synthetic_faces.configs import CONFIGS
from logo_jax.data.datasets.synthetic_faces.film import make_frames
from logo_jax.data.datasets.synthetic_faces.plan import plan
from logo_jax.data.datasets.synthetic_faces.timelines import CLASSES
from logo_jax.data.decode import decode_frames

COLUMNS = 8  # frames of one clip
ROWS_PER_CLASS = 2  # clips, of different people
SIDE = 80  # of a frame, px
TITLE_HEIGHT = 18
GAP = 12  # between the two sets


def contact_sheet() -> UInt8[np.ndarray, "H W 3"]:
    """Return the sheet: two clips of each class from left to right in time, `quick` and `wild`."""
    blocks = [_block(name) for name in CONFIGS]
    gap = np.full((blocks[0].shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([blocks[0], gap, blocks[1]], axis=1)


def _block(name: str) -> UInt8[np.ndarray, "H W 3"]:
    clips = [clip for clip in plan(CONFIGS[name]) if clip.part == "val"]
    rows = []
    for label, class_name in enumerate(CLASSES):
        title = np.full((TITLE_HEIGHT, COLUMNS * SIDE, 3), 255, np.uint8)
        text = f"{name}: {class_name}"
        cv2.putText(title, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        rows.append(title)
        # Clips whose label is right, so that the sheet shows the classes and not the noise.
        shown = [c for c in clips if c.label == c.spec.script.label == label]
        for clip in shown[:ROWS_PER_CLASS]:
            frames = make_frames(clip.spec)
            chosen = np.linspace(0, len(frames) - 1, COLUMNS).round().astype(int)
            rows.append(np.concatenate(list(decode_frames([frames[i] for i in chosen], SIDE)), 1))
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m logo_jax.data.datasets.synthetic_faces")
    parser.add_argument("--contact_sheet", required=True, help="PNG file to write")
    path = parser.parse_args().contact_sheet
    # Five bits per colour halve the file; the camera noise of the frames is below the sixth.
    sheet = contact_sheet()[..., ::-1] & 0xF8
    _, png = cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with atomic_writer(path, "wb") as file:
        file.write(png.tobytes())
    print(f"Wrote {path}.")


if __name__ == "__main__":
    main()
