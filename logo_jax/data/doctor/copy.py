"""A copy of a data set as the doctor sees it: where it lies, and a table of its clips."""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from logo_jax.data.datasets.facts import Facts
from logo_jax.data.doctor.clip import link_problem
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.doctor.tables import Table, TableRow

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z", ".z01", ".zip.001", ".part1.rar")
# Folders of a level that are looked into when the data set is not where it should be.
LOOKED_INTO = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """One clip that takes part in training or testing.

    Attributes:
        name: relative to the folder of all clips.
        label: class number, -1 where its label is none.
        parts: "train", "val", "test" or "" in each partition column.
        declared: number of frames that its list declares.
        where: the row that names it first.
        also: (partition column, part) of further parts whose lists name it, which is an error.
    """

    name: str
    label: int
    parts: tuple[str, ...]
    declared: int | None = None
    where: str = ""
    also: tuple[tuple[int, str], ...] = ()

    def listed(self, column: int) -> tuple[str, ...]:
        """All parts of a partition column whose lists name it."""
        return self.parts[column], *(part for place, part in self.also if place == column)


@dataclasses.dataclass
class Copy:
    """What was found.

    Attributes:
        title: what people call the data set.
        root: its folder.
        classes: class names.
        facts: official numbers, None where there are none.
        frames: folder that the clips' names are relative to, None where there are no frames.
        layout: sentences on what lies there.
        columns: partition columns, `split` or `fold_1` ...
        clips: the clips of all parts.
        lists: the lists in words.
        interpolated: the frames are said to be time-interpolated.
        videos: the clips are video files.
    """

    title: str
    root: Path
    classes: tuple[str, ...]
    facts: Facts | None = None
    frames: Path | None = None
    layout: list[str] = dataclasses.field(default_factory=list)
    columns: tuple[str, ...] = ("split",)
    clips: list[Clip] = dataclasses.field(default_factory=list)
    lists: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    interpolated: bool = False
    videos: bool = False

    def folder(self, clip: Clip) -> str:
        """Path of a clip."""
        return os.path.join(self.frames or self.root, clip.name)


def find_root(source: Path, wanted: Sequence[str], findings: Findings) -> Path:
    """Return the folder that holds one of `wanted`: the source, or one near it, with a finding."""
    if any(child(source, name) for name in wanted):
        return source
    inner = list(folders(source))[:LOOKED_INTO]
    deeper = [path for folder in inner for path in list(folders(folder))[:LOOKED_INTO]]
    for folder in (*inner, source.parent, *deeper, source.parent.parent):
        if any(child(folder, name) for name in wanted):
            findings.add("elsewhere", f"it lies in {folder}")
            return folder
    return source


def enter(parent: Path, name: str, findings: Findings) -> Path | None:
    """Return the folder `name` of `parent`, also where its case is wrong, it is packed in an
    archive (None) or lies in a folder of its own name; each of these is a finding."""
    path = child(parent, name)
    if path is None:
        for entry in _names(parent):
            if entry.lower().startswith(name.lower()) and entry.lower().endswith(ARCHIVES):
                findings.add("archive", str(parent / entry))
                break
        return None
    if path.name != name:
        findings.add("wrong_case", f'{path} should be "{name}"')
    note_unreadable(path, findings)
    inner = child(path, name)
    if inner is not None:
        findings.add("nested_folder", f"{inner}")
        return inner
    return path


def note_unreadable(folder: Path, findings: Findings) -> None:
    """Note a folder that this user has no right to read."""
    if not os.access(folder, os.R_OK | os.X_OK):
        findings.add("unreadable_folder", f"{folder}")


def child(parent: Path, name: str) -> Path | None:
    """Return the folder `name` of `parent`, in any case, the right one first."""
    if os.path.isdir(parent / name):
        return parent / name
    return next((path for path in folders(parent) if path.name.lower() == name.lower()), None)


