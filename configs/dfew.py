"""LOGO-Former on DFEW, as in the paper (Ma, Sun, Li; ICASSP 2023, Table 1).

    python launch.py --config=configs/dfew.py:1 --config.data.source=<folder DFEW> \\
        --config.model.pretrained=<resnet18_msceleb.pth>

The argument is the fold, 1 to 5; without it, fold 1. The data set needs a signed agreement
(docs/data.md), and the weights are those of a ResNet-18 trained on MS-Celeb-1M (docs/models.md).
Without weights: `configs/dfew_scratch.py`, or --config.model.pretrained=none.

Result: the paper reports 54.21 UAR and 66.98 WAR over the five folds, pooled; not measured here.
Cost: 10.28 G multiply-adds a clip in convolutions and dense layers, times 2 passes for SAM.
"""

from configs import default

WEIGHTS_NEEDED = "weights needed"


def get_config(fold: str = "1"):
    config = default.get_config()
    config.data.name = "dfew"
    config.data.fold = default.fold_number(fold, 5)
    config.data.options.frame_folder = "clip_224x224"  # aligned faces, original length
    config.data.options.folds = (1, 2, 3, 4, 5)  # the folds whose lists are read
    # With frame_folder "original": weights of YuNet, to cut the faces out of the videos.
    config.data.options.face_detector = ""
    # "Annotation/annotation.xlsx" stores the votes, for config.loss.soft_labels; and the names of
    # its columns, where they are not found.
    config.data.options.votes = ""
    config.data.options.vote_columns = ()
    default.add_list_options(config, list_order=False)
    config.model.pretrained = WEIGHTS_NEEDED
    config.optimizer.learning_rate = 0.001  # the paper's initial rate, for a pretrained backbone
    config.input.mean = (0.485, 0.456, 0.406)  # of ImageNet, as with the MS-Celeb weights
    config.input.std = (0.229, 0.224, 0.225)
    return config
