"""Clip -> logits: systems for dynamic facial expression recognition as Linen modules.

model = logo_jax.models.build("logo_former", num_classes=7)
variables = model.init(jax.random.key(0), clips)          # clips: Float[B T H W 3]
out = model.apply(variables, clips, train=False)          # out.logits, out.features
"""

from logo_jax.common import lazy
from logo_jax.models.blocks import register_scheme
from logo_jax.models.contract import Output
from logo_jax.models.systems import SYSTEMS, build

__all__ = ["SYSTEMS", "Output", "build", "register_scheme"]

__getattr__, __dir__ = lazy.attributes(__name__, __path__)
