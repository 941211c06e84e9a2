"""The dialects in which lists of labelled clips circulate: declared by the user, never guessed.

A data set's lists say which clip is in which part of which fold; several repositories rewrote them
for their own readers. `read` reads any of them, `clip_name` says which clip of ours a row means,
and `merge` joins all lists of a data set into one table.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError, pick
from logo_jax.data import lists
from logo_jax.data.lists import Row

HEADER = ("video_name", "label")
# How labels are written -> the first number; words have none.
LABELS = {"one_based": 1, "zero_based": 0, "words": 0}


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How a list is written, and where it lies.

    Attributes:
        form: "header" (`video_name,label` with that header), "frames" (`<clip> <number of frames>
            <label>`) or "plain" (`<clip> <label>`), the last two without a header.
        labels: how labels are written unless the user declares otherwise, a key of `LABELS`.
        train, test: paths in the source, with `{fold}` where the set has folds; "" where there is
            no custom, and the user names the files.
    """

    form: str
    labels: str
    train: str = ""
    test: str = ""


# Those that are not of one data set: of the Former-DFER family, of the VideoMAE family, and comma
# lists as the official ones of DFEW, but counted from 0.
COMMON = {
    "former_dfer": Dialect("frames", "zero_based"),
    "videomae": Dialect("plain", "zero_based"),
    "csv": Dialect("header", "zero_based", "train_set_{fold}.csv", "test_set_{fold}.csv"),
}


@dataclasses.dataclass(frozen=True)
class Listed:
    """One clip of a data set's lists: the row that names it first, and its part of each fold."""

    row: Row
    partitions: Mapping[str, str]


def check(
    dialects: Mapping[str, Dialect],
    orders: Mapping[str, Sequence[str]],
    *,
    lists: str,
    train_list: str,
    test_list: str,
    labels: str,
    list_order: str,
    **others: Any,
) -> dict[str, Any]:
    """Check the options that say how lists are written, and fill in the dialect's own.

    Args:
        dialects: those of the data set, by name.
        orders: the orders in which its classes are counted, by name.
        lists: name of the dialect.
        train_list, test_list: paths of the lists, relative to the source; "" = the dialect's.
        labels: "one_based", "zero_based" or "words"; "" = the dialect's.
        list_order: name of the order that the numbers of the lists count in; needed where labels
            are numbers and several orders circulate.
        **others: passed on.

    Returns:
        The options, full.

    Raises:
        UserError: one has a wrong value, or must be given.
    """
    dialect = pick(dialects, lists, "dialect of lists")
    labels = labels or dialect.labels
    pick(LABELS, labels, "way to write labels")
    train_list, test_list = train_list or dialect.train, test_list or dialect.test
    if not (train_list and test_list):
        raise UserError(
            f'Lists of the dialect "{lists}" have no customary place: give train_list and '
            'test_list, such as "lists/train_{fold}.txt" ({fold} where the set has folds).'
        )
    if list_order:
        pick(orders, list_order, "order of labels")
    if labels == "words":
        list_order = ""
    elif not list_order and len(orders) > 1:
        raise UserError(
            f"The labels of these lists are numbers, and {len(orders)} orders of the classes "
            f"circulate: declare list_order, one of {', '.join(orders)}."
        )
    else:
        list_order = list_order or next(iter(orders))
    return {
        "lists": lists,
        "train_list": train_list,
        "test_list": test_list,
        "labels": labels,
        "list_order": list_order,
        **others,
    }


def chosen_folds(folds: Any, known: Sequence[int], title: str) -> list[int]:
    """The folds to read, each once, in ascending order; one number stands for itself.

    Raises:
        UserError: there is none, or one that the set does not have.
    """
    several = isinstance(folds, Iterable) and not isinstance(folds, str)
    given = list(folds) if several else [folds]
    if not given or any(not isinstance(fold, Integral) or fold not in known for fold in given):
        raise UserError(
            f"The folds of {title} are the numbers {known[0]} to {known[-1]}, not "
            f"{', '.join(map(repr, given)) or 'none'}."
        )
    return sorted({int(fold) for fold in given})


