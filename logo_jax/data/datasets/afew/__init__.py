"""AFEW, the data set of Dhall et al., "Collecting Large, Richly Annotated Facial-Expression
Databases from Movies", IEEE MultiMedia 2012."""

from logo_jax.data.datasets.afew.builder import Afew

__all__ = ["Afew"]
