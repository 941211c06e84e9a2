"""What a study compares: schemes x token grids x windows x dims x dtypes, one point each.

Beside that grid it has two series at sizes of their own, so small in dim that the products of
attention outweigh the projections: `exponents`, over frames and over positions, where the leading
terms are nearly all of the cost; and `window`, `local_global` over windows on one grid.
"""

import hashlib
import itertools
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from logo_jax.common.errors import UserError, pick
from logo_jax.models.attention import IMPLEMENTATIONS
from logo_jax.models.blocks import BUILT_IN, SCHEMES, WINDOWED, load_schemes
from logo_jax.models.contract import compute_dtype
from logo_jax.models.layers import AttentionOptions
from logo_jax.models.windows import Window, by, padding
from logo_jax.study.formulas import Shape

SERIES = ("grid", "exponents", "window")
# Measured with queries in chunks: n x m arrays that outgrow a cache would bend the curve.
EXPONENTS_DIM, EXPONENTS_HEADS, EXPONENTS_WINDOW = 32, 1, (1, 2, 2)
EXPONENTS_GRIDS = {
    "frames": tuple((384 * 2**k, 2, 2) for k in range(8)),
    "positions": tuple((2, side, side) for side in (28, 40, 56, 80, 112, 160, 224, 320)),
}
# Each scheme is measured on three of them in a row, where its leading term is nearly all of its
# cost: from the second on, or from a later one what has so few pairs there that fixed costs still
# show. Two numbers: over frames, over positions.
EXPONENTS_USED = 3
# The shortest sample is used, of so many at most.
EXPONENTS_REPEATS = 5
EXPONENTS_FIRST = {
    "spatial": (5, 2), "mixing": (5, 2), "divided": (2, 2), "factorized": (2, 2), "local": (5, 5),
    "global": (2, 2), "local_global": (2, 2),
}  # fmt: skip
WINDOW_GRID, WINDOW_DIM, WINDOW_HEADS = (16, 16, 16), 64, 2
WINDOW_SIZES = ((1, 2, 2), (2, 2, 2), (2, 4, 2), (2, 4, 4), (4, 4, 4), (4, 8, 4), (4, 8, 8),
                (8, 8, 8), (16, 8, 8))  # fmt: skip

