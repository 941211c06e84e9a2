"""The doctor: examines a copy of a data set before anything is trained on it.

python -m logo_jax.data doctor dfew --source=<folder DFEW>
"""

from logo_jax.data.doctor.command import add_arguments, run

__all__ = ["add_arguments", "run"]
