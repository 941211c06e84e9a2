"""DFEW, the data set of Jiang et al., "DFEW: A Large-Scale Database for Recognizing Dynamic Facial
Expressions in the Wild", ACM MM 2020."""

from logo_jax.data.datasets.dfew.builder import Dfew

__all__ = ["Dfew"]
