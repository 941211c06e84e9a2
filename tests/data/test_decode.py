"""Decoding: right colours, right sizes, and nothing damaged is let through."""

import contextlib
import dataclasses
import io
import sys

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.data import decode
from logo_jax.data.datasets.synthetic_faces import configs, film, plan
from tests.common.memory import resident

RNG = np.random.default_rng(0)
IMAGE = cv2.resize(RNG.integers(0, 256, (6, 5, 3), np.uint8), (40, 30))  # RGB, 30 high, 40 wide


def encode(suffix, image=IMAGE, *options):
    if image.ndim == 3 and image.shape[2] == 3:
        image = image[..., ::-1]
    done, data = cv2.imencode(suffix, image, options)
    assert done
    return data.tobytes()


LOSSLESS = {
    "png": encode(".png"),
    "bmp": encode(".bmp"),
    "webp": encode(".webp", IMAGE, cv2.IMWRITE_WEBP_QUALITY, 101),
}
LOSSY = {
    "jpeg": encode(".jpg", IMAGE, cv2.IMWRITE_JPEG_QUALITY, 100),
    "webp": encode(".webp", IMAGE, cv2.IMWRITE_WEBP_QUALITY, 95),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_kinds_are_exact(kind):
    np.testing.assert_array_equal(decode.decode_image(LOSSLESS[kind]), IMAGE)


@pytest.mark.parametrize("kind", LOSSY)
def test_lossy_kinds_have_red_first(kind):
    decoded = decode.decode_image(LOSSY[kind]).astype(int)
    assert np.abs(decoded - IMAGE).mean() < 4
    assert np.abs(decoded - IMAGE[..., ::-1]).mean() > 20


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_gray_becomes_rgb(suffix):
    gray = IMAGE[..., 0]
    decoded = decode.decode_image(encode(suffix, gray)).astype(int)
    assert decoded.shape == (30, 40, 3)
    assert np.abs(decoded - gray[..., None]).mean() < 6


def test_alpha_is_dropped_and_16_bits_become_8():
    alpha = np.dstack([IMAGE[..., ::-1], np.zeros((30, 40), np.uint8)])
    np.testing.assert_array_equal(decode.decode_image(encode(".png", alpha)), IMAGE)
    deep = encode(".png", IMAGE.astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode.decode_image(deep), IMAGE)


def faces():
    """Frames of 224 px with texture, as JPEG of about 11 kB."""
    noise = np.random.default_rng(1).standard_normal((224, 224, 3)).astype(np.float32)
    texture = sum(sigma * cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (0.8, 1.6, 3.2, 6.4))
    config = dataclasses.replace(
        configs.WILD, num_train=7, num_val=7, num_test=7, size=224, lengths=(2, 3)
    )
    for clip in plan.plan(config)[:7]:
        face = simplejpeg.decode_jpeg(film.make_frames(clip.spec)[0])
        face = np.clip(face + texture * 8 / texture.std(), 0, 255).astype(np.uint8)
        yield encode(".jpg", face, cv2.IMWRITE_JPEG_QUALITY, 88)


def test_a_scaled_jpeg_is_near_the_antialiased_resize_of_the_whole():
    """The reference is Pillow's triangle filter, which training has too."""
    pil = pytest.importorskip("PIL.Image")
    errors = []
    for data in faces():
        whole = pil.fromarray(decode.decode_image(data))
        expected = np.asarray(whole.resize((112, 112), pil.Resampling.BILINEAR), float)
        errors.append(decode.decode_frames([data], 112)[0] - expected)
    assert np.abs(errors).mean() < 2.5  # gray levels
    assert 10 * np.log10(255**2 / np.square(errors).mean()) > 36  # dB


@pytest.mark.parametrize(
    ("height", "width", "size", "decoded"),
    [
        (224, 224, 112, (112, 112)),
        (224, 300, 112, (112, 150)),
        (224, 224, 113, (224, 224)),
        (224, 224, 224, (224, 224)),
        (600, 450, 112, (150, 113)),
        (600, 600, 224, (225, 225)),
        (90, 50, 112, (90, 50)),
        (1, 1, 8, (1, 1)),
    ],
)
def test_jpeg_is_never_decoded_below_the_size_asked_for(height, width, size, decoded, monkeypatch):
    shapes = []
    original = simplejpeg.decode_jpeg

    def spy(*arguments, **options):
        image = original(*arguments, **options)
        shapes.append(image.shape[:2])
        return image

    monkeypatch.setattr(simplejpeg, "decode_jpeg", spy)
    image = cv2.resize(IMAGE, (width, height))
    (frame,) = decode.decode_frames([encode(".jpg", image, cv2.IMWRITE_JPEG_QUALITY, 100)], size)
    assert shapes == [decoded]
    expected = decode.resize(image, size)
    assert np.abs(frame.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("progressive", [0, 1])
@given(share=st.floats(0.05, 0.97))
def test_truncated_jpeg_is_refused_at_a_fraction_of_its_size(progressive, share):
    image = cv2.resize(IMAGE, (160, 160))
    data = encode(".jpg", image, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    assert decode.decode_frames([data], 16).shape == (1, 16, 16, 3)
    with pytest.raises(UserError):
        decode.decode_frames([data[: int(len(data) * share)]], 16)


def test_progressive_jpeg():
    decoded = decode.decode_image(encode(".jpg", IMAGE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1))
    assert np.abs(decoded.astype(int) - IMAGE).mean() < 6


def test_gray_and_cmyk_jpeg_at_a_fraction():
    pil = pytest.importorskip("PIL.Image")
    big = cv2.resize(IMAGE, (160, 160))
    for mode in ("L", "CMYK"):
        data = io.BytesIO()
        image = pil.fromarray(big).convert(mode)
        image.save(data, "JPEG", quality=100)
        (frame,) = decode.decode_frames([data.getvalue()], 40)
        expected = decode.resize(np.asarray(image.convert("RGB")), 40)
        assert np.abs(frame.astype(int) - expected).mean() < 6
        with pytest.raises(UserError, match="damaged or truncated"):
            decode.decode_frames([data.getvalue()[:-300]], 40)


def test_the_content_counts_and_not_the_name(tmp_path):
    path = tmp_path / "frame.jpg"
    path.write_bytes(LOSSLESS["png"])
    image = decode.ImageFile(path)
    np.testing.assert_array_equal(decode.decode_image(image), IMAGE)
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"frame\.jpg: the file is empty"):
        decode.decode_frames([decode.ImageFile(path)], 8)


def test_animated_webp_is_one_frame_or_refused():
    pil = pytest.importorskip("PIL.Image")
    data = io.BytesIO()
    pictures = [pil.fromarray(IMAGE), pil.fromarray(IMAGE[::-1].copy())]
    pictures[0].save(data, "WEBP", save_all=True, append_images=pictures[1:], lossless=True)
    try:
        decoded = decode.decode_image(data.getvalue())
    except UserError:
        return
    np.testing.assert_array_equal(decoded, IMAGE)


def test_cmyk_jpeg():
    pil = pytest.importorskip("PIL.Image")
    whole = io.BytesIO()
    pil.fromarray(IMAGE).convert("CMYK").save(whole, "JPEG", quality=100)
    decoded = decode.decode_image(whole.getvalue()).astype(int)
    assert np.abs(decoded - IMAGE).mean() < 6
    with pytest.raises(UserError, match="damaged or truncated"):
        decode.decode_image(whole.getvalue()[:-300])


def test_the_exif_orientation_is_ignored():
    pil = pytest.importorskip("PIL.Image")
    for kind in ("JPEG", "PNG"):
        exif = pil.Exif()
        exif[0x0112] = 6  # to be turned by 90 degrees
        data = io.BytesIO()
        pil.fromarray(IMAGE).save(data, kind, exif=exif)
        assert decode.decode_image(data.getvalue()).shape == (30, 40, 3)


ENCODED = LOSSLESS | LOSSY | {"webp lossless": LOSSLESS["webp"]}


@pytest.mark.parametrize("kind", ENCODED)
@given(share=st.floats(0, 0.97))
def test_truncated_data_is_refused(kind, share):
    data = ENCODED[kind]
    with pytest.raises(UserError):
        decode.decode_image(data[: int(len(data) * share)])


@given(
    noise=st.binary(max_size=64),
    start=st.sampled_from([b"", b"\xff\xd8", b"BM", b"\x89PNG\r\n\x1a\n"]),
)
def test_noise_is_refused(noise, start):
    with pytest.raises(UserError):
        decode.decode_image(start + noise)


def test_messages():
    for data, message in (
        (b"", "the file is empty"),
        (b"GIF89a", "no JPEG, PNG, BMP or WebP"),
        (LOSSY["jpeg"][:-200], "the JPEG data is damaged or truncated"),
        (LOSSLESS["png"][:-200], "the image is truncated"),
    ):
        with pytest.raises(UserError, match=message):
            decode.decode_image(data)
    damaged = bytearray(LOSSLESS["png"])
    damaged[len(damaged) // 2] ^= 1
    with pytest.raises(UserError, match="a checksum is wrong"):
        decode.decode_image(bytes(damaged))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_decompression_bomb_is_refused(suffix):
    side = 8000  # 64 million pixels
    data = encode(suffix, np.zeros((side, side), np.uint8))
    for work in (decode.decode_image, lambda data: decode.decode_frames([data], 16)):
        with pytest.raises(UserError, match="8000 x 8000 pixels is no frame of a face"):
            work(data)


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (300, 7), (64, 64), (128, 128), (90, 50)])
def test_any_size_is_resized(shape):
    image = np.full((*shape, 3), (200, 100, 50), np.uint8)
    frames = decode.decode_frames([encode(".png", image)] * 2, 64)
    assert frames.shape == (2, 64, 64, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, np.broadcast_to(image[0, 0], frames.shape))


def test_shrinking_averages_areas():
    image = RNG.integers(0, 256, (32, 32, 3), np.uint8)
    expected = image.reshape(8, 4, 8, 4, 3).mean((1, 3))
    np.testing.assert_allclose(decode.resize(image, 8), expected, atol=1)


def test_only_the_memory_given_is_written():
    """One frame of a batch, for an image of its size and for another."""
    for image in (IMAGE[:, :30], IMAGE):
        batch = np.full((3, 30, 30, 3), 7, np.uint8)
        decode.decode_into(encode(".jpg", image), batch[1])
        expected = decode.resize(decode.decode_image(encode(".jpg", image)), 30)
        np.testing.assert_array_equal(batch[1], expected)
        assert (batch[[0, 2]] == 7).all()


def test_an_image_of_the_right_size_is_not_copied(monkeypatch):
    out = np.zeros((30, 30, 3), np.uint8)
    expected = decode.decode_image(encode(".jpg", IMAGE[:, :30]))
    monkeypatch.delattr(decode, "resize")
    decode.decode_into(encode(".jpg", IMAGE[:, :30]), out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("size", [16, 30, 64])
@pytest.mark.parametrize("image", [IMAGE, IMAGE[:, :30]], ids=["oblong", "square"])
@pytest.mark.parametrize("whole", [True, False])
def test_decoding_loses_no_memory(size, image, whole):
    """Larger than asked for, as large, smaller, damaged: 4 KiB an image would be 20 MiB."""
    data = encode(".jpg", image) if whole else encode(".jpg", image)[:-20]
    out = np.empty((size, size, 3), np.uint8)

    def decode_many(times):
        for _ in range(times):
            with contextlib.nullcontext() if whole else pytest.raises(UserError):
                decode.decode_into(data, out)

    decode_many(500)
    before = resident()
    decode_many(5000)
    assert resident() - before < 4 * 2**20
