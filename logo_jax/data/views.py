"""Spatial views: how often, and how cropped, the same frames are shown at test time.

Video recognition takes three square crops along the longer side of a frame, left, centre and
right, beside several temporal views (Non-local Networks, Wang et al., CVPR 2018; SlowFast,
Feichtenhofer et al., ICCV 2019). Face crops are square, so the three would be one; here they have
7/8 of the side, the 224 of 256 pixels of the usual test crop, at half height. Two views are the
whole face and its mirror image, as in face recognition.

The probabilities of all views, temporal times spatial, are averaged after the softmax.
"""

import math

import numpy as np

from logo_jax.common.errors import UserError

_SIDE = 7 / 8
_WHOLE = (0.0, 0.0, 1.0, 1.0)

# Number of views -> (y0, x0, height, width) as fractions of the frame, and whether it is mirrored.
SPATIAL_VIEWS = {
    1: [(_WHOLE, False)],
    2: [(_WHOLE, False), (_WHOLE, True)],
    3: [(((1 - _SIDE) / 2, x0, _SIDE, _SIDE), False) for x0 in (0.0, (1 - _SIDE) / 2, 1 - _SIDE)],
}


def spatial_views(number: int, num_clips: int) -> list[dict[str, np.ndarray]]:
    """Return what each view adds to a batch of `num_clips`, see `to_clips`.

    Returns:
        For each view `crop` float32 [num_clips 4] and `flip` bool [num_clips]; for one view
        nothing, which is the whole frame.

    Raises:
        UserError: there is no such number of views.
    """
    if number not in SPATIAL_VIEWS:
        raise UserError(
            f"There are no {number} spatial views: choose 1 (the whole frame), 2 (and its mirror "
            "image) or 3 (crops left, centre and right)."
        )
    if number == 1:
        return [{}]
    return [
        {
            "crop": np.tile(np.array(crop, np.float32), (num_clips, 1)),
            "flip": np.full(num_clips, mirrored),
        }
        for crop, mirrored in SPATIAL_VIEWS[number]
    ]


def decoded_size(number: int, image_size: int, frame_size: int) -> int:
    """Side to which frames need be decoded for so many views, see `spatial_views`.

    The smallest crop that a view shows has then `image_size` pixels, unless `frame_size`, the size
    of the frames in training, has fewer: test frames are never larger than those.
    """
    side = min(height for (_, _, height, _), _ in SPATIAL_VIEWS[number])
    return min(frame_size, math.ceil(image_size / side))
