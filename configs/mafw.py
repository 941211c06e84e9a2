"""LOGO-Former on MAFW, 11 expressions, trained from scratch.

    python launch.py --config=configs/mafw.py:1 --config.data.source=<folder MAFW>

The argument is the fold, 1 to 5; without it, fold 1. The set needs a signed agreement, and where
its frames lie is up to you (docs/data.md). Result: not measured; the paper has no number on MAFW.
Cost: as configs/dfew.py, a clip.
"""

from configs import default, ferv39k_scratch


def get_config(fold: str = "1"):
    config = ferv39k_scratch.get_config()
    config.data.name = "mafw"
    config.data.fold = default.fold_number(fold, 5)
    config.data.options = {}
    # Which class is 0, 1, ...: "mafw" (anger disgust fear happiness neutral ...), "neutral_last" or
    # "dfew" (happiness sadness neutral ...).
    config.data.options.label_order = "mafw"
    config.data.options.frame_folder = "data/frames"
    config.data.options.folds = (1, 2, 3, 4, 5)  # the folds whose lists are read
    # The clips in frame_folder are videos; weights of YuNet, to cut the faces out of them.
    config.data.options.as_videos = False
    config.data.options.face_detector = ""
    default.add_list_options(config)
    return config
