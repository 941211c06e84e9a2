"""A small LOGO-Former on synthetic faces, from nothing to a judged model on a laptop's CPU.

    python launch.py --config=configs/quickstart.py

Expected: a test WAR above 0.90, and at most 0.65 for the same model on shuffled frames (a model
blind to their order cannot exceed 0.571). Cost: two to five minutes on 2 CPU cores; the data set is
drawn once.

The controls, each a training of the same length:

    python launch.py --config=configs/quickstart.py --config.data.frame_order=shuffled
    python launch.py --config=configs/quickstart.py --config.data.frame_order=single
"""

from ml_collections import config_dict

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "synthetic_faces"
    config.data.options.config = "quick"  # or "wild"
    # Clips of each part; unset, the set's own numbers: 840, 105 and 350.
    config.data.options.num_train = config_dict.placeholder(int)
    config.data.options.num_val = config_dict.placeholder(int)
    config.data.options.num_test = config_dict.placeholder(int)
    config.data.segments = 8
    config.data.duration = 1
    config.data.frame_size = 48
    config.batch_size = 16
    config.num_epochs = 11

    config.input.image_size = 48
    config.input.mean = (0.5, 0.5, 0.5)
    config.input.std = (0.25, 0.25, 0.25)
    # The movements are where the face is: a crop as small as Former-DFER's would cut them off.
    config.augment.min_area = 0.7
    config.augment.min_ratio = 0.9
    config.augment.max_ratio = 1.1

    config.model.stage = 3
    config.model.width = 8
    config.model.dim = 64
    config.model.mlp_dim = 128
    config.model.num_heads = 4
    config.model.num_blocks = 2
    config.model.window = (2, 3, 3)

    # At full weight the regularizer holds back the first epochs, in which a model knows the pair
    # of a clip but not yet which of the two: just then the other one's logit stands out.
    config.loss.compact_regularizer = 0.1

    config.optimizer.base = "adamw"
    config.optimizer.rho = 0.02  # of so small a network, 0.05 is far to climb
    config.optimizer.learning_rate = 2e-3
    config.optimizer.weight_decay = 0.01
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 0.5
    config.optimizer.clip_norm = 1.0
    return config
