"""LOGO-Former and the field of dynamic facial expression recognition (DFER) in JAX.

Rooms are imported when first used: `import logo_jax; logo_jax.models.build("logo_former", 7)`.
"""

import importlib

__version__ = "0.1.0"

_ROOMS = ("common", "models", "data", "evaluation", "training", "study", "experiments")


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"logo_jax.{name}")
    if name == "pretrained":
        return importlib.import_module("logo_jax.models.pretrained")
    raise AttributeError(f"module 'logo_jax' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*_ROOMS, "pretrained", "__version__"])
