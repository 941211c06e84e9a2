"""Weight files read as data: safetensors, and PyTorch's zip format with tensors only.

A `.pth` file holds a pickle, and a pickle may call anything when it is loaded. The unpickler here
knows a dozen harmless names and refuses a file that asks for any other, before anything is called.
PyTorch is not needed.
"""

import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
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
            f"{path} is neither a safetensors file nor a zip file of torch.save ({error}); a file "
            "from before PyTorch 1.6 must be saved again, in PyTorch: "
            "torch.save(torch.load(old, weights_only=True), new)."
        ) from error


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1:
                raise UserError(f"{path} is a zip file, but not one that torch.save wrote.")
            data = io.BytesIO(archive.read(pickles[0]))
            return _TensorUnpickler(data, path, archive, pickles[0].rpartition("/")[0]).load()
    except UserError:
        raise
    except Exception as error:  # broken bytes make pickle and zipfile raise almost anything
        raise UserError(
            f"{path} cannot be read as a file of torch.save ({type(error).__name__}: {error}): "
            "it may be cut off; get it again."
        ) from error


class _TensorUnpickler(pickle.Unpickler):
    """Rebuilds dicts of tensors, as numpy arrays, and refuses every other object."""

    def __init__(self, data: io.BytesIO, path: Path, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(data)
        self._path, self._archive, self._folder = path, archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in STORAGES:
            return name  # a string, on which no later instruction of the pickle can act
        raise UserError(
            f"{self._path} asks for {module}.{name}, which is no tensor, and was not read: save "
            "`model.state_dict()` alone, best as safetensors."
        )

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Read the storage that `("storage", type, key, device, count)` names from the zip file.

        The key only names a member of the archive that is open; no path is ever touched.
        """
        _, storage, key, _, count = pid
        prefix = f"{self._folder}/" if self._folder else ""
        data = self._archive.read(f"{prefix}data/{key}")
        return np.frombuffer(data, STORAGES[storage], count)


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
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()
