"""One clip folder, looked at in a worker: names, sizes, the first and last bytes of each frame.

Pixels are decoded only where the ends of a file look wrong, or when asked to.
"""

import hashlib
import os
import stat
import struct
from collections import Counter
from typing import NamedTuple

import cv2

from logo_jax.common.errors import UserError
from logo_jax.data.decode import MAX_PIXELS, decode_image, open_at_once, read_image_file
from logo_jax.data.doctor.order import in_order
from logo_jax.data.frames import SUFFIXES, frame_order, target_around

# Bytes read at both ends of a frame. The size of a JPEG stands in its first few hundred bytes
# unless a camera wrote much before it; its end is a mark, perhaps with padding behind.
HEAD, TAIL = 1024, 256

SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SUFFIX_KINDS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WebP",
}  # fmt: skip

DECODE_NONE, DECODE_SAMPLE, DECODE_ALL = "none", "sample", "all"


class Task(NamedTuple):
    """What a worker examines."""

    source: str  # examples name files relative to it
    folder: str
    decode: str = DECODE_NONE


class ClipScan(NamedTuple):
    """What was seen in one clip folder.

    Attributes:
        num_frames: image files.
        num_bytes: their bytes together.
        keys: 8 bytes for each frame in temporal order, equal for equal files.
        sizes: distinct (width, height) of the frames.
        issues: (code of a finding, example).
    """

    num_frames: int
    num_bytes: int
    keys: bytes
    sizes: tuple[tuple[int, int], ...]
    issues: tuple[tuple[str, str], ...]


class Look(NamedTuple):
    """What the ends of a file say; `problem` is the code of a finding, "" without one."""

    num_bytes: int
    key: bytes
    size: tuple[int, int] | None
    kind: str
    problem: str = ""
    detail: str = ""


def scan_clips(tasks: list[Task]) -> list[ClipScan]:
    """Examine several clip folders."""
    cv2.setNumThreads(0)  # the processes share the cores already
    return [scan_clip(task) for task in tasks]


def scan_clip(task: Task) -> ClipScan:
    """Examine a clip folder."""
    name = os.path.relpath(task.folder, task.source)
    issues: list[tuple[str, str]] = []
    try:
        names, others, folders = _listing(task.folder)
    except FileNotFoundError:
        return _missing(task.folder, "missing_clip", name)
    except NotADirectoryError:
        return _without_frames("missing_clip", f"{name} is a file")
    except OSError as error:
        if link_problem(task.folder):
            return _missing(task.folder, "unreadable_folder", name)
        return _without_frames("unreadable_folder", f"{name} ({error.strerror})")
    if not names:
        for folder in folders:
            if has_images(os.path.join(task.folder, folder)):
                return _without_frames("nested_folder", f"{name}/{folder}")
        return _missing(task.folder, "empty_clip", name)
    issues += [("other_file", f"{name}/{other}") for other in others]
    ordered, traps = in_order(names)
    issues += [(code, f"{name} ({detail})") for code, detail in traps]
    looks = [look(f"{task.folder}/{frame}") for frame in ordered]
    issues += _frame_issues(task, name, ordered, looks)
    issues += _repeats(task, name, ordered, looks)
    sizes = tuple(sorted({found.size for found in looks if found.size and not found.problem}))
    return ClipScan(
        len(ordered),
        sum(found.num_bytes for found in looks),
        b"".join(found.key for found in looks),
        sizes,
        tuple(issues),
    )


