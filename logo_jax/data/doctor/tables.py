"""Lists of clips read leniently: whatever is wrong in them becomes a finding, and the rest is used.

The builders read lists strictly, in the dialect that is declared. The doctor looks first which
dialect a list seems to be written in, so that it can say both.
"""

import csv
import dataclasses
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from logo_jax.common.errors import UserError
from logo_jax.data.doctor.findings import Findings, joined
from logo_jax.data.lists import VIDEO_SUFFIXES, is_number, read_lines

WORDS = "words"
# Forms of a row, by the builders' names.
FORMS = {
    "header": "clip,label with a header",
    "frames": "clip frames label",
    "plain": "clip label",
}
# Clips of a list that are looked for on disk where its form is in doubt.
LOOKED_AT = 200
_HEADERS = frozenset({"label", "labels", "class", "emotion", "expression"})
_DECIMAL = re.compile(r"[0-9]+\.0*")  # a whole number, as a table program may write it
_ABSOLUTE = re.compile(r"^([/\\]|[A-Za-z]:[/\\])")
# Synonyms of class names that circulate, by their first letters.
_STEMS = {
    "hap": "happy", "sad": "sad", "neu": "neutral", "ang": "angry", "sur": "surprise",
    "dis": "disgust", "fea": "fear",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TableRow:
    """One row of a list: its number in the file, the clip and the label as written."""

    number: int
    name: str
    label: str
    num_frames: int | None = None


@dataclasses.dataclass
class Table:
    """A list that was read.

    Attributes:
        path: the file.
        column: partition column, `split` or `fold_1` ...
        part: train, val or test.
        form: "header", "frames" or "plain" as the builders call them.
        rows: its rows, without those that could not be read.
        header: its header, "" without one.
        commas: rows of the form "plain" are cut by commas, as no dialect has them.
    """

    path: Path
    column: str
    part: str
    form: str
    rows: list[TableRow]
    header: str = ""
    commas: bool = False

    def where(self, row: TableRow) -> str:
        return f"{self.path.name}, row {row.number}"

    @property
    def numbers(self) -> list[int]:
        """Labels that are whole numbers."""
        return [int(row.label) for row in self.rows if is_number(row.label)]


def read_table(
    path: Path,
    column: str,
    part: str,
    declared: str,
    is_clip: Callable[[str], bool],
    findings: Findings,
    strip_prefix: str = "",
) -> Table | None:
    """Read a list in the dialect that it seems to be written in; None where it cannot be read.

    Args:
        path: the list.
        column, part: what it is the list of.
        declared: the form that it is declared to have.
        is_clip: whether there is a clip of that name.
        findings: where problems are noted.
        strip_prefix: beginning of the names that is known to be no part of the data set.
    """
    if not os.path.lexists(path):
        findings.add("list_missing", str(path))
        return None
    try:
        lines = read_lines(path)
    except UserError as error:
        findings.add("list_unreadable", str(error))
        return None
    name = f"{path.parent.name}/{path.name}"
    split = [_split(line) for _, line in lines]
    header = lines[0][1] if _has_header(split[0]) else ""
    if header:
        lines, split = lines[1:], split[1:]
        if "," not in header and declared != "header":
            findings.add("header_not_wanted", f'{name} begins with "{header}"')
            header = ""
    form = "header" if header else _form(lines, split)
    if form != declared and "header" not in (form, declared):
        read = [_row(number, _cut(line, declared), declared) for number, line in lines]
        if _fits(read, is_clip):
            form = declared
    rows: list[TableRow] = []
    bad: list[str] = []
    commas = False
    for (number, line), fields in zip(lines, split, strict=True):
        row = _row(number, _cut(line, form), form)
        if row is None and (row := _row(number, fields, form)):
            commas = form == "plain"
        if row is None:
            bad.append(f'{name}, row {number}: "{line}"')
        else:
            rows.append(row)
    if not rows:
        forms = joined(f'"{words}"' for words in FORMS.values())
        first = f"; no row is of a form that is known here ({forms}): {bad[0]}" if bad else ""
        findings.add("list_unreadable", f"The list {path} names no clip{first}.")
        return None
    for example in bad:
        findings.add("bad_row", example)
    rows = _whole_numbers(name, rows, findings)
    absolute = [row for row in rows if is_absolute(row.name)]
    if absolute and not strip_prefix:
        example = f'{name}, row {absolute[0].number}: "{absolute[0].name}"'
        findings.add("absolute_path", example, len(absolute))
    return Table(path, column, part, form, rows, header, commas)


def label_kind(tables: Sequence[Table], num_classes: int) -> str:
    """What the labels of all lists together look like: "words", "one_based", "zero_based", ""
    where both bases are possible, or "mixed"."""
    labels = Counter(is_number(row.label) for table in tables for row in table.rows)
    if labels[False] > labels[True]:
        return WORDS
    low = min(number for table in tables for number in table.numbers)
    high = max(number for table in tables for number in table.numbers)
    if (low, high) == (0, num_classes - 1):
        return "zero_based"
    if (low, high) == (1, num_classes):
        return "one_based"
    if low >= 1 and high < num_classes:
        return ""
    return "zero_based" if low == 0 and high < num_classes else "mixed"


def class_index(text: str, classes: Sequence[str]) -> int:
    """Number of the class that a word names, -1 for none: Happy, happiness and hap are happy."""
    word = text.strip().lower()
    names = [name.lower() for name in classes]
    if word in names:
        return names.index(word)
    stem = _STEMS.get(word[:3], "")
    for place, name in enumerate(names):
        if stem and _STEMS.get(name[:3], "") == stem:
            return place
    return -1


def is_absolute(name: str) -> bool:
    """Whether a clip is named by a path of somebody's machine, of any system."""
    return bool(_ABSOLUTE.match(name))


def describe(table: Table) -> str:
    """The dialect of a list in words."""
    numbers = table.numbers
    if numbers:
        labels = f"labels {min(numbers)} to {max(numbers)}"
    else:
        labels = "words " + joined(sorted({row.label for row in table.rows}), 11)
    return f"{FORMS[table.form]}, {labels}"


def _fits(read: Sequence[TableRow | None], is_clip: Callable[[str], bool]) -> bool:
    """Whether a list that looks like another form is of the declared one all the same.

    `person 1 0` is a clip "person 1" or one frame of "person", and only the disk tells which.
    """
    rows = [row for row in read if row]
    return 2 * len(rows) > len(read) and any(is_clip(row.name) for row in rows[:LOOKED_AT])


def _cut(line: str, form: str) -> list[str]:
    """Cut a row of a known form into fields, as the builders do."""
    if form != "header":
        return line.rsplit(maxsplit=2 if form == "frames" else 1)
    try:
        return [field.strip() for field in next(csv.reader([line]))]
    except csv.Error:
        return []


def _split(line: str) -> list[str]:
    """Cut a row whose form is not known yet."""
    if "," in line:
        return [field.strip().strip('"') for field in line.split(",")]
    parts = line.rsplit(maxsplit=2)
    if len(parts) == 3 and is_number(parts[1]):
        return parts
    return line.rsplit(maxsplit=1)


def _has_header(fields: Sequence[str]) -> bool:
    return len(fields) > 1 and fields[-1].lower() in _HEADERS


def _form(lines: Sequence[tuple[int, str]], split: Sequence[Sequence[str]]) -> str:
    """The form of a list without a header; no dialect cuts three fields by commas."""
    three = sum(
        len(fields) == 3 and "," not in line for (_, line), fields in zip(lines, split, strict=True)
    )
    return "frames" if 2 * three > len(split) else "plain"


def _whole_numbers(name: str, rows: list[TableRow], findings: Findings) -> list[TableRow]:
    """Note labels such as 1.0, which preparing refuses, and read them as whole numbers."""
    decimal = [row for row in rows if _DECIMAL.fullmatch(row.label)]
    if not decimal:
        return rows
    example = f'{name}, row {decimal[0].number}: "{decimal[0].label}"'
    findings.add("label_decimal", example, len(decimal))
    return [
        dataclasses.replace(row, label=row.label.split(".")[0])
        if _DECIMAL.fullmatch(row.label)
        else row
        for row in rows
    ]


def _row(number: int, fields: Sequence[str], form: str) -> TableRow | None:
    wanted = 3 if form == "frames" else 2
    if len(fields) != wanted or not all(fields):
        return None
    if form == "frames":
        if not is_number(fields[1]):
            return None
        return TableRow(number, fields[0], fields[2], int(fields[1]))
    return TableRow(number, fields[0], fields[1])


def word_index(classes: Sequence[str]) -> Callable[[str], int]:
    """`class_index` of these classes, each word looked up once."""
    known: dict[str, int] = {}

    def index(word: str) -> int:
        if word not in known:
            known[word] = class_index(word, classes)
        return known[word]

    return index


def numbered(name: str) -> str:
    """A clip of a set that counts them: 7, 00007 and 00007.mp4 are one."""
    stem = os.path.splitext(name)[0] if is_video(name) else name
    return f"{int(stem):05d}" if is_number(stem) else stem


def is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES
