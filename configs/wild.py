"""LOGO-Former at the quickstart's size on the hard synthetic faces, the set of all comparisons.

    python launch.py --config=configs/wild.py

Expected: a test WAR of about 0.76 and a UAR of about 0.68 (seed 0); a model blind to the order of
frames cannot exceed 0.676 and 0.571. Cost: thirteen minutes on 2 CPU cores, of which two and a
half draw the data set, once.
"""

from configs import quickstart


def get_config():
    config = quickstart.get_config()
    config.data.options.config = "wild"
    config.num_epochs = 15
    return config
