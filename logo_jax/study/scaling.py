"""Exponents: how the products of attention grow with frames and with resolution.

Theory is the leading term of the pairs of query and key (`formulas.leading_pairs`), the window
being fixed. The count is taken over the traced program on grids so large that the leading term is
all there is; shapes alone are traced, so nothing is computed.
"""

from logo_jax.study.count import breakdown
from logo_jax.study.measure import forward, module_and_shapes
from logo_jax.study.plots import exponent
from logo_jax.study.points import Point

# Exponents in frames T and in positions HW, each by itself.
THEORY = {
    "full": (2, 2),
    "spatial": (1, 2),
    "mixing": (1, 2),
    "divided": (2, 2),
    "factorized": (2, 2),
    "local": (1, 1),
    "global": (2, 2),
    "local_global": (2, 2),
}
WINDOW = (4, 7, 7)


def counted_exponents(scheme: str) -> tuple[float, float]:
    """Fitted exponents of the counted products: in frames, and in positions of a frame; NaN for a
    scheme without products."""
    over_frames = [(2**k, 7, 7) for k in range(17, 20)]
    over_space = [(16, 7 * 2**k, 7 * 2**k) for k in range(8, 11)]
    found = []
    for grids in (over_frames, over_space):
        points = []
        for grid in grids:
            module, shapes = module_and_shapes(Point(scheme, "xla", grid, WINDOW, 8, batch=2))
            size = grid[0] if grids is over_frames else grid[1] * grid[2]
            points.append((size, breakdown(forward(module), *shapes).products))
        found.append(exponent(points))
    return found[0], found[1]
