"""What every room may use: errors, progress, atomic files, the device mesh, versions."""

from logo_jax.common import lazy

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
