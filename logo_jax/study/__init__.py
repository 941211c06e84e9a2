"""What each attention scheme costs. `logo_jax.study.count` counts multiply-adds."""

from logo_jax.study.count import MultiplyAdds, breakdown, multiply_adds

__all__ = ["MultiplyAdds", "breakdown", "multiply_adds"]
