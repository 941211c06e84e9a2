"""The curves of a training, from the lines of its metrics.jsonl, and the reliability diagram."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from logo_jax.common.errors import UserError
from logo_jax.common.figures import Draw, Theme, style

Line = dict[str, Any]

# Distinguishable with the common colour blindnesses too (after Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#b8a800")


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


def curves(logs: Mapping[str, Sequence[Line]], losses: Sequence[str]) -> Draw:
    """A drawing of loss, WAR and UAR of the selection, and learning rate against the step.

    With one log, the parts of its loss, by the names in `losses`, are drawn as well, where there
    are two of them or more; with several logs, each has one colour.
    """

    def draw(theme: Theme) -> Figure:
        selection = any("selection_war" in line for lines in logs.values() for line in lines)
        names = ["loss", "selection", "learning rate"] if selection else ["loss", "learning rate"]
        figure = Figure(figsize=(4.2 * len(names), 3.4))
        panels = dict(zip(names, figure.subplots(1, len(names)), strict=True))
        for number, (name, lines) in enumerate(logs.items()):
            colour = COLOURS[number % len(COLOURS)]
            label = name if len(logs) > 1 else "loss"
            panels["loss"].plot(*_points(lines, "loss"), color=colour, label=label)
            panels["learning rate"].plot(*_points(lines, "learning_rate"), color=colour)
            if selection:
                war = f"{name}, WAR" if len(logs) > 1 else "WAR"
                uar = f"{name}, UAR" if len(logs) > 1 else "UAR"
                marks = {"color": colour, "marker": "o", "ms": 3}
                panels["selection"].plot(*_points(lines, "selection_war", 100), label=war, **marks)
                panels["selection"].plot(
                    *_points(lines, "selection_uar", 100), label=uar, ls="--", **marks
                )
        if len(logs) == 1:
            (lines,) = logs.values()
            parts = [name for name in losses if any(name in line for line in lines)]
            for place, part in enumerate(parts if len(parts) > 1 else [], 1):
                colour = COLOURS[place % len(COLOURS)]
                panels["loss"].plot(*_points(lines, part), lw=1, color=colour, label=part)
        for name, axes in panels.items():
            axes.set_xlabel("step")
            axes.set_ylabel("% (selection)" if name == "selection" else name)
            style(axes, theme)
            if axes.get_legend_handles_labels()[0] and name != "learning rate":
                legend = axes.legend(fontsize=7, facecolor=theme.paper, edgecolor=theme.faint)
                for text in legend.get_texts():
                    text.set(color=theme.ink, parse_math=False)
        figure.tight_layout()
        return figure

    return draw


def reliability_diagram(bins: Mapping[str, Mapping[str, Sequence[float]]]) -> Draw:
    """A drawing of accuracy over confidence per run; a calibrated one is on the diagonal.

    Args:
        bins: per run the "confidence" and "accuracy" of its bins.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(3.8, 3.8))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=theme.spare, ls="--", lw=1)
        for number, (name, found) in enumerate(bins.items()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(found["confidence"], found["accuracy"], "o-", ms=3, color=colour, label=name)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("confidence (mean of the bin)")
        axes.set_ylabel("accuracy")
        style(axes, theme)
        if len(bins) > 1:
            legend = axes.legend(fontsize=7, facecolor=theme.paper, edgecolor=theme.faint)
            for text in legend.get_texts():
                text.set(color=theme.ink, parse_math=False)
        return figure

    return draw


def _points(lines: Sequence[Line], name: str, scale: float | int = 1) -> tuple[list, list]:
    found = [(line["step"], scale * line[name]) for line in lines if name in line]
    return [step for step, _ in found], [value for _, value in found]
