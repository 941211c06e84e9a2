"""Print a table of all systems: python -m logo_jax.models [--csv=systems.csv]"""

import argparse
import csv

import jax
import jax.numpy as jnp

from logo_jax.common.files import atomic_writer
from logo_jax.common.progress import track
from logo_jax.models.systems import SYSTEMS, build
from logo_jax.study.count import breakdown

CLIP = (16, 112, 112, 3)
NUM_CLASSES = 7
COLUMNS = ("system", "parameters (M)", "conv + dense (G)", "attention products (G)", "source",
           "published", "parity test")  # fmt: skip
CONVENTION = (
    f"One clip of {CLIP[0]} frames of {CLIP[1]} x {CLIP[2]}, {NUM_CLASSES} classes. One "
    "multiply-add is one; convolutions and\ndense layers, on padding too, as the usual PyTorch "
    "counters have it; the two products of attention,\nwhich those leave out, stand apart. "
    "Published numbers carry their own source."
)


# Sizes beside the default one that a source gives numbers for.
VARIANTS: dict[str, dict[str, int]] = {"former_dfer": {"spatial_depth": 3}}


def row(name: str, **options: int) -> tuple[str, ...]:
    """One line of the table, counted over the traced program; nothing is computed."""
    model = build(name, NUM_CLASSES, **options)
    clip = jax.ShapeDtypeStruct((1, *CLIP), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), clip)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    counts = breakdown(lambda v, x: model.apply(v, x), variables, clip)
    system = SYSTEMS[name]
    return (
        ", ".join([name, *(f"{option}={value}" for option, value in options.items())]),
        f"{parameters / 1e6:.2f}",
        f"{(counts.convolutions + counts.dense) / 1e9:.2f}",
        f"{counts.products / 1e9:.3f}",
        system.source,
        system.published,
        system.parity_test,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m logo_jax.models", description=__doc__)
    parser.add_argument("--csv", help="also write the table to this file")
    path = parser.parse_args().csv
    rows: list[tuple[str, ...]] = [COLUMNS]
    for name in track(list(SYSTEMS), len(SYSTEMS), "counting", "systems"):
        rows.append(row(name))
        if name in VARIANTS:
            rows.append(row(name, **VARIANTS[name]))
    widths = [max(len(line[i]) for line in rows) for i in range(len(COLUMNS))]
    for line in rows:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(f"\n{CONVENTION}")
    if path:
        with atomic_writer(path) as file:
            csv.writer(file).writerows(rows)


if __name__ == "__main__":
    main()
