"""The two sets of synthetic faces: `quick` for the quickstart, `wild` for comparisons."""

import dataclasses

from logo_jax.data.datasets.synthetic_faces.factors import NuisanceRanges
from logo_jax.data.datasets.synthetic_faces.votes import VoteModel

# DFEW's pooled test counts (happy, angry, sad, surprise, fear, disgust, neutral), in the order of
# `timelines.CLASSES`. Neighbours in size make a pair: that keeps the WAR that a model blind to
# order can reach as low as these proportions allow, 0.676.
DFEW_COUNTS = (2445.0, 2173.0, 1894.0, 1469.0, 902.0, 145.0, 2669.0)


@dataclasses.dataclass(frozen=True)
class SyntheticConfig:
    """All that a set of synthetic faces is made from.

    Attributes:
        num_train, num_val, num_test: clips of the three parts, which share no identity.
        proportions: of the classes, in every part.
        clips_per_identity: how often a person is filmed.
        lengths: shortest and longest clip, frames; the logarithm is uniform between them.
        amplitude: range of the strength of the movements.
        rest: range of the share of time at rest at either end.
        cut_probability: probability that a clip is cut inside the hold.
        nuisances: how strongly the filming varies.
        votes: the voters whose majority is the label; None for labels without noise.
        size: side of the frames, px.
        seed: of everything.
    """

    num_train: int
    num_val: int
    num_test: int
    proportions: tuple[float, ...]
    clips_per_identity: int
    lengths: tuple[int, int]
    amplitude: tuple[float, float]
    rest: tuple[float, float]
    cut_probability: float
    nuisances: NuisanceRanges
    votes: VoteModel | None
    size: int = 112
    seed: int = 0


QUICK = SyntheticConfig(
    num_train=840,
    num_val=105,
    num_test=350,
    proportions=(1.0,) * 7,
    clips_per_identity=7,
    lengths=(16, 48),
    amplitude=(0.6, 1.0),
    rest=(0.05, 0.12),
    cut_probability=0.1,
    nuisances=NuisanceRanges(
        yaw=6.0,
        pitch=5.0,
        roll=4.0,
        drift=1.5,
        scale=(0.98, 1.1),
        shift=2.0,
        jitter=0.1,
        light=0.15,
        light_drift=0.1,
        side_light=0.25,
        colour_cast=0.06,
        blur=0.5,
        noise=2.0,
        occluder_probability=0.05,
        jpeg_quality=(65, 90),
        speech_probability=0.3,
        speech=0.1,
        blink_rate=0.015,
        gaze=1.5,
        tremor=0.015,
        clutter=3,
    ),
    votes=None,
)

WILD = SyntheticConfig(
    num_train=4800,
    num_val=900,
    num_test=8100,  # the rarest class, 1.24 %, still has 100 clips
    proportions=DFEW_COUNTS,
    clips_per_identity=10,
    lengths=(8, 120),
    amplitude=(0.3, 1.0),
    rest=(0.04, 0.2),
    cut_probability=0.25,
    nuisances=NuisanceRanges(
        yaw=22.0,
        pitch=14.0,
        roll=12.0,
        drift=5.0,
        scale=(0.82, 1.15),
        shift=7.0,
        jitter=0.5,
        light=0.4,
        light_drift=0.3,
        side_light=0.6,
        colour_cast=0.15,
        blur=1.2,
        noise=8.0,
        occluder_probability=0.3,
        jpeg_quality=(35, 92),
        speech_probability=0.6,
        speech=0.28,
        blink_rate=0.03,
        gaze=2.5,
        tremor=0.03,
        clutter=8,
    ),
    votes=VoteModel(clear=0.85, subtle=0.5, agreement=6.0),
)

CONFIGS = {"quick": QUICK, "wild": WILD}
