"""SAM against optax's own form, the paper's formulas in numpy, and its contract."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from logo_jax.common.errors import UserError
from logo_jax.training.sam import SamState, sam


def problem(seed=0, dtype=jnp.float32):
    """A small network with parameters of several shapes, and its gradient."""
    keys = jax.random.split(jax.random.key(seed), 4)
    params = {
        "first": {"kernel": jax.random.normal(keys[0], (5, 8), dtype), "bias": jnp.ones(8, dtype)},
        "last": jax.random.normal(keys[1], (8, 3), dtype),
    }
    x, y = jax.random.normal(keys[2], (16, 5)), jax.random.normal(keys[3], (16, 3))

    def loss(params):
        hidden = jnp.tanh(x @ params["first"]["kernel"] + params["first"]["bias"])
        return jnp.mean((hidden @ params["last"] - y) ** 2)

    return params, loss


def train(tx, params, loss, num_steps):
    def grad_fn(params, step):
        return jax.grad(loss)(params)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, grad_fn=grad_fn)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(num_steps):
        params, state = step(params, state)
    return params, state


def leaves(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def distance(a, b):
    return np.linalg.norm(leaves(a) - leaves(b))


BASES = {
    "sgd": lambda: optax.chain(
        optax.add_decayed_weights(1e-2),
        optax.sgd(optax.cosine_decay_schedule(0.1, 60), momentum=0.9),
    ),
    "adamw": lambda: optax.adamw(1e-2, weight_decay=0.1),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(0.05), optax.sgd(0.1)),
}


@pytest.mark.parametrize("base", BASES)
def test_equals_optax_over_many_steps(base):
    params, loss = problem()
    theirs = optax.contrib.sam(
        BASES[base](),
        optax.chain(optax.contrib.normalize(), optax.sgd(0.05)),
        opaque_mode=True,
    )
    expected, _ = train(theirs, params, loss, 50)
    result, state = train(sam(BASES[base](), 0.05), params, loss, 50)
    assert distance(expected, params) > 0.1
    np.testing.assert_allclose(leaves(result), leaves(expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.perturbation_norm, 0.05, rtol=1e-6)


def test_rho_0_is_the_base_optimizer():
    params, loss = problem()
    base = BASES["sgd"]()
    expected, _ = train(optax.with_extra_args_support(base), params, loss, 10)
    result, state = train(sam(base, 0), params, loss, 10)
    np.testing.assert_array_equal(leaves(result), leaves(expected))
    assert state.perturbation_norm == 0


def products(jaxpr):
    """Names of all primitives, those of inner jaxprs included."""
    names = []
    for eqn in jaxpr.eqns:
        inner = [p for p in eqn.params.values() if hasattr(p, "jaxpr")]
        names += [name for p in inner for name in products(p.jaxpr)]
        names += [] if inner else [eqn.primitive.name]
    return names


def test_a_step_costs_two_gradients_and_rho_0_costs_one():
    params, loss = problem()

    def primitives(tx):
        def step(params, state):
            gradient = jax.grad(loss)
            return tx.update(gradient(params), state, params, grad_fn=lambda p, _: gradient(p))

        return products(jax.make_jaxpr(step)(params, tx.init(params)).jaxpr)

    base = BASES["adamw"]()
    plain = primitives(optax.with_extra_args_support(base))
    assert primitives(sam(base, 0.0)) == plain
    assert plain.count("dot_general") > 0
    assert primitives(sam(base, 0.05)).count("dot_general") == 2 * plain.count("dot_general")


@pytest.mark.parametrize("rho, calls", [(0.05, 1), (0.0, 0)])
def test_grad_fn_is_called_once(rho, calls):
    params, loss = problem()
    seen = []

    def grad_fn(params, step):
        seen.append(step)
        return jax.grad(loss)(params)

    tx = sam(optax.sgd(0.1), rho)
    tx.update(jax.grad(loss)(params), tx.init(params), params, grad_fn=grad_fn)
    assert seen == [0] * calls


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_perturbation_is_that_of_the_papers(adaptive):
    params, loss = problem(1)
    rho = 0.3
    grads = jax.grad(loss)(params)
    w, g = leaves(params), leaves(grads)
    if adaptive:
        expected = rho * w**2 * g / np.linalg.norm(np.abs(w) * g)
    else:
        expected = rho * g / np.linalg.norm(g)
    perturbed = []

    def grad_fn(params, step):
        perturbed.append(params)
        return jax.grad(loss)(params)

    tx = sam(optax.sgd(1.0), rho, adaptive)
    updates, state = tx.update(grads, tx.init(params), params, grad_fn=grad_fn)
    np.testing.assert_allclose(leaves(perturbed[0]) - w, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.perturbation_norm, np.linalg.norm(expected), rtol=1e-5)
    # The base follows the gradient up there, from the parameters down here.
    np.testing.assert_allclose(leaves(updates), -leaves(jax.grad(loss)(perturbed[0])), rtol=1e-5)


def test_adaptive_sam_does_not_notice_a_rescaling():
    # a * b is the same function after (c a, b / c); ASAM must climb to the same loss, SAM does not.
    x, y = jnp.arange(1.0, 5.0), jnp.array([1.0, -2.0, 0.5, 3.0])

    def loss(params):
        return jnp.mean((params["a"] * params["b"] * x - y) ** 2)

    def climbed(params, adaptive):
        seen = []

        def grad_fn(params, step):
            seen.append(loss(params))
            return jax.grad(loss)(params)

        tx = sam(optax.sgd(1.0), 0.1, adaptive)
        tx.update(jax.grad(loss)(params), tx.init(params), params, grad_fn=grad_fn)
        return float(seen[0])

    plain = {"a": jnp.float32(0.7), "b": jnp.float32(1.1)}
    rescaled = {"a": jnp.float32(7.0), "b": jnp.float32(0.11)}
    assert climbed(plain, True) == pytest.approx(climbed(rescaled, True), rel=1e-4)
    assert climbed(plain, False) != pytest.approx(climbed(rescaled, False), rel=1e-2)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_zero_gradient_moves_nothing(adaptive):
    params, _ = problem()
    result, state = train(
        sam(optax.sgd(0.1, momentum=0.9), 0.05, adaptive), params, lambda p: jnp.zeros(()), 3
    )
    np.testing.assert_array_equal(leaves(result), leaves(params))
    assert state.perturbation_norm == 0
    # A gradient that is zero in one tensor only is an ordinary gradient.
    params, loss = problem()
    result, _ = train(
        sam(optax.sgd(0.1), 0.05, adaptive), {**params, "idle": jnp.zeros(3)}, loss, 3
    )
    assert np.isfinite(leaves(result)).all()
    np.testing.assert_array_equal(result["idle"], 0)


def test_sits_in_a_chain():
    params, loss = problem()
    grads = jax.grad(loss)(params)

    def grad_fn(params, step):
        return jax.grad(loss)(params)

    alone = sam(optax.sgd(0.1), 0.05)
    chain = optax.chain(optax.scale(2.0), alone, optax.scale(0.5))
    state = chain.init(params)
    updates, state = chain.update(grads, state, params, grad_fn=grad_fn)
    expected, _ = alone.update(grads, alone.init(params), params, grad_fn=grad_fn)
    # What stands before only climbs, and the climb has a fixed length; what stands after scales.
    np.testing.assert_allclose(leaves(updates), 0.5 * leaves(expected), rtol=1e-5)
    np.testing.assert_allclose(optax.tree.get(state, "perturbation_norm"), 0.05, rtol=1e-6)


def test_clipping_inside_the_base_clips_what_is_followed():
    params, loss = problem()
    tx = sam(optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(1.0)), 0.05)
    result, _ = train(tx, params, loss, 1)
    assert distance(result, params) == pytest.approx(1e-3, rel=1e-2)


def test_other_arguments_reach_the_base():
    def update(updates, state, params=None, *, factor):
        return jax.tree.map(lambda g: factor * g, updates), state

    base = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    params = {"w": jnp.array([3.0, 4.0])}
    tx = sam(base, 0.5)
    updates, _ = tx.update(
        params, tx.init(params), params, grad_fn=lambda params, step: params, factor=10.0
    )
    np.testing.assert_allclose(updates["w"], [33.0, 44.0], rtol=1e-6)  # w + 0.5 w / 5


def test_what_is_missing_is_named():
    params, loss = problem()
    grads = jax.grad(loss)(params)
    tx = sam(optax.sgd(0.1), 0.05)
    state = tx.init(params)
    with pytest.raises(ValueError, match="needs grad_fn"):
        tx.update(grads, state, params)
    with pytest.raises(ValueError, match="needs params"):
        tx.update(grads, state, grad_fn=lambda params, step: grads)
    plain = sam(optax.sgd(0.1), 0.0)
    plain.update(grads, plain.init(params))  # rho 0 needs neither


@pytest.mark.parametrize("rho", [-0.05, float("nan"), float("inf")])
def test_a_bad_rho_is_refused(rho):
    with pytest.raises(UserError, match="rho is"):
        sam(optax.sgd(0.1), rho)


@pytest.mark.parametrize("adaptive", [False, True])
def test_parameters_keep_their_types(adaptive):
    params, loss = problem(dtype=jnp.bfloat16)
    params["last"] = params["last"].astype(jnp.float32)
    types = jax.tree.map(lambda x: x.dtype, params)

    def grad_fn(params, step):
        assert jax.tree.map(lambda x: x.dtype, params) == types
        return jax.grad(loss)(params)

    tx = sam(optax.sgd(0.1, momentum=0.9), 0.05, adaptive)
    state = tx.init(params)
    updates, new_state = tx.update(jax.grad(loss)(params), state, params, grad_fn=grad_fn)
    assert jax.tree.map(lambda x: x.dtype, optax.apply_updates(params, updates)) == types
    assert new_state.perturbation_norm.dtype == jnp.float32
    if not adaptive:
        np.testing.assert_allclose(new_state.perturbation_norm, 0.05, rtol=1e-6)


def test_works_with_a_donated_state():
    params, loss = problem()
    tx = sam(optax.sgd(0.1, momentum=0.9), 0.05)

    def step(params, state):
        gradient = jax.grad(loss)
        updates, state = tx.update(
            gradient(params), state, params, grad_fn=lambda p, _: gradient(p)
        )
        return optax.apply_updates(params, updates), state

    expected, _ = train(tx, params, loss, 5)
    donating = jax.jit(step, donate_argnums=(0, 1))
    state = tx.init(params)
    assert isinstance(state, SamState)
    params = jax.tree.map(jnp.copy, params)
    for _ in range(5):
        params, state = donating(params, state)
    np.testing.assert_array_equal(leaves(params), leaves(expected))
    assert donating._cache_size() == 1  # the state's types do not change from step to step
