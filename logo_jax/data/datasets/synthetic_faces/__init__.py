"""Synthetic faces: a benchmark of temporal modelling that anyone can draw on the own machine.

`configs` holds the two sets, `timelines` the classes and the ceiling of order-blind models,
`face`, `factors` and `film` the drawing. docs/synthetic_faces.md tells what it is and is not.
"""

from logo_jax.common import lazy

# Imported when first used: worker processes that draw faces must not load TFDS.
_PUBLIC = {
    "SyntheticFaces": "builder",
    "SyntheticConfig": "configs",
    "CLASSES": "timelines",
    "REVERSED": "timelines",
    "order_blind_ceiling": "timelines",
}

__all__ = sorted(_PUBLIC)

__getattr__, __dir__ = lazy.attributes(__name__, __path__, _PUBLIC)
