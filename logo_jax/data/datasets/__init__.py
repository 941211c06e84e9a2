"""The data sets, a folder for each."""

from logo_jax.common import lazy

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
