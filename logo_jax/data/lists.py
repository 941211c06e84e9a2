"""Lists of clips as text files, and clips found in folders.

Byte order marks, line ends of any system and blank lines are accepted; anything else that is wrong
is an error that names the file and the row.
"""

import csv
import dataclasses
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from logo_jax.common.errors import UserError
from logo_jax.data.frames import SUFFIXES, frame_files, natural_key

PROBLEMS_SHOWN = 20
# More than any clip, label or number of frames has; Python refuses to convert thousands of digits.
MAX_DIGITS = 18
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".gif"}
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a list of labelled clips.

    Attributes:
        where: "file, row n", for messages.
        name: the clip, as written.
        label: 0-based, whatever the base of the list, or the place of the word.
        num_frames: declared number of frames, None where the list declares none.
        written: the label as written, for messages.
    """

    where: str
    name: str
    label: int
    num_frames: int | None = None
    written: str = ""


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not blank, with their row numbers from 1.

    Raises:
        UserError: the file is missing, not UTF-8, or has no line.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"The list {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"The list {path} is not UTF-8 text: save it as such.") from error
    # Not splitlines, which also cuts at characters that may stand in a name.
    lines = [line.strip(" \t") for line in re.split(r"\r\n|\r|\n", text)]
    rows = [(number, line) for number, line in enumerate(lines, 1) if line]
    for number, line in rows:
        if "\0" in line:
            raise UserError(
                f"{path}, row {number}: there is a zero byte, as of UTF-16 or of a file that was "
                "cut off; save the list as UTF-8 text."
            )
    if not rows:
        raise UserError(f"The list {path} is empty.")
    return rows


def read_csv(
    path: str | Path,
    header: Sequence[str],
    num_classes: int,
    base: int,
    words: Sequence[str] = (),
) -> list[Row]:
    """Read a comma-separated list with a header: clip, label.

    Args:
        path: the file.
        header: the names that must stand in the first row.
        num_classes: labels run from `base` to `base + num_classes - 1`.
        base: label of the first class.
        words: labels are these words, in any case, and not numbers.

    Raises:
        UserError: the file or its header is missing, a row has another number of fields or a clip
            occurs twice; wrong labels, all of them in one message.
    """
    lines = read_lines(path)
    fields = [_fields(f"{path}, row {number}", line) for number, line in lines]
    if [field.lower() for field in fields[0]] != list(header):
        raise UserError(
            f'{path}, row {lines[0][0]}: the header "{",".join(header)}" is missing, there is '
            f'"{lines[0][1]}"; write it above all clips, with commas between the fields.'
        )
    if len(lines) == 1:
        raise UserError(f"The list {path} has a header but no clips.")
    labels = _Labels(num_classes, base, words)
    rows: list[Row] = []
    for (number, line), values in zip(lines[1:], fields[1:], strict=True):
        where = f"{path}, row {number}"
        if len(values) != len(header) or not values[0]:
            raise UserError(
                f'{where}: "{line}" is no row of the form "{",".join(header)}"; mend the row.'
            )
        rows.append(Row(where, values[0], labels.read(where, values[1]), None, values[1]))
    return _whole(rows, labels)


def read_frame_list(
    path: str | Path, num_classes: int, base: int = 0, words: Sequence[str] = ()
) -> list[Row]:
    """Read a list without header, `<folder> <number of frames> <label>`.

    The folder may contain spaces: the two last fields are split off from the right. Arguments and
    errors as for `read_csv`.
    """
    labels = _Labels(num_classes, base, words)
    rows: list[Row] = []
    for number, line in read_lines(path):
        where = f"{path}, row {number}"
        parts = line.rsplit(maxsplit=2)
        if len(parts) != 3 or not is_number(parts[1]):
            raise _no_row(where, line, "<folder> <number of frames> <label>")
        label = labels.read(where, parts[2])
        rows.append(Row(where, parts[0], label, int(parts[1]), parts[2]))
    return _whole(rows, labels)


def read_clip_list(
    path: str | Path, num_classes: int, base: int = 0, words: Sequence[str] = ()
) -> list[Row]:
    """Read a list without header, `<clip> <label>`.

    The clip may contain spaces. Arguments and errors as for `read_csv`.
    """
    labels = _Labels(num_classes, base, words)
    rows: list[Row] = []
    for number, line in read_lines(path):
        where = f"{path}, row {number}"
        parts = line.rsplit(maxsplit=1)
        if len(parts) != 2 or (not rows and parts[1].lower() in _HEADER_WORDS):
            raise _no_row(where, line, "<clip> <label>")
        rows.append(Row(where, parts[0], labels.read(where, parts[1]), None, parts[1]))
    return _whole(rows, labels)


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Read class names, one in a row; the row is the label.

    Raises:
        UserError: the file is missing, a name occurs twice or there are fewer than two.
    """
    names = tuple(line for _, line in read_lines(path))
    check_class_names(names, path)
    if len(names) < 2:
        raise UserError(f"{path}: there must be at least two class names, one in a row.")
    return names


def check_class_names(names: Sequence[str], path: str | Path) -> None:
    """Refuse, as a UserError, a class that occurs twice, also in another case: lists mix cases."""
    for place, name in enumerate(names):
        for other in names[:place]:
            if other.lower() == name.lower():
                case = "" if other == name else f', in another case as "{other}"'
                raise UserError(f'{path}: the class name "{name}" occurs twice{case}.')


def refuse_repeated(rows: Iterable[Row]) -> None:
    """Refuse a clip that occurs twice, also where its path is written in another way (./a, b//a).

    Raises:
        UserError: names the clip and both rows.
    """
    first: dict[str, Row] = {}
    for row in rows:
        other = first.setdefault(os.path.normpath(row.name), row)
        if other is not row:
            written = "" if other.name == row.name else f' as "{other.name}"'
            raise UserError(
                f'{row.where}: the clip "{row.name}" stands already in {other.where}{written}; '
                "remove one of the two rows."
            )


