"""Rollout against dense matrices over all pairs of tokens, built from queries, keys and masks."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.models import build
from logo_jax.models.layers import AttentionOptions
from logo_jax.models.rollout import can_roll_out, capture, rollout
from logo_jax.models.windowed import PooledTokens
from tests.models.parity import jit, randomized

TINY = dict(stage=1, width=4, dim=8, mlp_dim=12, num_heads=2, num_blocks=2, window=(2, 2, 2))
CLIPS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 16, 16, 3)), jnp.float32)
GRID = (4, 4, 4)
PLACES = np.array(list(product(*map(range, GRID))))  # [THW, 3]


def softmax(scores):
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def weights(queries, keys, params, allowed=True):
    """Mean over heads of the attention of normalized tokens: [n m] of one clip."""
    q = np.einsum("nc,chd->hnd", queries, np.asarray(params["query"]["kernel"]).reshape(8, 2, 4))
    k = np.einsum("nc,chd->hnd", keys, np.asarray(params["key"]["kernel"]).reshape(8, 2, 4))
    scores = np.einsum("hnd,hmd->hnm", q, k) / np.sqrt(4)
    return softmax(np.where(allowed, scores, -np.inf)).mean(0)


def window_of(window, shift):
    """The window of each token: floor((i - shift) / window), no shift along a single window."""
    padded = [-(-n // w) * w for n, w in zip(GRID, window, strict=True)]
    moved = [s if n > w else 0 for s, n, w in zip(shift, padded, window, strict=True)]
    return [tuple((place - moved) // window) for place in PLACES]


def local(found, params, clip, window, shift):
    tokens = np.asarray(found["norm"]["__call__"][0])[clip].reshape(-1, 8)
    homes = window_of(window, shift)
    same = np.array([[a == b for b in homes] for a in homes])
    step = np.eye(65)
    step[1:, 1:] = weights(tokens, tokens, params, same)
    return step


def pooling(params, window):
    """[windows, THW]: the share of each token in its pooled token."""
    homes = window_of(window, (0, 0, 0))
    size = np.abs(params["weights"]).sum(1).reshape(window) if params else np.ones(window)
    rows = []
    for home in sorted(set(homes)):
        row = [
            size[tuple(place - np.multiply(home, window))] if own == home else 0
            for own, place in zip(homes, PLACES, strict=True)
        ]
        rows.append(np.array(row) / np.sum(row))
    return np.array(rows)


def far(found, params, clip, window):
    queries = np.asarray(found["norm"]["__call__"][0])[clip]
    keys = np.asarray(found["pooled_norm"]["__call__"][0])[clip]
    back = np.zeros((len(keys), 65))
    back[0, 0] = 1
    back[1:, 1:] = pooling(params.get("pool"), window)
    return weights(queries, keys, params) @ back


def applied(**options):
    model = build("logo_former", 3, **TINY | options)
    tree = randomized(model, CLIPS)

    @jit
    def run(tree, clips):
        everything = lambda _, name: name in ("tokens", "__call__")  # noqa: E731
        return model.apply(
            tree, clips, mutable=["intermediates"], capture_intermediates=everything
        )[1]["intermediates"]

    return model, tree["params"], jax.device_get(run(tree, CLIPS))


def assert_rows(row, found, clip, classes=1):
    np.testing.assert_allclose(row.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(found.classes[clip], row[:classes].sum(), rtol=1e-4)
    np.testing.assert_allclose(found.tokens[clip].ravel(), row[classes:], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "options",
    [
        {"window": (2, 3, 3), "pad_windows": True, "shift_windows": True},
        pytest.param({"parallel": True}, marks=pytest.mark.slow),
        pytest.param({"pool": "average", "window": (4, 2, 2)}, marks=pytest.mark.slow),
    ],
)
def test_local_global(options):
    model, params, maps = applied(**options)
    found = rollout(model, maps)
    for clip in range(2):
        dense, only = np.eye(65), {"local": np.eye(65), "global": np.eye(65)}
        for index in range(2):
            own, of = maps[f"block_{index}"]["attention"], params[f"block_{index}"]["attention"]
            shift = model.block_options(index, np.dtype("float32")).shift
            near = local(own["local"], of["local"], clip, model.window, shift)
            distant = far(own["global"], of["global"], clip, model.window)
            half = {"local": (np.eye(65) + near) / 2, "global": (np.eye(65) + distant) / 2}
            if model.parallel:
                block = (np.eye(65) + near + distant) / 3
                block[0] = half["global"][0]
            else:
                block = half["global"] @ half["local"]
            dense = block @ dense
            only = {name: half[name] @ step for name, step in only.items()}
        assert_rows(dense[0], found, clip)
        np.testing.assert_allclose(
            found.parts["global"][clip].ravel(), only["global"][0, 1:], rtol=1e-4, atol=1e-7
        )
        np.testing.assert_allclose(
            found.parts["local"][clip].ravel(), only["local"][1:, 1:].mean(0), rtol=1e-4, atol=1e-7
        )


@pytest.mark.parametrize("scheme", ["factorized", pytest.param("divided", marks=pytest.mark.slow)])
def test_time_then_space_with_copied_class_tokens(scheme):
    model, params, maps = applied(attention=scheme)
    found = rollout(model, maps)
    frame, position = PLACES[:, 0], PLACES[:, 1] * 4 + PLACES[:, 2]
    for clip in range(2):
        dense = np.eye(65)
        for index in range(2):
            own, of = maps[f"block_{index}"]["attention"], params[f"block_{index}"]["attention"]
            x = np.asarray(own["temporal"]["norm"]["__call__"][0])[clip].reshape(-1, 8)
            in_time = np.eye(65)
            in_time[1:, 1:] = weights(
                x, x, of["temporal"]["attention"], position[:, None] == position[None]
            )
            cls, x = (np.asarray(y)[clip].reshape(-1, 8) for y in
                      own["spatial"]["norm"]["__call__"])  # fmt: skip
            in_space = np.zeros((65, 65))
            for t in range(4):
                members = np.concatenate([[0], 1 + np.flatnonzero(frame == t)])
                joined = np.concatenate([cls, x])[members]
                step = weights(joined, joined, of["spatial"]["attention"])
                step[0] /= 4  # the mean of the copies
                in_space[np.ix_(members, members)] += step
            dense = (np.eye(65) + in_space) / 2 @ ((np.eye(65) + in_time) / 2) @ dense
        assert_rows(dense[0], found, clip)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["spatial", "mixing"])
def test_one_class_token_a_frame(scheme):
    """In the order [class tokens of all frames, tokens]: 4 + 64."""
    model, params, maps = applied(attention=scheme, mixing_share=4)
    found = rollout(model, maps)
    frame = np.concatenate([np.arange(4), PLACES[:, 0]])
    for clip in range(2):
        dense = np.eye(68)
        for index in range(2):
            own, of = maps[f"block_{index}"]["attention"], params[f"block_{index}"]["attention"]
            if scheme == "spatial":
                x = np.asarray(own["norm"]["__call__"][0])[clip]  # [T, 1 + HW, D]
                x = np.concatenate([x[:, 0], x[:, 1:].reshape(-1, 8)])
                step = weights(x, x, of["spatial"], frame[:, None] == frame[None])
            else:  # keys are shifted as well: the weights as the model gives them
                given = np.asarray(own["attention"][0])[clip].mean(1)  # [T, 17, 17]
                near = np.zeros((4, 4))  # one of a head's four channels from either neighbour
                for t in range(4):
                    near[t, t] = 2
                    for other in {t - 1, t + 1} & set(range(4)):
                        near[t, other] = 1
                near /= near.sum(1, keepdims=True)
                step = np.zeros((68, 68))
                for t, other in product(range(4), range(4)):
                    queries, keys = (np.flatnonzero(frame == f) for f in (t, other))
                    step[np.ix_(queries, keys)] = given[t] * near[t, other]
            dense = (np.eye(68) + step) / 2 @ dense
        assert_rows(dense[:4].mean(0), found, clip, classes=4)


@pytest.mark.parametrize("pool", [pytest.param(p, marks=pytest.mark.slow) for p in ("max", "conv")])
@pytest.mark.parametrize("scheme", ["global", "local", "full"])
@pytest.mark.slow
def test_rows_sum_to_one(scheme, pool):
    model, _, maps = applied(attention=scheme, pool=pool, window=(3, 2, 3), pad_windows=True)
    found = rollout(model, maps)
    np.testing.assert_allclose(found.classes + found.tokens.sum((1, 2, 3)), 1, rtol=1e-6)
    # A token that is the largest in no channel gives nothing to a maximum.
    assert (found.tokens >= 0).all() and not found.parts
    assert (found.tokens > 0).all() or (scheme, pool) == ("global", "max")


@pytest.mark.parametrize("pool", ["weighted", "average", "max", "conv"])
def test_shares_of_a_pooled_token(pool):
    """Two windows of 1 x 1 x 2, the second half filled with padding."""
    grid = np.random.default_rng(0).normal(size=(1, 1, 1, 3, 5)).astype(np.float32)
    options = AttentionOptions(window=(1, 1, 2), pool=pool, pad_windows=True)
    module = PooledTokens(options)
    tree = jax.tree.map(jnp.float32, randomized(module, jnp.asarray(grid)))
    _, found = module.apply(tree, jnp.asarray(grid), mutable=["intermediates"])
    (shares,) = found["intermediates"]["shares"]
    if pool == "average":
        first = 1 / 2
    elif pool == "max":
        first = np.mean(grid[0, 0, 0, 0] > grid[0, 0, 0, 1])
    elif pool == "weighted":
        size = np.abs(tree["params"]["weights"]).sum(1)
        first = size[0] / size.sum()
    else:
        size = np.abs(tree["params"]["kernel"])
        first = size[:5].sum() / size.sum()
    np.testing.assert_allclose(shares[0], [[first, 1 - first], [1, 0]], rtol=1e-6)


@pytest.mark.slow
def test_former_dfer():
    model = build("former_dfer", 3, width=4, num_heads=2, spatial_depth=2, temporal_depth=2)
    tree = randomized(model, CLIPS)
    apply = partial(model.apply, mutable=["intermediates"], capture_intermediates=capture)
    maps = jax.device_get(jit(apply)(tree, CLIPS)[1]["intermediates"])
    found = rollout(model, maps)

    def dense(former):
        steps = [former["transformer"][f"layers_{i}"]["attention"]["attention"][0].mean(1)
                 for i in range(2)]  # fmt: skip
        first, second = ((np.eye(len(s[0])) + s) / 2 for s in steps)
        return second @ first

    in_time, in_space = dense(maps["t_former"]), dense(maps["s_former"])
    frames = in_time[:, 0, 1:]
    np.testing.assert_allclose(found.classes, in_time[:, 0, 0], rtol=1e-4)
    np.testing.assert_allclose(found.tokens.sum((2, 3)), frames, rtol=1e-4)
    inside = in_space.mean(1).reshape(2, 4, -1)
    np.testing.assert_allclose(
        found.tokens.reshape(2, 4, -1), frames[..., None] * inside, rtol=1e-4
    )


def test_which_systems_have_a_class_token():
    assert can_roll_out(build("stt", 3)) and can_roll_out(build("former_dfer", 3))
    assert not can_roll_out(build("resnet18_gru", 3)) and not can_roll_out(build("m3dfel", 3))