# How the fields that hold several values are written.
_LISTS = {
    "schemes": '("full", "local_global")', "grids": "((16, 14, 14), (8, 7, 7))",
    "windows": "((4, 7, 7),)", "dims": "(256,)", "dtypes": '("float32",)', "series": '("grid",)',
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One attention module, to be counted and measured.

    Attributes:
        scheme: a name of `SCHEMES`.
        impl: the form of the products, a name of `attention.IMPLEMENTATIONS`.
        grid: tokens: frames, height, width.
        window: in tokens; None for a scheme without windows.
        dim: channels of a token.
        num_heads: attention heads.
        dtype: type of the computation.
        batch: clips at a time.
        series: what it is measured for, a name of `SERIES`.
        source: of a scheme of one's own, what the text of its file hashes to.
    """

    scheme: str
    impl: str
    grid: Shape
    window: Window | None
    dim: int
    num_heads: int = 8
    dtype: str = "float32"
    batch: int = 1
    series: str = "grid"
    source: str = ""

    @property
    def label(self) -> str:
        """The name in tables and plots: the scheme, and the form where it is not the plain one."""
        return self.scheme if self.impl == "xla" else f"{self.scheme}:{self.impl}"

    @property
    def options(self) -> AttentionOptions:
        return AttentionOptions(
            num_heads=self.num_heads,
            attention_impl=self.impl,
            window=self.window or AttentionOptions().window,
            dtype=jnp.dtype(compute_dtype(self.dtype)),
        )

    def record(self) -> dict[str, Any]:
        """The fields as JSON holds them; the identity of the point in `study.jsonl`."""
        fields = asdict(self)
        fields["grid"] = by(self.grid)
        fields["window"] = by(self.window) if self.window else ""
        return {"label": self.label, **fields}


@dataclass(frozen=True)
class Study:
    """All choices of a study.

    Attributes:
        schemes: names of `SCHEMES`, each with ":chunked" or ":cudnn" behind it for another form.
        grids: token grids (frames, height, width).
        windows: in tokens; a window is used on the grids that it divides.
        dims: channels of a token.
        dtypes: "float32", "bfloat16".
        num_heads: attention heads.
        batch: clips at a time.
        repeats: samples of each time.
        memory_gib: points that need more are recorded as such; 0 = what the machine has free.
        series: names of `SERIES`: the grid of the fields above, and the two of fixed sizes.
        scheme_file: Python file that registers schemes (docs/schemes.md); they join `schemes`.
    """

    schemes: tuple[str, ...] = (
        "full", "full:chunked", "spatial", "mixing", "divided", "factorized", "local", "global",
        "local_global",
    )  # fmt: skip
    grids: tuple[Shape, ...] = (
        (4, 7, 7), (8, 7, 7), (16, 7, 7), (32, 7, 7), (8, 14, 14), (16, 14, 14), (8, 21, 21),
    )  # fmt: skip
    windows: tuple[Window, ...] = ((4, 7, 7),)
    dims: tuple[int, ...] = (256,)
    dtypes: tuple[str, ...] = ("float32",)
    num_heads: int = 8
    batch: int = 1
    repeats: int = 5
    memory_gib: float | int = 0
    series: tuple[str, ...] = SERIES
    scheme_file: str = ""

    def __post_init__(self) -> None:
        for what in ("schemes", "grids", "windows", "dims", "dtypes", "series"):
            values = getattr(self, what)
            if not values:
                raise UserError(f"A study needs at least one of {what}: give {_LISTS[what]}.")
            if not isinstance(values, tuple):
                raise UserError(f"{what} is {values!r}: give several, as {_LISTS[what]}.")
            object.__setattr__(self, what, _once(values))  # frozen for everyone else
        for what in ("grids", "windows"):
            for shape in getattr(self, what):
                if not isinstance(shape, tuple) or len(shape) != 3 or not all(map(_whole, shape)):
                    raise UserError(
                        f"{what} has {shape}: give three positive numbers of tokens (frames, "
                        f"height, width) for each, as {_LISTS[what]}."
                    )
        for what in ("num_heads", "batch", "repeats"):
            if not _whole(getattr(self, what)):
                raise UserError(
                    f"{what} is {getattr(self, what)}: it must be a whole number and at least 1."
                )
        for dim in self.dims:
            if not _whole(dim) or dim % self.num_heads:
                raise UserError(
                    f"dims has {dim}: give a positive multiple of {self.num_heads} (num_heads)."
                )
        room: object = self.memory_gib
        if type(room) not in (int, float) or not 0 <= self.memory_gib < math.inf:
            raise UserError(
                f"memory_gib is {self.memory_gib}: give a number of GiB, or 0 for what is free."
            )
        for what in ("schemes", "dtypes", "series"):
            for name in getattr(self, what):
                if not isinstance(name, str):
                    raise UserError(f"{what} has {name}: give names, as {_LISTS[what]}.")
        if self.scheme_file:
            self._load_own()
        for name in self.series:
            pick(dict.fromkeys(SERIES), name, "series of a study")
        for name in self.schemes:
            scheme, colon, impl = name.partition(":")
            pick(SCHEMES, scheme, "attention scheme")
            pick(IMPLEMENTATIONS, impl if colon else "xla", "attention_impl")
        for dtype in self.dtypes:
            compute_dtype(dtype)
        # With fewer channels `mixing` would take none from the neighbouring frames.
        least = AttentionOptions().mixing_share * self.num_heads
        mixing = "grid" in self.series and "mixing" in {n.partition(":")[0] for n in self.schemes}
        if mixing and min(self.dims) < least:
            raise UserError(
                f"dims has {min(self.dims)}: of the channels of each of {self.num_heads} heads "
                f"(num_heads) mixing takes 1/{AttentionOptions().mixing_share} from either "
                f"neighbouring frame, so give at least {least}, or leave mixing out of schemes."
            )
        if not self.groups():
            raise UserError(f"There is nothing to measure: {'; '.join(self.unused())}.")

    def _load_own(self) -> None:
        """Register the schemes of `scheme_file` and put them behind the others."""
        load_schemes(self.scheme_file)
        own = tuple(name for name in SCHEMES if name not in BUILT_IN)
        if not own:
            raise UserError(
                f"{self.scheme_file} registers no scheme: call register_scheme in it, as "
                "docs/schemes.md says."
            )
        named = {name.partition(":")[0] for name in self.schemes}
        schemes = (*self.schemes, *(name for name in own if name not in named))
        object.__setattr__(self, "schemes", schemes)

    def source(self, scheme: str) -> str:
        """What the file of a scheme of one's own hashes to, "" for the others.

        A row of another text of the file is of another scheme, whatever its name. A file that has
        run is not run again in this process, so the text is that of its first time.
        """
        if scheme in BUILT_IN or not self.scheme_file:
            return ""
        file = Path(self.scheme_file).expanduser().resolve()
        loaded = vars(sys.modules[f"schemes of {file}"])  # as `load_schemes` names it
        if "_text_hash" not in loaded:
            loaded["_text_hash"] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        return str(loaded["_text_hash"])

    def groups(self) -> list[list[Point]]:
        """Points that are measured in turn with one another: of one series, dim and dtype."""
        found = {
            "grid": [
                self._group("grid", grid, self.windows, dim, self.num_heads, dtype, self.batch)
                for grid, dim, dtype in itertools.product(self.grids, self.dims, self.dtypes)
            ],
            # All sizes in turn, or a drift of the machine between them would bend the curve.
            "exponents": [
                [
                    point
                    for place, grid in enumerate(grids)
                    for point in self._group("exponents", grid, (EXPONENTS_WINDOW,), EXPONENTS_DIM,
                                             EXPONENTS_HEADS, self.dtypes[0])
                    if 0 <= place - EXPONENTS_FIRST.get(point.scheme, (1, 1))[axis] < EXPONENTS_USED
                ]
                for axis, grids in enumerate(EXPONENTS_GRIDS.values())
            ],
            "window": [[
                Point("local_global", "xla", WINDOW_GRID, window, WINDOW_DIM, WINDOW_HEADS,
                      self.dtypes[0], series="window")
                for window in WINDOW_SIZES
            ]],
        }  # fmt: skip
        return [group for name in self.series for group in found[name] if group]

    def _group(
        self, series: str, grid: Shape, windows: tuple[Window, ...], dim: int, num_heads: int,
        dtype: str, batch: int = 1,
    ) -> list[Point]:  # fmt: skip
        """All schemes on one grid, each with the windows that divide it."""
        group: dict[Point, None] = {}  # in order, each once
        for name, window in itertools.product(self.schemes, windows):
            scheme, _, impl = name.partition(":")
            if series == "exponents":
                impl = "chunked"
            used = window if scheme in WINDOWED else None
            if used is None or padding(grid, used) == (0, 0, 0):
                point = Point(scheme, impl or "xla", grid, used, dim, num_heads, dtype, batch,
                              series, self.source(scheme))  # fmt: skip
                group[point] = None
        return list(group)

    def unused(self) -> list[str]:
        """A line for every grid and window that do not fit together."""
        return [
            f"the window {by(window)} does not divide the grid {by(grid)}: left out; give a window "
            "whose sides divide those of the grid"
            for grid, window in itertools.product(self.grids, self.windows)
            if padding(grid, window) != (0, 0, 0)
        ]


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Each value once, in order; values of the wrong type stay, to be named."""
    return tuple(value for place, value in enumerate(values) if value not in values[:place])


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
