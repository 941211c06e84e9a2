"""Weight files: read as data, every tensor accounted for."""

import hashlib
import os
import pickle
import re
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import logo_jax
from logo_jax.common.errors import UserError
from logo_jax.models.pretrained import load_into
from logo_jax.models.torch_files import read_tensors

WIDTH = 4


def torchvision_shapes(width=WIDTH):
    """Names and shapes of torchvision's resnet18 state dict, from its structure."""
    shapes = {"conv1.weight": (width, 3, 7, 7)}

    def norm(name, channels):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", width)
    channels = width
    for stage in range(1, 5):
        out = width * 2 ** (stage - 1)
        for index in range(2):
            block = f"layer{stage}.{index}"
            shapes[f"{block}.conv1.weight"] = (out, channels, 3, 3)
            norm(f"{block}.bn1", out)
            shapes[f"{block}.conv2.weight"] = (out, out, 3, 3)
            norm(f"{block}.bn2", out)
            if channels != out:
                shapes[f"{block}.downsample.0.weight"] = (out, channels, 1, 1)
                norm(f"{block}.downsample.1", out)
            channels = out
    return shapes | {"fc.weight": (10, channels), "fc.bias": (10,)}


@pytest.fixture
def state_dict():
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.1, 1, shape).astype(np.float32) if shape else np.array(7, np.int64)
        for name, shape in torchvision_shapes().items()
    }


def variables(stage=4, **options):
    model = logo_jax.models.build(
        "logo_former", 3, stage=stage, width=WIDTH, dim=8, mlp_dim=8, num_heads=2, num_blocks=1,
        window=(1, 1, 1), **options,
    )  # fmt: skip
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 1, 32, 32, 3)))
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.5, leaf.dtype), shapes)


def write_torch(path, content, prefix="archive/"):
    """Write torch's zip format without torch: a pickle of names, and one member per storage."""
    storages = {}

    class Storage:
        def __init__(self, array):
            self.array = array

    class Tensor:
        def __init__(self, array):
            self.array = array

        def __reduce__(self):
            steps = tuple(s // self.array.itemsize for s in self.array.strides)
            arguments = (Storage(self.array), 0, self.array.shape, steps, False, {})
            return Named("torch._utils", "_rebuild_tensor_v2"), arguments

    class Named:
        def __init__(self, module, name):
            self.module, self.name = module, name

        def __call__(self):
            raise AssertionError

    class Pickler(pickle._Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                key = str(len(storages))
                storages[key] = value.array
                kind = {"float32": "FloatStorage", "int64": "LongStorage", "float16": "HalfStorage"}
                named = Named("torch", kind[str(value.array.dtype)])
                return ("storage", named, key, "cpu", value.array.size)
            return None

        def save(self, value, save_persistent_id=True):
            if isinstance(value, Named):
                self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
            else:
                super().save(value, save_persistent_id)

    def wrap(value):
        if isinstance(value, np.ndarray):
            return Tensor(value)
        return {k: wrap(v) for k, v in value.items()} if isinstance(value, dict) else value

    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"{prefix}data.pkl", "w") as file:
            Pickler(file, protocol=2).dump(wrap(content))
        for key, array in storages.items():
            archive.writestr(f"{prefix}data/{key}", array.tobytes())


def write_evil(path, *instructions):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"".join(instructions))


