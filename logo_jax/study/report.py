"""The report of a study: plots, and one HTML page that holds everything it shows."""

from collections.abc import Sequence
from pathlib import Path

from logo_jax.common import page
from logo_jax.common.figures import Draw
from logo_jax.common.files import make_folder
from logo_jax.models.attention import CHUNK
from logo_jax.models.windows import by
from logo_jax.study import plots, tables
from logo_jax.study.formulas import CONVENTION, balanced_window
from logo_jax.study.paper_plots import figure_1, inequality_region, window_curve, window_times
from logo_jax.study.points import (
    EXPONENTS_DIM,
    EXPONENTS_HEADS,
    EXPONENTS_WINDOW,
    WINDOW_GRID,
)
from logo_jax.study.rows import Row

REPORT = "report.html"


def write_report(rows: Sequence[Row], workdir: Path, accuracy: Sequence[Row] = ()) -> Path:
    """Write the plots (PNG, in `plots/`) and `report.html`; say where it lies.

    Args:
        rows: what `run_study` gives, not empty.
        accuracy: what `experiments.study` gives of the trainings, a row for each scheme.

    Raises:
        UserError: the workdir cannot be written to.
    """
    folder = make_folder(workdir / "plots")
    drawings = _drawings(rows, accuracy)
    figures = {name: page.figure(draw, name, alt, folder) for name, alt, draw in drawings}
    compared = tables.ratios(rows)
    grid = plots.of_series(rows, "grid")
    sections = [
        ("", [page.paragraph(_introduction(rows))]),
        ("time", [page.heading("Time"), page.paragraph(_drawn(grid))]),
        ("memory", [page.heading("Memory"),
                    page.paragraph(f"Forward + backward, {tables.memory_column(grid)[1]}.")]),
        ("cost", [page.heading("Multiply-adds"),
                  page.paragraph(f"{CONVENTION} Here with the products of attention.")]),
        ("", [page.heading("local_global against the others"), compared] if compared else []),
        ("", [page.heading("Accuracy and cost"), *tables.accuracy(accuracy)] if accuracy else []),
        ("accuracy", []),
        ("", [page.heading("Growth with frames and with resolution")]),
        ("exponents", [page.paragraph(_GROWTH)]),
        ("", [tables.exponents(rows)]),
        ("", [page.heading("The paper's Table 2"), tables.table_2()]),
        ("inequality", [page.heading("Inequality (9): where local-global attention is the cheaper"),
                        page.paragraph(_INEQUALITY)]),
        ("window", [page.heading("The best window"), page.paragraph(_window_words(rows))]),
        ("figure_1", [page.heading("What a token sees (Figure 1)"), page.paragraph(_FIGURE_1)]),
        ("", [page.heading("All points"), tables.points(rows)]),
    ]  # fmt: skip
    parts = []
    for name, lines in sections:
        if name == "" or name in figures:  # a series that was not asked for has no figure
            parts += [*lines, figures.get(name, "")]
    page.write_page(workdir / REPORT, "What each attention scheme costs", parts)
    print(f"study: {len(rows)} points, {workdir / REPORT}")
    failed = [row for row in rows if row.get("failed")]
    if failed:
        labels = ", ".join(dict.fromkeys(row["label"] for row in failed))
        print(
            f"study: {len(failed)} points failed ({labels}): the column status says why, and the "
            "same command tries them again"
        )
    return workdir / REPORT


_GROWTH = (
    f"Forward time of the attention module at dim {EXPONENTS_DIM}, {EXPONENTS_HEADS} head, window "
    f"{by(EXPONENTS_WINDOW)}: so small that the products of attention outweigh the projections, "
    f"which grow with exponent 1. Queries go in chunks of about {CHUNK}, since a curve is bent "
    "where the weights of all queries outgrow a cache. Shortest of all samples, since other "
    "programs only add to a time. Beside each name the slope in log-log axes."
)
_INEQUALITY = (
    "fhw + THW/fhw < HW + T is (fhw − T)(fhw − HW) < 0: it holds where the tokens of a window lie "
    "between T and HW, and nowhere else. On 16 x 4 x 4 tokens T = HW, so it holds for no window; "
    "with 16 tokens a window both sides are equal. They are equal as well on 16 x 14 x 14 with "
    "windows of 4 x 7 x 7, where fhw = HW."
)
_FIGURE_1 = (
    "The dot looks; the fuller the colour of a token, the more the output at the dot depends on it "
    "(derivatives of one attention step, 4 x 4 x 4 tokens, windows of 2 x 2 x 2). Divided and "
    "factorized attention are two steps, so all tokens are seen a little."
)


