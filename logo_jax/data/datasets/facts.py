"""Official facts of the data sets: class names, orders of labels, sizes of folds, class counts.

Plain numbers without imports of TFDS, for the builders and for whoever examines a copy.
"""

import dataclasses
from collections.abc import Mapping

# How many clips of a part are of each class; a part of several folds is pooled over them.
Counts = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is published of a data set.

    Attributes:
        title: the name that people know it by.
        classes: class names in the order in which clips are stored.
        folds: partition column (`split`, or `fold_1` ...) -> pairs (train, test) of clips in use.
        test_counts: test clips of each class, over all folds, in the order of `classes`; empty
            where they are not known.
        label_orders: name of an order of the labels that circulates -> class names in that order.
    """

    title: str
    classes: tuple[str, ...]
    folds: Mapping[str, tuple[tuple[int, int], ...]]
    test_counts: Counts = ()
    label_orders: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


SEVEN = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
# DFEW's order, and the alphabetical one.
SEVEN_ORDERS = {"dfew": SEVEN, "alphabetical": tuple(sorted(SEVEN))}

# Fold sizes and pooled test counts recomputed from the official lists.
DFEW = Facts(
    title="DFEW",
    classes=SEVEN,
    folds={
        "fold_1": ((9356, 2341),),
        "fold_2": ((9356, 2341),),
        "fold_3": ((9357, 2340),),
        "fold_4": ((9358, 2339),),
        "fold_5": ((9361, 2336),),
    },
    test_counts=(2445, 1894, 2669, 2173, 1469, 145, 902),
    label_orders={"dfew": SEVEN},
)

FERV39K = Facts(
    title="FERV39K",
    classes=SEVEN,
    folds={"split": ((31088, 7847),)},
    test_counts=(1473, 1393, 1958, 1487, 638, 467, 431),
    label_orders=SEVEN_ORDERS,
)
FERV39K_SCENES = (
    "Action", "Argue", "Business", "Conflict", "Contest", "Crime", "Crisis", "DailyLife",
    "ElegantArt", "Experiment", "History", "Interview", "Liveshow", "Medicine", "OfficialEvent",
    "ScholarReport", "School", "Social", "Speech", "Talkshow", "Terror", "War",
)  # fmt: skip

# The validation part is the test part: the labels of AFEW's own test part are not public. Lists in
# use leave two of its 383 clips out.
AFEW = Facts(
    title="AFEW",
    classes=SEVEN,
    folds={"split": ((773, 383), (773, 381))},
    label_orders=SEVEN_ORDERS,
)

MAFW_CLASSES = (
    "anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise", "contempt",
    "anxiety", "helplessness", "disappointment",
)  # fmt: skip
# 9,172 of the 10,045 clips have a single label. Fold sizes and counts as a user of the set counted
# them in its lists ("single/no_caption") and spreadsheet; they were not recomputed here.
MAFW = Facts(
    title="MAFW",
    classes=MAFW_CLASSES,
    folds={
        "fold_1": ((7333, 1839),),
        "fold_2": ((7335, 1837),),
        "fold_3": ((7339, 1833),),
        "fold_4": ((7340, 1832),),
        "fold_5": ((7341, 1831),),
    },
    test_counts=(1390, 639, 625, 1242, 1138, 1470, 1072, 236, 916, 262, 182),
    label_orders={
        # The columns of the set's own spreadsheets.
        "mafw": MAFW_CLASSES,
        "neutral_last": (
            "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt", "anxiety",
            "helplessness", "disappointment", "neutral",
        ),
        # DFEW's seven, then the other four.
        "dfew": (
            "happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear", "contempt",
            "anxiety", "helplessness", "disappointment",
        ),
    },
)  # fmt: skip
