"""One training step and the loop around it: losses, optimizers, sharpness, checkpoints, log."""

from logo_jax.common import lazy

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
