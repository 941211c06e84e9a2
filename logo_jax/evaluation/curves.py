"""The curves of a training, from the lines of its metrics.jsonl, and the reliability diagram."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from logo_jax.common.errors import UserError
from logo_jax.common.figures import Draw, Theme, style

Line = dict[str, Any]

# Distinguishable with the common colour blindnesses too (after Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800")
MOST_INSIDE = 4  # labels of a legend that may lie on the curves


def read_log(path: Path) -> list[Line]:
    """The lines of a metrics.jsonl; a last line that a crash cut short is left out.

    Raises:
        UserError: the file cannot be read, or a line of it is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    lines = []
    for number, text in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            line = json.loads(text)
            line["step"] += 0  # a number
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"Line {number} of {path} is damaged: delete the line.") from error
        lines.append(line)
    return lines


def training_seconds(lines: Sequence[Line], batch_size: int) -> float:
    """Time of the steps of a log, without evaluations and checkpoints: clips / (clips per second).

    A line's speed is that of the steps since the line before it.
    """
    seconds, before = 0.0, 0
    for line in lines:
        if "clips_per_second" in line:
            seconds += (line["step"] - before) * batch_size / line["clips_per_second"]
            before = line["step"]
    return seconds


def curves(logs: Mapping[str, Sequence[Sequence[Line]]], losses: Sequence[str]) -> dict[str, Draw]:
    """Drawings of loss, WAR and UAR of the selection (where there are any), and learning rate
    against the step, by name.

    With one log, the parts of its loss, by the names in `losses`, are drawn as well, where there
    are two of them or more; with several, those of one name have one colour.
    """
    single = len(logs) == 1 and all(len(of_name) == 1 for of_name in logs.values())

    def plot(axes: Axes, lines: Sequence[Line], name: str, **style_of: Any) -> None:
        scale = 100 if name.startswith("selection") else 1
        points = [(line["step"], scale * line[name]) for line in lines if name in line]
        axes.plot([x for x, _ in points], [y for _, y in points], **style_of)

    def each() -> Iterator[tuple[str | None, Sequence[Line], str]]:
        """Label (of the first of a name only), lines and colour of every log."""
        for (name, of_name), colour in zip(logs.items(), cycle(COLOURS)):
            for number, lines in enumerate(of_name):
                yield None if number else name, lines, colour

    def loss(axes: Axes) -> None:
        for name, lines, colour in each():
            plot(axes, lines, "loss", color=colour, label="loss" if single else name)
            names = [name for name in losses if any(name in line for line in lines)]
            if single and len(names) > 1:
                for part, of_part in zip(names, COLOURS[1:], strict=False):
                    plot(axes, lines, part, color=of_part, label=part, lw=1)

    def selection(axes: Axes) -> None:
        for name, lines, colour in each():
            for score, dashes in (("war", "-"), ("uar", "--")):
                label = score.upper() if single else name if score == "war" else None
                plot(axes, lines, f"selection_{score}", color=colour, label=label, ls=dashes,
                     marker="o", ms=3)  # fmt: skip

    def rate(axes: Axes) -> None:
        for name, lines, colour in each():
            plot(axes, lines, "learning_rate", color=colour, label=None if single else name)

    drawings = {"loss": _axes("loss", loss), "learning rate": _axes("learning rate", rate)}
    if any("selection_war" in line for _, lines, _ in each() for line in lines):
        words = "WAR and UAR" if single else "WAR, UAR (dashed)"
        drawings["WAR and UAR"] = _axes(f"{words} of the selection, %", selection)
    return drawings


def _axes(title: str, fill: Callable[[Axes], None]) -> Draw:
    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(4.6, 3.4))
        axes = figure.add_subplot()
        fill(axes)
        axes.set_xlabel("step")
        axes.set_ylabel(title)
        style(axes, theme)
        legend(axes, theme)
        return figure

    return draw


def legend(axes: Axes, theme: Theme) -> None:
    """A small legend in the colours of the theme, where there is more than one label: in the axes,
    or, where it would cover them, below."""
    labels = axes.get_legend_handles_labels()[1]
    if len(labels) > 1:
        below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
        below["ncols"] = 2 if max(map(len, labels)) < 28 else 1
        inside = len(labels) <= MOST_INSIDE and max(map(len, labels)) < 28
        box = axes.legend(
            fontsize=7, facecolor=theme.paper, edgecolor=theme.faint, **({} if inside else below)
        )
        for text in box.get_texts():
            text.set(color=theme.ink, parse_math=False)


def reliability_diagram(bins: Mapping[str, Sequence[Mapping[str, Sequence[float]]]]) -> Draw:
    """A drawing of accuracy over confidence; a calibrated model is on the diagonal.

    Args:
        bins: the "confidence" and "accuracy" of the bins of each model; those of one name have one
            colour.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(3.8, 3.8))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=theme.spare, ls="--", lw=1)
        for (name, of_name), colour in zip(bins.items(), cycle(COLOURS)):
            for number, found in enumerate(of_name):
                label = None if number else name
                axes.plot(found["confidence"], found["accuracy"], "o-", ms=3, color=colour,
                          label=label)  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("confidence (mean of the bin)")
        axes.set_ylabel("accuracy")
        style(axes, theme)
        legend(axes, theme)
        return figure

    return draw