def paths(options: Mapping[str, Any], source: Path, fold: int | None) -> dict[str, Path]:
    """Where the lists lie: "train" and "test" -> path.

    Raises:
        UserError: a path has another placeholder than `{fold}`, or lacks it.
    """
    found = {}
    for part in ("train", "test"):
        pattern = options[f"{part}_list"]
        try:
            name = pattern.format(fold=fold) if fold is not None else pattern.format()
        except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
            raise UserError(
                f'{part}_list="{pattern}": write {{fold}} where the number of the fold stands, '
                "and no other braces; sets with one split have none."
            ) from error
        if fold is not None and name == pattern:
            raise UserError(
                f'{part}_list="{pattern}" names one file for all folds: write {{fold}} where the '
                "number of the fold stands."
            )
        found[part] = source / name
    return found


def read(
    path: Path, dialect: Dialect, options: Mapping[str, Any], classes: Sequence[str]
) -> list[Row]:
    """Read one list; `Row.label` counts in the order of `classes`, whatever that of the list.

    Args:
        path: the list.
        dialect: how it is written.
        options: what `check` returned.
        classes: class names in the order that the lists count in.

    Raises:
        UserError: the list is missing, or not what was declared; names file and row.
    """
    if not path.is_file():
        raise UserError(f"The list {path} is missing; {contents(path.parent)}.")
    words = classes if options["labels"] == "words" else ()
    base = LABELS[options["labels"]]
    if dialect.form == "header":
        return lists.read_csv(path, HEADER, len(classes), base, words)
    reader = lists.read_frame_list if dialect.form == "frames" else lists.read_clip_list
    return reader(path, len(classes), base, words)


def clip_name(row: Row, source: Path, folder: Path, strip_prefix: str) -> str:
    """The clip that a row names, relative to the folder of all clips.

    A path may begin at that folder, at its parents, or at the source: `00001`,
    `clip_224x224/00001` and `Clip/clip_224x224/00001` are one clip of `Clip/clip_224x224`.

    Args:
        row: of a list.
        source: folder of the data set.
        folder: folder of all clips, inside the source.
        strip_prefix: beginning of the names that belongs to the machine where they were written.

    Raises:
        UserError: the name lies elsewhere, or does not begin with `strip_prefix`.
    """
    name = row.name
    if strip_prefix:
        if not name.startswith(strip_prefix):
            raise UserError(
                f'{row.where}: "{name}" does not begin with strip_prefix="{strip_prefix}"; mend '
                "the row or the option."
            )
        name = name[len(strip_prefix) :].lstrip("/")
    if os.path.isabs(name) or name[1:3] in (":\\", ":/"):
        prefix, slashes = _foreign_prefix(name, folder), ""
        if "\\" in name[len(prefix) :]:
            prefix, slashes = prefix.replace("\\", "/"), " Write / for each \\ in the list."
        raise UserError(
            f'{row.where}: "{name}" lies outside of {folder}: a path of the machine where the list '
            f"was written.{slashes} Pass its beginning as strip_prefix, perhaps "
            f'strip_prefix="{prefix}".'
        )
    name = os.path.normpath(name)
    parents = folder.relative_to(source).parts
    for start in range(len(parents)):
        above = os.path.join(*parents[start:]) + os.sep
        if name.startswith(above):
            name = name[len(above) :]
            break
    return os.path.relpath(lists.inside(folder, name, row.where), folder)


def _foreign_prefix(name: str, folder: Path) -> str:
    """The beginning of a path after which it names something in `folder`, or its parent."""
    for match in re.finditer(r"[/\\\\]+", name):
        rest = name[match.end() :].replace("\\", "/")
        if rest and (folder / rest).exists():
            return name[: match.end()]
    return name[: max(name.rfind("/"), name.rfind("\\")) + 1]


