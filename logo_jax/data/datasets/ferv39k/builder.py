"""The builder of FERV39K from the layout in which its authors hand it out."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.data import dialects, lists, official
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.datasets import facts
from logo_jax.data.datasets.folders import by_path
from logo_jax.data.dialects import Dialect
from logo_jax.data.entries import ClipEntry
from logo_jax.data.frames import count_declared, read_declared

FRAMES = "2_ClipsforFaceCrop"
DIALECTS = dialects.COMMON | {
    "official": Dialect(
        "plain",
        "words",
        "4_setups/All_scenes/train_All.csv",
        "4_setups/All_scenes/test_All.csv",
    ),
    "csv": dataclasses.replace(dialects.COMMON["csv"], train="train.csv", test="test.csv"),
}


class Ferv39k(ClipBuilder):
    """FERV39K: 38,935 clips of 22 scenes, 7 expressions, one split."""

    make_frames = staticmethod(read_declared)
    count_frames = staticmethod(count_declared)
    parts_with_all_classes = ("train", "test")
    label_orders: ClassVar = facts.FERV39K.label_orders
    how_to_get = (
        "FERV39K is handed out by its authors to those who sign their agreement "
        "(https://wangyanckxx.github.io/Proj_CVPR2022_FERV39k.html); unpack it so that "
        f"<source>/{FRAMES} and <source>/4_setups lie in one folder, and name that folder as the "
        "source (docs/data.md)."
    )

    @classmethod
    def configure(
        cls,
        label_order: str = "dfew",
        lists: str = "official",
        train_list: str = "",
        test_list: str = "",
        labels: str = "",
        list_order: str = "",
        strip_prefix: str = "",
        allow_unofficial: bool = False,
        allow_frame_counts: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Choose the order of the labels, and how the lists are written.

        Args:
            label_order: "dfew" (happy sad neutral angry surprise disgust fear) or "alphabetical";
                the stored set is one, the order is applied where it is loaded.
            lists: "official", "former_dfer", "videomae" or "csv", see `dialects`.
            train_list, test_list: paths of other lists.
            labels: "one_based", "zero_based" or "words", where it is not the dialect's own.
            list_order: the order that numbers in the lists count in, of the same two.
            strip_prefix: beginning of the clips' names in the lists that is no part of the source.
            allow_unofficial: accept lists that contradict the official counts.
            allow_frame_counts: accept clips of another number of frames than is declared.
        """
        pick(cls.label_orders, label_order, "order of labels")
        options = dialects.check(
            DIALECTS,
            cls.label_orders,
            lists=lists,
            train_list=train_list,
            test_list=test_list,
            labels=labels,
            list_order=list_order,
            strip_prefix=strip_prefix,
            allow_unofficial=allow_unofficial,
            allow_frame_counts=allow_frame_counts,
        )
        return "face_crops" + ("" if lists == "official" else f"_{lists}"), options

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order in which the labels are stored."""
        return facts.FERV39K.classes

    def entries(self) -> list[ClipEntry]:
        """Read both lists; clips by scene, expression and number."""
        folder = self.source / FRAMES
        if not folder.is_dir():
            raise UserError(
                f"There is no folder {folder}; {dialects.contents(self.source)}. {self.how_to_get}"
            )
        rows_of = functools.partial(self._rows, folder)
        listed = dialects.read_all(self.options, self.source, (), rows_of)
        entries = [
            ClipEntry(
                clip_id=name,
                label=clip.row.label,
                payload=(
                    str(folder / name),
                    None if self.options["allow_frame_counts"] else clip.row.num_frames,
                ),
                partitions=clip.partitions,
                factors={"scene": name.split("/")[0]},
            )
            for name, clip in sorted(listed.items(), key=by_path)
        ]
        allow = self.options["allow_unofficial"]
        official.require_official(facts.FERV39K, self.source, entries, allow)
        return entries

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say how the split compares with the published one, and how many scenes there are."""
        scenes = len({entry.factors["scene"] for entry in entries})
        return [
            *official.count_remarks(facts.FERV39K, entries),
            f"{scenes} of {len(facts.FERV39K_SCENES)} scenes have clips. Labels are stored in the "
            f"order {', '.join(self.classes)}; label_order chooses another where they are read.",
        ]

    def _rows(self, folder: Path, path: Path) -> list[lists.Row]:
        """Read one list; names become `Scene/Emotion/clip`, whose emotion must be the label's."""
        order = facts.FERV39K.label_orders[self.options["list_order"] or "dfew"]
        dialect = DIALECTS[self.options["lists"]]
        rows = []
        for row in dialects.read(path, dialect, self.options, order):
            name = dialects.clip_name(row, self.source, folder, self.options["strip_prefix"])
            parts = name.split("/")
            if len(parts) != 3:
                raise UserError(
                    f'{row.where}: the clip "{row.name}" is not of the form <Scene>/<Emotion>/'
                    f"<clip> in {folder}; mend the row."
                )
            if parts[0] not in facts.FERV39K_SCENES:
                raise UserError(
                    f'{row.where}: "{parts[0]}" is no scene of FERV39K.'
                    f"{suggest(parts[0], facts.FERV39K_SCENES)}"
                )
            label = dialects.same_word(row, parts[1], order)
            rows.append(dataclasses.replace(row, name=name, label=self.classes.index(label)))
        return rows
