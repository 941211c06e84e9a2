"""MAFW, the data set of Liu et al., "MAFW: A Large-scale, Multi-modal, Compound Affective Database
for Dynamic Facial Expression Recognition in the Wild", ACM MM 2022."""

from logo_jax.data.datasets.mafw.builder import Mafw

__all__ = ["Mafw"]
