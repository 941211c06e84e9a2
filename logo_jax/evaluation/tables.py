"""Tables that stand on a page, in a csv file and in a LaTeX file with the same cells."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from logo_jax.common import page
from logo_jax.common.figures import Draw
from logo_jax.common.files import atomic_writer, make_folder
from logo_jax.common.page import Marked
from logo_jax.evaluation.report import printable

# TeX reads these characters as commands; "[" and "*" only after the end of a row.
TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "[": "{[}", "*": "{*}",
    "±": r"$\pm$", "−": r"$-$", "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': r"\char34{}",
}  # fmt: skip
LIGATURES = re.compile(r"([-'`?!])(?=[-'`])")  # --, '', ``, ?` and !` are set as one character

SHADES = 5  # of the page's style


@dataclass(frozen=True)
class Table:
    """A table; `name` is that of its files. Every row has as many cells as the head."""

    name: str
    caption: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]

    def html(self) -> str:
        return page.table(self.caption, self.head, self.body)

    def latex(self) -> str:
        """A `tabular` that needs no package; bold where the page is bold."""

        def cell(text: str) -> str:
            escaped = tex(text)
            bold = isinstance(text, Marked) and text.mark == "best"
            return rf"\textbf{{{escaped}}}" if bold else escaped

        lines = [" & ".join(map(cell, row)) + r" \\" for row in [self.head, *self.body]]
        return "\n".join(
            [
                "% " + " ".join(printable(self.caption).split()),
                rf"\begin{{tabular}}{{l{'r' * (len(self.head) - 1)}}}",
                r"\hline",
                lines[0],
                r"\hline",
                *lines[1:],
                r"\hline",
                r"\end{tabular}",
                "",
            ]
        )

    def write(self, folder: Path) -> None:
        """Write `<name>.csv` and `<name>.tex`.

        Raises:
            UserError: a file cannot be written.
        """
        make_folder(folder)
        with atomic_writer(folder / f"{self.name}.csv") as file:
            csv.writer(file, lineterminator="\r\n").writerows([self.head, *self.body])
        with atomic_writer(folder / f"{self.name}.tex") as file:
            file.write(self.latex())


class Page:
    """The parts of a page as they come; tables and figures are files as well."""

    def __init__(self, folder: Path):
        """Make `folder`, which takes the page, `tables/` and `figures/`.

        Raises:
            UserError: it cannot be made or written to.
        """
        self.folder = make_folder(folder)
        self.figures = make_folder(folder / "figures")
        self.parts: list[str] = []

    def add(self, *parts: str) -> None:
        self.parts += parts

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self.add(page.paragraph(text))

    def table(self, table: Table) -> str:
        """Write the table's files; its markup."""
        table.write(self.folder / "tables")
        return table.html()

    def figure(self, draw: Draw, name: str, alt: str) -> str:
        """Write the light figure to a file; the markup of both."""
        return page.figure(draw, name, alt, self.figures)


