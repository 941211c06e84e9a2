"""Weight files read as data: safetensors, and both formats of `torch.save`, with tensors only.

A `.pth` file holds a pickle, and a pickle may call anything when it is loaded. The unpickler here
knows a dozen harmless names and refuses a file that asks for any other, before anything is called.
Objects of a training script (`__main__`) and numpy arrays, which checkpoints of the field hold
beside the weights (Former-DFER's has its record of the epochs), become empty shells: none of their
code runs, and none of their content is kept. PyTorch is not needed.
"""

import contextlib
import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from logo_jax.common.errors import UserError

# PyTorch's storage classes and their element types in numpy.
STORAGES = {
    "FloatStorage": np.dtype(np.float32),
    "DoubleStorage": np.dtype(np.float64),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}

# The first pickle of the format before PyTorch 1.6, a number.
LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

NUMPY_OBJECTS = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core")
      for name in ("_reconstruct", "scalar")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how pickle writes the bytes of an array
}  # fmt: skip


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a weight file by name.

    A `{"state_dict": {...}, ...}` as training scripts save it is unwrapped; what else such a file
    holds (epoch, optimizer) is left out.

    Raises:
        UserError: no such file; neither format; a pickle that asks for anything but tensors.
    """
    if not path.is_file():
        raise UserError(f"There is no weights file {path}: give the path of one.")
    if zipfile.is_zipfile(path):
        content = _read_zip(path)
    elif _starts_with(path, LEGACY_MAGIC):
        content = _read_legacy(path)
    else:
        content = _read_safetensors(path)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, np.ndarray) for name, value in content.items()
    ):
        raise UserError(
            f"{path} holds no table of tensors by name: save `model.state_dict()` and give that."
        )
    return dict(content)


def sha256(path: Path) -> str:
    """Hash a file, so that a log says which weights were used."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, TypeError) as error:
        raise UserError(
            f"{path} is neither a safetensors file nor one of torch.save ({error}): save "
            "`model.state_dict()` in one of these formats."
        ) from error


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _read_zip(path: Path) -> Any:
    with _broken_bytes_are_said(path), zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise UserError(f"{path} is a zip file, but not one that torch.save wrote.")
        folder = pickles[0].rpartition("/")[0]
        prefix = f"{folder}/data/" if folder else "data/"

        def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            # The key only names a member of the archive that is open; no path is ever touched.
            return np.frombuffer(archive.read(f"{prefix}{key}"), dtype, count)

        return _TensorUnpickler(io.BytesIO(archive.read(pickles[0])), path, storage).load()


def _read_legacy(path: Path) -> Any:
    """Read the format of PyTorch before 1.6: five pickles, then the storages in turn."""
    with _broken_bytes_are_said(path):
        data = path.read_bytes()
        file = io.BytesIO(data)
        storages: dict[str, np.ndarray] = {}

        def storage(key: str, dtype: np.dtype, count: int) -> np.ndarray:
            if not 0 <= count * dtype.itemsize <= len(data):
                raise ValueError("a storage larger than the file")
            return storages.setdefault(key, np.zeros(count, dtype))  # filled in below

        _, _, _, content, keys = (_TensorUnpickler(file, path, storage).load() for _ in range(5))
        for key in keys:
            array = storages[key]
            if int.from_bytes(file.read(8), "little") != array.size:
                raise ValueError(f"storage {key} is not of the size that its tensors have")
            array[:] = np.frombuffer(file.read(array.nbytes), array.dtype)
        return content


@contextlib.contextmanager
def _broken_bytes_are_said(path: Path) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # broken bytes make pickle and zipfile raise almost anything
        raise UserError(
            f"{path} cannot be read as a file of torch.save ({type(error).__name__}: {error}): "
            "it may be cut off; get it again."
        ) from error


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds dicts of tensors, as numpy arrays, and refuses every other object."""

    def __init__(
        self, data: io.BytesIO, path: Path, storage: Callable[[str, np.dtype, int], np.ndarray]
    ) -> None:
        super().__init__(data)
        self._path, self._storage = path, storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "__main__" or (module, name) in NUMPY_OBJECTS:
            return _Shell
        if module == "torch" and name in STORAGES:
            return name  # a string, on which no later instruction of the pickle can act
        raise UserError(
            f"{self._path} asks for {module}.{name}, which is no tensor, and was not read: save "
            "`model.state_dict()` alone, best as safetensors."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the storage that `("storage", type, key, device, count, ...)` names."""
        _, storage, key, _, count, *view = pid
        if any(view):
            raise ValueError("a storage that is a part of another one")
        return self._storage(key, STORAGES[storage], count)


class _Shell:
    """Stands for an object that is not wanted: takes whatever a pickle gives it, keeps nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "_Shell":
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def _rebuild_tensor(
    storage: np.ndarray, offset: int, shape: tuple, stride: tuple, *_: Any
) -> np.ndarray:
    """View a storage as a tensor: `stride` counts elements."""
    if min((offset, *shape, *stride)) < 0:
        raise ValueError("a tensor with a negative shape, stride or offset")
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if all(shape) and max(last + 1, prod(shape)) > storage.size:
        raise ValueError("a tensor larger than its storage")
    steps = [step * storage.itemsize for step in stride]
    # A view: the storages of the old format are filled in later.
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)
