"""The builder of AFEW from folders of face frames.

Its parts are `train` and `validation`, and everybody judges on `validation`, since the labels of
its own test part are not public: here `validation` is the part "test", and no part is "val".
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.data import dialects, lists, official
from logo_jax.data.builder import ClipBuilder
from logo_jax.data.datasets import facts
from logo_jax.data.datasets.folders import by_path, inner_folders
from logo_jax.data.entries import ClipEntry
from logo_jax.data.frames import count_declared, read_declared

# Folder of the source -> part.
PARTS = {"train": "train", "validation": "test"}
OFFICIAL = "official"
DIALECTS = dialects.COMMON | {
    "csv": dataclasses.replace(dialects.COMMON["csv"], train="train.csv", test="validation.csv"),
}


class Afew(ClipBuilder):
    """AFEW: 773 clips of films to train on, 383 to judge on, 7 expressions."""

    make_frames = staticmethod(read_declared)
    count_frames = staticmethod(count_declared)
    parts_with_all_classes = ("train", "test")
    label_orders: ClassVar = facts.AFEW.label_orders
    how_to_get = (
        "AFEW was handed out by its authors to those who signed their agreement "
        "(https://users.cecs.anu.edu.au/~few_group/AFEW.html); cut the faces out and save each "
        "clip as <source>/train/<Emotion>/<clip>/*.jpg or <source>/validation/<Emotion>/<clip>/"
        "*.jpg (docs/data.md)."
    )

    @classmethod
    def configure(
        cls,
        label_order: str = "dfew",
        lists: str = OFFICIAL,
        train_list: str = "",
        test_list: str = "",
        labels: str = "",
        list_order: str = "",
        strip_prefix: str = "",
        allow_unofficial: bool = False,
        allow_frame_counts: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Choose the order of the labels, and what says which clips there are.

        Args:
            label_order: "dfew" (happy sad neutral angry surprise disgust fear) or "alphabetical";
                the stored set is one, the order is applied where it is loaded.
            lists: "official" (all clip folders), or a list of the dialect "former_dfer",
                "videomae" or "csv", see `dialects`.
            train_list, test_list: paths of the lists.
            labels: "one_based", "zero_based" or "words", where it is not the dialect's own.
            list_order: the order that numbers in the lists count in, of the same two.
            strip_prefix: beginning of the clips' names in the lists that is no part of the source.
            allow_unofficial: accept clips that contradict the official counts.
            allow_frame_counts: accept clips of another number of frames than is declared.
        """
        pick(cls.label_orders, label_order, "order of labels")
        given = {
            "train_list": train_list,
            "test_list": test_list,
            "labels": labels,
            "list_order": list_order,
            "strip_prefix": strip_prefix,
        }
        allowed: dict[str, Any] = {
            "allow_unofficial": allow_unofficial,
            "allow_frame_counts": allow_frame_counts,
        }
        if lists == OFFICIAL:
            unused = [name for name, value in given.items() if value]
            if unused:
                raise UserError(
                    f"{', '.join(unused)}: AFEW's own clips are read from its folders, without "
                    f"lists; set lists to one of {', '.join(DIALECTS)}."
                )
            return "frames", {"lists": lists, **given, **allowed}
        options = dialects.check(DIALECTS, cls.label_orders, lists=lists, **given, **allowed)
        return f"frames_{lists}", options

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order in which the labels are stored."""
        return facts.AFEW.classes

    def entries(self) -> list[ClipEntry]:
        """List the clips by part, expression and name."""
        for folder in PARTS:
            if not (self.source / folder).is_dir():
                raise UserError(
                    f"There is no folder {self.source / folder}; "
                    f"{dialects.contents(self.source)}. {self.how_to_get}"
                )
        if self.options["lists"] == OFFICIAL:
            entries = self._from_folders()
        else:
            entries = self._from_lists()
        if entries:
            allow = self.options["allow_unofficial"]
            official.require_official(facts.AFEW, self.source, entries, allow)
        return entries

    def remarks(self, entries: Sequence[ClipEntry]) -> list[str]:
        """Say what the parts are, and how they compare with the published ones."""
        return [
            "AFEW's validation part is the part on which it is judged: here, the part test.",
            *official.count_remarks(facts.AFEW, entries),
        ]

    def _from_folders(self) -> list[ClipEntry]:
        entries = []
        for part_folder, part in PARTS.items():
            for folder in inner_folders(self.source / part_folder):
                name = folder.name.lower()
                if name not in self.classes:
                    raise UserError(
                        f'{folder}: "{folder.name}" is no expression of AFEW.'
                        f"{suggest(name, self.classes)}"
                    )
                for clip in inner_folders(folder):
                    clip_id = clip.relative_to(self.source).as_posix()
                    entries.append(self._entry(clip_id, self.classes.index(name), part, None))
        return entries

    def _from_lists(self) -> list[ClipEntry]:
        listed = dialects.read_all(self.options, self.source, (), self._rows)
        declared = not self.options["allow_frame_counts"]
        return [
            self._entry(
                name,
                clip.row.label,
                clip.partitions["split"],
                clip.row.num_frames if declared else None,
            )
            for name, clip in sorted(listed.items(), key=by_path)
        ]

    def _rows(self, path: Path) -> list[lists.Row]:
        """Read one list; names become `train/Emotion/clip`, whose emotion must be the label's."""
        order = self.label_orders[self.options["list_order"] or "dfew"]
        rows = []
        for row in dialects.read(path, DIALECTS[self.options["lists"]], self.options, order):
            prefix = self.options["strip_prefix"]
            name = dialects.clip_name(row, self.source, self.source, prefix)
            parts = name.split("/")
            if len(parts) != 3 or parts[0] not in PARTS:
                raise UserError(
                    f'{row.where}: the clip "{row.name}" is not of the form train/<Emotion>/<clip> '
                    f"or validation/<Emotion>/<clip> in {self.source}; mend the row."
                )
            label = dialects.same_word(row, parts[1], order)
            rows.append(dataclasses.replace(row, name=name, label=self.classes.index(label)))
        return rows

    def _entry(self, name: str, label: int, part: str, num_frames: int | None) -> ClipEntry:
        return ClipEntry(
            clip_id=name,
            label=label,
            payload=(str(self.source / name), num_frames),
            partitions={"split": part},
        )
