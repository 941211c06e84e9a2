"""Attention rollout: how much of what reaches the class token comes from which token.

After Abnar and Zuidema, "Quantifying Attention Flow in Transformers", ACL 2020: with its residual,
a step of attention A (mean over heads) mixes tokens by (I + A) / 2, and the steps of all blocks are
multiplied. Here the class token's row is carried back through the steps instead, which needs no
matrix of all pairs of tokens and gives the same row. Linear layers and MLPs act on each token by
itself and do not count; nor do the sizes of the values. It is a picture of the weights, not a proof
of what the model uses: the reports show the effect of replaced frames beside it.

- Local attention: a token's share goes to the tokens of its own (shifted) window.
- Global attention: the share of a pooled token goes to the tokens of its window, by the weights of
  the pooling.
- Copied class tokens (divided, factorized): the mean of the copies.
- Mixing: a frame's share goes to the frame and its neighbours, by their numbers of value channels.
- `parallel`: both steps read one input, so a token is mixed by (I + L + G) / 3.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from logo_jax.models.former_dfer import FormerDfer
from logo_jax.models.layers import AttentionOptions
from logo_jax.models.token_model import LogoFormer
from logo_jax.models.windows import Window, moved_by, padding, to_windows

Maps = Mapping[str, Any]
Shares = tuple[Float[np.ndarray, "B K"], Float[np.ndarray, "B T H W"]]
Step = Callable[[Shares], Shares]

# Attention steps of each scheme, in order.
STEPS: dict[str, tuple[str, ...]] = {
    "full": ("full",),
    "spatial": ("spatial",),
    "divided": ("temporal", "spatial"),
    "factorized": ("temporal", "spatial"),
    "mixing": ("mixing",),
    "local": ("local",),
    "global": ("global",),
    "local_global": ("local", "global"),
}
# Schemes of two steps -> the one that class tokens skip.
SKIPPED = {"divided": "temporal", "factorized": "temporal", "local_global": "local"}


@dataclass(frozen=True)
class Rollout:
    """The class token's row; `classes` and `tokens` of a clip sum to 1 together.

    Attributes:
        classes: what stays on the class tokens.
        tokens: what comes from each token of the grid.
        parts: of a model with two kinds of attention, by kind: the row where all blocks had that
            kind alone. Of a kind that the class token skips it is the mean row of all tokens.
    """

    classes: Float[np.ndarray, " B"]
    tokens: Float[np.ndarray, "B T H W"]
    parts: dict[str, np.ndarray]


def capture(module: nn.Module, method: str) -> bool:
    """For `model.apply(..., mutable=["intermediates"], capture_intermediates=capture)`: the token
    grid beside the attention maps, since these do not tell its height and width."""
    return method == "tokens" and isinstance(module, LogoFormer)


def can_roll_out(model: nn.Module) -> bool:
    """Whether the model has a class token that attends by steps known here."""
    if isinstance(model, LogoFormer):
        return model.attention in STEPS
    return isinstance(model, FormerDfer)


def rollout(model: nn.Module, intermediates: Maps) -> Rollout:
    """Roll out the attention of a model for which `can_roll_out` holds.

    Args:
        intermediates: the collection of that name, of `model.apply` with `capture`.
    """
    if isinstance(model, FormerDfer):
        return _former_dfer(model, intermediates)
    assert isinstance(model, LogoFormer)
    batch, *grid = intermediates["tokens"][0].shape[:4]
    count = grid[0] if model.attention in ("spatial", "mixing") else 1
    of_class = np.full((batch, count), 1 / count), np.zeros((batch, *grid))
    of_tokens = np.zeros((batch, count)), np.full((batch, *grid), 1 / np.prod(grid))
    steps = STEPS[model.attention]
    classes, tokens = _walk(model, intermediates, of_class, steps)
    parts = {}
    if len(steps) > 1:
        for step in steps:
            start = of_tokens if step == SKIPPED[model.attention] else of_class
            parts[step] = _walk(model, intermediates, start, (step,))[1]
    return Rollout(classes.sum(1), tokens, parts)


def _walk(
    model: LogoFormer, intermediates: Maps, shares: Shares, chosen: Collection[str]
) -> Shares:
    """Carry shares back from the last block to the first, through the chosen steps."""
    names = [name for name in STEPS[model.attention] if name in chosen]
    for index in reversed(range(model.num_blocks)):
        options = model.block_options(index, np.dtype(np.float32))
        found = intermediates[f"block_{index}"]["attention"]
        steps = [_step(name, model.attention, options, found, model.dim) for name in names]
        if model.parallel and len(steps) > 1:
            shares = _side_by_side(shares, *steps)
            continue
        for step in reversed(steps):
            classes, tokens = step(shares)
            shares = (shares[0] + classes) / 2, (shares[1] + tokens) / 2
    return shares


def _step(name: str, scheme: str, options: AttentionOptions, found: Maps, dim: int) -> Step:
    """A^T of one step: from the shares of its queries to those of its keys. Tokens that take no
    part keep theirs."""
    if name == "local":
        return partial(_local, options=options, found=found["local"])
    if name == "global":
        return partial(_global, options=options, found=found["global"])
    if name == "full":
        return partial(_full, weights=_mean(found["full"]))
    if name == "temporal":
        return partial(_temporal, weights=_mean(found["temporal"]["attention"]))
    if name == "mixing":
        channels = dim // options.num_heads
        share = channels // options.mixing_share / channels
        return lambda shares: _from_neighbours(_framewise(shares, _mean(found)), share)
    if scheme == "spatial":
        return partial(_framewise, weights=_mean(found["spatial"]))
    return partial(_copied, weights=_mean(found["spatial"]["attention"]))


def _side_by_side(shares: Shares, local: Step, far: Step) -> Shares:
    """`parallel`: grid tokens by (I + L + G) / 3, class tokens, which L skips, by (I + G) / 2."""
    classes, tokens = shares
    of_classes = far((classes, 0 * tokens))
    of_tokens = far((0 * classes, tokens))
    _, near = local((0 * classes, tokens))
    return (
        (classes + of_classes[0]) / 2 + of_tokens[0] / 3,
        of_classes[1] / 2 + (tokens + near + of_tokens[1]) / 3,
    )


def _mean(found: Maps, name: str = "attention") -> np.ndarray:
    """The weights of a step, [... heads queries keys], averaged over heads."""
    return np.asarray(found[name][0], np.float64).mean(axis=-3)


def _full(shares: Shares, weights: np.ndarray) -> Shares:
    joined = np.concatenate([shares[0], shares[1].reshape(len(shares[1]), -1)], axis=1)
    return _split(np.einsum("bq,bqk->bk", joined, weights), shares)


def _local(shares: Shares, options: AttentionOptions, found: Maps) -> Shares:
    classes, tokens = shares
    places = _places(tokens.shape[1:], options.window, options.shift)
    weights = _mean(found)  # [B, windows, fhw, fhw]
    near = _spread(np.einsum("bwq,bwqk->bwk", _gather(tokens, places), weights), places, tokens)
    if "class_attention" not in found:
        return classes, near
    far = np.einsum("bq,bqk->bk", classes, _mean(found, "class_attention"))
    classes, of_classes = _split(far, shares)
    return classes, near + of_classes


def _global(shares: Shares, options: AttentionOptions, found: Maps) -> Shares:
    classes, tokens = shares
    count = classes.shape[1]
    joined = np.concatenate([classes, tokens.reshape(len(tokens), -1)], axis=1)
    keys = np.einsum("bq,bqk->bk", joined, _mean(found))  # [B, K + windows]
    pooled = np.asarray(found["pool"]["shares"][0], np.float64)  # [B or 1, windows, fhw]
    places = _places(tokens.shape[1:], options.window, (0, 0, 0))
    return keys[:, :count], _spread(keys[:, count:, None] * pooled, places, tokens)


def _temporal(shares: Shares, weights: np.ndarray) -> Shares:
    return shares[0], np.einsum("bqhw,bhwqk->bkhw", shares[1], weights)


def _framewise(shares: Shares, weights: np.ndarray) -> Shares:
    """One class token for each frame, before the frame's tokens."""
    classes, tokens = shares
    joined = np.concatenate([classes[:, :, None], tokens.reshape(*tokens.shape[:2], -1)], axis=2)
    keys = np.einsum("btq,btqk->btk", joined, weights)
    return keys[:, :, 0], keys[:, :, 1:].reshape(tokens.shape)