def merge(
    columns: Sequence[str],
    tables: Iterable[tuple[str, str, list[Row]]],
    allow_frame_counts: bool = False,
) -> dict[str, Listed]:
    """Join all lists of a data set.

    Args:
        columns: partition columns, `split` or `fold_1` ...
        tables: (column, part, rows) of each list; `Row.name` is the name of the clip, written the
            same way in all of them.
        allow_frame_counts: accept a clip that two lists declare to have other numbers of frames.

    Returns:
        The clips by name, in the order in which they are first named.

    Raises:
        UserError: a clip occurs twice in a list, in train and test of a fold, or with two labels
            or numbers of frames; names both rows.
    """
    first: dict[str, Row] = {}
    seen: dict[str, dict[str, tuple[str, Row]]] = {}
    for column, part, rows in tables:
        lists.refuse_repeated(rows)
        for row in rows:
            other = first.setdefault(row.name, row)
            if other.label != row.label:
                raise UserError(
                    f"{row.where}: clip {row.name} has label {row.written}, but {other.written} "
                    f"in {other.where}; mend one of the two."
                )
            if other.num_frames != row.num_frames and not allow_frame_counts:
                raise UserError(
                    f"{row.where}: clip {row.name} has {row.num_frames} frames, but "
                    f"{other.num_frames} in {other.where}; mend one of the two."
                )
            parts = seen.setdefault(row.name, {})
            if column in parts:
                earlier, where = parts[column]
                fold = "" if column == "split" else f" of {column.replace('_', ' ')}"
                raise UserError(
                    f"{row.where}: clip {row.name} is also in the {earlier} list{fold} "
                    f"({where.where}); a clip must not be trained on and tested on."
                )
            parts[column] = (part, row)
    return {
        name: Listed(row, {c: seen[name][c][0] if c in seen[name] else "" for c in columns})
        for name, row in first.items()
    }


def read_all(
    options: Mapping[str, Any],
    source: Path,
    folds: Sequence[int],
    rows_of: Callable[[Path], list[Row]],
) -> dict[str, Listed]:
    """Read the lists of all folds and join them, see `merge`.

    Args:
        options: what `check` returned.
        source: folder of the data set.
        folds: numbers of the folds; empty for a set of one split.
        rows_of: reads one list; the names of its rows are those of the clips.
    """
    columns: dict[str, int | None] = {f"fold_{fold}": fold for fold in folds} or {"split": None}
    tables = (
        (column, part, rows_of(path))
        for column, fold in columns.items()
        for part, path in paths(options, source, fold).items()
    )
    return merge(list(columns), tables, options["allow_frame_counts"])


def folds_in_name(chosen: Sequence[int], known: Sequence[int]) -> str:
    """End of a config's name that tells a set of some folds from that of all."""
    return "" if list(chosen) == list(known) else "_folds_" + "_".join(map(str, chosen))


def contents(folder: Path) -> str:
    """What a folder holds, for messages."""
    if not folder.is_dir():
        return f"there is no {folder} either"
    names = sorted(path.name for path in folder.iterdir())
    return f"{folder} holds {', '.join(names[:10]) or 'nothing'}"


def same_word(row: Row, folder: str, classes: Sequence[str]) -> str:
    """Return the class of a row whose path has a folder named by its class, as `Happy`.

    Args:
        row: its label counts in the order of `classes`.
        folder: name of that folder.
        classes: class names in the order that the list counts in.

    Raises:
        UserError: the folder is named by no class, or by another than the label's.
    """
    label = classes[row.label]
    if folder.lower() not in classes:
        raise UserError(
            f'{row.where}: the folder "{folder}" of "{row.name}" is named by none of the classes '
            f"{', '.join(classes)}; mend the row or the folder."
        )
    if folder.lower() != label:
        raise UserError(
            f'{row.where}: the label "{row.written}" is {label} in the order {", ".join(classes)}, '
            f'but the clip "{row.name}" lies in the folder {folder}; mend the row, or declare how '
            "the list counts with labels and list_order."
        )
    return label
