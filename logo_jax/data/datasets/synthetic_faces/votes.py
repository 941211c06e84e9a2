"""Label noise: what ten simulated people say they saw in a clip.

DFEW's labels are the majority of ten votes. Here each of ten voters names a class; the fainter the
movement, the more of them see nothing (neutral), the same movement the other way round, or another
movement. The votes depend on the class and the amplitude alone, and in the same way for the two
classes of a pair: exchanging all classes for their reversals exchanges the votes. So the label,
noise included, still obeys the law of timelines.py: P(clip | label b) = P(reversed clip | label a),
and the ceiling of order-blind models stands.
"""

import dataclasses

import numpy as np
from jaxtyping import Float

from logo_jax.data.datasets.synthetic_faces.timelines import CLASSES, NEUTRAL, REVERSED

# Where the wrong votes on a moving face go; the four classes of other pairs share the rest.
TO_NEUTRAL = 0.5
TO_REVERSED = 0.22


@dataclasses.dataclass(frozen=True)
class VoteModel:
    """How well people see.

    Attributes:
        clear: mean share of right votes at amplitude 1, and for neutral clips.
        subtle: the same at amplitude 0.3.
        agreement: how much the voters of one clip share their error: the parameter of a Dirichlet
            distribution around the mean shares; small numbers mean clips that all get wrong.
        num_votes: for each clip.
    """

    clear: float
    subtle: float
    agreement: float
    num_votes: int = 10

    def shares(self, label: int, amplitude: float) -> Float[np.ndarray, " C"]:
        """Return the mean share of votes for each class."""
        shares = np.zeros(len(CLASSES))
        if label == NEUTRAL:
            shares[:] = (1.0 - self.clear) / (len(CLASSES) - 1)
            shares[label] = self.clear
            return shares
        right = self.subtle + (self.clear - self.subtle) * (amplitude - 0.3) / 0.7
        wrong = 1.0 - right
        shares[:] = (1.0 - TO_NEUTRAL - TO_REVERSED) / 4 * wrong
        shares[NEUTRAL] = TO_NEUTRAL * wrong
        shares[REVERSED[label]] = TO_REVERSED * wrong
        shares[label] = right
        return shares

    def draw(
        self, rng: np.random.Generator, label: int, amplitude: float
    ) -> tuple[int, tuple[int, ...]]:
        """Return the majority, ties broken at random, and the votes for each class."""
        seen = rng.dirichlet(self.agreement * self.shares(label, amplitude))
        votes = rng.multinomial(self.num_votes, seen).tolist()
        winners = [name for name, number in enumerate(votes) if number == max(votes)]
        return winners[rng.integers(len(winners))], tuple(votes)
