"""DFEW's votes: how many of the annotators chose each expression for a clip."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl

from logo_jax.common.errors import UserError

# Names, in any case, that the columns of the clip's number and of its label may have. The
# spreadsheet is handed out with the set under agreement; its header was not seen here.
CLIP_NAMES = ("order", "video_name", "clip_name", "video", "clip", "name", "id")
LABEL_NAMES = ("label", "annotation", "emotion")


class Votes(NamedTuple):
    """One row: where it stands, its label (1 is the first class, 0 none), votes for each class."""

    where: str
    label: int
    votes: tuple[int, ...]


def read_votes(path: Path, classes: Sequence[str], columns: Sequence[str]) -> dict[int, Votes]:
    """Read the first sheet of the spreadsheet: one row for each clip.

    Args:
        path: the xlsx file.
        classes: class names, in the order of the labels from 1.
        columns: names in the header, of the clip's number, of the label and of the votes for each
            class; () looks for the usual names and for the class names, as in `1happy`.

    Returns:
        Clip number -> its votes.

    Raises:
        UserError: the file or a column is missing, a clip has two rows, or a value is no number.
    """
    if not path.is_file():
        raise UserError(f"The votes {path} are missing: name DFEW's annotation.xlsx as votes.")
    # A sheet is read while it is parsed, so damage shows at any row.
    try:
        with contextlib.closing(
            openpyxl.load_workbook(path, read_only=True, data_only=True)
        ) as book:
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what the file says of its size is wrong in some
            rows = list(sheet.iter_rows(values_only=True))
    except Exception as error:  # openpyxl and its parsers raise errors of any kind
        raise UserError(f"{path} is no readable xlsx file ({error}): unpack it again.") from error
    header = [str(cell).strip() if cell is not None else "" for cell in (rows or [()])[0]]
    places = _places(f"{path}, sheet {sheet.title}", header, classes, columns)
    found: dict[int, Votes] = {}
    for number, row in enumerate(rows[1:], 2):
        if all(cell is None for cell in row):
            continue
        where = f"{path}, row {number}"
        clip, label, *votes = [_number(where, header[k], _cell(row, k)) for k in places]
        if clip in found:
            raise UserError(f"{where}: clip {clip} stands already in {found[clip].where}.")
        found[clip] = Votes(where, label, tuple(votes))
    return found


def _places(
    where: str, header: list[str], classes: Sequence[str], columns: Sequence[str]
) -> list[int]:
    """Columns of the clip, the label and the votes for each class."""
    wanted: list[tuple[tuple[str, ...], str]]
    if columns:
        if len(columns) != 2 + len(classes):
            raise UserError(
                f"vote_columns has {len(columns)} names: give {2 + len(classes)}, of the clip's "
                f"number, the label and the votes for {', '.join(classes)}."
            )
        wanted = [((name,), f'"{name}"') for name in columns]
        names = header
    else:
        wanted = [
            (CLIP_NAMES, "the clip's number"),
            (LABEL_NAMES, "the label"),
            *(((name,), f'the votes for "{name}"') for name in classes),
        ]
        # 1happy, Happy and "happy " are the votes for happy.
        names = [re.sub(r"[^a-z_]", "", name.lower()) for name in header]
    places = []
    for choices, what in wanted:
        matching = [names.index(name) for name in choices if name in names]
        if not matching or names.count(names[matching[0]]) > 1:
            how_many = "no" if not matching else "more than one"
            raise UserError(
                f"{where}: {how_many} column of {what} is among {', '.join(filter(None, header))}; "
                "name the columns with vote_columns: the clip's number, the label and the votes "
                f"for {', '.join(classes)}."
            )
        places.append(matching[0])
    return places


def _cell(row: Sequence[Any], place: int) -> Any:
    return row[place] if place < len(row) else None  # rows end at their last cell


def _number(where: str, name: str, cell: Any) -> int:
    """A cell as a whole number from 0; clips may be named `00012` or `00012.mp4`."""
    if cell is None:
        raise UserError(
            f"{where}: the cell in the column {name} is empty, or holds a formula whose value was "
            "never saved; write the number into it."
        )
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    text = re.sub(r"\.mp4$", "", text, flags=re.IGNORECASE)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise UserError(
            f'{where}: "{cell}" in the column {name} is no whole number; mend the cell.'
        )
    return int(text)
