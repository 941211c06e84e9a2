"""The builder of a user's own clips, from a tree of folders or from list files."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError, suggest
from logo_jax.data import lists
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.entries import PARTS, ClipEntry
from logo_jax.data.frames import SUFFIXES, count_declared, natural_key, read_declared

CLASS_FILE = "classes.txt"


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
    def configure(cls, set_name: str = "default") -> tuple[str, dict[str, Any]]:
        """Name the set.

        Args:
            set_name: tells sets apart that are prepared into one `data_dir`.
        """
        if not set_name or set_name.startswith(".") or set(set_name) & set("/\\:\n\r\t"):
            raise UserError(f'set_name "{set_name}" cannot be the name of a folder.')
        return set_name, {"set_name": set_name}

    @property
    def classes(self) -> tuple[str, ...]:
        """Names from classes.txt where it is there, else the class folders in sorted order."""
        return self._classes

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        root = self.source
        if self._lists or (root / CLASS_FILE).exists():
            return lists.read_class_names(root / CLASS_FILE)
        names = sorted({folder.name for split in self._splits for folder in _folders(split)})
        if len(names) < 2:
            found = f'only "{names[0]}"' if names else "none"
            raise UserError(
                f"{root}: at least two classes are needed, there is {found}. {self.how_to_get}"
            )
        return tuple(names)

    def entries(self) -> list[ClipEntry]:
        """List the clips: by split, class and name, or in the order of the lists."""
        return self._from_lists() if self._lists else self._from_folders()

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say where the clips were taken from, and how many are in each split."""
        origin = ", ".join(p.name for p in (self._lists or self._splits))
        parts = [entry.partitions["split"] for entry in entries]
        counts = ", ".join(f"{parts.count(part):,} {part}" for part in PARTS)
        return [f"Clips of {self.source} were taken from {origin}: {counts}."]

    @functools.cached_property
    def _lists(self) -> list[Path]:
        paths = [self.source / f"{part}.txt" for part in PARTS]
        return [path for path in paths if path.exists()]

    @functools.cached_property
    def _splits(self) -> list[Path]:
        folders = _folders(self.source)
        for folder in folders:
            if folder.name not in PARTS:
                raise UserError(
                    f'{folder}: "{folder.name}" is no split: name it train, val or test.'
                    f"{suggest(folder.name, PARTS)}"
                )
        if not folders:
            raise UserError(f"{self.source}: no clips were found. {self.how_to_get}")
        return sorted(folders, key=lambda folder: PARTS.index(folder.name))

    def _from_folders(self) -> list[ClipEntry]:
        entries = []
        for split in self._splits:
            for folder in _folders(split):
                if folder.name not in self.classes:
                    raise UserError(
                        f'{folder}: the class "{folder.name}" is not in {CLASS_FILE}.'
                        f"{suggest(folder.name, self.classes)}"
                    )
                for clip in _folders(folder):
                    name = clip.relative_to(self.source).as_posix()
                    entries.append(self._entry(name, str(clip), None, folder.name, split.name))
        return entries

    def _from_lists(self) -> list[ClipEntry]:
        entries = []
        rows: list[lists.Row] = []
        for path in self._lists:
            new = lists.read_frame_list(path, len(self.classes))
            rows += new
            for row in new:
                folder = lists.inside(self.source, row.name, row.where)
                name = os.path.relpath(folder, self.source)  # one clip, however it is written
                label = self.classes[row.label]
                entries.append(self._entry(name, folder, row.num_frames, label, path.stem))
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


def _folders(parent: Path) -> list[Path]:
    """List the folders in `parent` in natural order; images beside them are a mistake."""
    inner = [path for path in parent.iterdir() if not path.name.startswith(".")]
    images = sorted(path.name for path in inner if path.suffix.lower() in SUFFIXES)
    if images:
        raise UserError(
            f"{parent}: {images[0]} should be in a folder of its clip, "
            "<split>/<class>/<clip>/<frame>."
        )
    return sorted((path for path in inner if path.is_dir()), key=natural_key)
