"""Decoding: right colours, right sizes, and nothing damaged is let through."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.data import decode

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


def test_cmyk_jpeg():
    pil = pytest.importorskip("PIL.Image")
    import io

    whole = io.BytesIO()
    pil.fromarray(IMAGE).convert("CMYK").save(whole, "JPEG", quality=100)
    decoded = decode.decode_image(whole.getvalue()).astype(int)
    assert np.abs(decoded - IMAGE).mean() < 6
    with pytest.raises(UserError, match="damaged or truncated"):
        decode.decode_image(whole.getvalue()[:-300])


def test_the_exif_orientation_is_ignored():
    pil = pytest.importorskip("PIL.Image")
    import io

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
    side = 6000  # 36 million pixels
    data = encode(suffix, np.zeros((side, side), np.uint8))
    with pytest.raises(UserError, match="6000 x 6000 pixels is no frame of a face"):
        decode.decode_image(data)


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
