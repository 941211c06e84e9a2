"""The builder of DFEW from the layout in which its authors hand it out."""

import contextlib
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError, pick
from logo_jax.data import dialects, lists, official, videos
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.datasets import facts
from logo_jax.data.datasets.dfew.votes import Votes, read_votes
from logo_jax.data.dialects import Dialect
from logo_jax.data.entries import ClipEntry
from logo_jax.data.faces import FaceDetector

FOLDS = (1, 2, 3, 4, 5)
_OFFICIAL = "EmoLabel_DataSplit/{part}(single-labeled)/set_{{fold}}.csv"
DIALECTS = dialects.COMMON | {
    "official": Dialect(
        "header", "one_based", _OFFICIAL.format(part="train"), _OFFICIAL.format(part="test")
    ),
}
# Folders that DFEW comes with -> what its frames are.
ORIGINAL = "original"
FRAME_FOLDERS = {
    "clip_224x224": "original length",
    "clip_224x224_16f": "16 frames by time interpolation (TI)",
    "clip_224x16f": "16 frames by time interpolation (TI)",
    ORIGINAL: "the videos, original length",
}
TI_FOLDERS = ("clip_224x224_16f", "clip_224x16f")
TI_FRAMES = 16
# Clips whose frames are counted to see whether the folder is what its name says.
LOOKED_AT = 50
# Fewer clips of 16 frames may have them by chance.
ENOUGH_CLIPS = 8


