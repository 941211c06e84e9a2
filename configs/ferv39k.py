"""LOGO-Former on FERV39K, as in the paper (Ma, Sun, Li; ICASSP 2023, Table 2).

    python launch.py --config=configs/ferv39k.py --config.data.source=<folder FERV39k> \\
        --config.model.pretrained=<resnet18_msceleb.pth>
    python launch.py --config=configs/ferv39k.py:Action ...    # the clips of one of 22 scenes

The set needs a signed agreement (docs/data.md), and the weights are those of a ResNet-18 trained on
MS-Celeb-1M (docs/models.md). Without weights: `configs/ferv39k_scratch.py`. All 7,847 test clips
are judged: a clip too short for 8 x 2 frames repeats its last one.

Result: the paper reports 38.22 UAR and 48.13 WAR; not measured here. Cost: as configs/dfew.py.
"""

from configs import default, dfew


def get_config(scene: str = ""):
    config = dfew.get_config()
    config.data.name = "ferv39k"
    config.data.fold = 0  # the set has one split
    config.data.options = {}
    # Which class is 0, 1, ...: "dfew" (happy sad neutral ...) or "alphabetical".
    config.data.options.label_order = "dfew"
    default.add_list_options(config)
    if scene:
        config.data.where = f"scene={scene}"
    config.data.sampling = "dynamic"
    config.data.segments = 8
    config.data.duration = 2
    config.data.short = "pad_last"
    return config
