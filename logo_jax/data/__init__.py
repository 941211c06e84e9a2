"""Files to batches: builders, prepared sets, sampling, decoding, augmentation, input pipeline.

The public names below are imported when first used: worker processes import parts of this room,
and start fast only as long as that does not import the rest.
"""

import importlib

_PUBLIC = {
    "load": "prepared",
    "PreparedSet": "prepared",
    "cut_validation": "validation",
    "ClipBuilder": "builder",
    "ClipEntry": "entries",
    "dynamic_sampling": "sampling",
    "make_samplers": "sampling",
    "AugmentConfig": "augment",
    "to_clips": "augment",
    "train_batches": "pipeline",
    "eval_batches": "pipeline",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"logo_jax.data.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'logo_jax.data' has no attribute '{name}'")