FORMATS = {
    "torchvision": lambda state: state,
    "resnet18_msceleb": lambda state: {"state_dict": state},
    "ijba_res18_naive": lambda state: {
        "epoch": 12,
        "arch": "resnet18",
        "state_dict": {f"module.{name}": value for name, value in state.items()},
    },
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_loads_every_tensor(tmp_path, state_dict, form):
    path = tmp_path / "weights.pth"
    write_torch(path, FORMATS[form](state_dict))
    start = variables()
    loaded, report = load_into(path, start, "logo_former")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert report == (
        f"100 of 100 backbone tensors loaded from {path}, sha256 {digest}; "
        "ignored: fc.weight, fc.bias, 20 x num_batches_tracked"
    )
    backbone = loaded["params"]["backbone"]
    np.testing.assert_array_equal(
        backbone["layer3_0"]["downsample_0"]["kernel"][0, 0],
        state_dict["layer3.0.downsample.0.weight"][:, :, 0, 0].T,
    )
    np.testing.assert_array_equal(
        backbone["conv1"]["kernel"].transpose(3, 2, 0, 1), state_dict["conv1.weight"]
    )
    np.testing.assert_array_equal(
        loaded["batch_stats"]["backbone"]["layer2_1"]["bn2"]["var"],
        state_dict["layer2.1.bn2.running_var"],
    )
    values = jax.tree.leaves([group["backbone"] for group in loaded.values()])
    assert len(values) == 100
    assert not any((value == 0.5).all() for value in values)
    assert jax.tree.structure(loaded) == jax.tree.structure(start)
    assert (loaded["params"]["head"]["kernel"] == 0.5).all()
    assert (start["params"]["backbone"]["bn1"]["scale"] == 0.5).all()


def test_safetensors(tmp_path, state_dict):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(state_dict, path)
    _, report = load_into(path, variables(), "logo_former")
    assert report.startswith("100 of 100 backbone tensors loaded from ")


def test_a_shorter_backbone_ignores_later_stages(tmp_path, state_dict):
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(state_dict, path)
    _, report = load_into(path, variables(stage=2), "logo_former")
    # Stages 3 and 4: 5 convolutions and 5 norms each, of 4 tensors.
    assert report.startswith("50 of 50 backbone tensors")
    assert report.endswith(
        "ignored: fc.weight, fc.bias, 50 of stages after 2, 20 x num_batches_tracked"
    )


def test_all_misfits_are_listed(tmp_path, state_dict):
    path = tmp_path / "weights.safetensors"
    del state_dict["bn1.weight"], state_dict["layer4.1.conv2.weight"]
    state_dict["conv1.weight"] = np.zeros((WIDTH, 3, 3, 3), np.float32)
    state_dict["layer5.0.conv1.weight"] = np.zeros(3, np.float32)
    state_dict["bn1.bias"] = np.full(WIDTH, np.nan, np.float32)
    safetensors.numpy.save_file(state_dict, path)
    with pytest.raises(UserError) as error:
        load_into(path, variables(), "logo_former")
    for part in (
        "bn1.weight is missing",
        "layer4.1.conv2.weight is missing",
        "conv1.weight has shape (4, 3, 3, 3), the model (4, 3, 7, 7)",
        "layer5.0.conv1.weight is not in the model",
        "bn1.bias holds numbers that are not finite",
    ):
        assert part in str(error.value)


def test_strided_and_half_tensors(tmp_path):
    path = tmp_path / "weights.pth"
    array = np.arange(12, dtype=np.float16).reshape(3, 4)
    write_torch(path, {"a": array})
    np.testing.assert_array_equal(read_tensors(path)["a"], array)


@pytest.mark.parametrize(
    "instructions",
    [
        b"cos\nsystem\n(S'touch {path}'\ntR.",
        b"cposix\nsystem\n(S'touch {path}'\ntR.",
        b'cbuiltins\nexec\n(S\'open("{path}", "w")\'\ntR.',
        b'c__builtin__\neval\n(S\'open("{path}", "w")\'\ntR.',
        b"(S'touch {path}'\nios\nsystem\n.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        b"ctorch\nload\n(S'{path}'\ntR.",
        b"cnumpy\nload\n(S'{path}'\ntR.",
    ],
)
def test_a_malicious_pickle_runs_nothing(tmp_path, instructions):
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    write_evil(path, instructions.replace(b"{path}", os.fsencode(victim)))
    with pytest.raises(UserError, match=r"asks for \S+, which is no tensor, and was not read"):
        read_tensors(path)
    assert not victim.exists()


def test_the_malicious_pickle_of_the_test_would_run(tmp_path):
    victim = tmp_path / "victim"
    pickle.loads(b"cos\nsystem\n(S'touch " + os.fsencode(victim) + b"'\ntR.")
    assert victim.exists()


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(0, (100,), (1,)), (5, (4,), (1,)), (-1, (2,), (1,)), (4, (3,), (-1,)), (0, (2**40,), (0,))],
)
def test_tensors_beyond_their_storage_are_refused(tmp_path, offset, shape, stride):
    path = tmp_path / "weights.pth"
    pickled = (
        b"}S'a'\nctorch._utils\n_rebuild_tensor_v2\n"
        b"((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI8\ntQ"
        + f"I{offset}\n(I{shape[0]}\nt(I{stride[0]}\ntI00\n}}tRs.".encode()
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", np.zeros(8, np.float32).tobytes())
    with pytest.raises(UserError, match=r"larger than its storage|negative"):
        read_tensors(path)


def test_unreadable_files(tmp_path, state_dict):
    with pytest.raises(UserError, match=r"There is no weights file .*none\.pth"):
        read_tensors(tmp_path / "none.pth")
    legacy = tmp_path / "legacy.pth"
    legacy.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(
        UserError, match=r"legacy\.pth is neither a safetensors file nor one of torch\.save"
    ):
        read_tensors(legacy)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match=r"not one that torch\.save wrote"):
        read_tensors(tmp_path / "other.zip")
    write_torch(tmp_path / "numbers.pth", {"a": 3})
    with pytest.raises(UserError, match="holds no table of tensors"):
        read_tensors(tmp_path / "numbers.pth")
    path = tmp_path / "cut.pth"
    write_torch(path, state_dict)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_tensors(path)


