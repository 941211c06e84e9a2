"""Clips that are video files: whether they can be read, how long they are, and which are the same.

What folders of frames are asked in `clip.py` and `content.py`, as far as it can be asked of videos.
"""

import hashlib
import os
from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from logo_jax.common.errors import UserError
from logo_jax.common.progress import Progress
from logo_jax.data.decode import open_at_once
from logo_jax.data.doctor.clip import DECODE_ALL, DECODE_SAMPLE, content_digest
from logo_jax.data.doctor.content import note_same_content
from logo_jax.data.doctor.copy import Copy
from logo_jax.data.doctor.crops import SAMPLED_CLIPS, spread
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.doctor.scan import FEW, Tally
from logo_jax.data.lists import VIDEO_SUFFIXES
from logo_jax.data.pool import ordered_map
from logo_jax.data.videos import Video, count_video, find_videos, read_video

# Bytes read at both ends of a video to find those that may be the same.
END = 65_536


class Film(NamedTuple):
    """What was seen of one video; `problem` is the code of a finding, "" without one."""

    num_bytes: int = 0
    num_frames: int = 0
    key: bytes = b""
    problem: str = ""
    detail: str = ""


def check_videos(copy: Copy, findings: Findings, num_workers: int, decode: str) -> Tally:
    """Note what is wrong with the videos of a copy.

    Args:
        copy: whose clips.
        findings: where problems are noted.
        num_workers: processes; 0 does the work in this one.
        decode: "none", "sample" (`SAMPLED_CLIPS` of the videos) or "all": videos that are decoded.

    Returns:
        Frames and bytes of each clip, without keys and sizes of frames.
    """
    counts = np.zeros(len(copy.clips), np.int64)
    films: dict[int, Film] = {}
    paths = _paths(copy, findings)
    decoded = set(spread(list(paths), SAMPLED_CLIPS)) if decode == DECODE_SAMPLE else set()
    tasks = [(path, decode == DECODE_ALL or row in decoded) for row, path in paths.items()]
    workers = num_workers if len(tasks) > FEW else 0
    progress = Progress(len(tasks), "Opening", "videos")
    for row, film in zip(paths, ordered_map(look_at_film, tasks, workers), strict=True):
        films[row] = film
        counts[row] = film.num_frames
        if film.problem:
            findings.add(film.problem, film.detail)
        elif copy.clips[row].declared not in (None, film.num_frames):
            clip = copy.clips[row]
            example = f"{clip.name} has {film.num_frames}, declared are {clip.declared}"
            findings.add("frame_count", example)
        elif film.num_frames == 1:
            findings.add("single_frame", copy.clips[row].name)
        progress.update()
    progress.close()
    _check_same(copy, paths, films, findings)
    none, no = np.zeros(0, np.uint64), np.zeros(len(counts), bool)
    num_bytes = sum(film.num_bytes for film in films.values())
    return Tally(counts, none, Counter(), no, no, num_bytes)


def look_at_film(task: tuple[str, bool]) -> Film:
    """Look at (path of a video, whether its frames are decoded)."""
    path, decoded = task
    try:
        num_frames = count_video(Video(path))
    except UserError as error:
        return Film(problem="unreadable_video", detail=str(error))
    if num_frames < 1:
        return Film(problem="unreadable_video", detail=f"{path}: it declares no frames")
    try:
        with open(path, "rb", opener=open_at_once) as file:
            num_bytes = os.fstat(file.fileno()).st_size
            ends = file.read(END)
            file.seek(max(0, num_bytes - END))
            ends += file.read(END)
    except OSError as error:
        return Film(problem="unreadable_video", detail=f"{path}: {error.strerror or error}")
    key = hashlib.blake2b(b"%d " % num_bytes + ends, digest_size=8).digest()
    film = Film(num_bytes, num_frames, key)
    if decoded:
        try:
            read_video(Video(path))
        except UserError as error:
            return film._replace(problem="damaged_video", detail=str(error))
    return film


def _paths(copy: Copy, findings: Findings) -> dict[int, str]:
    """The video of each row of the clips; those without one are noted."""
    assert copy.frames is not None
    try:
        found = find_videos(str(copy.frames), VIDEO_SUFFIXES)
    except UserError as error:
        findings.add("same_number", str(error))
        return {}
    except OSError as error:
        findings.add("unreadable_folder", f"{copy.frames} ({error.strerror})")
        return {}
    there = {}
    for row, clip in enumerate(copy.clips):
        path = found.get(int(clip.name)) if clip.name.isdecimal() else None
        if path is None:
            findings.add("missing_clip", f"{clip.name} has no video")
        else:
            there[row] = path
    if there:
        findings.add("videos_only", str(copy.frames))
    else:
        clips = f"{len(copy.clips):,} clips"
        findings.add("no_videos", f"{copy.frames} has a video of none of the {clips}")
    return there


def _check_same(
    copy: Copy, paths: dict[int, str], films: dict[int, Film], findings: Findings
) -> None:
    """Note videos that are the same, byte for byte; equal keys are candidates only."""
    often = Counter(film.key for film in films.values() if film.key)
    same: dict[bytes, list[int]] = defaultdict(list)
    for row, film in films.items():
        digest = content_digest(paths[row]) if often[film.key] > 1 else b""
        if digest:
            same[digest].append(row)
    note_same_content(copy, same.values(), findings)