class Dfew(ClipBuilder):
    """DFEW, single-labelled: 11,697 clips of films, 7 expressions, 5 folds."""

    make_frames = staticmethod(videos.read_clip)
    count_frames = staticmethod(videos.count_clip)
    parts_with_all_classes = ("train", "test")
    how_to_get = (
        "DFEW is handed out by its authors to those who sign their agreement "
        "(https://dfew-dataset.github.io); unpack it so that <source>/Clip/clip_224x224 and "
        "<source>/EmoLabel_DataSplit lie in one folder, and name that folder as the source "
        "(docs/data.md)."
    )

    @classmethod
    def configure(
        cls,
        frame_folder: str = "clip_224x224",
        folds: Sequence[int] | int = FOLDS,
        lists: str = "official",
        train_list: str = "",
        test_list: str = "",
        labels: str = "",
        strip_prefix: str = "",
        votes: str = "",
        vote_columns: Sequence[str] | str = (),
        face_detector: str = "",
        allow_unofficial: bool = False,
        allow_frame_counts: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Choose frames, folds, and how the lists are written.

        Args:
            frame_folder: "clip_224x224" (all frames of each clip), "clip_224x224_16f" (also
                seen as "clip_224x16f"; 16 frames made by time interpolation, whose results are
                not to be compared with those of dynamic sampling), or "original" (the videos).
            folds: which of the five folds to read.
            lists: "official", "former_dfer", "videomae" or "csv", see `dialects`.
            train_list, test_list: paths of other lists, with `{fold}`.
            labels: "one_based", "zero_based" or "words", where it is not the dialect's own.
            strip_prefix: beginning of the clips' names in the lists that is no part of the source.
            votes: path of annotation.xlsx in the source, to store the annotators' votes.
            vote_columns: its columns: the clip's number, the label, the votes for each class;
                names, or one text with commas.
            face_detector: weights of YuNet, to cut the faces out of the original videos.
            allow_unofficial: accept lists that contradict the official counts.
            allow_frame_counts: accept clips of another number of frames than is declared.
        """
        pick(FRAME_FOLDERS, frame_folder, "frame folder of DFEW")
        chosen = dialects.chosen_folds(folds, FOLDS, "DFEW")
        if face_detector and frame_folder != ORIGINAL:
            raise UserError(
                f"face_detector cuts faces out of videos, and the frames of {frame_folder} are cut "
                f'out already: leave it out, or set frame_folder="{ORIGINAL}".'
            )
        options = dialects.check(
            DIALECTS,
            facts.DFEW.label_orders,
            lists=lists,
            train_list=train_list,
            test_list=test_list,
            labels=labels,
            list_order="",
            strip_prefix=strip_prefix,
            votes=votes,
            vote_columns=_names(vote_columns),
            face_detector=face_detector,
            allow_unofficial=allow_unofficial,
            allow_frame_counts=allow_frame_counts,
        )
        del options["list_order"]  # DFEW has one
        name = frame_folder + dialects.folds_in_name(chosen, FOLDS)
        name += "" if lists == "official" else f"_{lists}"
        name += ("_faces" if face_detector else "") + ("_votes" if votes else "")
        return name, {"frame_folder": frame_folder, "folds": chosen, **options}

    @property
    def classes(self) -> tuple[str, ...]:
        """The order of the labels 1 to 7."""
        return facts.DFEW.classes

    def entries(self) -> list[ClipEntry]:
        """Read the lists of all folds; clips in the order of their numbers."""
        folder = self._frame_folder()
        if self.options["face_detector"]:
            FaceDetector(self.options["face_detector"])  # a wrong file is said once, and now
        rows_of = functools.partial(self._rows, folder)
        listed = dialects.read_all(self.options, self.source, self.options["folds"], rows_of)
        numbers = sorted(map(int, listed))
        payload = self._payloads(folder)
        entries = [
            ClipEntry(
                clip_id=f"{number:05d}",
                label=listed[str(number)].row.label,
                payload=payload(number, listed[str(number)].row),
                partitions=listed[str(number)].partitions,
                factors=self._factors(number, listed[str(number)].row),
            )
            for number in numbers
        ]
        if self.options["votes"]:
            self._check_votes(entries)
        allow = self.options["allow_unofficial"]
        official.require_official(facts.DFEW, self.source, entries, allow)
        return entries

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say which frames these are, and how the folds compare with the published ones."""
        frame_folder = self.options["frame_folder"]
        found = [f"DFEW frames are from {frame_folder}: {FRAME_FOLDERS[frame_folder]}."]
        if frame_folder == ORIGINAL and self.options["face_detector"]:
            found.append(
                "The faces were cut out here with YuNet, not by DFEW's authors: results are not "
                "comparable with those on clip_224x224."
            )
        elif frame_folder == ORIGINAL:
            found.append(
                "THESE ARE WHOLE FRAMES OF FILMS AND NO FACE CROPS: results are not comparable "
                "with those on clip_224x224. Set face_detector to cut the faces out."
            )
        elif frame_folder != "clip_224x224":
            found.append(
                "Results on TI frames are not to be compared with those of dynamic sampling (DS)."
            )
        found += self._name_remarks(entries)
        others = self._outvoted(entries) if self.options["votes"] else []
        if others:
            found.append(
                f"{len(others):,} clips have more votes for another class than for their own "
                f"(first: clip {others[0].clip_id})."
            )
        return found + official.count_remarks(facts.DFEW, entries)

    def _name_remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """What the frames of some clips say against the name of their folder."""
        name = self.options["frame_folder"]
        if name == ORIGINAL:
            return []
        counts = []
        for entry in entries[:: max(1, len(entries) // LOOKED_AT)]:
            with contextlib.suppress(UserError):  # clips that cannot be read are told later
                counts.append(self.count_frames(entry.payload))
        others = sum(count != TI_FRAMES for count in counts)
        if name in TI_FOLDERS and 2 * others > len(counts):
            return [
                f"{others} OF {len(counts)} CLIPS LOOKED AT IN {name} DO NOT HAVE 16 FRAMES: these "
                "look like frames of the original length under another name."
            ]
        if name not in TI_FOLDERS and len(counts) >= ENOUGH_CLIPS and not others:
            return [
                f"ALL {len(counts)} CLIPS LOOKED AT IN {name} HAVE 16 FRAMES: these look like "
                "time-interpolated frames under another name, and results are not comparable with "
                "those of dynamic sampling (DS)."
            ]
        return []

    def _rows(self, folder: Path, path: Path) -> list[lists.Row]:
        if not path.is_file():
            raise UserError(
                f"The list {path} is missing; {dialects.contents(path.parent)}. All five folds are "
                "read unless folds=(...) names fewer."
            )
        dialect = DIALECTS[self.options["lists"]]
        rows = dialects.read(path, dialect, self.options, self.classes)
        # 7, 00007 and clip_224x224/00007 are one clip.
        rows = [dataclasses.replace(row, name=self._number(row, folder)) for row in rows]
        lists.refuse_repeated(rows)
        return rows

    def _number(self, row: lists.Row, folder: Path) -> str:
        name, prefix = row.name, self.options["strip_prefix"]
        if prefix or not lists.is_number(name):
            name = dialects.clip_name(row, self.source, folder, prefix)
        stem = name[:-4] if name.lower().endswith(".mp4") else name
        if not lists.is_number(stem):
            raise UserError(
                f'{row.where}: the video_name "{row.name}" is no whole number of at most '
                f"{lists.MAX_DIGITS} digits, nor such a clip of {folder}; mend the row."
            )
        return str(int(stem))

    def _payloads(self, folder: Path) -> Any:
        if self.options["frame_folder"] == ORIGINAL:
            return functools.partial(
                self._video, folder, videos.find_videos(str(folder), lists.VIDEO_SUFFIXES)
            )
        return functools.partial(self._folder, folder)

    def _folder(self, folder: Path, number: int, row: lists.Row) -> tuple[str, int | None]:
        declared = None if self.options["allow_frame_counts"] else row.num_frames
        return str(folder / f"{number:05d}"), declared

    def _video(
        self, folder: Path, found: Mapping[int, str], number: int, row: lists.Row
    ) -> videos.Video:
        allow = self.options["allow_frame_counts"]
        return videos.Video(
            found.get(number, str(folder / f"{number:05d}.mp4")),
            self.options["face_detector"],
            allow,
            None if allow else row.num_frames,
        )

    def _factors(self, number: int, row: lists.Row) -> dict[str, int]:
        if not self.options["votes"]:
            return {}
        path = self.source / self.options["votes"]
        if number not in self._votes:
            raise UserError(f"{path} has no row of clip {number} ({row.where}).")
        votes = self._votes[number]
        if votes.label != row.label + 1:
            raise UserError(
                f"{votes.where}: clip {number} has label {votes.label}, and in {row.where} it is "
                f'"{row.written}", {self.classes[row.label]}, which is {row.label + 1} there; mend '
                "one of the two."
            )
        if not sum(votes.votes):
            raise UserError(f"{votes.where}: clip {number} has no votes.")
        return {f"votes_{c}": n for c, n in zip(self.classes, votes.votes, strict=True)}

    def _check_votes(self, entries: Sequence[ClipEntry]) -> None:
        """Refuse votes whose columns are taken for those of other classes.

        A clip has the label that most annotators chose, so most clips of each class must have the
        most votes for it.
        """
        others = self._outvoted(entries)
        for label, name in enumerate(self.classes):
            clips = [entry for entry in entries if entry.label == label]
            wrong = [entry for entry in others if entry.label == label]
            if 2 * len(wrong) > len(clips):
                raise UserError(
                    f"{self.source / self.options['votes']}: {len(wrong):,} of {len(clips):,} "
                    f"clips of the class {name} have more votes for another class than for their "
                    f"own (first: clip {wrong[0].clip_id}); name the columns of the votes in the "
                    f"order of {', '.join(self.classes)} with vote_columns."
                )

    def _outvoted(self, entries: Sequence[ClipEntry]) -> list[ClipEntry]:
        """Clips with more votes for another class than for their own."""
        votes = (self._votes[int(entry.clip_id)].votes for entry in entries)
        return [e for e, found in zip(entries, votes, strict=True) if found[e.label] < max(found)]

    @functools.cached_property
    def _votes(self) -> dict[int, Votes]:
        path = self.source / self.options["votes"]
        return read_votes(path, self.classes, self.options["vote_columns"])

    def _frame_folder(self) -> Path:
        name = self.options["frame_folder"]
        folder = self.source / "Clip" / name
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}; {dialects.contents(folder.parent)}. Frame folders "
                f"are chosen by name: set frame_folder to one of {', '.join(FRAME_FOLDERS)}. "
                f"{self.how_to_get}"
            )
        return folder


def _names(given: Sequence[Any] | str) -> list[str]:
    names = given.split(",") if isinstance(given, str) else given
    return [str(name).strip() for name in names if str(name).strip()]  # a heading may be a number
