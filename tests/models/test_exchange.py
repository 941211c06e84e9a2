"""Weights to PyTorch and back: round trips, backbones for every system, heads, positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from configs import wild
from logo_jax import pretrained
from logo_jax.common.errors import UserError
from logo_jax.models import SYSTEMS, build
from tests.models.test_pretrained import torchvision_shapes

CLIP = (16, 48, 48, 3)


def options(system):
    return {**wild.SYSTEMS[system], "width": 8} if system != "xvit" else wild.SYSTEMS[system]


def drawn(system, num_classes=7, seed=0, clip=CLIP, **extra):
    """Variables of a small form of a system, every number another one."""
    model = build(system, num_classes, **{**options(system), **extra})
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *clip)))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.uniform(0.1, 1, leaf.shape).astype(leaf.dtype), shapes)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for path, value in flatten_dict(expected).items():
        np.testing.assert_allclose(flatten_dict(found)[path], value, rtol=1e-6, err_msg=str(path))


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_saved_can_be_loaded(system, tmp_path):
    path = tmp_path / "weights.safetensors"
    variables = drawn(system)
    pretrained.save(path, variables, system)
    loaded, report = pretrained.load_into(path, drawn(system, seed=1), system)
    assert_equal(loaded, variables)
    count = sum(1 for name in safetensors.numpy.load_file(path) if "num_batches" not in name)
    assert f"{count} of {count} {system} tensors loaded" in report


def test_load_takes_the_number_of_classes_from_the_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    variables = drawn("xvit", num_classes=5)
    pretrained.save(path, variables, "xvit")
    assert_equal(pretrained.load(path, "xvit", clip_shape=CLIP, **options("xvit")), variables)


RESNET_SYSTEMS = ("logo_former", "stt", "former_dfer", "resnet18_lstm", "resnet18_gru")


@pytest.mark.parametrize("system", RESNET_SYSTEMS)
def test_a_resnet_for_every_system_that_has_one(system, tmp_path):
    path = tmp_path / "resnet18.safetensors"
    rng = np.random.default_rng(2)
    file = {
        name: rng.uniform(0.1, 1, shape).astype(np.float32) if shape else np.array(7)
        for name, shape in torchvision_shapes(8).items()
    }
    safetensors.numpy.save_file(file, path)
    start = drawn(
        system, **({"stage": 4, "window": (2, 2, 2)} if "stage" in options(system) else {})
    )
    loaded, report = pretrained.load_into(path, start, system)
    assert report.startswith("100 of 100 backbone tensors loaded")
    assert report.endswith("ignored: fc.weight, fc.bias, 20 x num_batches_tracked")
    assert len(jax.tree.leaves([group["backbone"] for group in loaded.values()])) == 100
    changed = [
        path
        for path, value in flatten_dict(loaded).items()
        if not np.array_equal(value, flatten_dict(start)[path])
    ]
    assert len(changed) == 100 and all(path[1] == "backbone" for path in changed)
    # The number of classes is that of the package's data sets, not the file's.
    del file["layer4.1.bn2.weight"]
    safetensors.numpy.save_file(file, path)
    with pytest.raises(
        UserError, match=r"backbone .*layer4\.1\.bn2\.weight is missing in the file"
    ):
        pretrained.load_into(path, start, system)


def test_kinetics_weights(tmp_path):
    """A head of 400 classes stays out; the same file serves M3DFEL's instances."""
    path = tmp_path / "r3d_18.safetensors"
    kinetics = drawn("r3d_18", num_classes=400)
    pretrained.save(path, kinetics, "r3d_18")
    start = drawn("r3d_18", seed=1)
    loaded, report = pretrained.load_into(path, start, "r3d_18")
    assert report.startswith("100 of 100 r3d_18 tensors loaded")
    assert "ignored: fc.weight (400, 64), fc.bias (400,)" in report
    assert_equal(loaded["params"]["backbone"], kinetics["params"]["backbone"])
    assert_equal(loaded["params"]["head"], start["params"]["head"])
    alone = {n: t for n, t in safetensors.numpy.load_file(path).items() if not n.startswith("fc.")}
    safetensors.numpy.save_file(alone, tmp_path / "backbone.safetensors")
    _, report = pretrained.load_into(tmp_path / "backbone.safetensors", start, "r3d_18")
    assert report.startswith("100 of 100 backbone tensors loaded")
    loaded, report = pretrained.load_into(path, drawn("m3dfel", seed=1), "m3dfel")
    assert report.startswith("100 of 100 backbone tensors loaded")
    assert_equal(loaded["params"]["backbone"], kinetics["params"]["backbone"])


