"""The builder of DFEW from the layout in which its authors hand it out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError, pick
from logo_jax.data import lists
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.entries import ClipEntry
from logo_jax.data.frames import count_frames, read_folder

CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
HEADER = ("video_name", "label")
FIRST_LABEL = 1
FOLDS = (1, 2, 3, 4, 5)
# Clips in train and test of each fold, as published.
OFFICIAL = {
    1: (9356, 2341),
    2: (9356, 2341),
    3: (9357, 2340),
    4: (9358, 2339),
    5: (9361, 2336),
}
# Folders of frames that DFEW comes with -> how their frames were chosen.
FRAME_FOLDERS = {
    "clip_224x224": "original length",
    "clip_224x224_16f": "16 frames by time interpolation (TI)",
    "clip_224x16f": "16 frames by time interpolation (TI)",
}


class Dfew(ClipBuilder):
    """DFEW, single-labelled: 11,697 clips of films, 7 expressions, 5 folds."""

    make_frames = staticmethod(read_folder)
    count_frames = staticmethod(count_frames)
    parts_with_all_classes = ("train", "test")
    how_to_get = (
        "DFEW is handed out by its authors to those who sign their agreement "
        "(https://dfew-dataset.github.io); unpack it so that <source>/Clip/clip_224x224 and "
        "<source>/EmoLabel_DataSplit lie in one folder, and name that folder as the source "
        "(docs/data.md)."
    )

    @classmethod
    def configure(
        cls, frame_folder: str = "clip_224x224", folds: Sequence[int] = FOLDS
    ) -> tuple[str, dict[str, Any]]:
        """Choose frames and folds.

        Args:
            frame_folder: "clip_224x224" (all frames of each clip), or "clip_224x224_16f" (also
                seen as "clip_224x16f"; 16 frames made by time interpolation, whose results are
                not to be compared with those of dynamic sampling).
            folds: which of the five folds to read.
        """
        pick(FRAME_FOLDERS, frame_folder, "frame folder of DFEW")
        chosen = sorted(set(folds))
        if not chosen or not set(chosen) <= set(FOLDS):
            raise UserError(f"The folds of DFEW are 1 to 5, not {', '.join(map(str, folds))}.")
        name = frame_folder
        if chosen != list(FOLDS):
            name += "_folds_" + "_".join(map(str, chosen))
        return name, {"frame_folder": frame_folder, "folds": chosen}

    @property
    def classes(self) -> tuple[str, ...]:
        """The order of the labels 1 to 7."""
        return CLASSES

    def entries(self) -> list[ClipEntry]:
        """Read the csv files of all folds; clips in the order of their numbers."""
        frames = self._frame_folder()
        first: dict[int, lists.Row] = {}
        partitions: dict[int, dict[str, str]] = {}
        for fold in self.options["folds"]:
            for part in ("train", "test"):
                for row in self._rows(part, fold):
                    number = int(row.name)
                    other = first.setdefault(number, row)
                    if other.label != row.label:
                        raise UserError(
                            f"{row.where}: clip {number} has label {row.label + FIRST_LABEL}, but "
                            f"{other.label + FIRST_LABEL} in {other.where}; mend one of the two."
                        )
                    folds = partitions.setdefault(
                        number, {f"fold_{k}": "" for k in self.options["folds"]}
                    )
                    if folds[f"fold_{fold}"]:
                        raise UserError(
                            f"{row.where}: clip {number} is also in the {folds[f'fold_{fold}']} "
                            f"list of fold {fold}; a clip must not be trained on and tested on."
                        )
                    folds[f"fold_{fold}"] = part
        return [
            ClipEntry(
                clip_id=f"{number:05d}",
                label=first[number].label,
                payload=str(frames / f"{number:05d}"),
                partitions=partitions[number],
            )
            for number in sorted(first)
        ]

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say which frames these are, and how the folds compare with the published ones."""
        frames = self.options["frame_folder"]
        found = [f"DFEW frames are from {frames}: {FRAME_FOLDERS[frames]}."]
        if frames != "clip_224x224":
            found.append("Results on TI frames are not comparable with dynamic sampling (DS).")
        for fold in self.options["folds"]:
            parts = [entry.partitions[f"fold_{fold}"] for entry in entries]
            train, test = OFFICIAL[fold]
            found.append(
                f"DFEW fold {fold}: {parts.count('train'):,} train and {parts.count('test'):,} "
                f"test clips (official: {train:,} and {test:,})."
            )
        return found

    def _rows(self, part: str, fold: int) -> list[lists.Row]:
        folder = self.source / "EmoLabel_DataSplit" / f"{part}(single-labeled)"
        path = folder / f"set_{fold}.csv"
        if not path.is_file():
            raise UserError(
                f"The list {path} is missing; {self._contents(folder)}. All five folds are read "
                "unless folds=(...) names fewer."
            )
        rows = lists.read_csv(path, HEADER, len(CLASSES), FIRST_LABEL)
        for row in rows:
            if not lists.is_number(row.name):
                raise UserError(
                    f'{row.where}: the video_name "{row.name}" is no whole number of at most '
                    f"{lists.MAX_DIGITS} digits; mend the row."
                )
        # 7 and 00007 are one clip.
        rows = [dataclasses.replace(row, name=str(int(row.name))) for row in rows]
        lists.refuse_repeated(rows)
        return rows

    def _frame_folder(self) -> Path:
        name = self.options["frame_folder"]
        folder = self.source / "Clip" / name
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}; {self._contents(folder.parent)}. Frame folders are "
                f"chosen by name: set frame_folder to one of {', '.join(FRAME_FOLDERS)}. "
                f"{self.how_to_get}"
            )
        return folder

    @staticmethod
    def _contents(folder: Path) -> str:
        if not folder.is_dir():
            return f"there is no {folder} either"
        names = sorted(path.name for path in folder.iterdir())
        return f"{folder} holds {', '.join(names[:10]) or 'nothing'}"
