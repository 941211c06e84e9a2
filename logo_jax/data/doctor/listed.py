"""The lists of a copy turned into its table of clips, whatever dialect they are written in."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.data import dialects, lists
from logo_jax.data.dialects import Dialect
from logo_jax.data.doctor import tables as reading
from logo_jax.data.doctor.clip import has_images
from logo_jax.data.doctor.copy import (
    LOOKED_INTO,
    Clip,
    Copy,
    folders,
    join_tables,
    note_unlisted,
)
from logo_jax.data.doctor.declared import Declared
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.doctor.tables import Table, TableRow
from logo_jax.data.lists import Row


def read_lists(
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
    join(
        copy,
        read_tables(copy, read, options, known, findings),
        options,
        orders,
        name_of,
        depth,
        findings,
    )
    if copy.frames is None:
        return
    on_disk = _on_disk(copy, depth)
    if copy.clips and _names_differ(copy, on_disk, findings):
        return
    if copy.clips:
        note_unlisted(copy, on_disk, findings)
    else:  # without a list, all that is there is examined
        nowhere = ("",) * len(copy.columns)
        copy.clips = [Clip(name, -1, nowhere) for name in on_disk]


def read_tables(
    copy: Copy,
    read: Sequence[tuple[Path, str, str, Dialect]],
    options: Mapping[str, Any],
    known: Mapping[str, Dialect],
    findings: Findings,
) -> list[Table]:
    """Read lists, and compare how they are written with how they are declared to be.

    Args:
        copy: whose lists.
        read: (path, partition column, part, declared dialect) of each.
        options: of the builder.
        known: the dialects that can be declared instead.
        findings: where differences are noted.
    """
    forms = {dialect.form for dialect in known.values()}
    tables = []
    for path, column, part, dialect in read:
        prefix = options["strip_prefix"]
        is_clip = functools.partial(_is_clip, copy, prefix)
        table = reading.read_table(path, column, part, dialect.form, is_clip, findings, prefix)
        if table is None:
            continue
        tables.append(table)
        copy.lists.append((f"{path.parent.name}/{path.name}", reading.describe(table)))
        if table.form != dialect.form:
            where = f"{path.parent.name}/{path.name}"
            if dialect.form == "header" and table.commas:
                first = table.rows[0]
                findings.add("header", f'{where} begins with "{first.name},{first.label}"')
            else:
                code = "dialect" if _can_be_declared(table, forms) else "list_form"
                findings.add(code, f'{where} is of the form "{reading.FORMS[table.form]}", '
                             f'declared is "{reading.FORMS[dialect.form]}"')  # fmt: skip
    return tables


def _can_be_declared(table: Table, forms: Iterable[str]) -> bool:
    """Whether there is a dialect in which preparing would take a list as it is written."""
    header = [field.strip().lower() for field in table.header.split(",")]
    as_wanted = table.form != "header" or header == list(dialects.HEADER)
    return table.form in forms and as_wanted and not table.commas


def join(
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
    if kind == reading.WORDS and not _are_classes(tables, copy.classes):
        kind = "mixed"  # --labels=words would not help
    if kind not in ("", "mixed", labels):
        first, last = tables[0], reading.describe(tables[0])
        findings.add(
            "label_base",
            f'declared is "{labels}", but the lists are "{kind}" ({first.path.name}: {last})',
        )
        labels = kind
    elif not kind and labels != reading.WORDS:
        numbers = [number for table in tables for number in table.numbers]
        findings.add(
            "label_base_unsure",
            f"labels {min(numbers)} to {max(numbers)} of {len(copy.classes)} classes fit both "
            f'counting from 0 and from 1; declared is "{labels}"',
        )
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


def _are_classes(tables: Sequence[Table], classes: Sequence[str]) -> bool:
    """Whether most labels are names of classes as preparing reads them."""
    names = {name.lower() for name in classes}
    words = [row.label.lower() in names for table in tables for row in table.rows]
    return 2 * sum(words) > len(words)


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


def _is_clip(copy: Copy, strip_prefix: str, name: str) -> bool:
    """Whether a clip of that name, as it is written in a list, lies on disk."""
    folder = copy.frames or copy.root
    try:
        clip = dialects.clip_name(Row("", name, -1), copy.root, folder, strip_prefix)
    except UserError:
        return False
    return os.path.exists(folder / clip)


def _compare_with_folders(copy: Copy, words: Callable[[str], int], findings: Findings) -> None:
    """Compare labels with the emotions that stand in the paths of the clips."""
    for clip in copy.clips:
        parts = clip.name.split("/")
        emotion = words(parts[1]) if len(parts) == 3 else -1
        if min(emotion, clip.label) >= 0 and emotion != clip.label:
            findings.add(
                "label_and_folder", f'{clip.where}: "{clip.name}" is {copy.classes[clip.label]}'
            )


def _names_differ(copy: Copy, on_disk: Sequence[str], findings: Findings) -> bool:
    """Whether there are frames, but the names in the lists lead to none of them."""
    if copy.videos or any(os.path.lexists(copy.folder(clip)) for clip in copy.clips):
        return False
    for name in on_disk[:LOOKED_INTO]:
        if has_images(os.path.join(copy.frames or copy.root, name)):
            clip = copy.clips[0]
            findings.add("names_differ", f'{clip.where} leads to "{clip.name}" in {copy.frames}, '
                         f'where there is "{name}"')  # fmt: skip
            return True
    return False


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
