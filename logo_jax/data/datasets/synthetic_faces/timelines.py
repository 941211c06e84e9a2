"""What the seven classes of the synthetic faces do, moment by moment.

Three pairs of movements are time reversals of each other, the seventh class shows none:

| class | movement | reversed |
|---|---|---|
| smile_fast_onset | a smile that comes fast and goes slowly | smile_slow_onset |
| brows_lead | brows rise, then the mouth opens; brows fall, then the mouth closes | mouth_leads |
| frown_open_then_pucker | a held frown; the mouth opens, then puckers | frown_pucker_then_open |
| neutral | nothing but small drifts | neutral |

**The law.** A clip is drawn for a pair, without a class. Then a fair coin decides whether all of
it, every nuisance included, is played forward or backward, and the coin alone gives the class. So
for the two classes a and b of a pair, the clips of b have exactly the distribution of the reversed
clips of a: P(clip | b) = P(reversed clip | a).

**The ceiling of a model that is blind to order.** Such a model sees a clip as a multiset of frames
(or as its frames in an order drawn at random). A clip and its reversal are the same multiset, so
P(multiset | a) = P(multiset | b). Let q(c) be the share of the pair's clips that the model calls c;
it is the same whether the clip is of class a or of b, and q(a) + q(b) <= 1. With proportions p,
the pair adds p(a) q(a) + p(b) q(b) <= max(p(a), p(b)) to the accuracy, and neutral adds at most
p(neutral):

    WAR <= sum over pairs of max(p(a), p(b)) + p(neutral)
    UAR <= (3 x 1 + 1) / 7 = 4/7 = 0.571, since q(a) + q(b) <= 1 bounds the two recalls

On balanced classes WAR is bound by (6 x 0.5 + 1) / 7 = 4/7 too. A model that sees one frame is
bound the same way only if that frame is distributed alike in both classes. The first frame is: it
shows rest, or, in a clip cut inside the hold, the full expression, and both happen as often at the
start of the clip as at its end.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

CLASSES = (
    "smile_fast_onset",
    "smile_slow_onset",
    "brows_lead",
    "mouth_leads",
    "frown_open_then_pucker",
    "frown_pucker_then_open",
    "neutral",
)
# Label of the class that shows the clips of each class backwards.
REVERSED = (1, 0, 3, 2, 5, 4, 6)
KINDS = ("smile", "surprise", "frown", "neutral")
NEUTRAL = 6

# Movements of the face, each 0 at rest and 1 at full strength.
UNITS = ("brow_raise", "brow_lower", "cheek_raise", "smile", "mouth_open", "pucker")

# Of the hold, the share that a cut clip keeps at least, so that the cut never reaches a flank.
KEPT_HOLD = 0.35


@dataclasses.dataclass(frozen=True)
class Track:
    """One movement over time: levels at knots, joined by half waves of a cosine.

    Attributes:
        unit: name from `UNITS`.
        times: knots, ascending, as shares of the whole movement's time [0, 1].
        levels: strength at each knot; constant before the first knot and after the last.
    """

    unit: str
    times: tuple[float, ...]
    levels: tuple[float, ...]

    def at(self, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Return the strength at each of `times`."""
        knots, levels = np.asarray(self.times), np.asarray(self.levels)
        right = np.clip(np.searchsorted(knots, times, side="right"), 1, len(knots) - 1)
        left = right - 1
        share = np.clip((times - knots[left]) / (knots[right] - knots[left]), 0.0, 1.0)
        ease = 0.5 - 0.5 * np.cos(np.pi * share)
        return levels[left] + (levels[right] - levels[left]) * ease


