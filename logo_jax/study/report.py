"""The report of a study: plots, and one HTML page that holds everything it shows."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import jax
import jax.numpy as jnp

from logo_jax.common import page
from logo_jax.common.figures import Draw
from logo_jax.common.files import make_folder
from logo_jax.models import build
from logo_jax.models.attention import by
from logo_jax.study import plots
from logo_jax.study.count import breakdown
from logo_jax.study.formulas import CONVENTION, WITHOUT_PRODUCTS, balanced_window
from logo_jax.study.paper_plots import figure_1, inequality_region, window_curve, window_times
from logo_jax.study.points import (
    EXPONENTS_DIM,
    EXPONENTS_GRIDS,
    EXPONENTS_HEADS,
    EXPONENTS_WINDOW,
    WINDOW_GRID,
)
from logo_jax.study.scaling import THEORY, counted_exponents

Row = dict[str, Any]
REPORT = "report.html"

# The paper's Table 2, in G multiply-adds, and the size that gives nearly that.
TABLE_2: tuple[tuple[str, float, str, dict[str, Any], str], ...] = (
    ("Former-DFER", 9.11, "former_dfer", {"spatial_depth": 3},
     "three spatial blocks, as in its paper (its released code has one)"),
    ("Baseline", 25.16, "stt", {"dim": 1024, "mlp_dim": 4096},
     "a width of 1024 and an MLP of 4096, which no text states: the nearest found (25.07 without "
     "class token); with the width of LOGO-Former it is 11.12"),
    ("LOGO-Former", 10.27, "logo_former", {},
     "16 x 112 x 112, ResNet-18 to stage 4, dim 512, MLP 1024, window 4 x 2 x 2"),
)  # fmt: skip


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
    sections = [
        ("", [page.paragraph(_introduction(rows))]),
        ("time", [page.heading("Time")]),
        ("memory", [page.heading("Temporary memory")]),
        ("cost", [page.heading("Multiply-adds"),
                  page.paragraph(f"{CONVENTION} Here with the products of attention.")]),
        ("grid", [page.heading("local_global against the others"), _ratios(rows)]),
        ("accuracy", [page.heading("Accuracy and cost"), *_accuracy(accuracy)]),
        ("exponents", [page.heading("Growth with frames and with resolution"),
                       page.paragraph(_GROWTH)]),
        ("", [_exponents(rows)]),
        ("", [page.heading("The paper's Table 2"), _table_2()]),
        ("inequality", [page.heading("Inequality (9): where local-global attention is the cheaper"),
                        page.paragraph(_INEQUALITY)]),
        ("window", [page.heading("The best window"), page.paragraph(_window_words(rows))]),
        ("figure_1", [page.heading("What a token sees (Figure 1)"), page.paragraph(_FIGURE_1)]),
        ("", [page.heading("All points"), _points(rows)]),
    ]  # fmt: skip
    parts = []
    for name, lines in sections:
        if name == "grid" and not plots.of_series(rows, "grid"):
            continue
        if name in ("", "grid") or name in figures:  # a series that was not asked for has no figure
            parts += [*lines, figures.get(name, "")]
    page.write_page(workdir / REPORT, "What each attention scheme costs", parts)
    print(f"study: {len(rows)} points, {workdir / REPORT}")
    return workdir / REPORT


_GROWTH = (
    f"Forward time of the attention module at dim {EXPONENTS_DIM}, {EXPONENTS_HEADS} head, window "
    f"{by(EXPONENTS_WINDOW)}: so small that the products of attention outweigh the projections, "
    "which grow with exponent 1. Queries go in chunks of 128, since a curve is bent where the "
    "weights of all queries outgrow a cache. Shortest of all samples, since other programs only "
    "add to a time. Beside each name the slope in log-log axes."
)
_INEQUALITY = (
    "fhw + THW/fhw < HW + T is (fhw − T)(fhw − HW) < 0: it holds where the tokens of a window lie "
    "between T and HW, and nowhere else. On 16 x 4 x 4 tokens T = HW, so it holds for no window; "
    "with 16 tokens a window both sides are equal. They are equal as well on 16 x 14 x 14 with "
    "windows of 4 x 7 x 7, where fhw = HW."
)
_FIGURE_1 = (
    "The dot looks; the darker a token, the more the output at the dot depends on it (derivatives "
    "of one attention step, 4 x 4 x 4 tokens, windows of 2 x 2 x 2). Divided attention and "
    "factorized attention are two steps, so all tokens are seen a little."
)


def _introduction(rows: Sequence[Row]) -> str:
    return (
        f"The attention module alone, {rows[0]['batch']} clip(s) at a time, measured on "
        f"{rows[0]['machine']}. Times are medians of {rows[0]['repeats']} samples, the schemes "
        "taken in turn; ± is the distance between the quartiles. Dashed: full attention with "
        "queries in chunks."
    )


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
        ("figure_1", "Tokens that one token sees, by scheme", figure_1(schemes)),
    ]
    if grid:
        found += [
            ("time", "Time against tokens, by scheme",
             plots.scaling(grid, "training_ms", "forward + backward, ms", 1)),
            ("memory", "Temporary memory against tokens, by scheme",
             plots.scaling(grid, "training_temporary_mib",
                           "temporary memory, forward + backward, MiB", 1)),
            ("cost", "Multiply-adds against tokens, by scheme",
             plots.scaling(grid, "forward_multiply_adds", "multiply-adds, forward, G", 1e9)),
        ]  # fmt: skip
    if plots.of_series(rows, "exponents"):
        drawing = plots.exponents(rows, "forward_shortest_ms", "forward, shortest sample, ms")
        found.append(("exponents", "Time against frames and positions, by scheme", drawing))
    if times := plots.of_series(rows, "window"):
        found.append(("window", "Pairs and time against window size", window_curve(times)))
    if any(row["war"] for row in accuracy):
        found.append(("accuracy", "WAR and UAR against cost", plots.frontier(accuracy)))
    return found


def _accuracy(accuracy: Sequence[Row]) -> list[str]:
    if not accuracy:
        return []
    body = [
        (
            row["scheme"],
            str(len(row["war"])),
            _percent(row["war"]),
            _percent(row["uar"]),
            f"{row['tokens_multiply_adds'] / 1e6:,.1f}",
            f"{row['products'] / 1e6:,.2f}",
            f"{row['multiply_adds'] / 1e6:,.1f}",
            _time(row, "training"),
            row["status"],
        )
        for row in accuracy
    ]
    return [
        page.paragraph(
            f"Every scheme trained by {accuracy[0]['recipe']}, on the same clips, with the same "
            "steps "
            f"and X the data measure is in docs/synthetic_faces.md; a ranking "
            "here is no evidence for one on real faces."
        ),
        page.table(
            f"WAR and UAR in %, mean ± standard deviation over seeds (n − 1). {CONVENTION} Tokens: "
            "all but the backbone's convolutions. Time: forward + backward of the whole model, one "
            "clip.",
            ("scheme", "seeds", "WAR", "UAR", "tokens + attention, M", "products, M",
             "whole model, M", "time, ms", "status"),
            body,
        ),
    ]  # fmt: skip


def _percent(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{100 * values[0]:.1f}" if values else "-"
    return f"{100 * mean(values):.1f} ± {100 * stdev(values):.1f}"


def _points(rows: Sequence[Row]) -> str:
    head = ("scheme", "tokens", "window", "dim", "type", "projections + pool, M", "products, M",
            "formula", "forward, ms", "forward + backward, ms", "temporary, MiB", "peak, MiB",
            "share of matmul rate", "status")  # fmt: skip
    body = [
        (
            row["label"],
            row["grid"],
            row["window"],
            str(row["dim"]),
            row["dtype"],
            f"{row['counted_dense'] / 1e6:,.1f}",
            f"{row['counted_products'] / 1e6:,.1f}",
            {True: "equal", False: "DIFFERS", None: "none"}[row.get("formula_matches_count")],
            _time(row, "forward"),
            _time(row, "training"),
            _number(row, "training_temporary_mib", "{:,.1f}"),
            _number(row, "training_peak_mib", "{:,.1f}"),
            _number(row, "training_share", "{:.0%}"),
            row["status"],
        )
        for row in rows
    ]
    return page.table(
        f"{CONVENTION} Memory and share are those of forward + backward; the share compares the "
        f"multiply-adds of the plain form with this machine's best matrix product, "
        f"{rows[0]['matmul_multiply_adds_per_s'] / 1e9:,.0f} G multiply-adds a second. Formula: "
        "whether the closed form equals the count.",
        head,
        body,
    )


def _time(row: Row, name: str) -> str:
    if f"{name}_ms" not in row:
        return "-"
    return f"{row[f'{name}_ms']:,.1f} ± {row[f'{name}_spread_ms']:,.1f}"


def _number(row: Row, name: str, form: str) -> str:
    return form.format(row[name]) if name in row else "-"


def _ratios(rows: Sequence[Row]) -> str:
    """Every point beside local_global's on the same grid, dim and type."""
    body = []
    rows = plots.of_series(rows, "grid")
    for ours in rows:
        if ours["label"] != "local_global" or "training_ms" not in ours:
            continue
        for row in rows:
            same = all(row[name] == ours[name] for name in ("grid", "dim", "dtype"))
            if same and row is not ours and row["window"] in ("", ours["window"]):
                body.append(
                    (
                        row["label"],
                        ours["grid"],
                        ours["window"],
                        f"{row['forward_multiply_adds'] / ours['forward_multiply_adds']:.2f}",
                        _ratio(row, ours, "forward_ms"),
                        _ratio(row, ours, "training_ms"),
                        _ratio(row, ours, "training_temporary_mib"),
                    )
                )
    return page.table(
        "How many times local_global's multiply-adds (with the products of attention), time and "
        f"temporary memory each scheme takes. {CONVENTION}",
        ("scheme", "tokens", "window", "multiply-adds", "forward", "forward + backward",
         "temporary memory"),
        body,
    )  # fmt: skip


