"""The spreadsheet of DFEW's votes as other programs write it, and damaged ones."""

import re
import zipfile

import openpyxl
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data.datasets.dfew.votes import read_votes
from logo_jax.data.datasets.facts import SEVEN

SHEET = "xl/worksheets/sheet1.xml"


@pytest.fixture
def path(tmp_path):
    """A spreadsheet of 40 clips of class 1."""
    book = openpyxl.Workbook()
    book.active.append(["order", *(f"{i}{name}" for i, name in enumerate(SEVEN, 1)), "label"])
    for clip in range(1, 41):
        book.active.append([f"{clip:05d}.MP4", 9, clip % 2, 0, 0, 0, 0, 0, 1])
    book.save(tmp_path / "annotation.xlsx")
    return tmp_path / "annotation.xlsx"


def edit(path, change):
    """Replace the XML of the sheet; None leaves it out."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    content = change(parts.pop(SHEET))
    with zipfile.ZipFile(path, "w") as file:
        for name, part in {**parts, **({SHEET: content} if content is not None else {})}.items():
            file.writestr(name, part)


@pytest.mark.parametrize("size", ["A1", "A1:I10", "A1:C41"])
def test_a_wrong_note_of_the_size_loses_nothing(path, size):
    old = b'<dimension ref="A1:I41" />'
    edit(path, lambda sheet: sheet.replace(old, f'<dimension ref="{size}"/>'.encode()))
    assert re.search(rb'ref="A1:I41"', zipfile.ZipFile(path).read(SHEET)) is None
    votes = read_votes(path, SEVEN, ())
    assert sorted(votes) == list(range(1, 41))
    assert votes[40].label == 1 and votes[39].votes == (9, 1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "change", [lambda sheet: sheet[: len(sheet) // 2], lambda _: None], ids=["cut", "lost"]
)
def test_a_damaged_sheet_is_a_sentence(path, change):
    edit(path, change)
    with pytest.raises(UserError, match=r"annotation.xlsx is no readable xlsx file \(.*: unpack"):
        read_votes(path, SEVEN, ())


@pytest.mark.parametrize("cell", [None, "=4+5"])
def test_a_cell_without_a_value_is_called_so(path, cell):
    book = openpyxl.load_workbook(path)
    book.active["C5"] = cell
    book.save(path)
    with pytest.raises(UserError, match="row 5: the cell in the column 2sad is empty, or holds"):
        read_votes(path, SEVEN, ())


def test_another_sheet_in_the_first_place_is_named(path):
    book = openpyxl.load_workbook(path)
    book.create_sheet("notes", 0).append(["read me"])
    book.save(path)
    with pytest.raises(UserError, match="annotation.xlsx, sheet notes: no column of the clip's"):
        read_votes(path, SEVEN, ())
