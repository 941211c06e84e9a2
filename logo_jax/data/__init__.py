"""Files to batches: builders, prepared sets, sampling, decoding, augmentation, input pipeline.

The public names below are imported when first used: worker processes import parts of this room,
and start fast only as long as that does not import the rest.
"""

from logo_jax.common import lazy

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

__getattr__, __dir__ = lazy.attributes(__name__, __path__, _PUBLIC)
