"""The report as a page that a person reads, with sample frames."""

import functools
from pathlib import Path
from typing import Any

import cv2
from jaxtyping import UInt8
from matplotlib.figure import Figure
from numpy import ndarray

from logo_jax.common import page
from logo_jax.common.figures import Theme, style
from logo_jax.data.doctor.clip import frame_paths
from logo_jax.data.doctor.copy import Clip, Copy
from logo_jax.data.doctor.crops import read_image, spread, with_box
from logo_jax.data.doctor.examination import Examination
from logo_jax.data.doctor.findings import SHOWN, Finding, printable
from logo_jax.data.doctor.kinds import NOTE, SEVERITIES
from logo_jax.data.faces import FaceDetector

FRAMES_SHOWN = 8
CLIPS_OF_CLASS = 2
THUMBNAIL = 112  # pixels of the longer side
EXAMPLES_SHOWN = 50
_HEADINGS = {"error": "Errors", "warning": "Warnings", "note": "Notes"}


def write_report_page(
    path: Path, report: dict[str, Any], found: Examination, detector: FaceDetector | None
) -> None:
    """Write the page; the histogram is kept beside it as a file as well.

    Args:
        path: of the page.
        report: what `verdict.report` returned.
        found: what was examined.
        detector: draws the boxes of faces into the frames, None leaves them as they are.
    """
    copy = found.copy
    parts = [page.paragraph(sentence) for sentence in report["verdict"]]
    parts.append(page.paragraph(f"Folder: {report['root']}"))
    clips = {clip.name: clip for clip in copy.clips}
    for severity in SEVERITIES:
        kinds = found.findings.of(severity)
        if kinds:
            parts.append(page.heading(_HEADINGS[severity]))
        for finding in kinds:
            parts += _finding(finding, copy, clips, detector)
    parts += [page.heading("Lists and folds"), *_lists(report), *_folds(report)]
    if report["frames"]:
        parts += [page.heading("Frames"), *_frames(report, path.parent)]
        parts += [page.heading("Sample frames"), *_samples(copy, detector)]
    page.write_page(path, f"Doctor: {copy.title}", parts)


def _finding(
    finding: Finding, copy: Copy, clips: dict[str, Clip], detector: FaceDetector | None
) -> list[str]:
    parts = [page.paragraph(finding.sentence), page.paragraph(f"Mend: {finding.mend}")]
    if len(finding.examples) > SHOWN:
        rest = finding.beyond(EXAMPLES_SHOWN)
        lines = finding.examples[:EXAMPLES_SHOWN]
        lines += [f"and {rest:,} more, in report.json"] if rest > 0 else []
        parts.append(page.folded("Examples", [page.preformatted("\n".join(lines))]))
    for name in finding.clips:
        if name in clips and finding.severity != NOTE:
            parts += _strip(copy, clips[name], detector)
    return parts


def _lists(report: dict[str, Any]) -> list[str]:
    parts = [page.paragraph(printable(line)) for line in report["layout"]]
    if report["lists"]:
        parts.append(page.table("Lists", ["list", "how it is written"], report["lists"]))
    return parts


def _folds(report: dict[str, Any]) -> list[str]:
    sizes = [
        [
            fold["name"].replace("_", " "),
            *(f"{fold['sizes'].get(part, 0):,}" for part in ("train", "test")),
            " or ".join(f"{a:,} / {b:,}" for a, b in fold["official"]) or "none",
        ]
        for fold in report["folds"]
    ]
    parts = [page.table("Clips in each fold", ["fold", "train", "test", "official"], sizes)]
    classes = report["classes"]
    rows = [
        [f"{fold['name'].replace('_', ' ')}, {part}", *(f"{n:,}" for n in counts)]
        for fold in report["folds"]
        for part, counts in fold["class_counts"].items()
    ]
    rows.append(["test, all folds", *(f"{n:,}" for n in report["test_counts"]["found"])])
    official = report["test_counts"]["official"]
    if official:
        rows.append(["official", *(f"{n:,}" for n in official)])
    parts.append(page.table("Clips of each class", ["part", *classes], rows))
    return parts


def _frames(report: dict[str, Any], folder: Path) -> list[str]:
    counts = {int(number): clips for number, clips in report["frames_per_clip"].items()}
    draw = functools.partial(_histogram, counts)
    sizes = [[size, f"{clips:,}"] for size, clips in list(report["frame_sizes"].items())[:20]]
    return [
        page.figure(draw, "frames_per_clip", "Histogram of the frames of a clip", folder),
        page.table("Sizes of frames", ["pixels", "clips"], sizes),
    ]


def _histogram(counts: dict[int, int], theme: Theme) -> Figure:
    figure = Figure(figsize=(7, 2.6))
    axes = figure.add_subplot()
    low, high = min(counts), max(counts)
    step = 1 + (high - low) // 60
    bins = [edge - 0.5 for edge in range(low, high + step + 1, step)]  # around whole numbers
    axes.hist(list(counts), bins=bins, weights=list(counts.values()), color="#3b7dd8")
    axes.set_xlabel("frames of a clip")
    axes.set_ylabel("clips")
    style(axes, theme)
    figure.patch.set_facecolor(theme.paper)
    return figure


def _samples(copy: Copy, detector: FaceDetector | None) -> list[str]:
    parts = []
    for label in (*range(len(copy.classes)), -1):
        rows = [row for row, clip in enumerate(copy.clips) if clip.label == label]
        for row in spread(rows, CLIPS_OF_CLASS):
            parts += _strip(copy, copy.clips[row], detector)
    return parts


def _strip(copy: Copy, clip: Clip, detector: FaceDetector | None) -> list[str]:
    """The frames of a clip side by side; nothing where none can be read."""
    try:
        paths = frame_paths(copy.folder(clip))
    except OSError:
        return []
    images = []
    for place in spread(range(len(paths)), FRAMES_SHOWN):
        image = read_image(paths[place])
        if image is not None:
            box = detector.largest(image) if detector else None
            shown = with_box(image, box) if box else image
            images.append(page.image(_thumbnail(shown), f"frame {place + 1}", "jpeg"))
    if not images:
        return []
    label = copy.classes[clip.label] if clip.label >= 0 else "no label"
    return [page.strip(images, printable(f"{clip.name}: {label}, {len(paths)} frames"))]


def _thumbnail(image: UInt8[ndarray, "H W 3"]) -> bytes:
    scale = THUMBNAIL / max(image.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    return data.tobytes()
