"""What each attention scheme costs. `logo_jax.study.count` counts multiply-adds."""

from logo_jax.common import lazy
from logo_jax.study.count import MultiplyAdds, breakdown, multiply_adds
from logo_jax.study.formulas import Parts, register_formula

__all__ = ["MultiplyAdds", "Parts", "breakdown", "multiply_adds", "register_formula"]

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
