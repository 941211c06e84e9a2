"""A run's rows among the published ones, in the form of the paper's Tables 1 and 2."""

from collections.abc import Sequence
from dataclasses import dataclass

from logo_jax.common.page import Marked
from logo_jax.evaluation.published import CLASSES, Published, published
from logo_jax.evaluation.tables import Table

TABLES = {"dfew": "Table 1", "ferv39k": "Table 2"}
FOLDS = {"dfew": 5}
PAPER = "LOGO-Former, Table"
NUMBERS = ("cost", *CLASSES, "UAR", "WAR")


@dataclass(frozen=True)
class OurRow:
    """What a run is compared by; numbers in per cent, as published ones.

    Attributes:
        sampling: "DS", "TI", or the sampling's own name.
        selection: "last", "best_on_val" or "best_on_test".
        aggregation: "pooled", "fold_mean" or "official_split".
        folds: number of folds in it.
        gmacs: 10^9 multiply-adds a clip, None where not counted.
        recalls: by class name; None stands for a class without clips.
        apart: what keeps it from the set's protocol, as "judged on val"; "" where nothing does.
    """

    method: str
    sampling: str
    selection: str
    aggregation: str
    folds: int
    gmacs: float | None
    recalls: dict[str, float | None]
    uar: float
    war: float
    apart: str = ""


def published_table(dataset: str, ours: Sequence[OurRow]) -> Table | None:
    """The published rows of a data set and ours; None where nothing is published.

    Comparable rows come first, the best of them and of ours bold in each column. A row, published
    or ours, is set apart (gray, with the reason) where its sampling, selection or aggregation is
    known to differ from that of our first row; a published one also where the sampling of a later
    paper is not known to us, or where our first row is not of the set's protocol.
    """
    others = [row for row in published() if row.dataset == dataset]
    if not others:
        return None
    first = ours[0]
    reasons = [why_apart(row, first) for row in others]
    own = [(row, _why_not_beside(row, first)) for row in ours]
    rows = [(_our_cells(row), "this run", True) for row, why in own if not why]
    near = [(_cells(row), _near(row), True)
            for row, why in zip(others, reasons, strict=True) if not why]  # fmt: skip
    apart = [(_cells(row), f"no: {why}", False)
             for row, why in zip(others, reasons, strict=True) if why]  # fmt: skip
    ours_apart = [(_our_cells(row), f"this run; no: {why}", False) for row, why in own if why]
    rows = [*near, *rows, *ours_apart, *apart]
    # As in the paper: Table 1 has the recalls and Table 2 has the cost.
    shown = [not (name in CLASSES and dataset == "ferv39k") for name in NUMBERS]
    numbers = _best(rows)
    body = []
    for (words, cells, source), comparable, together in rows:
        row: list[str] = list(words)
        for column, value in enumerate(cells):
            if not shown[column]:
                continue
            text = "-" if value is None else f"{value:.2f}"
            best = together and value is not None and value == numbers[column]
            row.append(Marked(text, "best") if best else text)
        if not together:
            row = [Marked(cell, "gray") for cell in row]
        body.append([*row, *(Marked(text, "left" if together else "gray left") for text in
                             (comparable, source))])  # fmt: skip
    caption = (
        f"As the paper's {TABLES[dataset]}, in per cent; cost in 10^9 multiply-adds. "
        '"unknown": our sources do not say. Bold: the best of the rows that stand together. '
        "Gray: set apart, with the reason."
    )
    names = [name for name, there in zip(NUMBERS, shown, strict=True) if there]
    head = ["method", "sampling", "selection", "aggregation", *names, "comparable", "source"]
    return Table("published", caption, head, body)


def why_apart(row: Published, ours: OurRow) -> str:
    """Why a published row cannot stand beside ours, as far as is known; "" where it can."""
    folds = FOLDS.get(row.dataset, 1)
    differences = []
    if ours.folds < folds:
        differences.append(f"{folds} folds, ours {ours.folds}")
    if ours.apart:
        differences.append(f"ours {ours.apart}")
    # The paper's own tables are the form; of others, an unknown sampling may be worth 10 points.
    if row.sampling not in ("unknown" if row.source.startswith(PAPER) else "", ours.sampling):
        differences.append(f"sampling {row.sampling}")
    if row.selection not in ("unknown", ours.selection):
        differences.append(f"selection {row.selection}")
    if row.aggregation not in ("unknown", ours.aggregation):
        differences.append(f"aggregation {row.aggregation}")
    return "; ".join(differences)


def _why_not_beside(row: OurRow, first: OurRow) -> str:
    """Why a row of ours cannot stand beside our first one; "" where it can."""
    differences = [
        f"{what} {getattr(row, what)}"
        for what in ("sampling", "selection", "aggregation", "folds")
        if getattr(row, what) != getattr(first, what)
    ]
    if row.apart != first.apart:
        differences.append(row.apart or f"not {first.apart}")
    return "; ".join(differences)


def _near(row: Published) -> str:
    unknown = "unknown" in (row.sampling, row.selection, row.aggregation)
    return "as far as stated" if unknown else "yes"


Cells = tuple[list[str], list[float | None], str]


def _cells(row: Published) -> Cells:
    note = f"; {row.note}" if row.note else ""
    recalls: list[float | None] = list(row.recalls) if row.recalls else [None] * len(CLASSES)
    words = [row.method, row.sampling, row.selection, row.aggregation]
    return words, [row.gmacs, *recalls, row.uar, row.war], row.source + note


def _our_cells(row: OurRow) -> Cells:
    """Rounded as they are printed, so that "best" means the printed number."""
    numbers = [row.gmacs, *map(row.recalls.get, CLASSES), row.uar, row.war]
    words = [row.method, row.sampling, row.selection, row.aggregation]
    return words, [None if x is None else round(x, 2) for x in numbers], "this report"


def _best(rows: Sequence[tuple[Cells, str, bool]]) -> list[float | None]:
    """The best of each column among the rows that stand together; the cost has none."""
    together = [cells for (_, cells, _), _, beside in rows if beside]
    columns = zip(*together, strict=True)
    best = [max((v for v in column if v is not None), default=None) for column in columns]
    return [None, *best[1:]]
