"""The builder of MAFW: single-labelled clips, 11 expressions, five folds.

Known: 10,045 clips, of which 9,172 have a single label; five folds; lines `03747.mp4 anger`. Known
from the code of others who use the set, and not from a copy of it: the lists lie in
`Train & Test Set/single/no_caption/set_<fold>/{train,test}.txt`, the videos in `data/clips`.
Assumed: the frames of each clip in `data/frames/<number>`, as those others cut them; the set's own
come in archives whose layout was not seen. So all these paths are options.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from logo_jax.common.errors import UserError, pick
from logo_jax.data import dialects, lists, official, videos
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.datasets import facts
from logo_jax.data.dialects import Dialect
from logo_jax.data.entries import ClipEntry
from logo_jax.data.faces import FaceDetector

FOLDS = (1, 2, 3, 4, 5)
_LISTS = "Train & Test Set/single/no_caption/set_{fold}/"
DIALECTS = dialects.COMMON | {
    "official": Dialect("plain", "words", f"{_LISTS}train.txt", f"{_LISTS}test.txt"),
}


class Mafw(ClipBuilder):
    """MAFW, single-labelled: 9,172 clips, 11 expressions, 5 folds."""

    make_frames = staticmethod(videos.read_clip)
    count_frames = staticmethod(videos.count_clip)
    parts_with_all_classes = ("train", "test")
    label_orders: ClassVar = facts.MAFW.label_orders
    how_to_get = (
        "MAFW is handed out by its authors to those who sign their agreement "
        "(https://mafw-database.github.io/MAFW); put the frames of each clip into "
        '<source>/data/frames/<number> and the lists into "<source>/Train & Test Set", or name '
        "their places with frame_folder, train_list and test_list (docs/data.md)."
    )

    @classmethod
    def configure(
        cls,
        label_order: str = "mafw",
        frame_folder: str = "data/frames",
        folds: Sequence[int] | int = FOLDS,
        lists: str = "official",
        train_list: str = "",
        test_list: str = "",
        labels: str = "",
        list_order: str = "",
        strip_prefix: str = "",
        as_videos: bool = False,
        face_detector: str = "",
        allow_unofficial: bool = False,
        allow_frame_counts: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Choose the order of the labels, the frames, and how the lists are written.

        Args:
            label_order: "mafw" (anger disgust fear happiness neutral sadness ...), "neutral_last"
                or "dfew" (happiness sadness neutral anger ...); the stored set is one, the order
                is applied where it is loaded.
            frame_folder: folder of the clips, relative to the source.
            folds: which of the five folds to read.
            lists: "official", "former_dfer", "videomae" or "csv", see `dialects`.
            train_list, test_list: paths of other lists, with `{fold}`.
            labels: "one_based", "zero_based" or "words", where it is not the dialect's own.
            list_order: the order that numbers in the lists count in, of the same three.
            strip_prefix: beginning of the clips' names in the lists that is no part of the source.
            as_videos: the clips in `frame_folder` are videos, such as those of "data/clips".
            face_detector: weights of YuNet, to cut the faces out of videos.
            allow_unofficial: accept lists that contradict the official counts.
            allow_frame_counts: accept clips of another number of frames than is declared.
        """
        pick(cls.label_orders, label_order, "order of labels")
        chosen = dialects.chosen_folds(folds, FOLDS, "MAFW")
        if face_detector and not as_videos:
            raise UserError(
                "face_detector cuts faces out of videos: set as_videos=True, or leave it out."
            )
        options = dialects.check(
            DIALECTS,
            cls.label_orders,
            lists=lists,
            train_list=train_list,
            test_list=test_list,
            labels=labels,
            list_order=list_order,
            strip_prefix=strip_prefix,
            as_videos=as_videos,
            face_detector=face_detector,
            allow_unofficial=allow_unofficial,
            allow_frame_counts=allow_frame_counts,
        )
        folder = Path(frame_folder)  # ./data/frames/ is data/frames
        if not frame_folder or ".." in folder.parts or folder.is_absolute():
            raise UserError(f'frame_folder="{frame_folder}": name a folder inside of the source.')
        name = "_".join(folder.parts) or "source"  # of ".", where the clips lie beside the lists
        name += dialects.folds_in_name(chosen, FOLDS)
        name += ("" if lists == "official" else f"_{lists}") + ("_faces" if face_detector else "")
        return name, {"frame_folder": folder.as_posix(), "folds": chosen, **options}

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order in which the labels are stored."""
        return facts.MAFW.classes

    def entries(self) -> list[ClipEntry]:
        """Read the lists of all folds; clips in the order of their numbers."""
        folder = self.source / self.options["frame_folder"]
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}; {dialects.contents(folder.parent)}. "
                f"{self.how_to_get}"
            )
        if self.options["face_detector"]:
            FaceDetector(self.options["face_detector"])  # a wrong file is said once, and now
        rows_of = functools.partial(self._rows, folder)
        as_videos = self.options["as_videos"]
        found = videos.find_videos(str(folder), lists.VIDEO_SUFFIXES) if as_videos else {}
        listed = dialects.read_all(self.options, self.source, self.options["folds"], rows_of)
        entries = [
            ClipEntry(
                clip_id=name,
                label=listed[name].row.label,
                payload=self._payload(folder, found, name, listed[name].row),
                partitions=listed[name].partitions,
            )
            for name in sorted(listed, key=int)
        ]
        allow = self.options["allow_unofficial"]
        official.require_official(facts.MAFW, self.source, entries, allow)
        return entries

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say how the folds compare with the counts that are known."""
        found = official.count_remarks(facts.MAFW, entries)
        if self.options["as_videos"] and not self.options["face_detector"]:
            found.append(
                "THESE ARE WHOLE FRAMES OF VIDEOS AND NO FACE CROPS: results are not comparable "
                "with those on crops. Set face_detector to cut the faces out."
            )
        return found

    def _rows(self, folder: Path, path: Path) -> list[lists.Row]:
        """Read one list; names become the number as written, without `.mp4`."""
        order = self.label_orders[self.options["list_order"] or "mafw"]
        rows = []
        for row in dialects.read(path, DIALECTS[self.options["lists"]], self.options, order):
            name = dialects.clip_name(row, self.source, folder, self.options["strip_prefix"])
            name = name[:-4] if name.lower().endswith(".mp4") else name
            if not lists.is_number(name):
                raise UserError(
                    f'{row.where}: the clip "{row.name}" is no number, as in 03747.mp4, of a clip '
                    f"in {folder}; mend the row."
                )
            label = self.classes.index(order[row.label])
            rows.append(dataclasses.replace(row, name=f"{int(name):05d}", label=label))
        return rows

    def _payload(
        self, folder: Path, found: Mapping[int, str], name: str, row: lists.Row
    ) -> videos.Video | tuple[str, int | None]:
        allow = self.options["allow_frame_counts"]
        listed = None if allow else row.num_frames
        if self.options["as_videos"]:
            path = found.get(int(name), str(folder / f"{name}.mp4"))
            return videos.Video(path, self.options["face_detector"], allow, listed)
        return str(folder / name), listed
