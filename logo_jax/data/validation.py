"""A validation part, cut from the training clips of a set that has none of its own."""

from typing import Any

import numpy as np
from jaxtyping import Int

from logo_jax.common.errors import UserError
from logo_jax.data.prepared import PreparedSet

# Keeps the draw of validation clips apart from all streams of the pipeline. Of four words, since
# NumPy fills up shorter keys with zeros: (seed, 4) would be the order of epoch 4, (seed, 4, 0).
_VALIDATION = (0, 0, 4)


def cut_validation(
    prepared: PreparedSet, rows: Int[np.ndarray, " n"], fraction: float, seed: int
) -> tuple[Int[np.ndarray, " t"], Int[np.ndarray, " v"]]:
    """Cut a validation part from training rows, stratified by class, deterministic for a seed.

    Where the set names the group (identity, source) of its clips, whole groups move, so that none
    is on both sides. Every class keeps at least one training clip.

    Args:
        prepared: the set that the rows belong to.
        rows: training rows.
        fraction: share of the clips of each class to move, 0 < fraction < 1.
        seed: of the draw.

    Returns:
        The training rows that remain and the validation rows, both in ascending order.

    Raises:
        UserError: the fraction is out of range, or no clip can be moved.
    """
    if not 0 < fraction < 1:
        raise UserError(f"The validation fraction must lie between 0 and 1, not {fraction}.")
    rows = np.sort(rows)
    labels = prepared.labels[rows]
    # A clip without a group is a group of its own; the tuple keeps it apart from any name.
    groups = [prepared.groups[row] or (int(row),) for row in rows]
    members: dict[Any, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    # Counts [groups, classes]: a group may hold clips of several classes.
    counts = np.zeros((len(members), len(prepared.classes)), np.int64)
    for index, positions in enumerate(members.values()):
        np.add.at(counts[index], labels[positions], 1)
    counts = counts[:, counts.any(0)]  # classes that are there
    total = counts.sum(0)
    moved = np.zeros_like(total)
    chosen = []

    def distance(taken: np.ndarray) -> float:  # a rare class weighs as much as a common one
        return ((taken / total - fraction) ** 2).sum()

    for index in np.random.default_rng((seed, *_VALIDATION)).permutation(len(members)):
        after = moved + counts[index]
        if distance(after) < distance(moved) and (after < total).all():
            moved = after
            chosen.append(index)
    in_validation = np.zeros(len(rows), bool)
    all_members = list(members.values())
    for index in chosen:
        in_validation[all_members[index]] = True
    if not in_validation.any():
        raise UserError(
            f"A validation fraction of {fraction} moves no clip of {len(rows)}: raise it, or give "
            "the set a validation part of its own."
        )
    return rows[~in_validation], rows[in_validation]