def _copied(shares: Shares, weights: np.ndarray) -> Shares:
    """A copy of the class tokens before the tokens of every frame; the copies are averaged."""
    classes, tokens = shares
    frames, count = tokens.shape[1], classes.shape[1]
    copies = np.repeat(classes[:, None] / frames, frames, axis=1)
    joined = np.concatenate([copies, tokens.reshape(*tokens.shape[:2], -1)], axis=2)
    keys = np.einsum("btq,btqk->btk", joined, weights)
    return keys[:, :, :count].sum(1), keys[:, :, count:].reshape(tokens.shape)


def _from_neighbours(shares: Shares, share: float) -> Shares:
    """Of each frame's share, `share` goes to either neighbour; at the ends there is only one."""
    own = 1 - 2 * share

    def spread(x: np.ndarray) -> np.ndarray:  # axis 1: frames
        whole = np.full(x.shape[1], 1.0)
        whole[0] -= share
        whole[-1] -= share
        x = x / whole.reshape(-1, *[1] * (x.ndim - 2))
        out = own * x
        out[:, 1:] += share * x[:, :-1]
        out[:, :-1] += share * x[:, 1:]
        return out

    return spread(shares[0]), spread(shares[1])


def _split(joined: np.ndarray, shares: Shares) -> Shares:
    count = shares[0].shape[1]
    return joined[:, :count], joined[:, count:].reshape(shares[1].shape)