def tex(text: str) -> str:
    """Text as TeX prints it, character by character."""
    return LIGATURES.sub(r"\1{}", "".join(TEX.get(c, c) for c in printable(text)))


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in per cent; "-" where there is none."""
    return "-" if value is None or np.isnan(value) else f"{100 * value:.{digits}f}"


def between(interval: Sequence[float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def scores_table(
    name: str, summaries: Sequence[tuple[str, dict[str, Any]]], trained: Sequence[tuple[str, str]]
) -> Table:
    """WAR and UAR of one row per run, of `summary.summarize`: pooled, and the mean of folds.

    Args:
        trained: of each run its selection, and the number of its training clips, in words.
    """
    several = any(len(found["folds"]) > 1 for _, found in summaries)
    titles = ["run", "clips", "WAR %", "95 %", "UAR %", "95 %"]
    titles += ["folds", "WAR, mean of folds", "UAR, mean of folds"] if several else []
    titles += ["selection", "training clips"]
    body = []
    for (title, found), words in zip(summaries, trained, strict=True):
        pooled, mean = found["pooled"], found["fold_mean"]
        row = [title, f"{found['clips']:,}"]
        for score in ("war", "uar"):
            row += [percent(pooled[score]), between(pooled[f"{score}_interval"])]
        if several:
            row.append(str(len(found["folds"])))
            row += [
                f"{percent(mean[score])} ± {percent(mean[f'{score}_std'])}"
                for score in ("war", "uar")
            ]
        body.append([*row, *words])
    boot = summaries[0][1]["bootstrap"]
    caption = (
        f"{'Pooled over folds, and the mean of folds ± sample deviation. ' if several else ''}"
        f"95 %: bootstrap of {boot['draws']:,} draws, {boot['meaning']}."
    )
    return Table(name, caption, titles, body)


def folds_table(found: dict[str, Any], name: str, of: str = "") -> Table:
    """Every fold of one run; `of` says in the caption which, where there are several."""
    body = [
        [
            fold["fold"],
            f"{fold['clips']:,}",
            percent(fold["war"]),
            percent(fold["uar"]),
            *map(percent, fold["recalls"]),
        ]
        for fold in found["folds"]
    ]
    head = ["fold", "clips", "WAR %", "UAR %", *found["classes"]]
    caption = f"{of}Every fold, with the recall of each class in per cent."
    return Table(name, caption, head, body)


def recalls_table(found: dict[str, Any], name: str) -> Table:
    """The recall of every class, pooled, with its interval."""
    pooled = found["pooled"]
    body = [
        [title, f"{clips:,}", percent(recall), between(interval)]
        for title, clips, recall, interval in zip(
            found["classes"],
            np.sum(pooled["confusion"], axis=1),
            pooled["recalls"],
            pooled["recall_intervals"],
            strict=True,
        )
    ]
    return Table(
        name, "Recall of each class, pooled.", ["class", "clips", "recall %", "95 %"], body
    )


def confusion_table(
    confusion: Int[np.ndarray, "C C"], classes: Sequence[str], name: str, caption: str
) -> Table:
    """Rows are true classes: number of clips, and their percentage of the row."""
    body = []
    for title, counts in zip(classes, confusion.tolist(), strict=True):
        clips = sum(counts)
        row = [title, f"{clips:,}"]
        for count in counts:
            if not count:
                row.append("0")
                continue
            share = count / clips
            shade = f"shade{min(SHADES, 1 + int(share * SHADES))}"
            row.append(Marked(f"{count:,} ({100 * share:.1f} %)", shade))
        body.append(row)
    return Table(name, caption, ["true class", "clips", *classes], body)


def calibration_table(rows: Sequence[tuple[str, dict[str, Any]]]) -> Table:
    """`calibration.measures`, each with its title."""
    body = [
        [title, *(f"{numbers[key]:.4f}" for key in ("ece", "nll", "brier"))]
        for title, numbers in rows
    ]
    return Table(
        "calibration",
        "Expected calibration error (15 bins of equal mass), negative log likelihood in nats, "
        "Brier score summed over classes (0 to 2). T: scaled by a temperature, fitted on so many "
        "validation clips.",
        ["run", "ECE", "NLL", "Brier"],
        body,
    )


def models_table(pairs: Sequence[dict[str, Any]], names: Sequence[str]) -> Table:
    """`summary.compare`: every pair of trained models on the same clips."""
    body = []
    for pair in pairs:
        first, second = (names[index] for index in pair["models"])
        for score, test in (("war", "McNemar"), ("uar", "bootstrap")):
            value = pair[score]
            body.append(
                [
                    f"{first} − {second}",
                    score.upper(),
                    _points(value["difference"]),
                    _points_between(value["interval"]),
                    test,
                    f"{value['p']:.4g}",
                    f"{value['p_holm']:.4g}",
                ]
            )
    return Table(
        "tests",
        "Pairs of trained models on the same clips, pooled, in points: first minus second. Holm's "
        "correction goes over all pairs, for WAR and UAR apart.",
        ["pair", "number", "difference", "95 %", "test", "p", "p (Holm)"],
        body,
    )


def methods_table(
    pairs: Sequence[dict[str, Any]], names: Sequence[str], seeds: Sequence[int]
) -> Table:
    """`seeds.compare_seeds`: every pair of methods, every seed, and the mean over all."""
    body = []
    for pair in pairs:
        first, second = (names[index] for index in pair["methods"])
        for score in ("war", "uar"):
            title = [f"{first} − {second}", score.upper()]
            for seed, row in zip(seeds, pair["seeds"], strict=True):
                value = row[score]
                folds = ", ".join(map(_points, value["folds"]))
                tests = [f"{value['p']:.4g}", f"{value['p_holm']:.4g}"]
                body.append([*title, str(seed), _points(value["difference"]), folds, *tests])
            over_all = f"{_points(pair[score]['mean'])} ± {percent(pair[score]['std'])}"
            body.append([*title, "mean", Marked(over_all, "best"), "", "", ""])
    return Table(
        "tests",
        "Methods over seeds, in points: first minus second, with every seed and every fold; mean "
        "± sample deviation over all (seed, fold). p: McNemar's exact test for WAR, a paired "
        "bootstrap for UAR, about the two trained models of a seed; Holm's correction goes over "
        "all pairs and seeds. No t-test: folds share training data.",
        ["pair", "number", "seed", "difference", "each fold", "p", "p (Holm)"],
        body,
    )


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _points_between(interval: Sequence[float]) -> str:
    return f"{_points(interval[0])} to {_points(interval[1])}"