def _ratio(row: Row, ours: Row, name: str) -> str:
    return f"{row[name] / ours[name]:.2f}" if name in row else "-"


def _exponents(rows: Sequence[Row]) -> str:
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    measured = {axis: plots.growth(rows, axis, "forward_shortest_ms") for axis in EXPONENTS_GRIDS}
    body = []
    for scheme in schemes:
        counted, theory = counted_exponents(scheme), THEORY.get(scheme, ("-", "-"))
        cells = [scheme]
        for index, curves in enumerate(measured.values()):
            slope = plots.exponent(curves.get(scheme, []))
            found = "-" if slope != slope else f"{slope:.2f}"
            cells += [str(theory[index]), f"{counted[index]:.3f}", found]
        body.append(tuple(cells))
    return page.table(
        "Exponents. Theory: of the leading term, the window being fixed. Counted: multiply-adds of "
        "the products on grids so large that the leading term is all there is. Measured: forward "
        f"time of the module at small dim, as drawn. {CONVENTION}",
        ("scheme", "frames: theory", "counted", "measured", "positions: theory", "counted",
         "measured"),
        body,
    )  # fmt: skip


def _table_2() -> str:
    body = []
    for name, published, system, options, assumption in TABLE_2:
        model = build(system, 7, **options)
        clip = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), clip)
        counts = breakdown(lambda v, x, model=model: model.apply(v, x), variables, clip)
        ours = (counts.convolutions + counts.dense) / 1e9
        body.append(
            (name, f"{published:.2f}", f"{ours:.2f}", f"{counts.products / 1e9:.3f}", assumption)
        )
    return page.table(
        f"G multiply-adds of whole models for 16 x 112 x 112. {CONVENTION} {WITHOUT_PRODUCTS}",
        ("model", "paper", "counted", "products of attention", "assumption"),
        body,
    )
