"""Who plays what in which part: the list of clips of a set of synthetic faces, before drawing."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from logo_jax.data.datasets.synthetic_faces import factors, timelines
from logo_jax.data.datasets.synthetic_faces.configs import SyntheticConfig
from logo_jax.data.datasets.synthetic_faces.film import ClipSpec
from logo_jax.data.datasets.synthetic_faces.timelines import CLASSES, KINDS, Script

NUM_FOLDS = 5
PARTS = ("train", "val", "test")
# First words of the seeds of independent streams of randomness.
_DEAL, _PERSON, _CLIP, _PATHS = range(4)


@dataclasses.dataclass(frozen=True)
class PlannedClip:
    """One clip of the set.

    Attributes:
        clip_id: its name, which tells nothing of the class.
        part: train, val or test.
        fold: 1 to 5, in which the clip is tested.
        identity: name of the person.
        label: the class by majority vote.
        votes: for each class; None in a set without label noise.
        spec: what is drawn.
    """

    clip_id: str
    part: str
    fold: int
    identity: str
    label: int
    votes: tuple[int, ...] | None
    spec: ClipSpec


def class_counts(num_clips: int, proportions: Sequence[float]) -> Int[np.ndarray, " C"]:
    """Divide clips among classes by largest remainders: each count is within 1 of its share."""
    shares = num_clips * np.asarray(proportions, np.float64) / np.sum(proportions)
    counts = np.floor(shares).astype(np.int64)
    largest = np.argsort(counts - shares, kind="stable")[: num_clips - counts.sum()]
    counts[largest] += 1
    return counts


def plan(config: SyntheticConfig) -> list[PlannedClip]:
    """Draw the list of clips: parts in turn, within a part in random order."""
    clips: list[PlannedClip] = []
    first_identity = 0
    sizes = (config.num_train, config.num_val, config.num_test)
    for part, num_clips in zip(PARTS, sizes, strict=True):
        rng = np.random.default_rng([config.seed, _DEAL, len(clips)])
        labels, identities = _deal(rng, num_clips, config)
        last_identity = first_identity + int(identities.max())
        persons = {
            identity: factors.draw_identity(np.random.default_rng([config.seed, _PERSON, identity]))
            for identity in range(first_identity, last_identity + 1)
        }
        for label, identity in zip(labels, identities + first_identity, strict=True):
            person = persons[int(identity)]
            clips.append(_clip(config, len(clips), part, int(label), int(identity), person))
        first_identity = last_identity + 1
    return clips


def _deal(
    rng: np.random.Generator, num_clips: int, config: SyntheticConfig
) -> tuple[Int[np.ndarray, " N"], Int[np.ndarray, " N"]]:
    """Give each clip of a part a class and a person, so that every person shows all classes."""
    labels = np.repeat(np.arange(len(CLASSES)), class_counts(num_clips, config.proportions))
    place, identities = np.arange(num_clips), np.arange(num_clips) // config.clips_per_identity
    sizes = np.bincount(identities)[identities]
    # A person's clips are spread evenly over the row of labels, which is sorted by class.
    key = (place % config.clips_per_identity + rng.random(num_clips)) / sizes
    identities = identities[np.argsort(key, kind="stable")]
    order = rng.permutation(num_clips)
    return labels[order], identities[order]


def _clip(
    config: SyntheticConfig,
    index: int,
    part: str,
    label: int,
    identity: int,
    person: factors.Identity,
) -> PlannedClip:
    rng = np.random.default_rng([config.seed, _CLIP, index])
    script, votes = _labelled_script(rng, config, label)
    low, high = config.lengths
    num_frames = int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))
    spec = ClipSpec(
        person=person,
        script=script,
        nuisance=factors.draw_nuisance(rng, config.nuisances),
        num_frames=min(max(num_frames, low), high),
        seed=(config.seed, _PATHS, index),
        size=config.size,
    )
    return PlannedClip(
        clip_id=f"clip_{index:05d}",
        part=part,
        fold=1 + identity % NUM_FOLDS,
        identity=f"person_{identity:04d}",
        label=label,
        votes=votes,
        spec=spec,
    )


def _labelled_script(
    rng: np.random.Generator, config: SyntheticConfig, label: int
) -> tuple[Script, tuple[int, ...] | None]:
    """Draw an expression that goes under `label`.

    With voters, expressions are drawn, the two classes of a pair equally often, until one gets the
    label wanted. That leaves the distribution of clips given their label as it is, and lets the
    labels have the config's proportions exactly.
    """
    weights = np.asarray(config.proportions)
    kind_weights = np.array([*weights[: timelines.NEUTRAL].reshape(3, 2).sum(1), weights[-1]])
    cumulative = np.cumsum(kind_weights / kind_weights.sum())
    while True:
        if config.votes is None:
            kind, backward = KINDS[label // 2], bool(label % 2)
            if kind == "neutral":
                backward = bool(rng.random() < 0.5)
        else:
            kind = KINDS[min(int(np.searchsorted(cumulative, rng.random())), len(KINDS) - 1)]
            backward = bool(rng.random() < 0.5)
        amplitude = float(rng.uniform(*config.amplitude))
        votes = None
        if config.votes is not None:
            true = timelines.label_of(kind, backward)
            majority, votes = config.votes.draw(rng, true, amplitude)
            if majority != label:
                continue
        script = timelines.draw_script(
            rng,
            kind,
            backward,
            amplitude,
            rest=config.rest,
            cut_probability=config.cut_probability,
        )
        return script, votes


def clip_factors(clip: PlannedClip) -> dict[str, float | int | str]:
    """Return the facts of a clip that reports break recall down by.

    Angles are in degrees, lengths in px of a frame of 112 px, times in shares of the clip.
    """
    spec = clip.spec
    person, script, nuisance = spec.person, spec.script, spec.nuisance
    facts: dict[str, float | int | str] = {
        "true_class": CLASSES[script.label],
        "amplitude": script.amplitude,
        "onset": script.onset,
        "duration": script.duration,
        "cut": script.cut,
        "yaw": nuisance.yaw,
        "pitch": nuisance.pitch,
        "roll": nuisance.roll,
        "drift": nuisance.drift,
        "scale": nuisance.scale,
        "shift": float(np.hypot(nuisance.shift_x, nuisance.shift_y)),
        "light": nuisance.light,
        "light_drift": nuisance.light_drift,
        "side_light": nuisance.side_light,
        "blur": nuisance.blur,
        "noise": nuisance.noise,
        "occluder": nuisance.occluder,
        "occlusion": nuisance.occluder_size,
        "jpeg_quality": nuisance.jpeg_quality,
        "speech": nuisance.speech,
        "clutter": nuisance.clutter,
        "glasses": person.glasses,
        "beard": person.beard,
        "hair_style": person.hair_style,
        "age": person.age,
    }
    if clip.votes is not None:
        facts |= {f"votes_{name}": n for name, n in zip(CLASSES, clip.votes, strict=True)}
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in facts.items()}