def test_positions_of_another_size_are_interpolated(tmp_path):
    path = tmp_path / "weights.safetensors"
    variables = drawn("stt")
    variables["params"]["time_position"][:] = 2.0
    pretrained.save(path, variables, "stt")
    loaded, report = pretrained.load_into(path, drawn("stt", clip=(8, 80, 80, 3)), "stt")
    assert loaded["params"]["time_position"].shape == (1, 9, 1, 64)
    np.testing.assert_allclose(loaded["params"]["time_position"], 2.0)
    assert loaded["params"]["space_position"].shape == (1, 1, 25, 64)
    assert "space_position from (1, 1, 9, 64) to (1, 1, 25, 64)" in report


def test_unknown_systems_and_a_file_of_another_system(tmp_path):
    path = tmp_path / "weights.safetensors"
    pretrained.save(path, drawn("stt"), "stt")
    with pytest.raises(UserError, match='Unknown system "st": .* Did you mean "stt"'):
        pretrained.load(path, "st")
    with pytest.raises(
        UserError, match=r"class_token is not in the model; .*is missing in the file"
    ):
        pretrained.load_into(path, drawn("r3d_18"), "r3d_18")
    with pytest.raises(UserError, match=r"space_position has shape \(1, 1, 9, 64\), the model"):
        pretrained.load_into(path, drawn("stt", dim=32, clip=(8, 80, 80, 3)), "stt")
    with pytest.raises(UserError, match="There is no weights file"):
        pretrained.load(tmp_path / "none.pth", "stt")


@pytest.mark.parametrize(
    "system",
    ["former_dfer", *(pytest.param(s, marks=pytest.mark.slow) for s in ("r3d_18", "resnet18_gru"))],
)
def test_saved_weights_in_the_pytorch_form(system, tmp_path):
    """`load_state_dict(strict=True)` takes the file, and the logits are the same."""
    torch = pytest.importorskip("torch", reason="skipped: torch")
    from tests.models import test_former_dfer, test_recurrent, test_video_resnet

    small = {
        "former_dfer": {"width": 4, "num_heads": 4, "spatial_depth": 1, "temporal_depth": 1},
        "r3d_18": {"width": 4},
        "resnet18_gru": {"width": 4, "hidden_size": 8},
    }[system]
    clips = np.random.default_rng(3).normal(size=(2, 4, 33, 33, 3)).astype(np.float32)
    model = build(system, 5, **small)
    shapes = jax.eval_shape(model.init, jax.random.key(0), clips)
    rng = np.random.default_rng(4)
    variables = jax.tree.map(lambda s: rng.uniform(0.1, 0.3, s.shape).astype(np.float32), shapes)
    path = tmp_path / "weights.safetensors"
    pretrained.save(path, variables, system)
    form = {
        "former_dfer": lambda: test_former_dfer.reference(small, 4, 9, 5),
        "r3d_18": lambda: test_video_resnet.torch_video_resnet("3d", 4, 5),
        "resnet18_gru": lambda: test_recurrent.reference(5, "gru", 4, 8),
    }[system]()
    state = {n: torch.tensor(t) for n, t in safetensors.numpy.load_file(path).items()}
    form.load_state_dict(state, strict=True)
    expected = form.eval()(torch.tensor(clips)).detach()
    logits = jax.jit(model.apply)(variables, clips).logits
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
