"""FERV39K, the data set of Wang et al., "FERV39k: A Large-Scale Multi-Scene Dataset for Facial
Expression Recognition in Videos", CVPR 2022."""

from logo_jax.data.datasets.ferv39k.builder import Ferv39k

__all__ = ["Ferv39k"]