def _introduction(rows: Sequence[Row]) -> str:
    words = f"The attention module alone, measured on {rows[0]['machine']}."
    grid = plots.of_series(rows, "grid")
    if grid:
        words += f" {_several(grid, 'batch')} clip(s) at a time"
        if len(grid) < len(rows):
            words += "; one in the parts on growth and on windows, whatever --batch says"
        words += "."
    repeats = _several(rows, "repeats")
    if repeats == "1":
        words += " Times are of one sample each, the schemes taken in turn."
    else:
        words += (
            f" Times are medians of {repeats} samples, the schemes taken in turn; ± is the "
            "distance between the quartiles."
        )
    if any(row["impl"] == "chunked" for row in grid):
        words += " Dashed: queries in chunks."
    return words


def _several(rows: Sequence[Row], name: str) -> str:
    """The values of a field; rows of a study that was resumed may differ in it."""
    return " or ".join(map(str, sorted({row[name] for row in rows if name in row})))


def _drawn(grid: Sequence[Row]) -> str:
    """What the plots over the grid have of a study of several dims, types or windows."""
    shown = [row for along in plots.panels(grid).values() for row in along]
    if not shown:
        return ""
    words = f"Plots: {plots.drawn(grid)}, along the longest run of grids."
    if any(row not in shown for row in grid):
        words += " What else was measured is in the table of all points."
    return words


def _window_words(rows: Sequence[Row]) -> str:
    """The optimum as derived, and as measured where it was."""
    times = window_times(plots.of_series(rows, "window"))
    measured = {size: row["forward_ms"] for size, row in times.items() if "forward_ms" in row}
    words = (
        "Local pairs grow with the window, THW · fhw, and global ones shrink, (THW)²/fhw. Their "
        "sum is least where both are equal, at fhw = √(THW): on "
        f"{by(WINDOW_GRID)} tokens {balanced_window(WINDOW_GRID):.0f}."
    )
    if measured:
        best = min(measured, key=lambda size: measured[size])
        words += (
            f" Measured forward, {best} tokens are the fastest of {', '.join(map(str, measured))}."
        )
    return words


def _drawings(rows: Sequence[Row], accuracy: Sequence[Row]) -> list[tuple[str, str, Draw]]:
    """Name, description and drawing of every figure that there are rows for."""
    grid = plots.of_series(rows, "grid")
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    known = [((16, 4, 4), (4, 2, 2)), ((16, 14, 14), (4, 7, 7))]
    found: list[tuple[str, str, Draw]] = [
        ("inequality", "Region in which inequality 9 holds", inequality_region(known)),
    ]
    if seen := figure_1(schemes):
        found.append(("figure_1", "Tokens that one token sees, by scheme", seen))
    if plots.panels(grid):
        memory, _ = tables.memory_column(grid)
        found += [
            ("time", "Time against tokens, by scheme",
             plots.scaling(grid, "training_ms", "forward + backward, ms", 1)),
            ("memory", "Memory against tokens, by scheme",
             plots.scaling(grid, memory, "memory, forward + backward, MiB", 1)),
            ("cost", "Multiply-adds against tokens, by scheme",
             plots.scaling(grid, "forward_multiply_adds", "multiply-adds, forward, G", 1e9)),
        ]  # fmt: skip
    if plots.of_series(rows, "exponents"):
        drawing = plots.exponents(rows, "forward_shortest_ms", "forward, shortest sample, ms")
        found.append(("exponents", "Time against frames and positions, by scheme", drawing))
    if times := plots.of_series(rows, "window"):
        found.append(("window", "Pairs and time against window size", window_curve(times)))
    if placed := [row for row in accuracy if row["war"] and "tokens_multiply_adds" in row]:
        found.append(("accuracy", "WAR and UAR against cost", plots.frontier(placed)))
    return found
