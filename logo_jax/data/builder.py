"""What all data set builders share: from a list of clips to a prepared set on disk.

A prepared set is a TFDS data set of one split, `clips`, which holds every clip once, as ArrayRecord
shards; beside the shards lie `clips.csv`, the table of the clips in stored order with the folds
they belong to, and `prepared.json`, what the set was made from. TensorFlow is not needed.
"""

import abc
import contextlib
import csv
import fcntl
import functools
import itertools
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from logo_jax.common import files, progress
from logo_jax.common.errors import UserError
from logo_jax.data import pool
from logo_jax.data.entries import ClipEntry, check_classes, check_entries, entries_digest
from logo_jax.data.prepared import RECORD, SPLIT, TABLE

# One shard is held in memory while it is written: 256 clips of DFEW are about 150 MB.
CLIPS_PER_SHARD = 256
# Starting a worker takes longer than reading a few clips.
CLIPS_PER_WORKER = 32
PROBLEMS_SHOWN = 20


class _LocalInfo(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Ask nobody: TFDS would look for this set on its server, and leave a temporary folder."""


class ClipBuilder(tfds.core.ShardBasedBuilder):
    """A TFDS builder whose examples are clips of encoded frames.

    A data set derives from it and gives `classes`, `entries`, `make_frames` and `configure`.
    TFDS's ShardBasedBuilder keeps the clips in the order of `entries` and one shard in memory;
    GeneratorBasedBuilder would hold up to 1,000 MiB and shuffle.
    """

    VERSION = tfds.core.Version("1.0.0")
    # Whether the set is read from a folder (`source`) or drawn by code.
    needs_source: ClassVar[bool] = True
    # Parts in which each class must have a clip.
    parts_with_all_classes: ClassVar[tuple[str, ...]] = ("train",)
    # How to get the set and where it goes; shown when it is not there.
    how_to_get: ClassVar[str] = ""

    @staticmethod
    @abc.abstractmethod
    def make_frames(payload: Any, /) -> list[bytes]:
        """Make the encoded frames (JPEG, PNG) of one clip, in temporal order, from its payload.

        Give a function from the top of a module that imports neither JAX nor TFDS, as
        `make_frames = staticmethod(function)`: worker processes import it.

        Raises:
            UserError: the clip cannot be used.
        """

    @staticmethod
    def count_frames(payload: Any, /) -> int:
        """Count the frames of one clip in the source without reading them.

        Only for sets that have a source: tells whether it has changed since the preparation.

        Raises:
            UserError: the clip is not there.
        """
        raise NotImplementedError

    @classmethod
    @abc.abstractmethod
    def configure(cls) -> tuple[str, dict[str, Any]]:
        """Take the builder's options as keywords; return the config name and the full options.

        The config name is a folder name that tells sets apart which lie beside each other; the
        options must survive JSON, and are recorded with the set.

        Raises:
            UserError: an option has a wrong value.
        """

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Class names; the position is the label."""

    @abc.abstractmethod
    def entries(self) -> list[ClipEntry]:
        """List the clips in the order in which they are to be stored.

        Raises:
            UserError: a list is missing, malformed or contradicts itself.
        """

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say what a user should know of these clips; printed and stored with the set."""
        return []

    def __init__(
        self,
        *,
        data_dir: str | Path,
        source: str | Path = "",
        allow_missing: bool = False,
        allow_empty_classes: bool = False,
        num_workers: int | None = None,
        **options: Any,
    ):
        """Describe a prepared set without making it.

        Args:
            data_dir: folder of all prepared sets.
            source: folder of the set as its authors hand it out.
            allow_missing: leave clips out whose frames are missing or broken, instead of stopping.
            allow_empty_classes: accept a class without a clip in `parts_with_all_classes`.
            num_workers: processes that read the clips; None takes one for each core.
            **options: of the data set, see `configure`.
        """
        self.config_name, self.options = self.configure(**options)
        self.source = Path(source).expanduser().absolute()
        self.allow_missing = allow_missing
        self.allow_empty_classes = allow_empty_classes
        self.num_workers = num_workers
        if self.needs_source:
            self._check_source(given=bool(source))
        config = tfds.core.BuilderConfig(name=self.config_name)
        super().__init__(data_dir=Path(data_dir).expanduser().absolute(), config=config)

    @property
    def folder(self) -> Path:
        """Where the prepared set lies, or will lie."""
        return Path(self.data_dir)

    def prepare(self) -> Path:
        """Make the set unless it is there, and return its folder.

        Whatever happens on the way (Ctrl-C, a kill, a full disk), the folder is either whole or
        absent. A second process that prepares the same set waits for the first.

        Raises:
            UserError: clips with problems, a class without clips, or a disk that cannot be
                written to.
        """
        parent = files.make_folder(self.folder.parent)
        with _locked(parent / ".lock"):
            if (self.folder / RECORD).exists():
                return self.folder
            for stale in parent.glob("incomplete.*"):
                shutil.rmtree(stale)
            try:
                # Nothing is downloaded, but TFDS wants a folder for it.
                with tempfile.TemporaryDirectory(prefix="incomplete.", dir=parent) as scratch:
                    self.download_and_prepare(file_format="array_record", download_dir=scratch)
            except (OSError, RuntimeError) as error:
                # ArrayRecord reports a full disk as a RuntimeError that names its file.
                if isinstance(error, RuntimeError) and str(parent) not in str(error):
                    raise
                raise UserError(
                    f"Cannot write the prepared set to {self.folder}: {error}; free some space "
                    "there or choose another data_dir."
                ) from error
        return self.folder

    # What TFDS asks of a builder.

    url_infos = None  # nothing is downloaded, so TFDS need not search the package for checksums

    def _info(self) -> tfds.core.DatasetInfo:
        frames = tfds.features.Tensor(shape=(), dtype=np.object_)
        features = tfds.features.FeaturesDict(
            {
                "frames": tfds.features.Sequence(frames),
                "num_frames": np.int32,
                "clip_id": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=list(self.classes)),
            }
        )
        return _LocalInfo(
            builder=self, description=self.__doc__, features=features, disable_shuffling=True
        )

    def _create_builder_config(self, builder_config, version):
        """Take the config as it is; TFDS would warn that it has not seen it before."""
        return builder_config

    def _log_download_bytes(self):
        """Keep TFDS from announcing a download."""

    def _log_download_done(self):
        """Keep TFDS from announcing its end."""

    def _shard_iterators_per_split(self, dl_manager):
        entries = self._checked_entries()
        self._remarks = self.remarks(entries)
        for remark in self._remarks:
            print(remark, file=sys.stderr, flush=True)
        stream = self._written(entries)
        shards = -(-len(entries) // CLIPS_PER_SHARD)
        # TFDS empties the shards one after the other, so that all can draw on one stream.
        take = functools.partial(itertools.islice, stream, CLIPS_PER_SHARD)
        return {SPLIT: [take] * shards}

    def _download_and_prepare(self, dl_manager, download_config=None):
        self._stored: list[tuple[ClipEntry, int, int]] = []  # entry, frames, bytes
        self._problems: list[str] = []
        super()._download_and_prepare(dl_manager, download_config)
        self._report_problems()
        kept = [entry for entry, _, _ in self._stored]
        if not kept:
            raise UserError(f"None of the clips of {self._origin} can be used.")
        self._check_classes(kept)  # again, without those left out
        num_records = self.info.splits[SPLIT].num_examples
        if num_records != len(kept):  # pragma: no cover - a fault of the disk or of TFDS
            raise UserError(f"{self.folder}: {num_records} of {len(kept)} clips were written.")
        self._write_table()
        self._write_record()
        print(self._summary(), file=sys.stderr, flush=True)

    # The parts of a preparation.

    @property
    def _origin(self) -> str:
        return str(self.source) if self.needs_source else self.name

    def _check_source(self, given: bool) -> None:
        if not given:
            raise UserError(
                f'The data set "{self.name}" needs its source folder. {self.how_to_get}'
            )
        if not self.source.is_dir():
            raise UserError(f"There is no folder {self.source}. {self.how_to_get}")

    def _checked_entries(self) -> list[ClipEntry]:
        entries = self.entries()
        if not entries:
            raise UserError(f"{self._origin}: no clips were found. {self.how_to_get}")
        check_entries(self._origin, entries, self.classes)
        self._check_classes(entries)
        self._entries_digest = entries_digest(entries)
        return entries

    def _check_classes(self, entries: Sequence[ClipEntry]) -> None:
        if self.allow_empty_classes:
            return
        labels = np.array([entry.label for entry in entries])
        partitions = {
            column: np.array([entry.partitions[column] for entry in entries])
            for column in entries[0].partitions
        }
        parts = self.parts_with_all_classes
        check_classes(self._origin, self.classes, labels, partitions, parts)

    def _written(self, entries: Sequence[ClipEntry]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the examples in order; note what was stored and what was wrong."""
        workers = self.num_workers
        if workers is None:
            workers = min(pool.num_cores(), len(entries) // CLIPS_PER_WORKER)
        work = functools.partial(frames_or_problem, type(self).make_frames)
        results = pool.ordered_map(work, [entry.payload for entry in entries], workers)
        pairs = zip(entries, results, strict=True)
        for entry, result in progress.track(pairs, len(entries), f"Preparing {self.name}", "clips"):
            if isinstance(result, str):
                self._problems.append(f"clip {entry.clip_id}: {result}")
            elif not self._problems or self.allow_missing:
                self._stored.append((entry, len(result), sum(map(len, result))))
                yield (
                    entry.clip_id,
                    {
                        "frames": result,
                        "num_frames": len(result),
                        "clip_id": entry.clip_id,
                        "label": entry.label,
                    },
                )

    def _report_problems(self) -> None:
        if not self._problems:
            return
        # Beside the prepared folder, which is not there when the preparation stops.
        full_list = self.folder.parent / "problems.txt"
        with files.atomic_writer(full_list) as file:
            file.writelines(f"{problem}\n" for problem in self._problems)
        shown = "\n".join(f"  {problem}" for problem in self._problems[:PROBLEMS_SHOWN])
        count = f"{len(self._problems):,} clips of {self.name} cannot be used"
        text = f"(the first {PROBLEMS_SHOWN}; all of them in {full_list}):\n{shown}\n"
        if not self.allow_missing:
            raise UserError(
                f"{count} {text}Mend them, or pass allow_missing=True to leave them out."
            )
        print(f"{count} and are left out {text}", file=sys.stderr, flush=True)

    def _write_table(self) -> None:
        partitions = list(self._stored[0][0].partitions)
        factors = list(self._stored[0][0].factors)
        with files.atomic_writer(self.folder / TABLE) as file:
            writer = csv.writer(file)
            fixed = ["clip_id", "label", "num_frames", "group", "bytes"]
            writer.writerow([*fixed, *partitions, *(f"factor_{name}" for name in factors)])
            for entry, num_frames, num_bytes in self._stored:
                writer.writerow(
                    [entry.clip_id, entry.label, num_frames, entry.group, num_bytes]
                    + [entry.partitions[name] for name in partitions]
                    + [entry.factors[name] for name in factors]
                )

    def _write_record(self) -> None:
        record = {
            "name": self.name,
            "config": self.config_name,
            "classes": list(self.classes),
            "options": self.options,
            "source": str(self.source) if self.needs_source else "",
            "entries": self._entries_digest,
            "left_out": self._problems,
            "remarks": self._remarks,
        }
        files.write_json(self.folder / RECORD, record)

    def _summary(self) -> str:
        counts = Counter(entry.label for entry, _, _ in self._stored)
        per_class = ", ".join(f"{name} {counts[i]:,}" for i, name in enumerate(self.classes))
        return (
            f"Prepared {self.name}/{self.config_name}: {len(self._stored):,} clips, "
            f"{sum(n for _, n, _ in self._stored):,} frames, "
            f"{sum(size for _, _, size in self._stored) / 2**20:,.1f} MiB, "
            f"{len(self._problems):,} left out. Clips per class: {per_class}."
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes of this machine wait for; a killed holder frees it."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def frames_or_problem(make_frames: Callable[[Any], list[bytes]], payload: Any) -> list[bytes] | str:
    """Make the frames of one clip, or return what a user can mend as text."""
    try:
        frames = make_frames(payload)
    except UserError as error:
        return str(error)
    return frames or "it has no frames"
