"""Video files: their frames whole, and cut to the face."""

import cv2
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data import videos
from logo_jax.data.decode import decode_image


def write_video(path, images):
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()


def flat(value, shape=(48, 64)):
    return np.full((*shape, 3), value, np.uint8)


@pytest.fixture
def clip(tmp_path):
    """Frames of growing brightness, the left half red."""
    images = []
    for frame in range(12):
        image = flat(15 * frame)
        image[:, :32, 0] = 200
        images.append(image)
    write_video(tmp_path / "00007.mp4", images)
    return tmp_path / "00007.mp4", images


def test_frames_come_in_order_and_in_colour(clip):
    path, images = clip
    frames = videos.read_video(videos.Video(str(path)))
    assert len(frames) == videos.count_video(videos.Video(str(path))) == 12
    decoded = np.stack([decode_image(frame) for frame in frames])
    assert decoded.shape == (12, 48, 64, 3)
    assert np.abs(decoded.astype(int) - np.stack(images)).mean() < 6  # two lossy codecs


def test_broken_videos_are_sentences(tmp_path, clip):
    path, _ = clip
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_bytes(b"see 00007.mp4")
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[:400])
    for name, message in (
        ("empty", "empty.mp4: the file is empty"),
        ("text", "text.mp4: it is no readable video"),
        ("cut", "cut.mp4: it is no readable video"),
        ("gone", "gone.mp4: No such file"),
    ):
        for function in (videos.read_video, videos.count_video):
            with pytest.raises(UserError, match=message):
                function(videos.Video(str(tmp_path / f"{name}.mp4")))


def test_a_count_that_is_not_kept(clip, monkeypatch):
    path, _ = clip
    monkeypatch.setattr(videos, "_declared", lambda path: 14)
    with pytest.raises(UserError, match="it declares 14 frames and 12 can be read; copy it again"):
        videos.read_video(videos.Video(str(path)))
    allowed = videos.Video(str(path), allow_frame_counts=True)
    assert len(videos.read_video(allowed)) == videos.count_video(allowed) == 12


class Brightest:
    """Stands for the face detector: the box of bright pixels, nothing in dark frames."""

    def largest(self, image):
        bright = image.min(-1) > 128
        if not bright.any():
            return None
        rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
        size = len(columns), len(rows)
        return float(columns[0]), float(rows[0]), float(size[0]), float(size[1]), 0.9


def with_faces(monkeypatch, tmp_path, places, size=(20, 20)):
    """Crops of a film whose "face" is a white box, its corner (x, y) given for each frame."""
    monkeypatch.setattr(videos, "_detector", lambda weights: Brightest())
    images = []
    for place in places:
        image = flat(0, (96, 128))
        if place is not None:
            x, y = place
            image[max(y, 0) : y + size[1], max(x, 0) : x + size[0]] = 255
        images.append(image)
    write_video(tmp_path / "film.mp4", images)
    frames = videos.read_video(videos.Video(str(tmp_path / "film.mp4"), "weights"))
    return [decode_image(frame) for frame in frames]


def test_a_still_face_is_in_the_middle(monkeypatch, tmp_path):
    crops = with_faces(monkeypatch, tmp_path, [(50, 40)] * 5)
    side = round(20 * (1 + 2 * videos.FACE_MARGIN))
    assert {crop.shape for crop in crops} == {(side, side, 3)}
    for crop in crops:
        margin = (side - 20) // 2
        inner = crop[margin + 2 : -margin - 2, margin + 2 : -margin - 2]
        assert inner.min() > 200 and crop[0].max() < 60 and crop[:, -1].max() < 60


def test_frames_without_a_face_take_the_nearest_box(monkeypatch, tmp_path):
    places = [None, (30, 40), (30, 40), None, None, (60, 40), None]
    still = [(30, 40)] * 4 + [(60, 40)] * 3
    monkeypatch.setattr(videos, "SMOOTHED_FRAMES", 1)
    crops = with_faces(monkeypatch, tmp_path, places)
    whole = with_faces(monkeypatch, tmp_path, still)
    for number, (crop, other) in enumerate(zip(crops, whole, strict=True)):
        assert crop.shape == other.shape
        assert (crop.mean() > 60) == (places[number] is not None)  # the box was there or not


def test_the_crop_follows_smoothly_and_keeps_its_size(monkeypatch, tmp_path):
    shake = [(50 + (-1) ** frame * 3, 40) for frame in range(16)]
    crops = with_faces(monkeypatch, tmp_path, shake)
    assert len({crop.shape for crop in crops}) == 1
    # The box does not shake with the face: seen through it, the face moves.
    middles = [np.flatnonzero(crop.min(-1).max(0) > 128).mean() for crop in crops[4:12]]
    assert np.ptp(middles) > 4
    # Where the face goes steadily, the box goes with it.
    moving = with_faces(monkeypatch, tmp_path, [(30 + 3 * frame, 40) for frame in range(16)])
    middles = [np.flatnonzero(crop.min(-1).max(0) > 128).mean() for crop in moving]
    assert np.ptp(middles) < 3


def test_a_face_at_the_border_repeats_the_last_pixels(monkeypatch, tmp_path):
    crops = with_faces(monkeypatch, tmp_path, [(-4, -4)] * 3)
    # 16 x 16 pixels of it are in the frame, and so is the middle of what the detector sees.
    side = round(16 * (1 + 2 * videos.FACE_MARGIN))
    for crop in crops:
        assert crop.shape == (side, side, 3) and crop[0, 0].min() > 200 and crop[-1].max() < 60


def test_a_clip_without_any_face_is_a_problem(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="film.mp4: no face was found in its 3 frames"):
        with_faces(monkeypatch, tmp_path, [None] * 3)


def test_videos_by_number(tmp_path):
    for name in ("7.mp4", "00012.AVI", "notes.txt", "x1.mp4"):
        (tmp_path / name).write_bytes(b"")
    suffixes = frozenset({".mp4", ".avi"})
    found = videos.find_videos(str(tmp_path), suffixes)
    assert found == {7: str(tmp_path / "7.mp4"), 12: str(tmp_path / "00012.AVI")}
    (tmp_path / "00007.mp4").write_bytes(b"")
    with pytest.raises(UserError, match=r"00007.mp4 and .*7.mp4 are both the video 7; remove one"):
        videos.find_videos(str(tmp_path), suffixes)
