"""One file for each `--mode` of launch.py, each with one function of the mode's name."""

from logo_jax.common import lazy

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
