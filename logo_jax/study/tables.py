"""The tables of the report of a study, as HTML."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

import jax
import jax.numpy as jnp

from logo_jax.common import page
from logo_jax.models import build
from logo_jax.models.blocks import BUILT_IN
from logo_jax.models.token_model import LogoFormer
from logo_jax.study import plots
from logo_jax.study.count import breakdown
from logo_jax.study.formulas import CONVENTION, WITHOUT_PRODUCTS
from logo_jax.study.points import EXPONENTS_GRIDS
from logo_jax.study.rows import MEASURED, Row
from logo_jax.study.scaling import THEORY, counted_exponents

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


def memory_column(rows: Sequence[Row]) -> tuple[str, str]:
    """The column of memory, forward + backward, that plots and ratios have, and what it is.

    One quantity for all rows: the measured one where any row has it.
    """
    if not any("training_measured_mib" in row for row in rows):
        return "training_temporary_mib", (
            "what the compiler plans beside arguments and results; what kernels take for "
            "themselves is not in it"
        )
    words = (
        "measured: the peak of the process above what it had before the run, so temporary memory "
        "and results, of every scheme alike"
    )
    without = sum(
        row["status"] == MEASURED and row["series"] != "exponents"
        and "training_measured_mib" not in row
        for row in rows
    )  # fmt: skip
    if without:
        words += (
            f". {without} points of an earlier version have none and are left out: delete their "
            "lines of study.jsonl, and they are measured again"
        )
    return "training_measured_mib", words


def accuracy(accuracy: Sequence[Row]) -> list[str]:
    body = [
        (
            row["scheme"],
            str(len(row["war"])),
            _percent(row["war"]),
            _percent(row["uar"]),
            _number(row, "tokens_multiply_adds", "{:,.1f}", 1e6),
            _number(row, "products", "{:,.2f}", 1e6),
            _number(row, "multiply_adds", "{:,.1f}", 1e6),
            _time(row, "training"),
            row["status"],
        )
        for row in accuracy
    ]
    return [
        page.paragraph(
            f"Every scheme trained by {accuracy[0]['recipe']}, on the same clips, with the same "
            "steps and seeds. What synthetic faces measure is in docs/synthetic_faces.md: a "
            "ranking on them is no evidence for one on real faces."
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


def points(rows: Sequence[Row]) -> str:
    head = ("scheme", "tokens", "window", "dim", "type", "clips", "projections + pool, M",
            "products, M", "formula", "MLPs, M", "model, M", "(9)", "forward, ms",
            "forward + backward, ms", "measured, MiB", "planned: temporary, MiB",
            "planned: peak, MiB", "share of matmul rate", "status")  # fmt: skip
    body = [
        (
            row["label"],
            row["grid"],
            row["window"],
            str(row["dim"]),
            row["dtype"],
            str(row["batch"]),
            _number(row, "counted_dense", "{:,.1f}", 1e6),
            _number(row, "counted_products", "{:,.1f}", 1e6),
            {True: "equal", False: "DIFFERS", None: "none"}[row.get("formula_matches_count")],
            _number(row, "mlp", "{:,.1f}", 1e6),
            _number(row, "model", "{:,.1f}", 1e6),
            {True: "holds", False: "no", None: "-"}[row.get("inequality_9")],
            _time(row, "forward"),
            _time(row, "training"),
            _number(row, "training_measured_mib", "{:,.1f}"),
            _number(row, "training_temporary_mib", "{:,.1f}"),
            _number(row, "training_peak_mib", "{:,.1f}"),
            _number(row, "training_share", "{:.0%}"),
            row["status"],
        )
        for row in rows
    ]
    return page.table(
        f"{CONVENTION} Memory and share are those of forward + backward. Measured memory: the peak "
        "of the process above what it had before the run, results included (Linux, CPU). The share "
        "compares the multiply-adds of the plain form with this machine's best matrix product: "
        f"{_rates(rows)}. Formula: whether the closed form equals the count. Model: by formula, "
        f"{LogoFormer.num_blocks} blocks with their MLPs, which are "
        f"{LogoFormer.mlp_dim // LogoFormer.dim} times as wide as the tokens, without backbone and "
        "head. (9): whether local-global attention has fewer pairs than divided attention on these "
        "tokens with this window.",
        head,
        body,
    )


def _rates(rows: Sequence[Row]) -> str:
    """The best matrix product of each type; a study that was resumed has measured it again."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["status"] == MEASURED:
            rate = row["matmul_multiply_adds_per_s"] / 1e9
            found.setdefault(row["dtype"], []).append(rate)
    words = [
        f"{dtype} " + " to ".join(dict.fromkeys((f"{min(rates):,.0f}", f"{max(rates):,.0f}")))
        for dtype, rates in found.items()
    ]
    return f"{', '.join(words)} G multiply-adds a second" if words else "not measured"


