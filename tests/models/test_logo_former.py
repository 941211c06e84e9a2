"""The whole model: contract, independence of clips, types, randomness, bad input."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models import Output, build
from logo_jax.models.blocks import SCHEMES
from logo_jax.models.positions import fit_positions

TINY = dict(stage=1, width=4, dim=8, mlp_dim=12, num_heads=2, num_blocks=2, window=(2, 2, 2))
TINY |= dict(mixing_share=2)
CLIPS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 16, 16, 3)), jnp.float32)
# Compiling takes longer than running here; without optimization it takes half as long.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def in_the_fast_tier(schemes, *few):
    """All schemes as parameters of a test, all but a few marked slow."""
    return [s if s in few else pytest.param(s, marks=pytest.mark.slow) for s in schemes]


@cache
def variables():
    return jit(build("logo_former", 3, **TINY).init)(jax.random.key(0), CLIPS)


@cache
def compiled(train, **options):
    model = build("logo_former", 3, **TINY | options)

    def apply(tree, clips, key):
        rngs = {"dropout": key}
        return model.apply(tree, clips, train=train, rngs=rngs, mutable=["batch_stats"])

    return jit(apply)


def trained(options, clips, key, train=True):
    return compiled(train, **options)(variables(), clips, key)


def test_contract():
    tree = variables()
    assert {"backbone", "head", "space_position", "time_position", "class_token"} <= set(
        tree["params"]
    )
    assert set(tree["batch_stats"]) == {"backbone"}
    assert tree["params"]["space_position"].shape == (1, 1, 16, 8)
    assert tree["params"]["time_position"].shape == (1, 5, 1, 8)
    out, new = trained({}, CLIPS, jax.random.key(0))
    assert isinstance(out, Output)
    assert out.logits.shape == (2, 3)
    assert out.features.shape == (2, 8)
    assert not np.allclose(new["batch_stats"]["backbone"]["bn1"]["mean"], 0)
    # Equation 10: the head is linear in the features.
    head = tree["params"]["head"]
    np.testing.assert_allclose(
        out.features @ head["kernel"] + head["bias"], out.logits, rtol=1e-5, atol=1e-6
    )
    scale = jnp.std(tree["params"]["space_position"])
    assert 0.01 < scale < 0.03


@pytest.mark.parametrize("scheme", in_the_fast_tier(SCHEMES, "spatial", "local_global"))
def test_logits_depend_on_every_frame_and_no_other_clip(scheme):
    model = build("logo_former", 3, **TINY | {"attention": scheme, "num_blocks": 1})
    shapes = jax.eval_shape(model.init, jax.random.key(0), CLIPS)
    rng = np.random.default_rng(1)
    tree = jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(np.float32), shapes)

    @jit
    def gradient(tree, clips):
        return jax.grad(lambda clips: model.apply(tree, clips).logits[0, 0])(clips)

    reach = np.abs(gradient(tree, CLIPS)).max((2, 3, 4))  # [B, T]
    assert (reach[0] > 0).all()
    assert (reach[1] == 0).all()


def test_bfloat16_is_near_float32():
    out, _ = trained({}, CLIPS, jax.random.key(0))
    half, new = trained({"dtype": "bfloat16"}, CLIPS, jax.random.key(0))
    assert half.logits.dtype == half.features.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(new))
    np.testing.assert_allclose(half.features, out.features, rtol=0.1, atol=0.1)
    assert not np.array_equal(half.features, out.features)
    made = jax.eval_shape(
        build("logo_former", 3, dtype="bfloat16", **TINY).init, jax.random.key(0), CLIPS
    )
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(made))


@pytest.mark.slow
def test_dropout_is_a_function_of_the_key():
    options = {"dropout": 0.3, "drop_path": 0.3}
    first, stats = trained(options, CLIPS, jax.random.key(1))
    again, same = trained(options, CLIPS, jax.random.key(1))
    other, _ = trained(options, CLIPS, jax.random.key(2))
    np.testing.assert_array_equal(first.logits, again.logits)
    jax.tree.map(np.testing.assert_array_equal, stats, same)
    assert not np.allclose(first.logits, other.logits)
    plain, _ = trained({}, CLIPS, jax.random.key(1), train=False)
    calm, _ = trained(options, CLIPS, jax.random.key(1), train=False)
    np.testing.assert_array_equal(plain.logits, calm.logits)


def test_freeze_bn_leaves_the_statistics_alone():
    frozen, new = trained({"freeze_bn": True}, CLIPS, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, new["batch_stats"], variables()["batch_stats"])
    still, _ = trained({}, CLIPS, jax.random.key(0), train=False)
    np.testing.assert_allclose(frozen.logits, still.logits, rtol=1e-5, atol=1e-6)


def test_attention_maps_on_request():
    model = build("logo_former", 3, **TINY)
    _, extra = jit(partial(model.apply, mutable=["intermediates"]))(variables(), CLIPS)
    maps = extra["intermediates"]["block_1"]["attention"]
    (local,) = maps["local"]["attention"]
    (pooled,) = maps["global"]["attention"]
    assert local.shape == (2, 8, 2, 8, 8)  # [B, windows, heads, fhw, fhw]
    assert pooled.shape == (2, 2, 65, 9)  # [B, heads, 1 + THW, 1 + windows]
    np.testing.assert_allclose(pooled.sum(-1), 1, rtol=1e-5)


# Per scheme: the shapes of its maps, [..., heads, queries, keys], for 2 clips of 4 x 4 x 4 tokens.
MAPS = {
    "full": {"full/attention": (2, 2, 65, 65)},
    "spatial": {"spatial/attention": (2, 4, 2, 17, 17)},
    "divided": {
        "temporal/attention/attention": (2, 4, 4, 2, 4, 4),
        "spatial/attention/attention": (2, 4, 2, 17, 17),
    },
    "mixing": {"attention": (2, 4, 2, 17, 17)},
    "local": {"local/attention": (2, 8, 2, 8, 8), "local/class_attention": (2, 2, 1, 65)},
    "global": {"global/attention": (2, 2, 65, 9)},
}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", MAPS)
def test_maps_of_every_scheme(scheme):
    """Maps come on request, their rows sum to 1, and asking for them changes no number."""
    model = build("logo_former", 3, **TINY | {"attention": scheme, "num_blocks": 1})
    tree = jit(model.init)(jax.random.key(0), CLIPS)
    out, extra = jit(partial(model.apply, mutable=["intermediates"]))(tree, CLIPS)
    maps = extra["intermediates"]["block_0"]["attention"]
    for path, shape in MAPS[scheme].items():
        found = maps
        for name in path.split("/"):
            found = found[name]
        (weights,) = found
        assert weights.shape == shape
        np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(out.logits, jit(model.apply)(tree, CLIPS).logits, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["full", "local_global"])
def test_chunks_of_queries_change_nothing(scheme, monkeypatch):
    monkeypatch.setattr("logo_jax.models.attention.CHUNK", 16)
    options = TINY | {"attention": scheme, "num_blocks": 1}
    plain = build("logo_former", 3, **options)
    chunked = build("logo_former", 3, attention_impl="chunked", **options)
    tree = jit(plain.init)(jax.random.key(0), CLIPS)
    np.testing.assert_allclose(
        jit(chunked.apply)(tree, CLIPS).logits, jit(plain.apply)(tree, CLIPS).logits, rtol=1e-5,
        atol=1e-6,
    )  # fmt: skip


@pytest.mark.slow
def test_spatial_with_time_at_zero_is_blind_to_the_order_of_frames():
    model = build("logo_former", 3, **TINY | {"attention": "spatial"})
    tree = jit(model.init)(jax.random.key(0), CLIPS)
    tree["params"]["time_position"] *= 0
    apply = jit(model.apply)
    shuffled = CLIPS[:, np.array([2, 0, 3, 1])]
    np.testing.assert_allclose(
        apply(tree, CLIPS).logits, apply(tree, shuffled).logits, rtol=1e-5, atol=1e-6
    )


def test_positions_fit_another_size():
    longer = jnp.zeros((1, 8, 32, 32, 3))
    model = build("logo_former", 3, **TINY)
    like = jax.eval_shape(model.init, jax.random.key(0), longer)
    tree = jax.tree.map(jnp.copy, variables())
    # Embeddings that are linear in the place stay so: slope halved, since there are twice as many.
    tree["params"]["time_position"] = jnp.arange(5.0).reshape(1, 5, 1, 1).repeat(8, -1)
    rows = jnp.arange(4.0).repeat(4)
    tree["params"]["space_position"] = rows.reshape(1, 1, 16, 1).repeat(8, -1)
    fitted, report = fit_positions(tree, like)
    assert len(report) == 2
    time = fitted["params"]["time_position"]
    assert time.shape == (1, 9, 1, 8)
    np.testing.assert_allclose(time[0, 2:8, 0, 0], 0.75 + 0.5 * np.arange(1, 7), rtol=1e-5)
    assert time[0, 0, 0, 0] == 0  # the class token's
    space = fitted["params"]["space_position"].reshape(8, 8, 8)
    np.testing.assert_allclose(space[1:7, 3, 0], 0.25 + 0.5 * np.arange(6), rtol=1e-5)
    jax.eval_shape(model.apply, fitted, longer)
    same, none = fit_positions(tree, tree)
    assert not none
    jax.tree.map(np.testing.assert_array_equal, same, tree)


def test_odd_sizes_need_pad_windows():
    clips = jnp.zeros((1, 5, 12, 12, 3))  # grid 5 x 3 x 3
    init = lambda **options: jax.eval_shape(  # noqa: E731
        build("logo_former", 3, **TINY | options).init, jax.random.key(0), clips
    )
    for scheme in ("local", "global", "local_global"):
        with pytest.raises(UserError, match=r"2 x 2 x 2 .* 5 x 3 x 3 .*pad_windows=True"):
            init(attention=scheme)
        init(attention=scheme, pad_windows=True)
    init(attention="full")


def test_clips_of_another_size_are_refused():
    model = build("logo_former", 3, **TINY)
    with pytest.raises(UserError, match=r"time_position is 1 x 5 x 1 x 8, .* needs 1 x 3 x 1 x 8"):
        jax.eval_shape(model.apply, variables(), CLIPS[:, :2])
    with pytest.raises(UserError, match="space_position"):
        jax.eval_shape(model.apply, variables(), CLIPS[:, :, :8, :8])


def test_options_that_add_modules():
    options = TINY | {"final_norm": True, "global_out_proj": True, "pool": "conv"}
    made = jax.eval_shape(build("logo_former", 3, **options).init, jax.random.key(0), CLIPS)[
        "params"
    ]
    assert set(made["final_norm"]) == {"scale", "bias"}
    step = made["block_0"]["attention"]["global"]
    assert set(step["out"]) == {"kernel", "bias"}
    assert set(step["pool"]) == {"kernel", "bias"}
    assert set(step["query"]) == {"kernel"}
