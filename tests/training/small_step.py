"""A training step of a small network, and its parts written out in plain JAX to check it by."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from logo_jax.common.mesh import data_mesh
from logo_jax.models.contract import Output
from logo_jax.training.objective import Objective
from logo_jax.training.sharpness import Sharpness
from logo_jax.training.state import create_state
from logo_jax.training.step import make_train_step

RATE, NUM_CLASSES, CLIPS = 0.3, 3, 8
LABELS = np.array([0, 2, 2, 0, 1, 0, 1, 2])


class Net(nn.Module):
    """Clips -> (batch norm ->) a small feature -> logits; `scale` makes perturbations matter."""

    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(self, clips, train=False):
        x = clips.reshape(len(clips), -1)
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(x)
        features = jnp.tanh(nn.Dense(4, name="backbone")(x))
        features = nn.Dropout(self.dropout, deterministic=not train)(features)
        return Output(nn.Dense(NUM_CLASSES, name="head")(features), features)


def clips(seed=0):
    return np.random.default_rng(seed).standard_normal((CLIPS, 1, 2, 2, 3)).astype(np.float32)


def variables(model):
    found = dict(model.init(jax.random.key(0), clips()))
    return {"params": found["params"], "batch_stats": found.get("batch_stats", {})}


def train(model, steps=1, base=None, batches=None, weights=None, state=None, form=None, **options):
    """States after each of `steps` steps, and the metrics of each."""
    form = form or Sharpness(rho=0)
    tx = form.around(base or optax.sgd(RATE))
    mesh = data_mesh()
    objective = Objective(class_counts=np.bincount(LABELS), **(weights or {"cross_entropy": 1.0}))
    centers = np.random.default_rng(1).standard_normal((NUM_CLASSES, 4)).astype(np.float32)
    loss_state = {"center_loss": {"centers": jnp.asarray(centers)}} if objective.center_loss else {}
    state = state or create_state(
        variables(model), tx, 0, mesh, loss_state, keep_ema=options.get("ema_decay", 0) > 0
    )
    step = make_train_step(
        model, tx, objective, lambda batch: batch["clips"], lambda _: RATE, mesh,
        sharpness=form, **options,
    )  # fmt: skip
    states, metrics = [], []
    for index in range(steps):
        found = clips(index) if batches is None else batches[index]
        batch = {"clips": jnp.asarray(found), "label": jnp.asarray(LABELS)}
        state, numbers = step(jax.tree.map(jnp.copy, state), batch)
        states.append(state)
        metrics.append({name: float(value) for name, value in numbers.items()})
    return states, metrics


def cross_entropy(model, params, found, labels, batch_stats=None):
    out, _ = model.apply(
        {"params": params, "batch_stats": batch_stats or {}},
        found,
        train=True,
        mutable=["batch_stats"],
    )
    return -jax.nn.log_softmax(out.logits)[jnp.arange(len(labels)), labels].mean()


gradient = jax.jit(jax.grad(cross_entropy, argnums=1), static_argnums=0)


def move(params, direction, factor):
    return jax.tree.map(lambda w, d: w + factor * d, params, direction)


def climb(params, grads, rho):
    """SAM's w + rho * g / ||g||."""
    return move(params, grads, rho / np.linalg.norm(flat(grads)))


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def close(a, b, **tolerance):
    np.testing.assert_allclose(flat(a), flat(b), **{"rtol": 1e-5, "atol": 1e-6} | tolerance)
