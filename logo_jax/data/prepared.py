"""Prepared sets: what a data set is once its builder has run."""

import copy
import functools
import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.data.changes import check_source
from logo_jax.data.entries import check_classes
from logo_jax.data.frame_index import INDEX, FrameIndex, damage_named
from logo_jax.data.table import ClipTable

# Name of a data set -> module and class of its builder. Paths, since a builder is only needed, and
# its imports only paid for, when a set is prepared.
BUILDERS: dict[str, str] = {
    "dfew": "logo_jax.data.datasets.dfew:Dfew",
    "ferv39k": "logo_jax.data.datasets.ferv39k:Ferv39k",
    "afew": "logo_jax.data.datasets.afew:Afew",
    "mafw": "logo_jax.data.datasets.mafw:Mafw",
    "frame_folders": "logo_jax.data.datasets.frame_folders:FrameFolders",
    "synthetic_faces": "logo_jax.data.datasets.synthetic_faces:SyntheticFaces",
}

# Files of a prepared set, and the name of its only TFDS split.
RECORD = "prepared.json"
TABLE = "clips.csv"
SPLIT = "clips"
# What a remark says after which results are not those of the published set.
NOT_COMPARABLE = "not comparable"


def builder_class(name: str) -> Any:
    """Return the TFDS builder of the data set `name`.

    Raises:
        UserError: there is no such data set; the message suggests one.
    """
    module, _, cls = pick(BUILDERS, name, "data set").partition(":")
    return getattr(importlib.import_module(module), cls)


def load(
    name: str,
    data_dir: str | Path,
    source: str | Path = "",
    *,
    allow_missing: bool = False,
    allow_empty_classes: bool = False,
    num_workers: int | None = None,
    **options: Any,
) -> "PreparedSet":
    """Open the prepared set of `name` under `data_dir`, preparing it first if need be.

    Args:
        name: data set, a name of `BUILDERS`.
        data_dir: folder of all prepared sets.
        source: folder of the set as its authors hand it out; "" uses what is prepared. Where it
            is given, it must be the folder that the set was prepared from, with the same lists and
            as many frames in each clip; frames are counted, not read.
        allow_missing: leave out clips whose frames are missing or broken.
        allow_empty_classes: accept a class without a clip to train on (of DFEW: or to test on).
        num_workers: processes that prepare; None takes one for each core.
        **options: of the data set, such as `frame_folder` of dfew, and `stored_size`, which all
            have: the side in pixels to which larger frames are made smaller when they are stored.

    Raises:
        UserError: the set is neither prepared nor in `source`, it was prepared from something
            else or is damaged, or its preparation met problems.
    """
    cls = builder_class(name)
    known = cls.option_names()
    for option in options:
        if option not in known:
            raise UserError(
                f'The data set "{name}" has no option "{option}"; it has '
                f"{', '.join(known) or 'none'}.{suggest(option, known)}"
            )
    label_order = options.get("label_order", "")
    config, options = cls.configured(**options)
    options = json.loads(json.dumps(options))  # as they are recorded: lists for tuples
    if "://" in str(data_dir):
        raise UserError(
            f"data_dir is {data_dir}, but prepared sets are read as local files: mount the object "
            "store as a folder (docs/data.md), and name that."
        )
    folder = Path(data_dir).expanduser().absolute() / cls.name / config / str(cls.VERSION)
    build = functools.partial(
        cls,
        data_dir=data_dir,
        allow_missing=allow_missing,
        allow_empty_classes=allow_empty_classes,
        num_workers=num_workers,
        **options,
    )
    try:
        there = (folder / RECORD).exists()
    except OSError as error:
        raise UserError(
            f"{folder} cannot be looked for ({error.strerror}): choose another data_dir or name."
        ) from error
    if not there:
        if cls.needs_source and not source:
            raise UserError(
                f'The data set "{name}" is not prepared in {folder}, and no source folder is '
                f"given. {cls.how_to_get}"
            )
        builder = build(source=source)
        builder.prepare()
        if builder.made_here:  # and not by another process, of another source, in the meantime
            source = ""  # nothing can have changed
    prepared = PreparedSet(folder)
    if source and cls.needs_source:
        check_source(build, source, prepared)
    if prepared.options != options:
        raise UserError(
            f"{folder} was prepared with {_differences(prepared.options, options)}: delete that "
            "folder or choose another data_dir."
        )
    if prepared.left_out and not allow_missing:
        raise UserError(
            f"{folder} was prepared without {len(prepared.left_out):,} clips that were missing or "
            f"broken (first: {prepared.left_out[0]}): pass allow_missing=True to use it so, or "
            "mend the clips and delete that folder."
        )
    if not allow_empty_classes:
        check_classes(
            folder,
            prepared.classes,
            prepared.labels,
            prepared.partitions,
            cls.parts_with_all_classes,
        )
    return prepared.in_order(cls.label_orders[label_order]) if label_order else prepared


