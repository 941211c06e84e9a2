"""The builder of a user's own clips, from a tree of folders or from list files."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.data import dialects, lists
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.datasets.folders import inner_folders
from logo_jax.data.entries import PARTS, ClipEntry
from logo_jax.data.frames import count_declared, read_declared

CLASS_FILE = "classes.txt"
# Dialect -> suffix of train.txt, val.txt and test.txt.
SUFFIXES = {"former_dfer": ".txt", "videomae": ".txt", "csv": ".csv"}


class FrameFolders(ClipBuilder):
    """Clips as folders of frames, labelled by folder names or by lists."""

    make_frames = staticmethod(read_declared)
    count_frames = staticmethod(count_declared)
    how_to_get = (
        "Put your clips in <source>/<split>/<class>/<clip>/<frames>, with the splits train, val "
        f"and test, or write lists train.txt, val.txt, test.txt and {CLASS_FILE} into <source> "
        "(docs/data.md)."
    )

    @classmethod
    def configure(
        cls,
        set_name: str = "default",
        lists: str = "former_dfer",
        labels: str = "",
        strip_prefix: str = "",
        allow_frame_counts: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Name the set, and say how its lists are written where it has any.

        Args:
            set_name: tells sets apart that are prepared into one `data_dir`.
            lists: dialect of train.txt, val.txt and test.txt: "former_dfer" or "videomae"; with
                "csv" they are train.csv and so on.
            labels: "zero_based", "one_based" or "words" (names in classes.txt).
            strip_prefix: beginning of the clips' names in the lists that is no part of the source.
            allow_frame_counts: accept clips of another number of frames than is declared.
        """
        printable = set_name.isprintable()
        if not (set_name and printable) or set_name[0] == "." or set(set_name) & set("/\\:"):
            raise UserError(f"set_name {set_name!r} cannot be the name of a folder.")
        labels = labels or pick(dialects.COMMON, lists, "dialect of lists").labels
        pick(dialects.LABELS, labels, "way to write labels")
        return set_name, {
            "set_name": set_name,
            "lists": lists,
            "labels": labels,
            "strip_prefix": strip_prefix,
            "allow_frame_counts": allow_frame_counts,
        }

    @property
    def classes(self) -> tuple[str, ...]:
        """Names from classes.txt where it is there, else the class folders in sorted order."""
        return self._classes

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        root = self.source
        if self._lists or (root / CLASS_FILE).exists():
            return lists.read_class_names(root / CLASS_FILE)
        names = sorted({folder.name for split in self._splits for folder in inner_folders(split)})
        lists.check_class_names(names, root)
        if len(names) < 2:
            found = f'only "{names[0]}"' if names else "none"
            raise UserError(
                f"{root}: at least two classes are needed, there is {found}. {self.how_to_get}"
            )
        return tuple(names)

    def entries(self) -> list[ClipEntry]:
        """List the clips: by split, class and name, or in the order of the lists."""
        return self._from_lists() if self._lists else self._frominner_folders()

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say where the clips were taken from, and how many are in each split."""
        origin = ", ".join(p.name for p in (self._lists or self._splits))
        parts = [entry.partitions["split"] for entry in entries]
        counts = ", ".join(f"{parts.count(part):,} {part}" for part in PARTS)
        found = [f"Clips of {self.source} were taken from {origin}: {counts}."]
        suffixes = set(SUFFIXES.values()) - {SUFFIXES[self.options["lists"]]}
        others = [f"{part}{suffix}" for part in PARTS for suffix in sorted(suffixes)]
        unread = [name for name in others if (self.source / name).exists()]
        if unread:
            found.append(
                f"NOT READ: {', '.join(unread)}, since lists of the dialect "
                f'"{self.options["lists"]}" are called otherwise; if it lists these clips, declare '
                "its dialect with lists."
            )
        return found

    @functools.cached_property
    def _lists(self) -> list[Path]:
        suffix = SUFFIXES[self.options["lists"]]
        paths = [self.source / f"{part}{suffix}" for part in PARTS]
        found = [path for path in paths if path.exists()]
        if not found and self.options["lists"] != "former_dfer":
            raise UserError(
                f"There is no list {', '.join(path.name for path in paths)} of the dialect "
                f'"{self.options["lists"]}" in {self.source}.'
            )
        return found

    @functools.cached_property
    def _splits(self) -> list[Path]:
        folders = inner_folders(self.source)
        # With --source=. and the usual data_dir, prepared sets lie there too.
        if self.data_root in folders and self.data_root.name not in PARTS:
            folders.remove(self.data_root)
        for folder in folders:
            if folder.name not in PARTS:
                raise UserError(
                    f'{folder}: "{folder.name}" is no split: name it train, val or test.'
                    f"{suggest(folder.name, PARTS)}"
                )
        if not folders:
            raise UserError(f"{self.source}: no clips were found. {self.how_to_get}")
        return sorted(folders, key=lambda folder: PARTS.index(folder.name))

    def _frominner_folders(self) -> list[ClipEntry]:
        entries = []
        for split in self._splits:
            for folder in inner_folders(split):
                if folder.name not in self.classes:
                    raise UserError(
                        f'{folder}: the class "{folder.name}" is not in {CLASS_FILE}.'
                        f"{suggest(folder.name, self.classes)}"
                    )
                for clip in inner_folders(folder):
                    name = clip.relative_to(self.source).as_posix()
                    entries.append(self._entry(name, str(clip), None, folder.name, split.name))
        return entries

    def _from_lists(self) -> list[ClipEntry]:
        entries = []
        rows: list[lists.Row] = []
        prefix = self.options["strip_prefix"]
        dialect = dialects.COMMON[self.options["lists"]]
        for path in self._lists:
            new = dialects.read(path, dialect, self.options, self.classes)
            rows += new
            for row in new:
                # One clip, however it is written.
                name = dialects.clip_name(row, self.source, self.source, prefix)
                declared = None if self.options["allow_frame_counts"] else row.num_frames
                folder = os.path.join(self.source, name)
                label = self.classes[row.label]
                entries.append(self._entry(name, folder, declared, label, path.stem))
        lists.refuse_repeated(rows)  # across train, val and test
        return entries

    def _entry(
        self, name: str, folder: str, num_frames: int | None, class_name: str, part: str
    ) -> ClipEntry:
        return ClipEntry(
            clip_id=name,
            label=self.classes.index(class_name),
            payload=(folder, num_frames),
            partitions={"split": part},
        )