def _places(grid: tuple[int, ...], window: Window, shift: Window) -> Int[np.ndarray, "nW fhw"]:
    """The number of the token at each place of each window, as `local_attention` cuts them; -1
    for padding."""
    ends = [(0, extra) for extra in padding(grid, window)]
    numbers = np.pad(np.arange(1, np.prod(grid) + 1).reshape(grid), ends)
    moved = [-tokens for tokens in moved_by(grid, window, shift)]
    rolled = jnp.asarray(np.roll(numbers, moved, (0, 1, 2))[None])
    return np.asarray(to_windows(rolled, window))[0] - 1


def _gather(tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The shares of the tokens of each window, 0 for padding: [B, nW, fhw]."""
    flat = tokens.reshape(len(tokens), -1)
    return np.where(places < 0, 0, flat[:, places])


def _spread(windows: np.ndarray, places: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Undo `_gather`: every token stands in one window."""
    flat = np.zeros((len(like), like[0].size))
    real = places >= 0
    flat[:, places[real]] = windows[:, real]
    return flat.reshape(like.shape)


def _former_dfer(model: FormerDfer, intermediates: Maps) -> Rollout:
    """Frames by the T-Former's class token; the positions of a frame (after stage 3 of the CNN,
    before stage 4) by the mean row of the S-Former. `parts` has both alone."""

    def roll(found: Maps, depth: int, row: np.ndarray) -> np.ndarray:  # [N, n]
        for index in reversed(range(depth)):
            weights = _mean(found["transformer"][f"layers_{index}"]["attention"])
            row = (row + np.einsum("nq,nqk->nk", row, weights)) / 2
        return row

    last = intermediates["t_former"]["transformer"]["layers_0"]["attention"]["attention"][0]
    batch, _, length, _ = last.shape
    start = np.zeros((batch, length))
    start[:, 0] = 1
    row = roll(intermediates["t_former"], model.temporal_depth, start)
    maps = intermediates["s_former"]
    positions = maps["transformer"]["layers_0"]["attention"]["attention"][0].shape[-1]
    side = isqrt(positions)  # frames are square
    even = np.full((batch * (length - 1), positions), 1 / positions)
    inside = roll(maps, model.spatial_depth, even).reshape(batch, length - 1, side, side)
    frames = row[:, 1:, None, None]
    alone = np.broadcast_to(frames / positions, inside.shape)
    parts = {"temporal": np.array(alone), "spatial": inside / (length - 1)}
    return Rollout(row[:, 0], frames * inside, parts)
