"""Where each data set keeps its frames and lists, and what a copy of it has of them.

Paths and dialects are those of the builders; here they are looked for with tolerance.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.data import dialects, lists
from logo_jax.data.datasets import facts
from logo_jax.data.datasets.afew import builder as afew
from logo_jax.data.datasets.dfew import builder as dfew
from logo_jax.data.datasets.ferv39k import builder as ferv39k
from logo_jax.data.datasets.frame_folders import builder as frame_folders
from logo_jax.data.datasets.mafw import builder as mafw
from logo_jax.data.dialects import Dialect
from logo_jax.data.doctor import tables as reading
from logo_jax.data.doctor.copy import (
    Clip,
    Copy,
    clips_in_folders,
    enter,
    find_root,
    folders,
    join_tables,
    note_unlisted,
)
from logo_jax.data.doctor.findings import Findings, joined
from logo_jax.data.doctor.tables import Table, TableRow
from logo_jax.data.entries import PARTS
from logo_jax.data.lists import Row

FIVE_FOLDS = tuple(f"fold_{fold}" for fold in range(1, 6))


@dataclasses.dataclass(frozen=True)
class Declared:
    """What the user says of the copy; empty where nothing is said.

    The names are those of the builders' options.
    """

    frame_folder: str = ""
    lists: str = ""
    train_list: str = ""
    test_list: str = ""
    labels: str = ""
    list_order: str = ""
    strip_prefix: str = ""


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
    copy.interpolated = chosen in ("clip_224x224_16f", "clip_224x16f")
    copy.videos = chosen == dfew.ORIGINAL
    if copy.interpolated:
        findings.add("time_interpolated", chosen)
    if copy.videos:
        findings.add("videos_only", str(copy.frames))
    enter(root, "EmoLabel_DataSplit", findings)
    _read_lists(copy, declared, dfew.DIALECTS, {"dfew": facts.SEVEN}, reading.numbered, findings)
    return copy


def examine_mafw(source: Path, declared: Declared, findings: Findings) -> Copy:
    """MAFW: `<frame folder>/<number>`, eleven classes, five folds."""
    root = find_root(source, ("Train & Test Set", "data"), findings)
    copy = Copy("MAFW", root, facts.MAFW.classes, facts.MAFW, columns=FIVE_FOLDS)
    enter(root, "Train & Test Set", findings)
    data = enter(root, "data", findings) or root / "data"
    frames = root / declared.frame_folder if declared.frame_folder else None
    for name in ("frames", "clips"):
        folder = enter(data, name, findings)
        if folder:
            copy.layout.append(f"data/{name}: {'face frames' if name == 'frames' else 'videos'}")
            frames = frames or folder
    if frames is None or not os.path.isdir(frames):
        findings.add("no_frames", str(frames or data / "frames"))
    else:
        copy.frames = frames
        copy.videos = frames.name.lower() == "clips"
        if copy.videos:
            findings.add("videos_only", str(frames))
    _read_lists(copy, declared, mafw.DIALECTS, facts.MAFW.label_orders, reading.numbered, findings)
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
    _read_lists(copy, declared, ferv39k.DIALECTS, orders, lambda name: name, findings, depth=3)
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
        _read_lists(copy, declared, afew.DIALECTS, orders, lambda name: name, findings, depth=3)
        return copy
    copy.clips = clips_in_folders(
        root, afew.PARTS, copy.classes, reading.word_index(copy.classes), findings
    )
    copy.layout.append("clips and labels are taken from the folders, without lists")
    return copy


def examine_frame_folders(source: Path, declared: Declared, findings: Findings) -> Copy:
    """A user's own clips: `<split>/<class>/<clip>`, or lists with classes.txt."""
    root = find_root(source, (*PARTS,), findings) if not _own_lists(source) else source
    copy = Copy("a set of frame folders", root, _own_classes(root, findings), frames=root)
    found = _own_lists(root)
    if not found:
        parts = {part: part for part in PARTS if os.path.isdir(root / part)}
        for folder in folders(root):
            if folder.name.lower() in PARTS and folder.name not in PARTS:
                findings.add("wrong_case", f'{folder} should be "{folder.name.lower()}"')
        index = {name: place for place, name in enumerate(copy.classes)}
        copy.clips = clips_in_folders(
            root, parts, copy.classes, lambda name: index.get(name, -1), findings
        )
        copy.layout.append(f"clips and labels are taken from the folders {joined(parts)}")
        return copy
    dialect = dialects.COMMON[declared.lists or "former_dfer"]
    read = [(path, "split", path.stem, dialect) for path in found]
    options = {"labels": declared.labels or dialect.labels, "strip_prefix": declared.strip_prefix}
    tables = _tables(copy, read, options, findings)
    _join(copy, tables, options, {"classes.txt": copy.classes}, os.path.normpath, 0, findings)
    return copy


EXAMINE: dict[str, Callable[[Path, Declared, Findings], Copy]] = {
    "dfew": examine_dfew,
    "ferv39k": examine_ferv39k,
    "afew": examine_afew,
    "mafw": examine_mafw,
    "frame_folders": examine_frame_folders,
}


