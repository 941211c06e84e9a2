"""Settings shared by all tests."""

import os

# One platform for all tests, chosen before jax is imported anywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
from jaxtyping import install_import_hook

# Shapes that stand in signatures are checked at run time while tests run.
install_import_hook("logo_jax", "beartype.beartype")

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("ci")
