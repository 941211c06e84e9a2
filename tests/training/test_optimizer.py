"""Schedules against closed forms, optimizers against PyTorch's, and who is left alone by what."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import logo_jax
from logo_jax.common.errors import UserError
from logo_jax.models.systems import SYSTEMS
from logo_jax.training.optimizer import decay_mask, make_optimizer, make_schedule

TOTAL = 100


def rates(name, **options):
    rate = make_schedule(name, learning_rate=0.3, total_steps=TOTAL, **options)
    return np.array(jax.vmap(rate)(jnp.arange(TOTAL + 3)))


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_schedules_closed_forms(warmup):
    def warm_up(step):
        return min(1.0, (step + 1) / warmup) if warmup else 1.0

    def cosine(step):
        done = min(max((step - warmup) / (TOTAL - warmup), 0.0), 1.0)
        return 0.5 * (1 + math.cos(math.pi * done))

    steps = range(TOTAL + 3)
    constant = [0.3 * warm_up(s) for s in steps]
    stepwise = [0.3 * warm_up(s) * 0.1 ** (s // 40) for s in steps]
    cosines = [0.3 * warm_up(s) * cosine(s) for s in steps]
    np.testing.assert_allclose(rates("constant", warmup_steps=warmup), constant, rtol=1e-5)
    every_40 = rates("step", warmup_steps=warmup, decay_every_steps=40, decay_factor=0.1)
    np.testing.assert_allclose(every_40, stepwise, rtol=1e-5)
    never = rates("step", warmup_steps=warmup, decay_every_steps=10**12)
    np.testing.assert_allclose(never, constant, rtol=1e-5)
    result = rates("cosine", warmup_steps=warmup)
    np.testing.assert_allclose(result, cosines, rtol=1e-4, atol=1e-7)
    assert result[TOTAL - 1] > 0 and result[TOTAL] == 0
    assert result.max() == pytest.approx(0.3)
    assert result[0] > 0  # the first step of the warm-up is not lost


def test_a_warm_up_as_long_as_training_is_allowed():
    assert rates("cosine", warmup_steps=TOTAL)[TOTAL - 1] == pytest.approx(0.3)


def tree(seed=0):
    """Parameters named as in logo_former, of few numbers."""
    rng = np.random.default_rng(seed)

    def array(*shape):
        return rng.standard_normal(shape).astype(np.float32)  # numpy compiles nothing

    norm = {"scale": array(4), "bias": array(4)}
    return {
        "backbone": {"layer1_0": {"conv1": {"kernel": array(3, 3, 4, 4)}, "bn1": norm}},
        "projection": {"kernel": array(4, 6), "bias": array(6)},
        "space_position": array(1, 1, 9, 6),
        "time_position": array(1, 3, 1, 6),
        "class_token": array(1, 1, 6),
        "block_0": {
            "attention": {
                "norm": {"scale": array(6), "bias": array(6)},
                "pool": {"weights": array(4, 6)},
            },
        },
        "head": {"kernel": array(6, 3), "bias": array(3)},
    }


DECAYED = {
    "backbone/layer1_0/conv1/kernel",
    "projection/kernel",
    "block_0/attention/pool/weights",
    "head/kernel",
}


def by_path(params):
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


def test_decay_mask_of_a_small_tree():
    mask = by_path(decay_mask(tree()))
    assert {path for path, decayed in mask.items() if decayed} == DECAYED


def test_decay_mask_of_the_real_model():
    model = logo_jax.models.build("logo_former", num_classes=7, width=8, dim=16, num_blocks=2)
    clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), clips)["params"]
    decayed = by_path(decay_mask(params))
    assert {"space_position", "time_position", "class_token", "head/kernel"} <= set(decayed)
    for path, leaf in by_path(params).items():
        # Products with the input have two dimensions or more; so have positions and the token.
        embedding = path in ("space_position", "time_position", "class_token")
        assert decayed[path] == (leaf.ndim >= 2 and not embedding), path


@pytest.mark.parametrize("system", SYSTEMS)
def test_decay_mask_of_a_system(system):
    """Weight decay acts on the maps, and on nothing that is added or stands for a token."""
    model = logo_jax.models.build(system, num_classes=7)
    clips = jax.ShapeDtypeStruct((1, 16, 112, 112, 3), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(0), clips)["params"]
    decayed = by_path(decay_mask(params))
    for path, leaf in by_path(params).items():
        name = path.rsplit("/", 1)[-1]
        assert decayed[path] == (name in ("kernel", "weights")), path
        assert leaf.ndim >= 2 or not decayed[path], path


def apply(tx, params, gradients):
    """Run the steps with these gradients, whatever the parameters; return all parameters seen."""

    @jax.jit
    def step(params, state, grads):
        updates, state = tx.update(grads, state, params, grad_fn=lambda p, _: grads)
        return optax.apply_updates(params, updates), state

    state, seen = tx.init(params), []
    for grads in gradients:
        params, state = step(params, state, grads)
        seen.append(params)
    return seen


def test_weight_decay_moves_only_what_the_mask_names():
    params = tree()
    for base in ("sgd", "adamw"):
        tx, _ = make_optimizer(
            base=base, learning_rate=0.1, weight_decay=0.5, total_steps=1, rho=0.05
        )
        zero = jax.tree.map(np.zeros_like, params)
        result, before = by_path(apply(tx, params, [zero])[0]), by_path(params)
        for path, old in before.items():
            expected = old * (1 - 0.1 * 0.5) if path in DECAYED else old
            np.testing.assert_allclose(result[path], expected, rtol=1e-6, err_msg=f"{base} {path}")


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_parity_with_torch(base, clip_norm):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    steps = 60
    params, gradients = tree(), [tree(seed) for seed in range(1, steps + 1)]
    tx, rate = make_optimizer(
        base=base,
        learning_rate=0.05,
        momentum=0.9,
        weight_decay=0.1,
        rho=0.0,
        schedule="cosine",
        warmup_steps=10,
        total_steps=steps,
        clip_norm=clip_norm,
    )
    ours = apply(tx, params, gradients)

    theirs = {path: torch.tensor(np.array(leaf)) for path, leaf in by_path(params).items()}
    groups = [
        {"params": [t for p, t in theirs.items() if p in DECAYED], "weight_decay": 0.1},
        {"params": [t for p, t in theirs.items() if p not in DECAYED], "weight_decay": 0.0},
    ]
    if base == "sgd":
        optimizer = torch.optim.SGD(groups, lr=0.0, momentum=0.9)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
    for step, grads in enumerate(gradients):
        for path, grad in by_path(grads).items():
            theirs[path].grad = torch.tensor(np.array(grad))
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = float(rate(step))
        optimizer.step()
        if step in (0, 1, 20, steps - 1):
            for path, leaf in by_path(ours[step]).items():
                np.testing.assert_allclose(
                    leaf, theirs[path].numpy(), rtol=1e-4, atol=1e-5, err_msg=f"{step} {path}"
                )


@pytest.mark.parametrize("base", ["sgd", "adamw"])
def test_backbone_lr_scale(base):
    params = tree()
    # Three ordinary steps, then one whose gradient has overflowed.
    gradients = [tree(1), tree(2), tree(3), jax.tree.map(lambda x: np.full_like(x, np.inf), params)]
    seen = {}
    for scale in (1.0, 0.1, 0):
        tx, _ = make_optimizer(
            base=base,
            learning_rate=0.1,
            weight_decay=0.1,
            rho=0.0,
            total_steps=4,
            backbone_lr_scale=scale,
        )
        seen[scale] = [by_path(params) for params in apply(tx, params, gradients)]
    for path, start in by_path(params).items():
        in_backbone = path.startswith("backbone/")
        change = (0.1 if in_backbone else 1.0) * (seen[1.0][0][path] - start)
        np.testing.assert_allclose(
            seen[0.1][0][path] - start, change, rtol=1e-4, atol=1e-6, err_msg=path
        )
        frozen = [np.array_equal(params[path], start) for params in seen[0]]
        assert frozen == [in_backbone] * 4, path


def test_a_model_without_backbone_has_no_backbone_rate():
    tx, _ = make_optimizer(learning_rate=0.1, total_steps=1, backbone_lr_scale=0.1)
    with pytest.raises(UserError, match=r"no part named backbone .*head"):
        tx.init({"head": {"kernel": jnp.ones((2, 2))}})


def test_clipping_is_by_the_norm_over_all_parameters():
    params, grads = tree(), jax.tree.map(lambda x: 100 * x, tree(1))
    tx, _ = make_optimizer(
        learning_rate=1.0, momentum=0, weight_decay=0, clip_norm=0.5, total_steps=1
    )
    moved = jax.tree.map(np.subtract, apply(tx, params, [grads])[0], params)
    norm = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(moved)))
    assert norm == pytest.approx(0.5, rel=1e-4)
    off, _ = make_optimizer(
        learning_rate=1.0, momentum=0, weight_decay=0, clip_norm=0, total_steps=1
    )
    moved = jax.tree.map(np.subtract, apply(off, params, [grads])[0], params)
    np.testing.assert_allclose(moved["class_token"], -grads["class_token"], rtol=1e-4)


def test_sam_stands_outside():
    # loss = |w|^2 / 2: the gradient at w + rho w / |w| is w (1 + rho / |w|).
    params = {"kernel": jnp.array([3.0, 4.0])}
    tx, _ = make_optimizer(learning_rate=0.1, momentum=0, weight_decay=0, rho=0.5, total_steps=1)
    state = tx.init(params)
    updates, state = tx.update(params, state, params, grad_fn=lambda params, step: params)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 1.1 * params["kernel"], rtol=1e-6)
    assert float(state.perturbation_norm) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"base": "sdg"}, r'optimizer "sdg".*Did you mean "sgd"'),
        ({"schedule": "cosin"}, r'schedule "cosin".*Did you mean "cosine"'),
        ({"learning_rate": -0.1}, r"learning_rate is -0.1"),
        ({"learning_rate": float("nan")}, r"learning_rate is nan"),
        ({"momentum": 1.0}, r"momentum is 1.0.*less than 1"),
        ({"weight_decay": -1e-4}, r"weight_decay is -0.0001"),
        ({"rho": -0.05}, r"rho is -0.05"),
        ({"clip_norm": -1.0}, r"clip_norm is -1.0"),
        ({"backbone_lr_scale": -1.0}, r"backbone_lr_scale is -1.0"),
        ({"total_steps": 0}, r"total_steps is 0"),
        ({"warmup_steps": -1}, r"warmup_steps is -1"),
        ({"warmup_steps": 101}, r"warmup_steps is 101.*100 steps: shorten the warm-up or train"),
        ({"schedule": "step"}, r"decay_every_steps is 0.*at least 1"),
        (
            {"schedule": "step", "decay_every_steps": 40, "decay_factor": 10.0},
            r"decay_factor is 10.0.*at most 1",
        ),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(**{"learning_rate": 0.1, "total_steps": TOTAL} | options)
