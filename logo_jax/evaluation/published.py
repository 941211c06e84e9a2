"""Numbers that others published on DFEW and FERV39K, from published.csv beside this file.

Rows are comparable only where sampling, selection and aggregation agree; "unknown" stands where
the sources at hand do not say. They are percentages, as printed.
"""

import csv
from dataclasses import dataclass
from importlib import resources

CLASSES = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        dataset: "dfew" or "ferv39k".
        sampling: "DS" (dynamic sampling), "TI" (time interpolation), or "unknown".
        selection: "best_on_test" or "unknown".
        aggregation: "pooled", "fold_mean", "official_split" or "unknown".
        gmacs: 10^9 multiply-adds per clip, as printed.
        recalls: per cent, in the order of `CLASSES`; None where the table does not give them.
        uar, war: per cent.
        source: where the row is printed.
        note: what must be known beside it, or "".
    """

    dataset: str
    method: str
    sampling: str
    selection: str
    aggregation: str
    gmacs: float | None
    recalls: tuple[float, ...] | None
    uar: float
    war: float
    source: str
    note: str

    @property
    def uar_of_recalls(self) -> float | None:
        """The mean of the printed recalls, which the printed UAR should be."""
        return sum(self.recalls) / len(self.recalls) if self.recalls else None


def published() -> tuple[Published, ...]:
    """All rows, in the order of the file."""
    text = (resources.files("logo_jax.evaluation") / "published.csv").read_text(encoding="utf-8")
    return tuple(_row(line) for line in csv.DictReader(text.splitlines()))


def _row(line: dict[str, str]) -> Published:
    recalls = tuple(float(line[name]) for name in CLASSES if line[name])
    return Published(
        line["dataset"],
        line["method"],
        line["sampling"],
        line["selection"],
        line["aggregation"],
        float(line["gmacs"]) if line["gmacs"] else None,
        recalls or None,
        float(line["uar"]),
        float(line["war"]),
        line["source"],
        line["note"],
    )
