"""Where each data set keeps its frames and lists, and what a copy of it has of them.

Paths and dialects are those of the builders; here they are looked for with tolerance.
"""

import os
from collections.abc import Callable
from pathlib import Path

from logo_jax.common.errors import UserError, pick
from logo_jax.data import dialects, lists
from logo_jax.data.datasets import facts
from logo_jax.data.datasets.afew import builder as afew
from logo_jax.data.datasets.dfew import builder as dfew
from logo_jax.data.datasets.ferv39k import builder as ferv39k
from logo_jax.data.datasets.frame_folders import builder as frame_folders
from logo_jax.data.datasets.mafw import builder as mafw
from logo_jax.data.doctor import tables as reading
from logo_jax.data.doctor.copy import (
    Copy,
    clips_in_folders,
    enter,
    find_root,
    folders,
    note_unreadable,
)
from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.findings import Findings, joined
from logo_jax.data.doctor.listed import join, read_lists, read_tables
from logo_jax.data.entries import PARTS

FIVE_FOLDS = tuple(f"fold_{fold}" for fold in range(1, 6))


def examine_dfew(source: Path, declared: Declared, findings: Findings) -> Copy:
    """DFEW: `Clip/<frame folder>/<number>`, five folds."""
    root = find_root(source, ("Clip", "EmoLabel_DataSplit"), findings)
    copy = Copy("DFEW", root, facts.DFEW.classes, facts.DFEW, columns=FIVE_FOLDS)
    clip_folder = enter(root, "Clip", findings) or root / "Clip"
    there = {name: enter(clip_folder, name, findings) for name in dfew.FRAME_FOLDERS}
    found = {name: folder for name, folder in there.items() if folder}
    chosen = declared.frame_folder or next(iter(found), "clip_224x224")
    for name in found:
        used = "" if name == chosen else " (not examined)"
        copy.layout.append(f"{name}: {dfew.FRAME_FOLDERS[name]}{used}")
    copy.frames = found.get(chosen)
    if copy.frames is None:
        findings.add("no_frames", str(clip_folder / chosen))
    copy.interpolated = chosen in dfew.TI_FOLDERS
    copy.videos = chosen == dfew.ORIGINAL and copy.frames is not None
    enter(root, "EmoLabel_DataSplit", findings)
    read_lists(copy, declared, dfew.DIALECTS, {"dfew": facts.SEVEN}, reading.numbered, findings)
    return copy


def examine_mafw(source: Path, declared: Declared, findings: Findings) -> Copy:
    """MAFW: `<frame folder>/<number>`, eleven classes, five folds."""
    # Clips and lists may lie under names of the user's own.
    said = (declared.frame_folder, declared.train_list, declared.test_list)
    own = [part for path in said if not os.path.isabs(path) for part in Path(path).parts[:1]]
    root = find_root(source, ("Train & Test Set", "data", *own), findings)
    copy = Copy("MAFW", root, facts.MAFW.classes, facts.MAFW, columns=FIVE_FOLDS)
    enter(root, "Train & Test Set", findings)
    data = enter(root, "data", findings) or root / "data"
    frames = root / declared.frame_folder if declared.frame_folder else None
    for name in ("frames", "clips"):
        folder = enter(data, name, findings)
        if folder:
            kind = "videos" if _holds_videos(folder) else "folders of frames"
            copy.layout.append(f"data/{name}: {kind}")
            frames = frames or folder
    if frames is None or not os.path.isdir(frames):
        findings.add("no_frames", str(frames or data / "frames"))
    else:
        copy.frames = frames
        copy.videos = _holds_videos(frames)
    read_lists(copy, declared, mafw.DIALECTS, facts.MAFW.label_orders, reading.numbered, findings)
    return copy


def examine_ferv39k(source: Path, declared: Declared, findings: Findings) -> Copy:
    """FERV39K: `2_ClipsforFaceCrop/<Scene>/<Emotion>/<clip>`, one split."""
    root = find_root(source, (ferv39k.FRAMES, "4_setups"), findings)
    copy = Copy("FERV39K", root, facts.FERV39K.classes, facts.FERV39K)
    copy.frames = enter(root, ferv39k.FRAMES, findings)
    if copy.frames is None:
        findings.add("no_frames", str(root / ferv39k.FRAMES))
    else:
        _nested_scenes(copy, findings)
    enter(root, "4_setups", findings)
    orders = facts.FERV39K.label_orders
    read_lists(copy, declared, ferv39k.DIALECTS, orders, lambda name: name, findings, depth=3)
    return copy


