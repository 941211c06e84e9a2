"""Exponents: how the products of attention grow with frames and with resolution.

Theory is the leading term of the pairs of query and key (`formulas.leading_pairs`), the window
being fixed. The count is taken over the traced program on grids so large that the leading term is
all there is; shapes alone are traced, so nothing is computed.

A scheme of one's own may make arrays of numpy as it is traced, a mask of T x T say, which are
computed. It is counted on grids of the size that is measured, with a window so small that the
leading term outweighs the others there too.
"""

from logo_jax.models.blocks import BUILT_IN
from logo_jax.study.count import breakdown
from logo_jax.study.measure import forward, module_and_shapes
from logo_jax.study.plots import exponent
from logo_jax.study.points import EXPONENTS_WINDOW, Point

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
OVER_FRAMES = tuple((2**k, 7, 7) for k in range(17, 20))
OVER_SPACE = tuple((16, 7 * 2**k, 7 * 2**k) for k in range(8, 11))
OWN_OVER_FRAMES = tuple((2**k, 2, 2) for k in range(9, 12))
OWN_OVER_SPACE = tuple((2, 2**k, 2**k) for k in range(4, 7))


def counted_exponents(scheme: str) -> tuple[float, float]:
    """Fitted exponents of the counted products: in frames, and in positions of a frame; NaN for a
    scheme without products."""
    over_frames, over_space, window = OWN_OVER_FRAMES, OWN_OVER_SPACE, EXPONENTS_WINDOW
    if scheme in BUILT_IN:
        over_frames, over_space, window = OVER_FRAMES, OVER_SPACE, WINDOW
    found = []
    for grids in (over_frames, over_space):
        points = []
        for grid in grids:
            module, shapes = module_and_shapes(Point(scheme, "xla", grid, window, 8, batch=2))
            size = grid[0] if grids is over_frames else grid[1] * grid[2]
            points.append((size, breakdown(forward(module), *shapes).products))
        found.append(exponent(points))
    return found[0], found[1]
