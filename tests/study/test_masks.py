"""Who sees whom, against the definition of each scheme."""

import jax
import numpy as np
import pytest

from logo_jax.models.blocks import SCHEMES
from logo_jax.study.masks import influence

GRID, WINDOW, QUERY = (4, 4, 2), (2, 2, 2), (1, 2, 1)


@pytest.fixture(autouse=True)
def quick():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def definition(scheme):
    """True where the query sees a token in one step, from the schemes' table in docs/models.md."""
    t, h, w = np.indices(GRID)
    frame = t == QUERY[0]
    window = (t // 2 == QUERY[0] // 2) & (h // 2 == QUERY[1] // 2) & (w // 2 == QUERY[2] // 2)
    everything = np.ones(GRID, bool)
    return {
        "full": everything,
        "spatial": frame,
        "mixing": abs(t - QUERY[0]) <= 1,  # channels of both neighbours
        "local": window,
        # Two steps reach all: the time axis of each position, then the frame.
        "divided": everything,
        "factorized": everything,
        "global": everything,
        "local_global": everything,
    }[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tokens_that_are_seen(scheme):
    found = influence(scheme, GRID, WINDOW, QUERY, draws=2)
    assert ((found > 1e-6) == definition(scheme)).all()


def test_windows_are_seen_sharper_than_pooled_tokens():
    found = influence("local_global", GRID, WINDOW, QUERY)
    window = definition("local")
    assert found[window].mean() > 2 * found[~window].mean()
