"""What a synthetic clip gives away without the order of its frames.

Linear probes on the mean frame, the first frame and sorted pixels must stay at the ceiling of
order-blind models, and inside a pair at one half; probes on the number of frames and on file sizes
must stay at chance. Each probe is shown to find a leak when one is planted.
"""

import dataclasses

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from logo_jax.data import pool
from logo_jax.data.datasets.synthetic_faces import film, timelines
from logo_jax.data.datasets.synthetic_faces.configs import QUICK, WILD
from logo_jax.data.datasets.synthetic_faces.plan import plan
from logo_jax.data.datasets.synthetic_faces.timelines import NEUTRAL
from logo_jax.data.decode import decode_frames

NUM_SAMPLED = 16  # frames of each clip that the probes see, first and last among them
SIZE = 48  # of the decoded frames, px
SIGMAS = 3.5

# That pairs are exact reversals of each other is tested fast, in test_synthetic_timelines.py.
pytestmark = pytest.mark.slow


@dataclasses.dataclass
class Clips:
    """Decoded clips: `frames` uint8 [N, 16, 48, 48, 3], and what is known without decoding."""

    frames: np.ndarray
    file_sizes: list[np.ndarray]  # bytes of each frame of a clip
    unpadded: list[np.ndarray]  # the same without the comments that fill them up
    labels: np.ndarray
    num_frames: np.ndarray
    groups: np.ndarray
    parts: np.ndarray
    units: np.ndarray  # [N, 16, 6] strength of each movement in each frame, as drawn
    proportions: tuple[float, ...]


def film_all(config, num_workers) -> Clips:
    clips = plan(config)
    # Worker processes do without the run-time checks of shapes, which take longer than drawing.
    films = pool.ordered_map(film.make_frames, [clip.spec for clip in clips], num_workers)
    frames, sizes, unpadded, units = [], [], [], []
    for clip, files in zip(clips, films, strict=True):
        chosen = np.linspace(0, len(files) - 1, NUM_SAMPLED).round().astype(int)
        frames.append(decode_frames([files[i] for i in chosen], SIZE))
        strength = timelines.units_as_played(clip.spec.script, len(files))
        units.append(np.stack([strength[name][chosen] for name in timelines.UNITS], axis=1))
        comments = [2 + int.from_bytes(file[4:6], "big") for file in files]
        sizes.append(np.array([len(file) for file in files]))
        unpadded.append(sizes[-1] - np.array(comments))
    return Clips(
        np.stack(frames),
        sizes,
        unpadded,
        np.array([clip.label for clip in clips]),
        np.array([clip.spec.num_frames for clip in clips]),
        np.array([clip.identity for clip in clips]),
        np.array([clip.part for clip in clips]),
        np.stack(units),
        config.proportions,
    )


@pytest.fixture(scope="module")
def short() -> Clips:
    """Clips of `quick`, shorter and fewer."""
    config = dataclasses.replace(QUICK, num_train=700, num_val=70, num_test=70, lengths=(10, 20))
    return film_all(config, num_workers=1)


@pytest.fixture(scope="module")
def quick_set() -> Clips:
    """All of `quick`."""
    return film_all(QUICK, num_workers=2)


@pytest.fixture(scope="module")
def wild_set() -> Clips:
    """2,400 clips of `wild`, label noise included."""
    config = dataclasses.replace(WILD, num_train=2000, num_val=200, num_test=200)
    return film_all(config, num_workers=2)


# What the probes see: [N, features].


def mean_frame(clips):
    return flat(clips.frames.mean(axis=1))


def first_frame(clips):
    return flat(clips.frames[:, 0])