def folders(parent: Path, findings: Findings | None = None) -> Iterable[Path]:
    """Folders in a folder, sorted, none where it cannot be read; dot names are passed over.

    With `findings`, a folder that cannot be read is one, and so is a link that leads nowhere.
    """
    try:
        with os.scandir(parent) as entries:
            shown = [entry for entry in entries if entry.name[0] != "."]
        names = sorted(entry.name for entry in shown if is_folder(entry))
    except OSError as error:
        if findings is not None:
            findings.add("unreadable_folder", f"{parent} ({error.strerror or error})")
        return []
    if findings is not None:
        for entry in shown:
            if entry.is_symlink() and not os.path.exists(entry.path):
                findings.add("dead_link", f"{entry.path} ({link_problem(entry.path)})")
    return [parent / name for name in names]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder; a loop of links is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def join_tables(
    tables: Sequence[Table],
    columns: Sequence[str],
    name_of: Callable[[TableRow, str], str],
    label_of: Callable[[TableRow], int],
    findings: Findings,
) -> list[Clip]:
    """Join lists to one table of clips; contradictions between rows are findings.

    Args:
        tables: the lists.
        columns: partition columns.
        name_of: the clip that a row means, of the row and where it stands.
        label_of: its class number, -1 for none.
        findings: where contradictions are noted.
    """
    first: dict[str, tuple[str, TableRow, int]] = {}
    parts: dict[str, list[str]] = {}
    also: dict[str, tuple[tuple[int, str], ...]] = {}
    contradicted: set[str] = set()
    for table in tables:
        column = columns.index(table.column)
        named: dict[str, TableRow] = {}
        for row in table.rows:
            where = f"{table.path.parent.name}/{table.where(row)}"
            name, label = name_of(row, where), label_of(row)
            if label < 0:
                findings.add("bad_label", f'{where}: "{row.label}"')
            if name in named:
                findings.add("repeated_clip", f'{where}: "{name}" (first in row '
                             f"{named[name].number})")  # fmt: skip
                continue
            named[name] = row
            earlier, other, known = first.setdefault(name, (where, row, label))
            if known != label and min(known, label) >= 0 and name not in contradicted:
                contradicted.add(name)
                findings.add(
                    "label_contradiction",
                    f'{where}: "{name}" is {row.label}, but {other.label} in {earlier}',
                )
            found = parts.setdefault(name, [""] * len(columns))
            if found[column] and found[column] != table.part:
                fold = column_words(table.column)
                findings.add(
                    "id_overlap", f'{where}: "{name}" is also in {found[column]} of {fold}'
                )
                also[name] = (*also.get(name, ()), (column, found[column]))
            found[column] = table.part
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # equal parts are stored once
    clips = []
    for name, (where, row, label) in first.items():
        key = tuple(parts[name])
        key = shared.setdefault(key, key)
        clips.append(Clip(name, label, key, row.num_frames, where, also.get(name, ())))
    if len(columns) > 1:
        for clip in clips:
            if clip.parts.count("test") > 1:
                findings.add("tested_twice", f"{clip.name} ({clip.parts.count('test')} folds)")
    return clips


def clips_in_folders(
    root: Path, parts: Mapping[str, str], classes: Sequence[str], index: Callable[[str], int],
    findings: Findings,
) -> list[Clip]:  # fmt: skip
    """List the clips of `<part>/<class>/<clip>` folders.

    Args:
        root: the folder.
        parts: name of a folder -> part.
        classes: class names.
        index: class number of a folder's name, -1 for none.
        findings: where unknown names are noted.
    """
    clips = []
    for folder_name, part in parts.items():
        for class_folder in folders(root / folder_name):
            label = index(class_folder.name)
            if label < 0:
                findings.add("bad_class_folder", str(class_folder))
            shared = (part,)
            prefix = f"{folder_name}/{class_folder.name}/"
            inner = folders(class_folder, findings)
            clips += [Clip(prefix + clip.name, label, shared) for clip in inner]
    return clips


def note_unlisted(copy: Copy, on_disk: Iterable[str], findings: Findings) -> None:
    """Note clips on disk that no list names."""
    listed = {clip.name for clip in copy.clips}
    for name in on_disk:
        if name not in listed:
            findings.add("unlisted_clip", name)


def column_words(column: str) -> str:
    """`fold_1` as "fold 1", `split` as "the split"."""
    return "the split" if column == "split" else column.replace("_", " ")


def part_sizes(copy: Copy, column: int) -> Counter[str]:
    """Clips of each part of a partition column, as its lists name them."""
    return Counter(part for clip in copy.clips for part in clip.listed(column))
