"""Settings shared by all tests."""

import os
import signal

# One platform for all tests, chosen before jax is imported anywhere.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
from jaxtyping import install_import_hook

# In the background of a script, or under nohup, these signals are ignored, also by whatever a test
# starts; tests of signals need them as in the foreground.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

# Shapes that stand in signatures are checked at run time while tests run.
install_import_hook("logo_jax", "beartype.beartype")

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("ci")
