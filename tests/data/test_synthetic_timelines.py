"""The laws of the classes: exact time reversals, ends that tell nothing, the ceiling."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from logo_jax.data.datasets.synthetic_faces import factors, timelines
from logo_jax.data.datasets.synthetic_faces.configs import CONFIGS, DFEW_COUNTS, QUICK, WILD
from logo_jax.data.datasets.synthetic_faces.timelines import CLASSES, NEUTRAL, REVERSED, UNITS


def draw(seed, kind, backward, cut_probability=0.25, rest=(0.04, 0.2)):
    rng = np.random.default_rng(seed)
    return timelines.draw_script(
        rng, kind, backward, 0.7, rest=rest, cut_probability=cut_probability
    )


def played(script, num_frames):
    """`[T, units]`."""
    units = timelines.units_as_played(script, num_frames)
    return np.stack([units[name] for name in UNITS], axis=1)


def test_classes_form_three_pairs_and_neutral():
    assert all(REVERSED[REVERSED[label]] == label for label in range(7))
    assert [label for label in range(7) if REVERSED[label] == label] == [NEUTRAL]
    assert CLASSES[NEUTRAL] == "neutral"


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(timelines.KINDS),
    backward=st.booleans(),
    num_frames=st.integers(8, 120),
)
def test_reversed_script_is_a_draw_of_the_other_class_with_the_frames_reversed(
    seed, kind, backward, num_frames
):
    script = draw(seed, kind, backward)
    other = timelines.reverse(script)
    assert other == draw(seed, kind, not backward)  # the same draw, had the coin fallen otherwise
    assert other.label == REVERSED[script.label]
    np.testing.assert_array_equal(played(other, num_frames), played(script, num_frames)[::-1])


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(timelines.KINDS), num=st.integers(8, 120))
def test_movements_stay_between_rest_and_amplitude_and_ends_show_rest_or_hold(seed, kind, num):
    script = draw(seed, kind, False)
    levels = played(script, num)
    assert levels.min() >= 0 and levels.max() <= script.amplitude + 1e-12
    # Both ends, exactly: rest, or the hold if the clip is cut there. Nothing of a flank.
    hold = {
        "smile": {"smile", "cheek_raise"},
        "surprise": {"brow_raise", "mouth_open"},
        "frown": {"brow_lower"},
        "neutral": set(),
    }[kind]
    full = np.array([script.amplitude * (name in hold) for name in UNITS])
    for frame, cut_here in ((levels[0], "start"), (levels[-1], "end")):
        expected = full if script.cut == cut_here else np.zeros(len(UNITS))
        np.testing.assert_allclose(frame, expected, atol=1e-12)


def half_height_times(levels):
    """First and last time, as shares of the clip, at which a movement passes half its height."""
    high = np.flatnonzero(levels >= 0.5 * levels.max()) / (len(levels) - 1)
    return high[0], high[-1]


@pytest.mark.parametrize("seed", range(20))
def test_names_say_what_happens(seed):
    """An independent reading of the curves of uncut clips, in the order of play."""
    for label, name in enumerate(CLASSES[:NEUTRAL]):
        script = draw(seed, timelines.KINDS[label // 2], bool(label % 2), cut_probability=0.0)
        units = timelines.units_as_played(script, 1001)
        if name.startswith("smile"):
            smile = units["smile"] / script.amplitude
            moving = (smile > 0.02) & (smile < 0.98)
            top = np.flatnonzero(smile >= 0.98)
            rise, fall = moving[: top[0]].sum(), moving[top[-1] :].sum()
            assert (rise * 3 < fall) == (name == "smile_fast_onset")
            assert (fall * 3 < rise) == (name == "smile_slow_onset")
        elif name in ("brows_lead", "mouth_leads"):
            brows, mouth = (half_height_times(units[u]) for u in ("brow_raise", "mouth_open"))
            lags = np.subtract(mouth, brows) * (1 if name == "brows_lead" else -1)
            assert (lags > 0.1).all()  # at the onset and at the offset
        else:
            opened, puckered = (half_height_times(units[u]) for u in ("mouth_open", "pucker"))
            first, second = (opened, puckered) if "open_then" in name else (puckered, opened)
            assert first[1] < second[0]
            frown = half_height_times(units["brow_lower"])
            assert frown[0] < first[0] and second[1] < frown[1]


@pytest.mark.slow
def test_cuts_come_at_either_end_as_often_in_every_class():
    for label in range(NEUTRAL):
        kind, backward = timelines.KINDS[label // 2], bool(label % 2)
        scripts = [draw(seed, kind, backward) for seed in range(2000)]
        cuts = [script.cut for script in scripts]
        starts, ends = cuts.count("start"), cuts.count("end")
        assert stats.binomtest(starts + ends, 2000, 0.25).pvalue > 1e-3
        assert stats.binomtest(starts, starts + ends, 0.5).pvalue > 1e-3
        assert all(s.onset == 0.0 for s in scripts if s.cut == "start")
        assert all(abs(s.onset + s.duration - 1) < 1e-12 for s in scripts if s.cut == "end")


def test_first_frame_is_distributed_like_the_last_one_within_each_class():
    for label in range(NEUTRAL):
        kind, backward = timelines.KINDS[label // 2], bool(label % 2)
        ends = np.array([played(draw(s, kind, backward), 16)[[0, -1]] for s in range(800)])
        for unit in range(len(UNITS)):
            assert stats.ks_2samp(*ends[:, :, unit].T, method="asymp").pvalue > 1e-3


@pytest.mark.parametrize(
    "process",
    [
        lambda rng: factors.waves(rng, 24)[0],
        lambda rng: factors.speech(rng, 24),
        lambda rng: factors.blinks(rng, 24, 0.05),
        lambda rng: factors.glances(rng, 24, 2.0)[0],
    ],
    ids=["drift", "speech", "blinks", "gaze"],
)
def test_distractions_are_symmetric_in_time(process):
    """Statistics that would see a direction: ends, early against late, rises against falls."""
    rng = np.random.default_rng(7)
    paths = np.array([process(rng) for _ in range(6000)])  # [N, T]
    backward = paths[:, ::-1]
    for statistic in (
        lambda x: x[:, 0],
        lambda x: x[:, :8].mean(axis=1),
        lambda x: (np.diff(x, axis=1) ** 3).sum(axis=1),
        lambda x: np.diff(x, axis=1).max(axis=1),
        lambda x: x.argmax(axis=1),
    ):
        # Half of the paths forward against the other half backward: independent samples.
        forward, reversed_ = statistic(paths[::2]), statistic(backward[1::2])
        assert stats.ks_2samp(forward, reversed_).pvalue > 1e-3


def test_ceiling_of_balanced_and_of_dfew_proportions():
    assert timelines.order_blind_ceiling() == pytest.approx((4 / 7, 4 / 7))
    war, uar = timelines.order_blind_ceiling(DFEW_COUNTS)
    assert war == pytest.approx((2445 + 1894 + 902 + 2669) / 11697)
    assert uar == pytest.approx(4 / 7)
    by_name = dict(zip(CLASSES, DFEW_COUNTS, strict=True))
    assert timelines.order_blind_ceiling(by_name) == (war, uar)
    assert timelines.order_blind_ceiling(QUICK.proportions)[0] == pytest.approx(0.5714, abs=1e-4)


def test_ceiling_is_what_the_best_order_blind_rule_reaches():
    """By enumeration: a rule maps what it sees, the pair or neutral, to one class."""
    p = np.array(DFEW_COUNTS) / sum(DFEW_COUNTS)
    pair_of = [0, 0, 1, 1, 2, 2, 3]
    rules = list(itertools.product(range(7), repeat=4))
    wars = [sum(p[c] for c in range(7) if rule[pair_of[c]] == c) for rule in rules]
    uars = [sum(rule[pair_of[c]] == c for c in range(7)) / 7 for rule in rules]
    assert max(wars) == pytest.approx(timelines.order_blind_ceiling(DFEW_COUNTS)[0])
    assert max(uars) == pytest.approx(4 / 7)


def test_dfew_pairs_keep_the_ceiling_as_low_as_the_proportions_allow():
    counts = DFEW_COUNTS[:NEUTRAL]
    lowest = min(
        sum(max(order[i], order[i + 1]) for i in (0, 2, 4))
        for order in itertools.permutations(counts)
    )
    assert sum(max(counts[i], counts[i + 1]) for i in (0, 2, 4)) == lowest


def test_votes_commute_with_time_reversal():
    votes = WILD.votes
    assert votes is not None
    for label, amplitude in itertools.product(range(7), (0.3, 0.6, 1.0)):
        shares = votes.shares(label, amplitude)
        assert shares.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(
            votes.shares(REVERSED[label], amplitude), shares[list(REVERSED)], atol=1e-15
        )
    assert votes.shares(0, 0.3)[NEUTRAL] > votes.shares(0, 1.0)[NEUTRAL]
    rng = np.random.default_rng(0)
    for _ in range(200):
        label, counts = votes.draw(rng, 0, 0.4)
        assert sum(counts) == 10 and counts[label] == max(counts)


def test_ranges_of_the_issue():
    assert WILD.amplitude == (0.3, 1.0) and WILD.lengths == (8, 120)
    for config in CONFIGS.values():
        assert 0.0 < config.cut_probability < 0.5 and config.rest[0] > 0.0
