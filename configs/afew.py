"""LOGO-Former on AFEW, trained from scratch; judged on its validation part, as everybody does.

    python launch.py --config=configs/afew.py --config.data.source=<folder AFEW>

The set needs a signed agreement (docs/data.md). It has 773 clips to train on: to start from a model
trained on DFEW, --config.init_from=<its workdir>. Result: not measured; the paper has no number on
AFEW. Cost: as configs/dfew.py, a clip.
"""

from configs import default, ferv39k_scratch


def get_config():
    config = ferv39k_scratch.get_config()
    config.data.name = "afew"
    config.data.options = {}
    # Which class is 0, 1, ...: "dfew" (happy sad neutral ...) or "alphabetical".
    config.data.options.label_order = "dfew"
    default.add_list_options(config)
    return config
