"""LOGO-Former and the field of dynamic facial expression recognition (DFER) in JAX.

Rooms are imported when first used: `import logo_jax; logo_jax.models.build("logo_former", 7)`.
"""

from logo_jax.common import lazy

__version__ = "0.1.0"

__getattr__, __dir__ = lazy.attributes(__name__, __path__, {"pretrained": "models"})
