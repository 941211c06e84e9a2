"""The table of the clips of a prepared set: labels, folds, factors, and what is chosen by them."""

import csv
import functools
import io

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.data.entries import PARTS


class ClipTable:
    """The clips of a prepared set without their frames.

    Attributes:
        name: of the data set.
        config: name of its configuration.
        classes: class names; the position is the label.
        clip_ids: name of each clip, in stored order; N of them.
        labels: class of each clip, int32 [N].
        num_frames: number of frames of each clip, int32 [N].
        groups: identity or source of each clip, "" where unknown.
        partitions: `split` or `fold_1` ... -> the part of each clip, [N].
        factors: further facts of each clip by name, [N] each.
        fingerprint: SHA-256 over class names and the table, which has a hash of the frames of each
            clip: two sets of the same fingerprint give the same batches.
    """

    name: str
    config: str
    classes: tuple[str, ...]
    fingerprint: str

    def read_table(self, table: bytes) -> None:
        """Take the content of clips.csv.

        Raises:
            Exception: of some kind, where the table is damaged.
        """
        # Line ends inside quotes are part of a name.
        rows = list(csv.reader(io.StringIO(table.decode("utf-8"), newline="")))
        columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
        self.clip_ids = list(columns.pop("clip_id"))
        self.labels: Int32[np.ndarray, " N"] = np.array(columns.pop("label"), np.int32)
        self.num_frames: Int32[np.ndarray, " N"] = np.array(columns.pop("num_frames"), np.int32)
        self.groups = list(columns.pop("group"))
        columns.pop("bytes")
        columns.pop("digest", None)  # of sets that were prepared before there were hashes
        self.factors: dict[str, np.ndarray] = {}
        self.partitions: dict[str, np.ndarray] = {}
        for name, values in columns.items():
            if name.startswith("factor_"):
                self.factors[name.removeprefix("factor_")] = _typed(values)
            else:
                self.partitions[name] = np.array(values)

    @functools.cached_property
    def soft_labels(self) -> Float32[np.ndarray, "N C"]:
        """Share of each class in the votes for each clip: the factors `votes_<class>`.

        Raises:
            UserError: the set was prepared without votes.
        """
        names = [f"votes_{name}" for name in self.classes]
        if not set(names) <= set(self.factors):
            raise UserError(
                f"{self.name}/{self.config} has no votes: soft labels need them (of DFEW: "
                'config.data.options.votes="Annotation/annotation.xlsx").'
            )
        votes = np.stack([self.factors[name] for name in names], 1).astype(np.float64)
        return (votes / votes.sum(1, keepdims=True)).astype(np.float32)

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clip_ids)

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds; empty for a set with one split."""
        names = [name for name in self.partitions if name.startswith("fold_")]
        return tuple(int(name.removeprefix("fold_")) for name in names)

    def parts(self, fold: int | None = None) -> tuple[str, ...]:
        """Names of the parts (train, val, test) that have clips.

        Raises:
            UserError: the set has no such fold, or a fold must be chosen.
        """
        present = set(self._partition(fold))
        return tuple(part for part in PARTS if part in present)

    def rows(
        self, part: str, fold: int | None = None, where: str | None = None
    ) -> Int[np.ndarray, " n"]:
        """Rows of the clips of one part, in stored order.

        Args:
            part: "train", "val" or "test".
            fold: number of the fold, for a set that has folds.
            where: only clips of which this holds, see `select`.

        Raises:
            UserError: the part has no such clips, the set has no such fold, or a fold must be
                chosen.
        """
        found = self._partition(fold) == part
        name = f"{self.name}/{self.config}" + (f", fold {fold}" if fold else "")
        if not found.any():
            raise UserError(f'{name} has no part "{part}": it has {", ".join(self.parts(fold))}.')
        rows = np.flatnonzero(found & self.select(where))
        if not len(rows):
            raise UserError(f'{name} has no clip with {where} in its part "{part}".')
        return rows

    def select(self, where: str | None) -> Bool[np.ndarray, " N"]:
        """Which clips have the given factors, as in "scene=Action"; several are joined by commas.

        Raises:
            UserError: it has another form, there is no such factor, or no clip has this value.
        """
        selected = np.ones(len(self), bool)
        for term in where.split(",") if where else []:
            name, equals, value = (word.strip() for word in term.partition("="))
            if not equals:
                raise UserError(f'where="{where}": write <factor>=<value>, as in scene=Action.')
            if not self.factors:
                raise UserError(
                    f'where="{where}": {self.name}/{self.config} has no factors to choose clips '
                    "by; leave it empty."
                )
            values = pick(self.factors, name, f"factor of {self.name}").astype(str)
            if value not in values:
                known = sorted(set(values))
                raise UserError(
                    f'where="{where}": no clip has {name}={value}; {name} is one of '
                    f"{', '.join(known[:30])}{', ...' if len(known) > 30 else ''}."
                    f"{suggest(value, known)}"
                )
            selected &= values == value
        if not selected.any():
            raise UserError(f'where="{where}": no clip of {self.name}/{self.config} has all of it.')
        return selected

    def _partition(self, fold: int | None) -> np.ndarray:
        folds = ", ".join(map(str, self.folds))
        if fold is None and "split" not in self.partitions:
            raise UserError(f"{self.name} is split in folds: choose one of {folds}.")
        column = "split" if fold is None else f"fold_{fold}"
        if column not in self.partitions:
            raise UserError(
                f"{self.name}/{self.config} has no fold {fold}: "
                + (f"choose one of {folds}." if folds else "it has one split and takes no fold.")
            )
        return self.partitions[column]


def _typed(values: tuple[str, ...]) -> np.ndarray:
    """Give a column of text the narrowest type that holds it: int64, float64 or text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array(values).astype(kind)
        except ValueError:
            continue
    return np.array(values)