def test_files_of_torch_itself(tmp_path, state_dict):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    path = tmp_path / "weights.pth"
    module = torch.nn.Linear(2, 3)
    tensors = {
        **module.state_dict(),
        "turned": torch.arange(12.0).reshape(3, 4).T,
        "part": torch.arange(10)[3:7],
        "brain": torch.tensor([1.5, 2.5], dtype=torch.bfloat16),
    }
    torch.save({"state_dict": tensors, "epoch": 3}, path)
    found = read_tensors(path)
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name].astype(np.float64), tensor.double().numpy())
    torch.save(module.state_dict(), path)  # an OrderedDict with metadata
    assert found["weight"].shape == (3, 2)
    assert read_tensors(path).keys() == {"weight", "bias"}
    torch.save(module, path)  # the module itself: a pickle of classes
    with pytest.raises(UserError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_tensors(path)


def test_the_format_before_pytorch_1_6(tmp_path, state_dict):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    path = tmp_path / "resnet18_msceleb.pth"
    shared = torch.arange(6.0)
    tensors = {name: torch.tensor(array) for name, array in state_dict.items()}
    content = {"state_dict": {**tensors, "a": shared[1:3], "b": shared.reshape(2, 3).T}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    found = read_tensors(path)
    assert found.keys() == content["state_dict"].keys()
    for name, tensor in content["state_dict"].items():
        np.testing.assert_array_equal(found[name], tensor.numpy())
    for cut in (100, 3000):
        (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(UserError, match=r"cut\.pth cannot be read as a file of torch\.save"):
            read_tensors(tmp_path / "cut.pth")


def test_a_malicious_pickle_of_the_old_format_runs_nothing(tmp_path):
    torch = pytest.importorskip("torch", reason="skipped: torch")
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {victim}",)

    torch.save({"a": Evil()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(UserError, match=r"asks for posix\.system, which is no tensor"):
        read_tensors(path)
    assert not victim.exists()


def test_what_a_training_script_saves_beside_the_weights(tmp_path, monkeypatch):
    """Former-DFER's checkpoints hold a recorder of the script's own class, with numpy arrays."""
    torch = pytest.importorskip("torch", reason="skipped: torch")
    import __main__

    ran = []
    Recorder = type("Recorder", (), {"__module__": "__main__"})
    Recorder.__setstate__ = lambda self, state: ran.append(state)
    monkeypatch.setattr(__main__, "Recorder", Recorder, raising=False)
    recorder = Recorder()
    recorder.losses, recorder.best = np.zeros((3, 2), np.float32), np.float64(0.5)
    path = tmp_path / "model_best.pth"
    content = {"state_dict": {"module.fc.bias": torch.ones(2)}, "recorder": recorder}
    torch.save(content, path)
    assert read_tensors(path).keys() == {"module.fc.bias"}
    assert not ran
    torch.save({"state_dict": {"fc.bias": recorder}}, path)
    with pytest.raises(UserError, match="holds no table of tensors"):
        read_tensors(path)
