"""Predictions -> numbers and pages: confusion matrix, recalls, WAR and UAR, tables and pictures."""

from logo_jax.common import lazy
from logo_jax.evaluation import metrics, report

__all__ = ["metrics", "report"]

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
