"""What all data set builders share: from a list of clips to a prepared set on disk.

A prepared set is a TFDS data set of one split, `clips`, which holds every clip once, as ArrayRecord
shards; beside the shards lie `clips.csv`, the table of the clips in stored order with the folds
they belong to, `frames.npy`, where each frame lies in the shards, and `prepared.json`, what the set
was made from. TensorFlow is not needed.
"""

import abc
import functools
import inspect
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from logo_jax.common import files
from logo_jax.common.cores import num_cores
from logo_jax.common.errors import UserError
from logo_jax.data import frame_index, outcome, shards
from logo_jax.data.entries import (
    ClipEntry,
    check_classes,
    check_entries,
    entries_digest,
    not_utf8,
    readable,
)
from logo_jax.data.frames import frames_or_problem
from logo_jax.data.prepared import RECORD
from logo_jax.data.tfds_form import TfdsForm

MAX_STORED_SIZE = 1024
# Starting a worker takes longer than reading a few clips.
CLIPS_PER_WORKER = 32


class ClipBuilder(TfdsForm):
    """A TFDS builder whose examples are clips of encoded frames.

    A data set derives from it and gives `classes`, `entries`, `make_frames` and `configure`.
    The shards are our own (see `shards`), in the order of `entries`: TFDS's GeneratorBasedBuilder
    would hold up to 1,000 MiB and shuffle, and all of its builders begin anew when interrupted.
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

    @classmethod
    def option_names(cls) -> list[str]:
        """Names of the options that the builder takes."""
        return [*inspect.signature(cls.configure).parameters, "stored_size"]

    @classmethod
    def configured(cls, stored_size: int = 0, **options: Any) -> tuple[str, dict[str, Any]]:
        """Return config name and full options, with those that all data sets share.

        Args:
            stored_size: side in pixels to which larger frames are made smaller, once, when they
                are stored; 0 stores the files as they are.
            **options: of the data set, see `configure`.

        Raises:
            UserError: an option has a wrong value.
        """
        _check_types(inspect.signature(cls.configure).parameters, options)
        name, options = cls.configure(**options)
        if type(stored_size) is not int or not 0 <= stored_size <= MAX_STORED_SIZE:
            raise UserError(
                f"stored_size={stored_size} is no side of a frame: choose 1 to {MAX_STORED_SIZE} "
                "pixels, or 0 to store the frames as they are."
            )
        if stored_size:
            name += f"_stored{stored_size}"
        return name, options | {"stored_size": stored_size}

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
            **options: of the data set, see `configured`.
        """
        self.config_name, self.options = self.configured(**options)
        if num_workers is not None and num_workers < 0:
            raise UserError(f"num_workers={num_workers}: give 0 or more processes.")
        for path in (data_dir, source):
            if not_utf8(str(path)):
                raise UserError(f"The path {str(path)!r} is not UTF-8; rename it.")
        self.source = Path(source).expanduser().absolute()
        self.allow_missing = allow_missing
        self.allow_empty_classes = allow_empty_classes
        self.num_workers = num_workers
        self.made_here = False  # whether `prepare` has made the set, and not found it
        self.data_root = Path(data_dir).expanduser().absolute()
        config = tfds.core.BuilderConfig(name=self.config_name)
        with readable(self.source):  # some take the classes from folders
            if self.needs_source:
                self._check_source(given=bool(source))
            super().__init__(data_dir=self.data_root, config=config)

    @property
    def folder(self) -> Path:
        """Where the prepared set lies, or will lie."""
        return Path(self.data_dir)

    def prepare(self) -> Path:
        """Make the set unless it is there, and return its folder.

        Whatever happens on the way (Ctrl-C, a kill, a full disk), the folder is either whole or
        absent. What was finished is kept beside it, and a preparation that is started again goes
        on from there. A second process that prepares the same set waits for the first.

        Raises:
            UserError: clips with problems, a class without clips, a damaged set in its place, or
                a disk that cannot be written to.
        """
        parent = files.make_folder(self.folder.parent)
        waiting = f"Waiting: another process prepares {self.folder}."
        with files.locked(parent / ".lock", waiting):
            if (self.folder / RECORD).exists():
                return self.folder
            if self.folder.exists():  # TFDS would take it for a finished set
                raise UserError(
                    f"{self.folder} is there without {RECORD}: it is no prepared set, or a "
                    "damaged one; delete it and prepare again."
                )
            for stale in parent.glob("incomplete.*"):  # of TFDS, from an attempt that was killed
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
                    "there or choose another data_dir. Started again, it goes on from here."
                ) from error
            self.made_here = True
            shutil.rmtree(self._stage)
            print(self._summary, file=sys.stderr, flush=True)
        return self.folder

    def _download_and_prepare(self, dl_manager, download_config=None):
        entries = self._checked_entries()
        remarks = self.remarks(entries)
        sys.stderr.writelines(f"{remark}\n" for remark in remarks)
        found = self._make_shards(entries)
        outcomes = [clip for shard in found for clip in shard.outcomes]
        stored, problems = outcome.sort_out(entries, outcomes)
        outcome.report_problems(self, problems)
        if not stored:
            raise UserError(f"None of the clips of {self._origin} can be used.")
        self._check_classes([clip.entry for clip in stored])  # again, without those left out
        leaks = outcome.leaks(stored)
        sys.stderr.writelines(f"{leak}\n" for leak in leaks)
        finished = [shard for shard in found if shard.num_stored]
        index = frame_index.locate([(shard.path, shard.num_stored) for shard in finished])
        self.adopt(finished)
        try:
            np.save(self.folder / frame_index.INDEX, index)
            outcome.write_table(self.folder, stored)
            outcome.write_record(self, self._entries_digest, problems, [*remarks, *leaks])
        except UserError as error:  # it names a folder of TFDS that will not be there
            raise (error.__cause__ or error) from error
        self._summary = outcome.summary(self, stored, problems)

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
        with readable(self.source):
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

    @property
    def _stage(self) -> Path:
        """Where the shards are collected; beside the folder of the set."""
        # Within download_and_prepare TFDS calls its own temporary folder data_dir.
        return self.folder.parent / "unfinished"

    def _make_shards(self, entries: Sequence[ClipEntry]) -> list[shards.Shard]:
        workers = self.num_workers
        if workers is None:
            workers = min(num_cores(), len(entries) // CLIPS_PER_WORKER)
        size = self.options["stored_size"]
        # What is accepted changes no frame: with more of it, finished shards stay.
        options = {name: v for name, v in self.options.items() if not name.startswith("allow_")}
        plan = [self._entries_digest, options, self.source.as_posix(), self.classes]

        def serialize(entry: ClipEntry, frames: list[bytes]) -> bytes:
            record = self.info.features.serialize_example(
                {
                    "frames": frames,
                    "num_frames": len(frames),
                    "clip_id": entry.clip_id,
                    "label": entry.label,
                }
            )
            # TFDS leaves the order of the fields to chance; now the same clips give the same bytes.
            return tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True)

        return shards.fill(
            self._stage,
            plan,
            entries,
            functools.partial(frames_or_problem, type(self).make_frames, size),
            serialize,
            workers,
            self._is_unchanged,
            f"Preparing {self.name}",
        )

    def _is_unchanged(self, entry: ClipEntry, num_frames: int) -> bool:
        """Whether a clip of an earlier attempt still has as many frames in the source."""
        if not self.needs_source:
            return True
        try:
            return self.count_frames(entry.payload) == num_frames
        except UserError:
            return False


def _check_types(known: Mapping[str, inspect.Parameter], options: Mapping[str, Any]) -> None:
    """Refuse a number where a name is wanted, and "False" where False is: it would count as true.

    Raises:
        UserError: names the option.
    """
    for name, given in options.items():
        for kind, what in ((str, "a text"), (bool, "True or False")):
            wanted = name in known and type(known[name].default) is kind
            if wanted and not isinstance(given, kind):
                raise UserError(f"{name}={given!r}: give {what}.")