@dataclasses.dataclass(frozen=True)
class Script:
    """The expression of one clip, as drawn, before the coin has turned its time axis.

    Attributes:
        kind: the pair, from `KINDS`.
        backward: the coin: the clip is played backwards.
        amplitude: strength of the movements, 0 for neutral.
        tracks: the movements at strength 1.
        window: part of the movement's time [0, 1] that the clip shows; less than all of it in a
            clip that is cut inside the hold.
    """

    kind: str
    backward: bool
    amplitude: float
    tracks: tuple[Track, ...]
    window: tuple[float, float]

    @property
    def label(self) -> int:
        """Class number in `CLASSES`."""
        return label_of(self.kind, self.backward)

    @property
    def cut(self) -> str:
        """Where the clip, as played, is cut: "none", "start" or "end"."""
        cut = "start" if self.window[0] > 0 else "end" if self.window[1] < 1 else "none"
        if self.backward:
            cut = {"start": "end", "end": "start"}.get(cut, cut)
        return cut

    @property
    def onset(self) -> float:
        """When the movement begins, as a share of the clip as played; 0 if cut off or neutral."""
        return self._span()[0]

    @property
    def duration(self) -> float:
        """How long the movement lasts, as a share of the clip; 0 for neutral."""
        start, end = self._span()
        return end - start

    def _span(self) -> tuple[float, float]:
        if not self.tracks:
            return 0.0, 0.0
        first, last = self.window
        start = max(first, min(track.times[0] for track in self.tracks)) - first
        end = min(last, max(track.times[-1] for track in self.tracks)) - first
        start, end = start / (last - first), end / (last - first)
        return (1 - end, 1 - start) if self.backward else (start, end)


def label_of(kind: str, backward: bool) -> int:
    """Return the class of a pair's clip that is played forward or backward."""
    return NEUTRAL if kind == "neutral" else 2 * KINDS.index(kind) + int(backward)


def reverse(script: Script) -> Script:
    """Return the script played the other way round: a clip of the pair's other class."""
    return dataclasses.replace(script, backward=not script.backward)


def units_as_drawn(script: Script, num_frames: int) -> dict[str, Float[np.ndarray, " T"]]:
    """Return the strength of each movement in each frame, before the coin turns the time axis."""
    # The first frame and the last lie on the ends of the window, so that they show rest or hold,
    # never a flank, however few frames there are.
    times = np.linspace(*script.window, num_frames)
    units = {name: np.zeros(num_frames) for name in UNITS}
    for track in script.tracks:
        units[track.unit] = units[track.unit] + script.amplitude * track.at(times)
    return units


def units_as_played(script: Script, num_frames: int) -> dict[str, Float[np.ndarray, " T"]]:
    """Return the strength of each movement in each frame of the clip as it is stored."""
    units = units_as_drawn(script, num_frames)
    return {name: levels[::-1] if script.backward else levels for name, levels in units.items()}


def draw_script(
    rng: np.random.Generator,
    kind: str,
    backward: bool,
    amplitude: float,
    *,
    rest: tuple[float, float],
    cut_probability: float,
) -> Script:
    """Draw the timing of one clip.

    Args:
        rng: source of randomness.
        kind: the pair, from `KINDS`.
        backward: the coin.
        amplitude: strength of the movements; not used by neutral.
        rest: range of the share of time at rest, drawn for either end alike.
        cut_probability: probability that the clip is cut inside the hold, at either end as often.
    """
    if kind == "neutral":
        return Script(kind, backward, 0.0, (), (0.0, 1.0))
    before, after = rng.uniform(*rest, size=2)
    shape = {"smile": _smile, "surprise": _surprise, "frown": _frown}[kind]
    tracks, holds = shape(rng, before, 1.0 - after)
    window = (0.0, 1.0)
    if rng.random() < cut_probability:
        where = rng.random()
        (start_low, start_high), (end_low, end_high) = holds
        # Which end is lost has nothing to do with the class: the coin is tossed apart from it.
        if rng.random() < 0.5:
            kept = start_high - KEPT_HOLD * (start_high - start_low)
            window = (start_low + where * (kept - start_low), 1.0)
        else:
            kept = end_low + KEPT_HOLD * (end_high - end_low)
            window = (0.0, kept + where * (end_high - kept))
    return Script(kind, backward, amplitude, tracks, window)