def sorted_intensities(clips):
    """Quantiles of all pixels of the clip, for each colour."""
    pixels = clips.frames[:, :, ::2, ::2].reshape(len(clips.frames), -1, 3)
    return np.sort(pixels, axis=1)[:, :: pixels.shape[1] // 60].reshape(len(pixels), -1)


def sorted_in_time(clips):
    """Each pixel's values over the clip, in ascending order: a function of the set of frames."""
    small = clips.frames[:, :, ::4, ::4, 1].astype(np.float32)
    return np.sort(small - small.mean(axis=1, keepdims=True), axis=1).reshape(len(small), -1)


def number_of_frames(clips):
    n = clips.num_frames.astype(float)
    return np.stack([n, np.log(n), n % 2, 1 / n], axis=1)


def file_sizes(sizes):
    """Total, mean, spread and extremes of the bytes of a clip's frames."""
    return np.array([[s.sum(), s.mean(), s.std(), s.min(), s.max(), s[0], s[-1]] for s in sizes])


def flat(images):
    """Average squares of 3 x 3 pixels of `[N, 48, 48, 3]` and flatten."""
    n = len(images)
    return images.reshape(n, SIZE // 3, 3, SIZE // 3, 3, 3).mean(axis=(2, 4)).reshape(n, -1)


def predict(features, clips) -> np.ndarray:
    """Predictions of logistic regression for people that it has not seen."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    return cross_val_predict(probe, features, clips.labels, groups=clips.groups, cv=GroupKFold(5))


def components(features, number=40):
    """The leading principal components, which need no labels."""
    return PCA(number, svd_solver="randomized", random_state=0).fit_transform(features)


def margin(share: float, number: int) -> float:
    return SIGMAS * np.sqrt(share * (1 - share) / number)


def above_ceiling(features, clips) -> float:
    """How far the probe's accuracy lies above the ceiling and its margin; negative is well."""
    ceiling, _ = timelines.order_blind_ceiling(clips.proportions)
    right = predict(features, clips) == clips.labels
    return right.mean() - ceiling - margin(ceiling, len(right))


def above_half(features, clips) -> float:
    """The same for the question which of the two classes of a pair, asked inside each pair."""
    right = []
    for a in range(0, NEUTRAL, 2):
        rows = np.flatnonzero((clips.labels == a) | (clips.labels == a + 1))
        # As many of either class, so that one half is what guessing reaches.
        fewer = min(np.bincount(clips.labels[rows])[a : a + 2])
        rows = np.concatenate([rows[clips.labels[rows] == c][:fewer] for c in (a, a + 1)])
        pair = dataclasses.replace(clips, labels=clips.labels[rows], groups=clips.groups[rows])
        right.append(predict(features[rows], pair) == pair.labels)
    right = np.concatenate(right)
    return right.mean() - 0.5 - margin(0.5, len(right))


def above_chance(features, clips) -> float:
    chance = max(clips.proportions) / sum(clips.proportions)
    right = predict(features, clips) == clips.labels
    return right.mean() - chance - margin(chance, len(right))


PICTURES = [mean_frame, first_frame, sorted_intensities, sorted_in_time]


def check_no_leaks(clips):
    for see in PICTURES:
        features = components(see(clips))
        assert above_ceiling(features, clips) < 0, see.__name__
        assert above_half(features, clips) < 0, see.__name__
    assert above_chance(number_of_frames(clips), clips) < 0
    assert above_chance(file_sizes(clips.file_sizes), clips) < 0


def test_no_leaks(short):
    check_no_leaks(short)


def test_probes_find_planted_leaks(short):
    """A tint that tells the class, lengths that tell the class, files that are not filled up."""
    # A fifth more light for the second class of each pair: little beside what people differ in.
    light = np.where(short.labels % 2, 1.2, 1.0)[:, None, None, None, None]
    tinted = np.clip(short.frames * light, 0, 255).astype(np.uint8)
    leaky = dataclasses.replace(short, frames=tinted)
    for see in (mean_frame, first_frame, sorted_intensities):
        assert above_half(components(see(leaky)), leaky) > 0, see.__name__
    longer = dataclasses.replace(short, num_frames=short.num_frames + 2 * short.labels)
    assert above_chance(number_of_frames(longer), longer) > 0
    assert above_chance(file_sizes(short.unpadded), short) > 0


def test_order_tells_the_pairs_apart(short):
    """The same probe on frames in order passes both bounds: it is able, and the cue is there."""
    features = trajectories(short)
    assert above_half(features.reshape(len(features), -1), short) > 0.1
    rng = np.random.default_rng(0)
    blind = np.stack([clip[rng.permutation(NUM_SAMPLED)] for clip in features])
    assert above_half(blind.reshape(len(blind), -1), short) < 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quick_set", "wild_set"])
def test_no_leaks_in_the_sets_themselves(name, request):
    check_no_leaks(request.getfixturevalue(name))


@pytest.mark.slow
def test_quick_can_be_learned_from_its_decoded_frames(quick_set):
    """Ordinary classifiers on ordered frames of 48 px, no network: 0.9 on unseen people.

    A linear map from a frame's pixels to the strength of the movements, learned on the training
    people, then a support vector machine on the strengths in order of time. In shuffled order the
    same machine stays below the ceiling.
    """
    test = quick_set.parts == "test"
    strength = measured_units(quick_set, ~test)
    rng = np.random.default_rng(0)
    blind = np.stack([clip[rng.permutation(NUM_SAMPLED)] for clip in strength])
    accuracy = {}
    for name, seen in (("ordered", strength), ("shuffled", blind)):
        seen = seen.reshape(len(seen), -1)
        machine = SVC(C=20.0).fit(seen[~test], quick_set.labels[~test])
        accuracy[name] = machine.score(seen[test], quick_set.labels[test])
    assert accuracy["ordered"] >= 0.9, accuracy
    assert accuracy["shuffled"] <= 0.571 + 0.05, accuracy


def moved_pixels(clips):
    """`[N, 16, 48, 48]`: gray frames less the clip's mean frame, which removes the person."""
    gray = clips.frames.mean(axis=-1, dtype=np.float32)
    contrast = gray.std(axis=(1, 2, 3), keepdims=True) + 1
    return (gray - gray.mean(axis=1, keepdims=True)) / contrast


def trajectories(clips, number=24):
    """`[N, 16, number]`: principal components of what moves in each frame."""
    moved = moved_pixels(clips).reshape(len(clips.labels), NUM_SAMPLED, -1)
    sample = moved[:, ::4].reshape(-1, moved.shape[-1])
    basis = PCA(number, svd_solver="randomized", random_state=0).fit(sample)
    return basis.transform(moved.reshape(-1, moved.shape[-1])).reshape(*moved.shape[:2], -1)


def measured_units(clips, train):
    """`[N, 16, 6]`: strength of each movement against its mean, read linearly from the pixels."""
    moved = moved_pixels(clips)
    half = (moved + moved[..., ::-1])[..., : SIZE // 2]  # faces move symmetrically
    small = half.reshape(*moved.shape[:2], SIZE // 2, 2, SIZE // 4, 2).mean(axis=(3, 5))
    small = small.reshape(*moved.shape[:2], -1)
    wanted = clips.units - clips.units.mean(axis=1, keepdims=True)
    flat_train = small[train].reshape(-1, small.shape[-1])
    reader = Ridge(3000.0).fit(flat_train, wanted[train].reshape(len(flat_train), -1))
    return reader.predict(small.reshape(-1, small.shape[-1])).reshape(wanted.shape)
