"""One examination from beginning to end: layout, lists, folds, frames, duplicates, crops."""

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError, pick
from logo_jax.data.doctor import content, crops, films, folds
from logo_jax.data.doctor.clip import DECODE_NONE
from logo_jax.data.doctor.copy import Copy, part_sizes
from logo_jax.data.doctor.declared import Declared, refuse_wrong
from logo_jax.data.doctor.findings import Findings
from logo_jax.data.doctor.kinds import ERROR, NOTE, WARNING
from logo_jax.data.doctor.mends import MENDS
from logo_jax.data.doctor.scan import Tally, scan
from logo_jax.data.doctor.sets import EXAMINE
from logo_jax.data.entries import check_entries, readable
from logo_jax.data.faces import FaceDetector
from logo_jax.data.prepared import builder_class

# What is no error of a copy that is meant to be a part of the data set.
PARTIAL = {
    "fold_size": NOTE,
    "class_counts": NOTE,
    "list_missing": NOTE,
    "class_not_judged": WARNING,
    "missing_clip": WARNING,
}


@dataclasses.dataclass
class Examination:
    """What was found in a copy of a data set.

    Attributes:
        copy: the copy, with all clips of its lists.
        tally: what was seen in their folders.
        samples: what the face detector saw.
        findings: what is wrong, or worth knowing.
    """

    copy: Copy
    tally: Tally
    samples: list[crops.Sample]
    findings: Findings


def examine(
    name: str,
    source: Path,
    declared: Declared,
    *,
    detector: FaceDetector | None = None,
    decode: str = DECODE_NONE,
    partial: bool = False,
    num_workers: int = 0,
) -> Examination:
    """Examine a copy of a data set.

    Args:
        name: data set, a key of `EXAMINE`.
        source: its folder.
        declared: how its lists are said to be written, and which frames are wanted.
        detector: looks at the faces of a sample; None leaves that out.
        decode: "none", "sample" or "all": frames or videos whose pixels are decoded.
        partial: it is meant to be a part of the data set.
        num_workers: processes; 0 does the work in this one.

    Raises:
        UserError: there is no such data set, or `declared` has a wrong value.
    """
    examine_set = pick(EXAMINE, name, "data set")
    refuse_wrong(name, declared)
    findings = Findings(PARTIAL if partial else None, MENDS.get(name))
    copy = examine_set(source, declared, findings)
    folds.check_folds(copy, builder_class(name).parts_with_all_classes, findings)
    samples = []
    if copy.videos:
        tally = films.check_videos(copy, findings, num_workers, decode)
        if detector:
            findings.add("faces_in_videos", str(copy.frames))
    else:
        nothing = copy.frames is None or "names_differ" in findings
        scanned = dataclasses.replace(copy, clips=[]) if nothing else copy
        tally = scan(scanned, findings, num_workers, decode)
        content.check_counts(scanned, tally, findings)
        content.check_sizes(scanned, tally, findings)
        content.check_duplicates(scanned, tally, findings, num_workers)
        if scanned.clips:
            samples = crops.check_crops(scanned, tally, detector, findings)
    _check_builder(name, declared, copy, partial, findings)
    return Examination(copy, tally, samples, findings)


def _check_builder(
    name: str, declared: Declared, copy: Copy, partial: bool, findings: Findings
) -> None:
    """Whether the builder, which is stricter, would take the lists and folders.

    Only where nothing else is wrong: the builder would stop at that, and it is said already. Folds
    whose lists are missing from a part of the data set need not be prepared.
    """
    if findings.of(ERROR) or copy.frames is None:
        return
    cls = builder_class(name)
    options: dict[str, Any] = declared.given
    if name == "dfew":
        options["frame_folder"] = copy.frames.name
    elif name == "mafw":
        folder = os.path.relpath(copy.frames, copy.root)
        options |= {"frame_folder": folder, "as_videos": copy.videos}
    if partial and "folds" in cls.option_names():
        whole = [
            int(column.removeprefix("fold_"))
            for place, column in enumerate(copy.columns)
            if all(part_sizes(copy, place)[part] for part in folds.JUDGED)
        ]
        if whole:  # else the builder says which list it misses
            options["folds"] = whole
    if copy.facts is not None:
        options["allow_unofficial"] = True  # sizes are compared by the doctor
    try:
        with tempfile.TemporaryDirectory() as nowhere:
            # Sets that were prepared within the source, into the usual data_dir.
            made = copy.root / "data" if (copy.root / "data" / name).is_dir() else nowhere
            builder = cls(data_dir=made, source=copy.root, **options)
            with readable(copy.root):
                entries = builder.entries()
            check_entries(str(copy.root), entries, builder.classes)
    except UserError as error:
        findings.add("refused", str(error).replace("\n", " "))