# Spans of time in which a clip may be cut: (low, high) for its start, and for its end.
Holds = tuple[tuple[float, float], tuple[float, float]]


def _knots(
    rng: np.random.Generator, start: float, end: float, ranges: Sequence[tuple[float, float]]
) -> list[float]:
    """Divide the time from `start` to `end` in proportion to numbers drawn from `ranges`."""
    shares = np.array([rng.uniform(low, high) for low, high in ranges])
    edges = np.concatenate([[0.0], np.cumsum(shares / shares.sum())])
    return [float(start + (end - start) * edge) for edge in edges]


def _smile(rng, start: float, end: float) -> tuple[tuple[Track, ...], Holds]:
    """Fast onset, hold, slow offset."""
    ranges = [(0.05, 0.09), (0.26, 0.40), (0.50, 0.62)]
    t0, t1, t2, t3 = _knots(rng, start, end, ranges)
    times, levels = (t0, t1, t2, t3), (0.0, 1.0, 1.0, 0.0)
    tracks = tuple(Track(unit, times, levels) for unit in ("smile", "cheek_raise"))
    return tracks, ((t1, t2), (t1, t2))


def _surprise(rng, start: float, end: float) -> tuple[tuple[Track, ...], Holds]:
    """The brows rise before the mouth opens, and fall before it closes."""
    # Brow flank, the rest of the lag, mouth flank, joint hold, and the same again.
    flank, lag = (0.08, 0.12), (0.12, 0.18)
    ranges = [flank, lag, flank, (0.16, 0.30), flank, lag, flank]
    t = _knots(rng, start, end, ranges)
    levels = (0.0, 1.0, 1.0, 0.0)
    tracks = (
        Track("brow_raise", (t[0], t[1], t[4], t[5]), levels),
        Track("mouth_open", (t[2], t[3], t[6], t[7]), levels),
    )
    return tracks, ((t[3], t[4]), (t[3], t[4]))


def _frown(rng, start: float, end: float) -> tuple[tuple[Track, ...], Holds]:
    """The brows come down and stay; meanwhile the mouth opens, closes, puckers and relaxes."""
    flank, gap, act = (0.08, 0.11), (0.05, 0.09), (0.30, 0.38)
    ranges = [flank, gap, act, (0.0, 0.04), act, gap, flank]
    t = _knots(rng, start, end, ranges)
    tracks = (
        Track("brow_lower", (t[0], t[1], t[6], t[7]), (0.0, 1.0, 1.0, 0.0)),
        Track("mouth_open", _bump(t[2], t[3]), (0.0, 1.0, 1.0, 0.0)),
        Track("pucker", _bump(t[4], t[5]), (0.0, 1.0, 1.0, 0.0)),
    )
    return tracks, ((t[1], t[2]), (t[5], t[6]))


def _bump(start: float, end: float) -> tuple[float, float, float, float]:
    flank = 0.3 * (end - start)
    return start, start + flank, end - flank, end


def order_blind_ceiling(
    proportions: Mapping[str, float] | Sequence[float] | np.ndarray | None = None,
) -> tuple[float, float]:
    """Return the highest (WAR, UAR) that a model blind to the order of frames can reach.

    Args:
        proportions: shares or counts of the classes in the order of `CLASSES`, or by name; None
            for balanced classes.

    The derivation stands in this module's docstring. UAR is 4/7 whatever the proportions.
    """
    if isinstance(proportions, Mapping):
        proportions = [proportions[name] for name in CLASSES]
    p = np.ones(len(CLASSES)) if proportions is None else np.asarray(proportions, np.float64)
    p = p / p.sum()
    paired = sum(max(p[label], p[REVERSED[label]]) for label in range(0, NEUTRAL, 2))
    return float(paired + p[NEUTRAL]), 4 / 7
