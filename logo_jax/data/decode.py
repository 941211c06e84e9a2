"""Encoded images to RGB pixels, strictly: damaged data is an error and never a grey patch.

JPEG goes through simplejpeg (libjpeg-turbo), everything else and CMYK JPEG through OpenCV. A JPEG
much larger than what is asked for is decoded at a fraction of its size, which its cosine transform
gives for less work than the whole; the result is never smaller than what is asked for. Gray becomes
RGB, alpha is dropped. The EXIF orientation is ignored: frames of a clip are cut by
programs that write none, and a tag on single frames would turn them against the others.
"""

import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8
from zlib_ng import zlib_ng

from logo_jax.common.errors import UserError

# A frame of 8K video has 33.2 million pixels; a larger image is a mistake or an attack.
MAX_PIXELS = 2**25
# The largest of these as BMP, which compresses nothing, with alpha and room for a header.
MAX_BYTES = 4 * MAX_PIXELS + 2**16

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"


def read_image_file(path: str | Path) -> bytes:
    """Read a whole image file.

    Raises:
        OSError: it cannot be read.
        UserError: it is a pipe or a device, which might never end, or larger than any frame.
    """
    with open(path, "rb", opener=open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UserError("it is no regular file")
        if status.st_size > MAX_BYTES:
            raise UserError(f"a file of {status.st_size:,} bytes is no frame of a face")
        return file.read()


def open_at_once(path: str, flags: int) -> int:
    """Open a file, and a pipe without waiting for whoever writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


class ImageFile(bytes):
    """The content of an image file, which knows its path: `decode_frames` names it in errors."""

    path: Path

    def __new__(cls, path: Path) -> "ImageFile":
        try:
            content = super().__new__(cls, read_image_file(path))
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        content.path = path
        return content


def decode_frames(frames: Sequence[bytes], size: int) -> UInt8[np.ndarray, "T size size 3"]:
    """Decode images and resize each to `size` x `size`, see `decode_into`.

    Raises:
        UserError: an image is damaged, too large or of no known format.
    """
    out = np.empty((len(frames), size, size, 3), np.uint8)
    for index, data in enumerate(frames):
        decode_into(data, out[index])
    return out


def decode_into(data: bytes, out: UInt8[np.ndarray, "size size 3"]) -> None:
    """Decode an image to RGB and resize it to fill `out`, a contiguous array.

    The aspect ratio is not kept; face crops are square. A damaged image of the size of `out` may
    leave part of itself there.

    Raises:
        UserError: the image is damaged, too large or of no known format. The message names the
            file of an `ImageFile`; of other bytes, only the caller knows where they are from.
    """
    size = len(out)
    try:
        if data.startswith(JPEG_START):
            # The smallest of 1, 1/2, 3/8, 1/4, 1/8 that leaves no side below `size`. Other
            # fractions, such as 5/8, cost more than decoding it whole and averaging areas.
            image = _decode_jpeg(data, out, min_height=size, min_width=size, min_factor=2)
        else:
            image = decode_image(data)
        if not np.may_share_memory(image, out):
            out[:] = resize(image, size)
    except UserError as error:
        if isinstance(data, ImageFile):
            raise UserError(f"{data.path}: {error}") from error
        raise


def decode_image(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    """Decode one JPEG, PNG, BMP or WebP image to RGB, in its own size.

    Raises:
        UserError: the image is damaged, too large or of no known format.
    """
    if not data:
        raise UserError("the file is empty")
    if data.startswith(JPEG_START):
        return _decode_jpeg(data)
    height, width = _checked_size(data)
    _check_pixels(height, width)
    return _decode_opencv(data)


def resize(image: UInt8[np.ndarray, "H W 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Resize to `size` x `size`: averaging areas where it shrinks, linear where it grows."""
    image = shrink(image, size)
    if image.shape[:2] != (size, size):
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)
    return image


def shrink(image: UInt8[np.ndarray, "H W 3"], size: int) -> UInt8[np.ndarray, "h w 3"]:
    """Average areas so that no side is longer than `size`; a shorter one stays as it is."""
    height, width = image.shape[:2]
    if height <= size and width <= size:
        return image
    smaller = (min(width, size), min(height, size))
    return cv2.resize(image, smaller, interpolation=cv2.INTER_AREA)


def _decode_jpeg(
    data: bytes, buffer: UInt8[np.ndarray, "size size 3"] | None = None, **scale: int
) -> UInt8[np.ndarray, "H W 3"]:
    """Decode into the buffer if the image is of its size."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        _check_pixels(height, width)
        if colorspace in ("CMYK", "YCCK"):
            # libjpeg-turbo turns it into no other space; OpenCV does, but accepts damaged data.
            simplejpeg.decode_jpeg(data, colorspace="CMYK", strict=True)
            return _decode_opencv(data)
        if buffer is not None and (height, width) != buffer.shape[:2]:
            buffer = None  # simplejpeg 1.9 loses memory for every image that does not fit
        return simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=buffer, **scale)
    except ValueError as error:
        raise UserError(f"the JPEG data is damaged or truncated ({error})") from error


def _decode_opencv(data: bytes) -> UInt8[np.ndarray, "H W 3"]:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise UserError(f"the image cannot be decoded ({error.err})") from error
    if image is None:
        raise UserError("the image is damaged or of a kind that OpenCV does not read")
    return image


def _check_pixels(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise UserError(f"an image of {width} x {height} pixels is no frame of a face")


def _checked_size(data: bytes) -> tuple[int, int]:
    """Read height and width from the header, and check that the file is whole.

    OpenCV allocates what a header asks for and fills what is missing with zeros.
    """
    try:
        if data.startswith(PNG_START):
            return _checked_png(data)
        if data[:2] == b"BM":
            return _checked_bmp(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _checked_webp(data)
    except (struct.error, IndexError) as error:
        raise UserError("the image is truncated") from error
    raise UserError("it is no JPEG, PNG, BMP or WebP image")


def _checked_png(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    position = len(PNG_START)
    kind = b""
    while kind != b"IEND":
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        if zlib_ng.crc32(data[position + 4 : position + 8 + length]) != checksum:
            raise UserError("the PNG data is damaged: a checksum is wrong")
        position += 12 + length
    return height, width


def _checked_bmp(data: bytes) -> tuple[int, int]:
    (start,) = struct.unpack_from("<I", data, 10)
    width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    row = (width * depth + 31) // 32 * 4
    if compression in (0, 3) and len(data) < start + row * abs(height):
        raise UserError("the BMP data is truncated")
    return abs(height), width


def _checked_webp(data: bytes) -> tuple[int, int]:
    (length,) = struct.unpack_from("<I", data, 4)
    if len(data) < length + 8:
        raise UserError("the WebP data is truncated")
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    width = int.from_bytes(data[24:27], "little") + 1  # VP8X
    height = int.from_bytes(data[27:30], "little") + 1
    return height, width
