"""LOGO-Former on FERV39K with a backbone trained from scratch.

    python launch.py --config=configs/ferv39k_scratch.py --config.data.source=<folder FERV39k>

As configs/ferv39k.py but for the backbone, the learning rate and the scaling of the input, which
are those of configs/dfew_scratch.py. Result: not measured.
"""

from configs import dfew_scratch, ferv39k


def get_config(scene: str = ""):
    config = ferv39k.get_config(scene)
    scratch = dfew_scratch.get_config()
    config.model.pretrained = scratch.model.pretrained
    config.optimizer.learning_rate = scratch.optimizer.learning_rate
    config.input.mean = scratch.input.mean
    config.input.std = scratch.input.std
    return config
