"""What the parity tests share: the same random weights in flax and PyTorch, and comparisons.

Compiling takes longer than running in these tests; without optimization it takes half as long.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from logo_jax.models.torch_form import to_torch

jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def randomized(model, *inputs, **options):
    """Variables without the symmetry of a fresh start: scales, biases and statistics too."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(model.init, **options), jax.random.key(0), *inputs)

    def draw(path, value):
        leaf = path[-1].key
        noise = rng.normal(size=value.shape)
        if leaf in ("scale", "var"):
            return 1 + 0.3 * np.abs(noise)
        if leaf in ("kernel", "weights"):
            return noise / np.sqrt(np.prod(value.shape[:-1]))
        return 0.3 * noise

    return jax.tree_util.tree_map_with_path(draw, shapes)


def load(module, variables, names):
    """Put `variables` into a PyTorch module, in float64; every tensor must find its place."""
    import torch

    state = {name: torch.tensor(value) for name, value in to_torch(variables, names).items()}
    missing, extra = module.double().load_state_dict(state, strict=False)
    assert not extra
    assert all(name.endswith("num_batches_tracked") for name in missing), missing


def assert_gradients_equal(gradients, module, names, zero=()):
    """Compare gradients by parameters, each by norm; `zero` names those whose true value is 0."""
    expected = {name: p.grad.numpy() for name, p in module.named_parameters()}
    found = to_torch({"params": gradients}, names)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        if name in zero:
            assert np.abs(gradient).max() < 1e-9 and np.abs(found[name]).max() < 1e-9, name
            continue
        ours = found[name]
        if ".bias_ih_l" in name or ".bias_hh_l" in name:
            # flax has one bias where PyTorch has two with equal gradients; the converter puts 0
            # in the place of one of them, which the other stands for.
            one, two = (".bias_ih_l", ".bias_hh_l")[:: 1 if ".bias_ih_l" in name else -1]
            ours = np.where(ours == 0, found[name.replace(one, two)], ours)
        error = np.linalg.norm(ours - gradient) / np.linalg.norm(gradient)
        assert error < 1e-6, (name, error)


def batch_norm_sizes(module):
    """A dictionary that the next forward pass fills: entries that each batch norm averages over."""
    import torch

    sizes = {}
    for name, child in module.named_modules():
        if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
            child.register_forward_hook(
                lambda child, inputs, _, name=name: sizes.update(
                    {name: inputs[0].numel() / inputs[0].shape[1]}
                )
            )
    return sizes


def assert_statistics_equal(new, old, module, sizes, names, train, momentum=0.1):
    """Compare statistics; PyTorch's running variance is of a sample, flax's of a population."""
    state, before = module.state_dict(), to_torch({"batch_stats": old}, names)
    for name, value in to_torch({"batch_stats": new}, names).items():
        if train and name.endswith("running_var"):
            n, kept = sizes[name.removesuffix(".running_var")], (1 - momentum) * before[name]
            value = kept + (value - kept) * n / (n - 1)
        np.testing.assert_allclose(value, state[name], rtol=0, atol=1e-9, err_msg=name)


def check_system(build, reference, clips, names, *, train, zero=(), momentum=0.1, **options):
    """Compare a system with its PyTorch form: logits, gradients, running statistics.

    Args:
        build: (dtype, **options) -> flax module.
        reference: PyTorch module that takes clips [B, T, H, W, 3] and gives logits.
        clips: float64 [B, T, H, W, 3].
        names: the system's TORCH_NAMES.
        zero: PyTorch names of parameters whose true gradient is zero.
    """
    import torch

    variables = randomized(build("float32", **options), clips)
    load(reference, variables, names)
    reference.train(train)
    sizes = batch_norm_sizes(reference)
    expected = reference(torch.tensor(clips))
    weights = np.random.default_rng(2).normal(size=expected.shape)
    (expected * torch.tensor(weights)).sum().backward()
    stats = variables.get("batch_stats", {})

    def objective(params, stats, clips):
        out, new = build("float64", **options).apply(
            {"params": params, "batch_stats": stats}, clips, train=train, mutable=["batch_stats"]
        )
        return (out.logits * weights).sum(), (out.logits, new.get("batch_stats", {}))

    with jax.enable_x64(True):
        grad = jit(jax.grad(objective, has_aux=True))
        gradients, (logits, new) = grad(variables["params"], stats, clips)
        np.testing.assert_allclose(logits, expected.detach(), rtol=0, atol=1e-8)
        assert_gradients_equal(gradients, reference, names, zero)
        assert_statistics_equal(new, stats, reference, sizes, names, train, momentum)

    model = build("float32", **options)
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
    forward = jit(lambda v, x: model.apply(v, x, train=train, mutable=["batch_stats"])[0])
    logits = forward(single, clips.astype(np.float32)).logits
    np.testing.assert_allclose(logits, expected.detach(), rtol=1e-4, atol=1e-4)