def _differences(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    names = sorted(name for name in {**recorded, **asked} if recorded.get(name) != asked.get(name))
    return ", ".join(f"{name}={recorded.get(name)!r} and not {asked.get(name)!r}" for name in names)


class PreparedSet(ClipTable):
    """A prepared set: a table of clips in memory, their encoded frames on disk.

    `prepared[row]` reads one whole clip, `prepared.read(row, indices)` some of its frames, which is
    faster. Open files are not pickled: worker processes open them themselves.

    Attributes, beside those of `ClipTable`:
        folder: where it lies.
        options: what the builder was given.
        left_out: a sentence for each clip that was left out.
        remarks: what its builder had to say about the set, such as how its frames were chosen.
        source: folder that it was prepared from, "" where it was drawn by code.
        entries_digest: of the lists that it was prepared from, see `entries.entries_digest`.
    """

    def __init__(self, folder: str | Path):
        """Read the table of the set in `folder`.

        Raises:
            UserError: the folder holds no prepared set, or a damaged one.
        """
        self.folder = Path(folder)
        with damage_named(self.folder / RECORD):
            record = json.loads((self.folder / RECORD).read_text("utf-8"))
            self.name: str = record["name"]
            self.config: str = record["config"]
            self.classes: tuple[str, ...] = tuple(record["classes"])
            self.options: dict[str, Any] = record["options"]
            self.left_out: list[str] = record["left_out"]
            self.remarks: list[str] = record["remarks"]
            self.source: str = record["source"]
            self.entries_digest: str = record["entries"]
            sizes: dict[str, int] = record.get("files", {})  # older sets have none
            recorded: str | None = record.get("table")
        for name, size in sizes.items():
            with damage_named(self.folder / name):
                found = (self.folder / name).stat().st_size
                if found != size:
                    raise ValueError(f"it has {found:,} bytes of {size:,}")
        with damage_named(self.folder / TABLE):
            table = (self.folder / TABLE).read_bytes()
            digest = hashlib.sha256(table)  # the table has a hash of the frames of each clip
            if recorded not in (None, digest.hexdigest()):
                raise ValueError("it is not the table that was written")
            digest.update(json.dumps(self.classes).encode())
            self.fingerprint = digest.hexdigest()
            self.read_table(table)
            if not set(self.labels.tolist()) <= set(range(len(self.classes))):
                raise ValueError(f"it has labels beside 0 to {len(self.classes) - 1}")

    @property
    def caveats(self) -> list[str]:
        """Why results are not comparable with those on the set as published; [] where they are."""
        found = [remark for remark in self.remarks if NOT_COMPARABLE in remark]
        if self.left_out:
            found.append(
                f"CLIPS LEFT OUT (allow_missing=True): {len(self.left_out):,}. Results on the "
                f"others are {NOT_COMPARABLE} with those on the whole set."
            )
        return found

    def in_order(self, classes: Sequence[str]) -> "PreparedSet":
        """The same clips, with the classes counted in the order of `classes`.

        A set of another order has another fingerprint.

        Raises:
            UserError: these are not the classes of the set.
        """
        if sorted(classes) != sorted(self.classes):
            raise UserError(
                f"{self.name}/{self.config} has the classes {', '.join(self.classes)}, and not "
                f"{', '.join(classes)}: only their order can be another."
            )
        ordered = copy.copy(self)
        if tuple(classes) != self.classes:
            ordered.classes = tuple(classes)
            places = np.array([ordered.classes.index(name) for name in self.classes], np.int32)
            ordered.labels = places[self.labels]
            text = json.dumps([self.fingerprint, ordered.classes])
            ordered.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        return ordered

    def __getitem__(self, row: int | np.integer) -> dict[str, Any]:
        """Read one clip: `frames` (encoded, temporal order), `num_frames`, `clip_id`, `label`.

        Raises:
            UserError: a file of the set is missing or damaged.
        """
        row = range(len(self))[row]
        clip_id = self.clip_ids[row]
        parse, records, files, ends = self._records
        with damage_named(files[np.searchsorted(ends, row, side="right")]):
            example = parse(records[row]).features.feature
            if example["clip_id"].bytes_list.value[0].decode() != clip_id:
                raise ValueError(f"it does not hold the clip {clip_id} that {TABLE} says")
            # TFDS's own parser would copy every frame, and few are wanted.
            frames = example["frames"].bytes_list.value
        return {
            "frames": frames,
            "num_frames": int(self.num_frames[row]),
            "clip_id": clip_id,
            "label": int(self.labels[row]),
        }

    def read(self, row: int, indices: Int[np.ndarray, " n"]) -> list[bytes]:
        """Read chosen frames of a clip, encoded.

        Raises:
            UserError: a file of the set is missing or damaged.
            IndexError: there is no such clip, or it has no such frame.
        """
        row = range(len(self))[row]
        if not len(indices):
            return []
        if not 0 <= indices.min() <= indices.max() < self.num_frames[row]:
            raise IndexError(f"Clip {row} has no frame {indices.max()} or {indices.min()}.")
        if self._index is None:
            frames = self[row]["frames"]
            return [frames[index] for index in indices.tolist()]
        return self._index.read(row, indices)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle everything but the open files and what can be computed again."""
        computed = ("_records", "_index", "soft_labels")
        return {name: value for name, value in vars(self).items() if name not in computed}

    @functools.cached_property
    def _index(self) -> FrameIndex | None:
        """Where each frame lies; None in a set that was prepared before there were indices."""
        path = self.folder / INDEX
        if not path.exists():
            return None
        shards = f"{self.name}-{SPLIT}.array_record-{{index:05d}}-of-{{count:05d}}"
        return FrameIndex(path, self.num_frames, shards)

    @functools.cached_property
    def _records(self) -> tuple[Any, Any, list[Path], np.ndarray]:
        """Parser of records, all records, their files, and the row after the last of each file."""
        import tensorflow_datasets as tfds  # costs seconds; needed only to read frames
        from tensorflow_datasets.proto import tf_example_pb2

        with damage_named(self.folder / "features.json"):
            tfds.features.FeatureConnector.from_config(str(self.folder))
        with damage_named(self.folder / "dataset_info.json"):
            builder = tfds.builder_from_directory(self.folder)
            split = builder.info.splits[SPLIT]
            files = [Path(path) for path in split.filepaths]
            records = builder.as_data_source(SPLIT).data_source  # before TFDS decodes them
        with damage_named(self.folder / TABLE):
            if split.num_examples != len(self):
                raise ValueError(f"it has {len(self):,} clips of {split.num_examples:,}")
        ends = np.cumsum(split.shard_lengths)
        return tf_example_pb2.Example.FromString, records, files, ends

    @property
    def mend(self) -> str:
        """What to do about a frame that cannot be decoded."""
        return f"Delete {self.folder} and prepare the set again."