def _read_lists(
    copy: Copy,
    declared: Declared,
    known: Mapping[str, Dialect],
    orders: Mapping[str, Sequence[str]],
    name_of: Callable[[str], str],
    findings: Findings,
    depth: int = 1,
) -> None:
    """Read the lists of all folds into the table of the copy."""
    given = dataclasses.asdict(declared)
    del given["frame_folder"]
    given["lists"] = declared.lists or "official"
    options = dialects.check(known, orders, **given)
    dialect = known[options["lists"]]
    folds: list[int | None] = [None]
    if len(copy.columns) > 1:
        folds = [int(column.removeprefix("fold_")) for column in copy.columns]
    read = [
        (path, column, part, dialect)
        for fold, column in zip(folds, copy.columns, strict=True)
        for part, path in dialects.paths(options, copy.root, fold).items()
    ]
    _join(copy, _tables(copy, read, options, findings), options, orders, name_of, depth, findings)
    if copy.frames is None:
        return
    on_disk = _on_disk(copy, depth)
    if copy.clips:
        note_unlisted(copy, on_disk, findings)
    else:  # without a list, all that is there is examined
        nowhere = ("",) * len(copy.columns)
        copy.clips = [Clip(name, -1, nowhere) for name in on_disk]


def _tables(
    copy: Copy,
    read: Sequence[tuple[Path, str, str, Dialect]],
    options: Mapping[str, Any],
    findings: Findings,
) -> list[Table]:
    """Read lists, and compare how they are written with how they are declared to be."""
    tables = []
    for path, column, part, dialect in read:
        table = reading.read_table(path, column, part, findings, options["strip_prefix"])
        if table is None:
            continue
        tables.append(table)
        copy.lists.append((f"{path.parent.name}/{path.name}", reading.describe(table)))
        if table.form != dialect.form:
            where = f"{path.parent.name}/{path.name}"
            if dialect.form == "header" and table.form == "plain":
                first = table.rows[0]
                findings.add("header", f'{where} begins with "{first.name},{first.label}"')
            else:
                findings.add("dialect", f'{where} is of the form "{reading.FORMS[table.form]}", '
                             f'declared is "{reading.FORMS[dialect.form]}"')  # fmt: skip
    return tables


def _join(
    copy: Copy,
    tables: Sequence[Table],
    options: Mapping[str, Any],
    orders: Mapping[str, Sequence[str]],
    name_of: Callable[[str], str],
    depth: int,
    findings: Findings,
) -> None:
    """Turn the rows of all lists into clips, with the labels that the lists seem to have."""
    if not tables:
        return
    labels = options["labels"]
    kind = reading.label_kind(tables, len(copy.classes))
    if kind not in ("", "mixed", labels):
        first, last = tables[0], reading.describe(tables[0])
        findings.add(
            "label_base",
            f'declared is "{labels}", but the lists are "{kind}" ({first.path.name}: {last})',
        )
        labels = kind
    order = orders[options.get("list_order") or next(iter(orders))]
    base = dialects.LABELS[labels]
    words = reading.word_index(copy.classes)

    def label_of(row: TableRow) -> int:
        if labels == reading.WORDS:
            return words(row.label)
        number = int(row.label) - base if lists.is_number(row.label) else -1
        return copy.classes.index(order[number]) if 0 <= number < len(order) else -1

    def clip_of(row: TableRow, where: str) -> str:
        return name_of(_clip_name(copy, row, where, options["strip_prefix"], depth, findings))

    copy.clips = join_tables(tables, copy.columns, clip_of, label_of, findings)
    if depth == 3:
        _compare_with_folders(copy, words, findings)


def _clip_name(
    copy: Copy, row: TableRow, where: str, strip_prefix: str, depth: int, findings: Findings
) -> str:
    """The clip that a row names; where it lies elsewhere, its last parts."""
    written = Row(where, row.name, -1)
    try:
        folder = copy.frames or copy.root
        return dialects.clip_name(written, copy.root, folder, strip_prefix)
    except UserError as error:
        if not reading.is_absolute(row.name):
            findings.add("bad_row", str(error))
        parts = row.name.replace("\\", "/").split("/")
        return "/".join(parts[-depth:] if depth else parts)


def _compare_with_folders(copy: Copy, words: Callable[[str], int], findings: Findings) -> None:
    """Compare labels with the emotions that stand in the paths of the clips."""
    for clip in copy.clips:
        parts = clip.name.split("/")
        emotion = words(parts[1]) if len(parts) == 3 else -1
        if min(emotion, clip.label) >= 0 and emotion != clip.label:
            findings.add(
                "label_and_folder", f'{clip.where}: "{clip.name}" is {copy.classes[clip.label]}'
            )


def _on_disk(copy: Copy, depth: int) -> list[str]:
    """Names of all clips on disk, by number where the set counts them."""
    assert copy.frames is not None
    level = [Path(copy.frames)]
    if copy.videos:
        try:
            names = sorted(os.listdir(copy.frames))
        except OSError:  # which is a finding already
            return []
        return [reading.numbered(name) for name in names if reading.is_video(name)]
    for _ in range(depth):
        level = [inner for folder in level for inner in folders(folder)]
    return [path.relative_to(copy.frames).as_posix() for path in level]


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


def _own_lists(root: Path) -> list[Path]:
    suffixes = sorted(set(frame_folders.SUFFIXES.values()))
    paths = [root / f"{part}{suffix}" for part in PARTS for suffix in suffixes]
    return [path for path in paths if os.path.lexists(path)]


def _own_classes(root: Path, findings: Findings) -> tuple[str, ...]:
    path = root / frame_folders.CLASS_FILE
    if os.path.lexists(path):
        try:
            return lists.read_class_names(path)
        except UserError as error:
            findings.add("list_unreadable", str(error))
    elif _own_lists(root):
        findings.add("list_missing", str(path))
    names = {folder.name for part in PARTS for folder in folders(root / part)}
    return tuple(sorted(names))