def _time(row: Row, name: str) -> str:
    if f"{name}_ms" not in row:
        return "-"
    spread = "" if row.get("repeats") == 1 else f" ± {row[f'{name}_spread_ms']:,.1f}"
    return f"{row[f'{name}_ms']:,.1f}{spread}"


def _number(row: Row, name: str, form: str, scale: float | int = 1) -> str:
    return form.format(row[name] / scale) if name in row else "-"


def ratios(rows: Sequence[Row]) -> str:
    """Every point beside local_global's on the same grid, dim and type; "" without one."""
    body = []
    rows = plots.of_series(rows, "grid")
    column, what = memory_column(rows)
    for ours in rows:
        if ours["label"] != "local_global" or "training_ms" not in ours:
            continue
        for row in rows:
            same = all(row[name] == ours[name] for name in ("grid", "dim", "dtype"))
            if same and row is not ours and row["window"] in ("", ours["window"]):
                columns = ("forward_multiply_adds", "forward_ms", "training_ms", column)
                numbers = (_ratio(row, ours, name) for name in columns)
                of = (ours["grid"], ours["window"], str(ours["dim"]), ours["dtype"])
                body.append((row["label"], *of, *numbers))
    if not body:
        return ""
    return page.table(
        "How many times local_global's multiply-adds (with the products of attention), time and "
        f"memory each scheme takes. Memory, forward + backward: {what}. {CONVENTION}",
        ("scheme", "tokens", "window", "dim", "type", "multiply-adds", "forward",
         "forward + backward", "memory"),
        body,
    )  # fmt: skip


def _ratio(row: Row, ours: Row, name: str) -> str:
    return f"{row[name] / ours[name]:.2f}" if name in row and ours.get(name) else "-"


def exponents(rows: Sequence[Row]) -> str:
    schemes = list(dict.fromkeys(row["scheme"] for row in rows))
    measured = {axis: plots.growth(rows, axis, "forward_shortest_ms") for axis in EXPONENTS_GRIDS}
    drawn = any(measured.values())
    body = []
    for scheme in schemes:
        counted, theory = _counted(scheme), THEORY.get(scheme, ("-", "-"))
        cells = [scheme]
        for index, curves in enumerate(measured.values()):
            cells += [str(theory[index]), _slope(counted[index], 3)]
            if drawn:
                cells.append(_slope(plots.exponent(curves.get(scheme, [])), 2))
        body.append(tuple(cells))
    head = ("theory", "counted", *(["measured"] if drawn else []))
    words = " Measured: forward time of the module at small dim, as drawn." if drawn else ""
    return page.table(
        "Exponents. Theory: of the leading term, the window being fixed. Counted: multiply-adds of "
        "the products on grids so large that the leading term is all there is."
        f"{words} {CONVENTION}",
        ("scheme", f"frames: {head[0]}", *head[1:], f"positions: {head[0]}", *head[1:]),
        body,
    )


def _counted(scheme: str) -> tuple[float, float]:
    """As `counted_exponents`; NaN for a scheme of one's own that fails on grids so large."""
    try:
        return counted_exponents(scheme)
    except Exception:
        if scheme in BUILT_IN:
            raise
        return float("nan"), float("nan")


def _slope(value: float, digits: int) -> str:
    return "-" if value != value else f"{value:.{digits}f}"


def table_2() -> str:
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
