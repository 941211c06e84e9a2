"""LOGO-Former on your own clips: folders of frames, any classes.

    python launch.py --config=configs/frame_folders.py --config.data.source=<your folder>

The folder holds `<split>/<class>/<clip>/<frames>` with the splits train and test (and val, if you
have one), or list files: docs/data.md. To start from a model trained on DFEW:
--config.init_from=<its workdir>.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.data.name = "frame_folders"
    config.data.options.set_name = "default"  # tells several sets in one data_dir apart
    # How train.txt, val.txt and test.txt are written, where there are lists: "former_dfer",
    # "videomae" or "csv"; "zero_based", "one_based" or "words"; the beginning of paths of another
    # machine; accept another number of frames than is declared.
    config.data.options.lists = "former_dfer"
    config.data.options.labels = ""
    config.data.options.strip_prefix = ""
    config.data.options.allow_frame_counts = False
    return config