def look(path: str) -> Look:
    """Read both ends of a file: its size in pixels, its format, and whether it is whole.

    A suspect is read and decoded as a whole.
    """
    try:
        handle = open_at_once(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return _failed(path, error)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return Look(0, _own_key(path), None, "", "unreadable_frame", "it is no regular file")
        num_bytes = status.st_size
        head = os.pread(handle, HEAD, 0)
        tail = head if num_bytes <= HEAD else os.pread(handle, TAIL, num_bytes - TAIL)
    except OSError as error:
        return _failed(path, error)
    finally:
        os.close(handle)
    if not head:
        return Look(0, _own_key(path), None, "", "empty_frame")
    key = hashlib.blake2b(b"%d " % num_bytes + head + tail, digest_size=8).digest()
    kind, size = image_header(head)
    if not kind:
        return Look(num_bytes, key, None, "", "not_image")
    if size and size[0] * size[1] > MAX_PIXELS:
        return Look(num_bytes, key, size, kind, "huge_frame", f"{size[0]} x {size[1]} pixels")
    if size and min(size) > 0 and ends_well(kind, head, tail, num_bytes):
        return Look(num_bytes, key, size, kind)
    return _decoded(path, num_bytes, key, kind)


def image_header(head: bytes) -> tuple[str, tuple[int, int] | None]:
    """Return format and (width, height); "" where it is no image that is read here, and None where
    the size does not stand in these first bytes."""
    if head.startswith(b"\xff\xd8"):
        return "JPEG", _jpeg_size(head)
    try:
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", head, 16)
            return "PNG", (width, height)
        if head[:2] == b"BM":
            width, height = struct.unpack_from("<ii", head, 18)
            return "BMP", (width, abs(height))
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return "WebP", None
    except struct.error:
        return {b"\x89P": "PNG", b"BM": "BMP"}[head[:2]], None
    return "", None


def ends_well(kind: str, head: bytes, tail: bytes, num_bytes: int) -> bool:
    """Whether the end of the file is the end of an image; False means: suspect."""
    if kind == "JPEG":
        return b"\xff\xd9" in tail
    if kind == "PNG":
        return tail.endswith(b"IEND\xaeB`\x82")
    return False  # rare among frames: decoded


def content_digest(path: str) -> bytes:
    """Hash a whole file; b"" where it is empty or cannot be read."""
    try:
        with open(path, "rb", opener=open_at_once) as file:
            if not file.peek(1):
                return b""
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError:
        return b""


def clip_digests(folder: str) -> list[bytes]:
    """Hash each frame of a clip folder, in temporal order; none where it has vanished."""
    try:
        return [content_digest(path) for path in frame_paths(folder)]
    except OSError:
        return []


def frame_paths(folder: str) -> list[str]:
    """Paths of the frames of a clip folder, in temporal order."""
    return [os.path.join(folder, name) for name in frame_order(_listing(folder)[0])]


def _listing(folder: str) -> tuple[list[str], list[str], list[str]]:
    """Names of images, of other files, and of folders; what starts with a dot is passed over."""
    names, others, folders = [], [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                folders.append(entry.name)
            elif _suffix(entry.name) in SUFFIXES:
                names.append(entry.name)
            else:
                others.append(entry.name)
    return names, sorted(others), sorted(folders)


def _suffix(name: str) -> str:
    """The suffix in small letters, as `os.path.splitext` gives it for names without a first dot,
    in a fourth of the time."""
    return name[name.rfind(".") :].lower()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def has_images(folder: str) -> bool:
    """Whether images lie directly in a folder."""
    try:
        return bool(_listing(folder)[0])
    except OSError:
        return False


def link_problem(path: str) -> str:
    """Why a link leads to no clip, "" where it may lead to one, or is no link."""
    if not os.path.islink(path):
        return ""
    try:
        target = target_around(path)
    except OSError as error:
        return f"leads nowhere: {error.strerror or error}"
    return f"leads to {target}, which holds it" if target else ""


def _missing(folder: str, code: str, name: str) -> ClipScan:
    """A clip without frames; a link that cannot lead to any is told as such."""
    problem = link_problem(folder)
    return _without_frames(
        "dead_link" if problem else code, f"{name} ({problem})" if problem else name
    )


def _without_frames(code: str, example: str) -> ClipScan:
    return ClipScan(0, 0, b"", (), ((code, example),))


def _failed(path: str, error: OSError) -> Look:
    link = "a broken link, " if os.path.islink(path) else ""
    detail = f"{link}{error.strerror or error}"
    return Look(0, _own_key(path), None, "", "unreadable_frame", detail)


def _own_key(path: str) -> bytes:
    """A key of a frame without content, which makes it like no other."""
    return hashlib.blake2b(os.fsencode(path), digest_size=8).digest()


def _decoded(path: str, num_bytes: int, key: bytes, kind: str) -> Look:
    """Look at a suspect as a whole."""
    try:
        height, width = decode_image(read_image_file(path)).shape[:2]
    except OSError as error:
        return _failed(path, error)
    except UserError as error:
        huge = "is no frame of a face" in str(error)
        code = "huge_frame" if huge else "damaged_frame"
        return Look(num_bytes, key, None, kind, code, str(error))
    return Look(num_bytes, key, (width, height), kind)


def _frame_issues(
    task: Task, name: str, frames: list[str], looks: list[Look]
) -> list[tuple[str, str]]:
    issues = []
    for place, (frame, found) in enumerate(zip(frames, looks, strict=True)):
        wanted = task.decode == DECODE_ALL or (
            task.decode == DECODE_SAMPLE and place == len(frames) // 2
        )
        if not found.problem and wanted:
            found = _decoded(os.path.join(task.folder, frame), *found[:2], found.kind)
        if found.problem:
            detail = f" ({found.detail})" if found.detail else ""
            issues.append((found.problem, f"{name}/{frame}{detail}"))
        elif _SUFFIX_KINDS[_suffix(frame)] != found.kind:
            issues.append(("wrong_suffix", f"{name}/{frame} is {found.kind}"))
    return issues


def _repeats(task: Task, name: str, frames: list[str], looks: list[Look]) -> list[tuple[str, str]]:
    """Frames of a clip that are the same, byte for byte."""
    whole = [found.key for found in looks if not found.problem]
    if len(set(whole)) == len(whole):
        return []
    often = {key for key, count in Counter(whole).items() if count > 1}
    digests = Counter(
        content_digest(os.path.join(task.folder, frame))
        for frame, found in zip(frames, looks, strict=True)
        if found.key in often and not found.problem
    )
    repeats = sum(count - 1 for count in digests.values())
    if not repeats:
        return []
    if repeats == len(frames) - 1:
        return [("frozen_clip", f"{name} ({len(frames)} times the same frame)")]
    return [("repeated_frames", f"{name} ({repeats} of {len(frames)} frames are repeats)")]


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the frame header of a JPEG (ITU T.81, B.2.2)."""
    place = 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        marker = head[place + 1]
        if marker in SOF_MARKERS:
            height, width = struct.unpack_from(">HH", head, place + 5)
            return width, height
        if marker == 0xFF:  # padding
            place += 1
        elif marker in (0xD9, 0xDA):
            return None
        else:
            place += 2 + int.from_bytes(head[place + 2 : place + 4], "big")
    return None
