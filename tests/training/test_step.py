"""The training step: which of SAM's two passes leaves what, against the step written out."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from logo_jax.common.mesh import data_mesh
from logo_jax.models.contract import Output
from logo_jax.training.checkpoint import Checkpoints
from logo_jax.training.objective import LOSSES, Objective
from logo_jax.training.sam import sam
from logo_jax.training.state import create_state
from logo_jax.training.step import make_train_step

RATE, RHO, NUM_CLASSES = 0.3, 0.2, 3
LABELS = np.array([0, 2, 2, 0, 2, 0])  # no clip of class 1


class Tiny(nn.Module):
    """Clips -> batch norm -> a small feature -> logits."""

    @nn.compact
    def __call__(self, clips, train=False):
        x = clips.reshape(len(clips), -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        features = jnp.tanh(nn.Dense(4, name="backbone")(x))
        return Output(nn.Dense(NUM_CLASSES, name="head")(features), features)


@functools.cache
def setting():
    clips = np.random.default_rng(0).standard_normal((6, 1, 2, 2, 3)).astype(np.float32)
    variables = Tiny().init(jax.random.key(0), clips)
    centers = np.random.default_rng(1).standard_normal((NUM_CLASSES, 4)).astype(np.float32)
    return clips, variables, centers


def start(objective, tx, mesh):
    _, variables, centers = setting()
    loss_state = {"center_loss": {"centers": jnp.asarray(centers)}} if objective.center_loss else {}
    variables = jax.tree.map(jnp.array, variables)  # the step donates them
    return create_state(variables, tx, 0, mesh, loss_state)


def run(objective, rho, steps=1):
    clips, _, _ = setting()
    tx = sam(optax.sgd(RATE), rho)
    mesh = data_mesh()
    state = start(objective, tx, mesh)
    step = make_train_step(
        Tiny(), tx, objective, lambda batch: batch["clips"], lambda step: RATE, mesh
    )
    for _ in range(steps):
        state, metrics = step(state, {"clips": jnp.asarray(clips), "label": jnp.asarray(LABELS)})
    return state, metrics


def objective_of(**weights):
    return Objective(class_counts=np.bincount(LABELS, minlength=NUM_CLASSES), **weights)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, RHO])
def test_centers_and_statistics_are_those_of_the_first_pass(rho):
    """Everything written out: features, equation 4, and both gradients with the old centres."""
    weight = 2.0
    clips, variables, centers = setting()
    state, metrics = run(objective_of(cross_entropy=1.0, center_loss=weight), rho)

    def forward(params):
        return Tiny().apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            clips,
            train=True,
            mutable=["batch_stats"],
        )

    def loss(params):
        out, _ = forward(params)
        log_p = jax.nn.log_softmax(out.logits)[jnp.arange(6), LABELS]
        distance = ((out.features - centers[LABELS]) ** 2).sum(-1)
        return -log_p.mean() + weight * 0.5 * distance.mean()

    gradient = jax.jit(jax.grad(loss))
    first = gradient(variables["params"])
    norm = optax.tree.norm(first)
    climbed = jax.tree.map(lambda w, g: w + rho * g / norm, variables["params"], first)
    followed = gradient(climbed)
    expected = jax.tree.map(lambda w, g: w - RATE * g, variables["params"], followed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state.params, expected)

    out, updated = forward(variables["params"])
    moved = centers.copy()
    for label in (0, 2):
        members = np.asarray(out.features)[LABELS == label]
        moved[label] -= 0.5 * (centers[label] - members).sum(0) / (1 + len(members))
    np.testing.assert_allclose(state.loss_state["center_loss"]["centers"], moved, atol=1e-6)
    np.testing.assert_array_equal(state.loss_state["center_loss"]["centers"][1], centers[1])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        state.batch_stats,
        updated["batch_stats"],
    )
    np.testing.assert_allclose(metrics["loss"], loss(variables["params"]), rtol=1e-5)
    np.testing.assert_allclose(metrics["perturbation_norm"], rho, rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_sam_steps_with_every_loss(name):
    weights = {"cross_entropy": 0.0, "focal": float(name not in ("cross_entropy", "focal"))}
    state, metrics = run(objective_of(**weights | {name: 0.5}), RHO, steps=2)
    assert metrics["finite"]
    np.testing.assert_allclose(metrics["perturbation_norm"], RHO, rtol=1e-5)
    total = weights["focal"] * metrics.get("focal", 0) + 0.5 * metrics[name]
    if name == "focal":
        total = 0.5 * metrics["focal"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    assert set(state.loss_state) == ({"center_loss"} if name == "center_loss" else set())


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_checkpoint_keeps_the_centers(tmp_path, weight):
    objective = objective_of(cross_entropy=1.0, center_loss=weight)
    state = start(objective, sam(optax.sgd(RATE), RHO), data_mesh())
    checkpoints = Checkpoints(tmp_path)
    meta = {"step": 0, "config": {}, "classes": [], "fingerprint": "", "train_clips": 3}
    checkpoints.save(state, meta)
    emptied = state.replace(loss_state=jax.tree.map(jnp.zeros_like, state.loss_state))
    restored, _ = checkpoints.restore(emptied)
    checkpoints.close()
    assert jax.tree.structure(restored.loss_state) == jax.tree.structure(state.loss_state)
    jax.tree.map(np.testing.assert_array_equal, restored.loss_state, state.loss_state)