def is_number(text: str) -> bool:
    """Whether `text` is a whole number of at most `MAX_DIGITS` digits 0 to 9, without a sign."""
    return text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS


def inside(root: str | Path, name: str, where: str) -> str:
    """Return the path of `name` under `root`, whatever `name` says.

    Raises:
        UserError: the path is absolute or climbs out of `root`.
    """
    root = os.path.normpath(root)
    path = os.path.normpath(os.path.join(root, name))
    if os.path.isabs(name) or os.path.commonpath([root, path]) != root:
        raise UserError(
            f'{where}: "{name}" lies outside of {root}; write folders relative to that folder.'
        )
    return path


def find_clips(path: str | Path) -> list[tuple[str, list[Path]]]:
    """Find clips to predict: a folder of frames, a folder of such folders, or a list of folders.

    A list has a folder in each row, relative to the place of the list, alone or followed by a
    number of frames and a label, which are not used.

    Returns:
        For each clip its name and the paths of its frames in temporal order.

    Raises:
        UserError: there is nothing of that kind, or a folder has no images.
    """
    path = Path(path).expanduser()
    if path.is_file():
        _refuse_media(path)
        folders = [_listed(path, number, line) for number, line in read_lines(path)]
        return [(name, _frame_paths(folder)) for name, folder in folders]
    if not path.is_dir():
        raise UserError(
            f"There is no {path}: name a folder of frames, a folder of such folders, or a list."
        )
    inner = sorted((p for p in path.iterdir() if _is_clip_folder(p)), key=natural_key)
    if not inner:
        return [(path.resolve().name, _frame_paths(path))]
    if any(p.is_file() and p.suffix.lower() in SUFFIXES for p in path.iterdir()):
        raise UserError(
            f"{path} holds images and folders: name either a folder of frames or a folder of such "
            "folders."
        )
    return [(folder.name, _frame_paths(folder)) for folder in inner]


def _frame_paths(folder: str | Path) -> list[Path]:
    return [Path(name) for name in frame_files(folder)]


def _refuse_media(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        raise UserError(
            f"{path} is one image: name the folder that holds the frames of its clip, here "
            f"{path.parent}."
        )
    if suffix in VIDEO_SUFFIXES:
        raise UserError(
            f"{path} is a video: save its frames as images into a folder, with the face cut out of "
            "each, and name that folder."
        )


def _listed(path: Path, number: int, line: str) -> tuple[str, str]:
    """Return the clip that a row names, as it is written there, and its folder."""
    where = f"{path}, row {number}"
    candidates = [line]
    parts = line.rsplit(maxsplit=2)
    if len(parts) == 3 and is_number(parts[1]) and is_number(parts[2]):
        candidates.append(parts[0])
    for candidate in candidates:
        folder = os.path.join(path.parent, os.path.expanduser(candidate))
        if os.path.isdir(folder):
            return candidate, folder
    raise UserError(f'{where}: there is no folder "{candidates[-1]}" in {path.parent}.')


def _is_clip_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _fields(where: str, line: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader(io.StringIO(line)))]
    except csv.Error as error:
        raise UserError(f"{where} is no row of a csv file ({error}); mend the row.") from error


# What a header calls the labels.
_HEADER_WORDS = frozenset({"label", "labels", "class", "emotion", "expression"})


def _no_row(where: str, line: str, form: str) -> UserError:
    return UserError(
        f'{where}: "{line}" is no row of the form "{form}"; mend the row (such a list has no '
        "header)."
    )


class _Labels:
    """Reads the labels of one list, and says all that is wrong with them at once."""

    def __init__(self, num_classes: int, base: int, words: Sequence[str]):
        self._num_classes = num_classes
        self._base = base
        self._words = {word.lower(): place for place, word in enumerate(words)}
        self._found: list[str] = []
        self._wrong: list[str] = []

    def read(self, where: str, text: str) -> int:
        """Return the label counted from 0; note it where it is none."""
        self._found.append(text)
        if self._words:
            label = self._words.get(text.lower(), -1)
        else:
            label = int(text) - self._base if is_number(text) else -1
        if 0 <= label < self._num_classes:
            return label
        self._wrong.append(f'{where}: label "{text}"')
        return -1

    def refuse_wrong(self) -> None:
        if not self._wrong:
            return
        first, last = self._base, self._base + self._num_classes - 1
        wanted = ", ".join(self._words) or f"{first} to {last}"
        shown = "\n".join(f"  {problem}" for problem in self._wrong[:PROBLEMS_SHOWN])
        raise UserError(
            f"{len(self._wrong):,} labels are none of {wanted} ({self._other_kind()}the first "
            f"{PROBLEMS_SHOWN} at most are shown); mend the list:\n{shown}"
        )

    def _other_kind(self) -> str:
        """What the labels look like, where all of them look like another kind."""
        numbers = [int(text) for text in self._found if is_number(text)]
        if not numbers and not self._words and all(text.isalpha() for text in self._found):
            return f'the list has words, such as {self._found[0]}: declare labels="words"; '
        if len(numbers) < len(self._found):
            return ""
        low, high = min(numbers), max(numbers)
        for base, name in ((0, "zero_based"), (1, "one_based")):
            differs = bool(self._words) or base != self._base
            if differs and base <= low and high < base + self._num_classes:
                return (
                    f'the list has {low} to {high}, which fits labels="{name}": declare that if '
                    "it is meant; "
                )
        return ""


def _whole(rows: list[Row], labels: _Labels) -> list[Row]:
    labels.refuse_wrong()
    refuse_repeated(rows)
    return rows