def examine_afew(source: Path, declared: Declared, findings: Findings) -> Copy:
    """AFEW: `train|validation/<Emotion>/<clip>`; validation is the part that is judged."""
    root = find_root(source, tuple(afew.PARTS), findings)
    copy = Copy("AFEW", root, facts.AFEW.classes, facts.AFEW, frames=root)
    for name in afew.PARTS:
        if enter(root, name, findings) is None:
            findings.add("no_frames", str(root / name))
    if declared.lists and declared.lists != afew.OFFICIAL:
        orders = facts.AFEW.label_orders
        read_lists(copy, declared, afew.DIALECTS, orders, lambda name: name, findings, depth=3)
        return copy
    copy.clips = clips_in_folders(
        root, afew.PARTS, copy.classes, reading.word_index(copy.classes), findings
    )
    copy.layout.append("clips and labels are taken from the folders, without lists")
    return copy


def examine_frame_folders(source: Path, declared: Declared, findings: Findings) -> Copy:
    """A user's own clips: `<split>/<class>/<clip>`, or lists with classes.txt."""
    written = declared.lists or "former_dfer"
    suffix = pick(frame_folders.SUFFIXES, written, "dialect of lists")
    root = source if _own_lists(source, suffix) else find_root(source, (*PARTS,), findings)
    found = _own_lists(root, suffix)
    classes = _own_classes(root, bool(found), findings)
    copy = Copy("a set of frame folders", root, classes, frames=root)
    for other in sorted(set(frame_folders.SUFFIXES.values()) - {suffix}):
        for path in _own_lists(root, other):
            copy.layout.append(f"{path.name}: no list of the dialect {written} (not examined)")
    if not found:
        parts = {part: part for part in PARTS if os.path.isdir(root / part)}
        for part in parts:
            note_unreadable(root / part, findings)
        for folder in folders(root):
            if folder.name.lower() in PARTS and folder.name not in PARTS:
                findings.add("wrong_case", f'{folder} should be "{folder.name.lower()}"')
        index = {name: place for place, name in enumerate(copy.classes)}
        copy.clips = clips_in_folders(
            root, parts, copy.classes, lambda name: index.get(name, -1), findings
        )
        copy.layout.append(f"clips and labels are taken from the folders {joined(parts)}")
        return copy
    dialect = dialects.COMMON[written]
    read = [(path, "split", path.stem, dialect) for path in found]
    options = {"labels": declared.labels or dialect.labels, "strip_prefix": declared.strip_prefix}
    # A list of another suffix would be looked for where another dialect is declared.
    usable = {name for name, other in frame_folders.SUFFIXES.items() if other == suffix}
    known = {name: dialects.COMMON[name] for name in usable}
    tables = read_tables(copy, read, options, known, findings)
    join(copy, tables, options, {"classes.txt": copy.classes}, os.path.normpath, 0, findings)
    return copy


EXAMINE: dict[str, Callable[[Path, Declared, Findings], Copy]] = {
    "dfew": examine_dfew,
    "ferv39k": examine_ferv39k,
    "afew": examine_afew,
    "mafw": examine_mafw,
    "frame_folders": examine_frame_folders,
}


def _nested_scenes(copy: Copy, findings: Findings) -> None:
    """FERV39K's folder of scenes, where it holds one folder that holds them."""
    assert copy.frames is not None
    inner = list(folders(copy.frames))
    scenes = {name.lower() for name in facts.FERV39K_SCENES}
    found = [path.name for path in inner if path.name.lower() in scenes]
    if not found:
        for folder in inner:
            if any(path.name.lower() in scenes for path in folders(folder)):
                findings.add("nested_folder", str(folder))
                copy.frames = folder
                return
    for name in found:
        if name not in facts.FERV39K_SCENES:
            findings.add("wrong_case", f"{copy.frames / name}")
    copy.layout.append(f"{len(found)} of {len(scenes)} scenes")


def _holds_videos(folder: Path) -> bool:
    """Whether a folder holds more video files than folders, whatever it is called."""
    try:
        videos = sum(map(reading.is_video, os.listdir(folder)))
    except OSError:  # which is a finding already
        return False
    return videos > len(list(folders(folder)))


def _own_lists(root: Path, suffix: str) -> list[Path]:
    """The lists that the builder would take: files of another dialect's suffix may be anything."""
    paths = [root / f"{part}{suffix}" for part in PARTS]
    return [path for path in paths if os.path.lexists(path)]


def _own_classes(root: Path, has_lists: bool, findings: Findings) -> tuple[str, ...]:
    path = root / frame_folders.CLASS_FILE
    if os.path.lexists(path):
        try:
            return lists.read_class_names(path)
        except UserError as error:
            findings.add("list_unreadable", str(error))
    elif has_lists:
        findings.add("list_missing", str(path))
    names = sorted({folder.name for part in PARTS for folder in folders(root / part)})
    try:
        lists.check_class_names(names, root)
    except UserError as error:
        findings.add("wrong_case", str(error))
    return tuple(names)
