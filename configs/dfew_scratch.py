"""LOGO-Former on DFEW with a backbone trained from scratch.

    python launch.py --config=configs/dfew_scratch.py:1 --config.data.source=<folder DFEW>

As configs/dfew.py but for the backbone, the learning rate and the scaling of the input, which are
those of Former-DFER, trained from scratch with the same batch and epochs. Result: not measured.
"""

from configs import dfew


def get_config(fold: str = "1"):
    config = dfew.get_config(fold)
    config.model.pretrained = "none"
    config.optimizer.learning_rate = 0.01
    config.input.mean = (0.0, 0.0, 0.0)
    config.input.std = (1.0, 1.0, 1.0)
    return config
