"""Who plays what: identities, folds, proportions, votes, factors, independence of nuisances."""

import collections
import dataclasses

import numpy as np
import pytest
from scipy import stats

from logo_jax.common.errors import UserError
from logo_jax.data.datasets.synthetic_faces import plan as planning
from logo_jax.data.datasets.synthetic_faces import timelines
from logo_jax.data.datasets.synthetic_faces.builder import SyntheticFaces
from logo_jax.data.datasets.synthetic_faces.configs import DFEW_COUNTS, QUICK, WILD
from logo_jax.data.datasets.synthetic_faces.timelines import CLASSES, NEUTRAL, REVERSED


@pytest.fixture(scope="module")
def quick():
    return planning.plan(QUICK)


@pytest.fixture(scope="module")
def wild():
    """A quarter of it."""
    return planning.plan(dataclasses.replace(WILD, num_train=1200, num_val=225, num_test=2025))


def column(clips, name):
    return np.array([getattr(clip, name) for clip in clips])


def test_quick_is_balanced_in_every_part_and_fold(quick):
    for part, each in (("train", 120), ("val", 15), ("test", 50)):
        labels = column([clip for clip in quick if clip.part == part], "label")
        assert np.bincount(labels).tolist() == [each] * 7
    for fold in range(1, 6):
        labels = column([clip for clip in quick if clip.fold == fold], "label")
        assert np.bincount(labels).tolist() == [37] * 7


@pytest.mark.parametrize("name", ["quick", pytest.param("wild", marks=pytest.mark.slow)])
def test_parts_and_folds_share_no_identity(name, request):
    clips = request.getfixturevalue(name)
    parts, folds = collections.defaultdict(set), collections.defaultdict(set)
    for clip in clips:
        parts[clip.identity].add(clip.part)
        folds[clip.identity].add(clip.fold)
    assert all(len(found) == 1 for found in [*parts.values(), *folds.values()])
    persons = {clip.identity: clip.spec.person for clip in clips}
    assert len(set(persons.values())) == len(persons)
    assert all(clip.spec.person == persons[clip.identity] for clip in clips)
    sizes = np.bincount(column(clips, "fold"))[1:]
    assert len(sizes) == 5 and sizes.max() < 1.1 * sizes.min()


def test_wild_has_dfews_proportions_and_enough_of_the_rarest_class(wild):
    for part in ("train", "val", "test"):
        labels = column([clip for clip in wild if clip.part == part], "label")
        shares = len(labels) * np.array(DFEW_COUNTS) / sum(DFEW_COUNTS)
        assert np.abs(np.bincount(labels, minlength=7) - shares).max() < 1
    assert planning.class_counts(WILD.num_test, WILD.proportions).min() >= 100


def test_wild_labels_are_majorities_of_ten_votes(wild):
    votes = np.array([clip.votes for clip in wild])
    labels = column(wild, "label")
    true = np.array([clip.spec.script.label for clip in wild])
    amplitude = np.array([clip.spec.script.amplitude for clip in wild])
    assert (votes.sum(1) == 10).all()
    assert (votes[np.arange(len(wild)), labels] == votes.max(1)).all()
    wrong = labels != true
    assert 0.08 < wrong.mean() < 0.18
    moving = true != NEUTRAL
    subtle, clear = moving & (amplitude < 0.5), moving & (amplitude > 0.8)
    assert wrong[subtle].mean() > 2 * wrong[clear].mean()
    # Wrong labels of moving faces: mostly neutral, then the same movement backwards.
    given = labels[moving & wrong]
    to_reversed = (given == np.array(REVERSED)[true[moving & wrong]]).mean()
    to_neutral = (given == NEUTRAL).mean()
    assert to_neutral > to_reversed > (1 - to_neutral - to_reversed) / 4


def test_under_each_label_of_a_pair_the_true_classes_mirror_each_other(wild):
    """The law with label noise: true class c under label a as often as its reversal under b."""
    labels = column(wild, "label")
    true = np.array([clip.spec.script.label for clip in wild])
    for a in (0, 2, 4):
        b = REVERSED[a]
        one = np.bincount(true[labels == a], minlength=7)
        other = np.bincount(np.array(REVERSED)[true[labels == b]], minlength=7)
        seen = one + other > 0
        assert stats.chi2_contingency(np.stack([one, other])[:, seen]).pvalue > 1e-3


@pytest.mark.parametrize("name", ["quick", "wild"])
def test_length_and_filming_are_independent_of_the_label(name, request):
    clips = request.getfixturevalue(name)
    labels = column(clips, "label")
    numbers = {
        "num_frames": [clip.spec.num_frames for clip in clips],
        **{
            field: [getattr(clip.spec.nuisance, field) for clip in clips]
            for field in ("yaw", "scale", "light", "blur", "noise", "occluder_size", "jpeg_quality")
        },
        "age": [clip.spec.person.age for clip in clips],
    }
    for field, values in numbers.items():
        groups = [np.array(values)[labels == label] for label in range(7)]
        assert stats.kruskal(*groups).pvalue > 1e-3, field


def test_lengths_fill_their_range(wild):
    lengths = np.array([clip.spec.num_frames for clip in wild])
    assert lengths.min() == 8 and lengths.max() == 120
    # The logarithm is uniform: half of the clips are shorter than the geometric mean.
    assert np.mean(lengths < np.sqrt(8 * 121)) == pytest.approx(0.5, abs=0.03)


def test_factors_tell_what_was_drawn(wild):
    for clip in wild[:50]:
        facts = planning.clip_factors(clip)
        assert facts["true_class"] == CLASSES[clip.spec.script.label]
        assert 0.3 <= facts["amplitude"] <= 1 or facts["true_class"] == "neutral"
        assert facts["cut"] in ("none", "start", "end")
        assert (facts["occluder"] == "none") == (facts["occlusion"] == 0)
        assert [facts[f"votes_{name}"] for name in CLASSES] == list(clip.votes)
        assert {"yaw", "jpeg_quality", "blur", "noise", "glasses", "onset", "duration"} <= set(
            facts
        )


def test_same_seed_same_plan_and_another_seed_another():
    tiny = dataclasses.replace(WILD, num_train=30, num_val=10, num_test=20)
    assert planning.plan(tiny) == planning.plan(tiny)
    other = planning.plan(dataclasses.replace(tiny, seed=1))
    assert all(a.spec != b.spec for a, b in zip(planning.plan(tiny), other, strict=True))


def test_class_counts_divide_by_largest_remainder():
    assert planning.class_counts(10, [1.0, 1.0, 1.0]).tolist() == [4, 3, 3]
    assert planning.class_counts(8100, DFEW_COUNTS).sum() == 8100


def test_configure_names_the_set_and_refuses_wrong_numbers():
    assert SyntheticFaces.configure()[0] == "quick"
    assert SyntheticFaces.configure(config="wild", num_test=8100)[0] == "wild"
    name, options = SyntheticFaces.configure(num_train=70, seed=3)
    assert name == "quick-70-105-350-seed3" and options["num_train"] == 70
    with pytest.raises(UserError, match='Did you mean "quick"'):
        SyntheticFaces.configure(config="quik")
    with pytest.raises(UserError, match="num_val=3"):
        SyntheticFaces.configure(num_val=3)
    with pytest.raises(UserError, match="seed=-1"):
        SyntheticFaces.configure(seed=-1)


def test_labels_follow_the_coin():
    assert [timelines.label_of(k, b) for k in timelines.KINDS[:3] for b in (False, True)] == [
        *range(6)
    ]
