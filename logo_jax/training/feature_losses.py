"""Losses of the features that the head reads: the center loss and EC-STFL.

Both pull the features of one class together. The DFEW paper (Jiang et al. 2020) adds either to
cross entropy, the center loss with the weight 1e-4 and the rate 0.5, EC-STFL with the weight 10.
Everything is computed in float32 or wider.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from logo_jax.common.errors import UserError
from logo_jax.models.contract import at_least_float32


def center_loss(
    features: Float[Array, "B D"], labels: Int[Array, " B"], centers: Float[Array, "C D"]
) -> Float[Array, " B"]:
    """Half the squared distance between each clip's feature and the centre of its class.

    Equation 2 of Wen et al. 2016, whose sum over the batch is here left to the caller, who takes
    the mean as he does of cross entropy: so the weight between the two is the paper's.

    Args:
        features: what the head reads.
        labels: the true classes, 0 to C - 1.
        centers: one for each class, from `update_centers`.
    """
    return 0.5 * ((at_least_float32(features) - centers[labels]) ** 2).sum(axis=1)


def update_centers(
    centers: Float[Array, "C D"],
    features: Float[Array, "B D"],
    labels: Int[Array, " B"],
    rate: float | int = 0.5,
) -> Float[Array, "C D"]:
    """Move the centre of each class in the batch towards its features (Wen et al. 2016, eq. 4).

    With n clips of a class in the batch, `centre - rate * sum_i (centre - x_i) / (1 + n)`: the
    centre of a class without a clip stays where it is, and one clip moves it half as far as many
    alike.

    Raises:
        UserError: `rate` is outside [0, 1].
    """
    if not 0.0 <= rate <= 1.0:
        raise UserError(
            f"center_rate is {rate}, but must be between 0 (centres stay) and 1; 0.5 is usual."
        )
    member = (labels[:, None] == jnp.arange(len(centers))).astype(centers.dtype)  # [B C]
    counts = member.sum(axis=0)[:, None]  # [C 1]
    # Accelerators would otherwise multiply in bfloat16 or TF32.
    sums = jnp.einsum(
        "bc,bd->cd", member, features.astype(centers.dtype), precision=jax.lax.Precision.HIGHEST
    )
    return centers - rate * (counts * centers - sums) / (1 + counts)


def ec_stfl(features: Float[Array, "B D"], labels: Int[Array, " B"]) -> Float[Array, ""]:
    """How large distances within classes are against those between classes (DFEW, equation 9).

        L = [sum over pairs of equal label |x_i - x_j| / N_j]
            / [sum over pairs of different label |x_i - x_j| / N_j]

    with the Euclidean distance and N_j the number of clips of j's class in the batch. The sums run
    over ordered pairs, so that L does not depend on the order of the batch. L is at least 0, and
    is not changed by moving, turning or scaling all features.

    Where nothing can be compared, in a batch of one class or with all features alike, L and its
    gradient are 0. The distance of two equal features has the gradient 0, its only one that
    favours no direction.

    Args:
        features: what the head reads; the differences of all pairs take B x B x D numbers where
            the compiler does not fuse them away.
        labels: the true classes.
    """
    features = at_least_float32(features)
    squares = ((features[:, None] - features[None]) ** 2).sum(axis=-1)  # [B B]
    apart = squares > 0
    # The inner `where` keeps the root's infinite gradient at 0 out of the product with 0.
    distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)
    same = labels[:, None] == labels[None]  # [B B]
    shares = distances / same.sum(axis=0)
    within = jnp.where(same, shares, 0.0).sum()
    between = jnp.where(same, 0.0, shares).sum()
    comparable = between > 0
    return jnp.where(comparable, within / jnp.where(comparable, between, 1.0), 0.0)
