"""The same variables under PyTorch's names and in PyTorch's layout, and back.

A system says by `TORCH_NAMES` what its modules are called in PyTorch; what differs between the two
libraries otherwise is the same for every system, and stands here:

- kernels: Dense `[in, out]` is Linear `[out, in]`; convolutions `[*window, in, out]` are
  `[out, in, *window]`.
- norms: `scale` is `weight`, `mean` and `var` are `running_mean` and `running_var`.
- recurrent cells: flax has a kernel for each gate, PyTorch one weight with the gates one below the
  other: input, forget, cell, output (LSTM) and reset, update, new (GRU). PyTorch has two biases for
  each gate where flax has one, their sum; only the GRU's new gate has two in flax as well, since
  the reset gate multiplies the second.
- anything else (positions, class tokens) keeps its name and shape.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

# Substitutions, in order, from the path of a flax module to the name of the PyTorch module.
Names = Sequence[tuple[str, str]]
Path = tuple[str, ...]

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean",
          "var": "running_var"}  # fmt: skip
# Gates in PyTorch's order: flax's names of their modules for the input and for the state.
LSTM = {"ih": ("ii", "if", "ig", "io"), "hh": ("hi", "hf", "hg", "ho")}
GRU = {"ih": ("ir", "iz", "in"), "hh": ("hr", "hz", "hn")}


def to_torch(variables: Mapping[str, Any], names: Names) -> dict[str, np.ndarray]:
    """Return every tensor of `variables` under its PyTorch name, in PyTorch's layout.

    Args:
        variables: {"params": ..., "batch_stats": ...}; the latter may be missing.
        names: the system's `TORCH_NAMES`.
    """
    result: dict[str, np.ndarray] = {}
    cells: dict[Path, dict[Path, np.ndarray]] = {}
    for path, value in _leaves(variables).items():
        value = np.asarray(value)
        if cell := _cell(path):
            cells.setdefault(cell, {})[path[len(cell) :]] = value
        else:
            result[torch_name(path, names)] = _swap(path[-1], value, to=True)
    for path, leaves in cells.items():
        module, layer = torch_module(path[:-1], names), path[-1]
        for side, parts in _cell_to_torch(leaves).items():
            result[f"{module}.{side}_{layer}"] = parts
    return result


def from_torch(
    tensors: Mapping[str, np.ndarray], like: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    """Undo `to_torch`: tensors by PyTorch name become variables of the form of `like`.

    Args:
        tensors: at least the names that `to_torch(like)` has, with these shapes; the caller checks.
        like: variables, or their shapes and types; the result takes their types.
    """
    result: dict[tuple[str, ...], np.ndarray] = {}
    for group in like:
        for path, leaf in flatten_dict(like[group]).items():
            if cell := _cell(path):
                prefix = torch_module(cell[:-1], names)
                value = _gate(tensors, prefix, cell[-1], *path[len(cell) :])
            else:
                value = _swap(path[-1], np.asarray(tensors[torch_name(path, names)]), to=False)
            result[group, *path] = np.ascontiguousarray(value, leaf.dtype)
    return unflatten_dict(result)


def torch_name(path: Path, names: Names) -> str:
    """Name a leaf as PyTorch does: `layer1_0/bn1/mean` may be `layer1.0.bn1.running_mean`."""
    module = torch_module(path[:-1], names)
    leaf = LEAVES.get(path[-1], path[-1])
    return f"{module}.{leaf}" if module else leaf


def torch_module(path: Path, names: Names) -> str:
    """Name a module as PyTorch does."""
    module = ".".join(path)
    for pattern, replacement in names:
        module = re.sub(pattern, replacement, module)
    return module.strip(".")


def _leaves(variables: Mapping[str, Any]) -> dict[Path, Any]:
    return {path: leaf for tree in variables.values() for path, leaf in flatten_dict(tree).items()}


def _cell(path: Path) -> Path | None:
    """The path of the recurrent cell that a leaf belongs to: `lstm/l0` of `lstm/l0/ii/kernel`."""
    if len(path) > 2 and re.fullmatch(r"l\d+(_reverse)?", path[-3]):
        return path[:-2]
    return None


def _swap(leaf: str, value: np.ndarray, to: bool) -> np.ndarray:
    """Turn a kernel into PyTorch's layout, or (`to=False`) back; leave other leaves alone."""
    if leaf != "kernel":
        return value
    if to:
        return np.moveaxis(value, (-1, -2), (0, 1))
    return np.moveaxis(value, (0, 1), (-1, -2))


def _gates(leaves: Mapping[Path, Any]) -> Mapping[str, tuple[str, ...]]:
    return LSTM if ("ii", "kernel") in leaves else GRU


def _cell_to_torch(leaves: Mapping[Path, np.ndarray]) -> dict[str, np.ndarray]:
    found = {}
    for side, gates in _gates(leaves).items():
        size = leaves[gates[0], "kernel"].shape[1]
        zeros = np.zeros(size, leaves[gates[0], "kernel"].dtype)
        found[f"weight_{side}"] = np.concatenate([leaves[gate, "kernel"].T for gate in gates])
        found[f"bias_{side}"] = np.concatenate([leaves.get((g, "bias"), zeros) for g in gates])
    return found


def _gate(
    tensors: Mapping[str, np.ndarray], module: str, layer: str, gate: str, leaf: str
) -> np.ndarray:
    side = f"{gate[0]}h"
    gates = next(kind[side] for kind in (LSTM, GRU) if gate in kind[side])
    place = gates.index(gate)
    if leaf == "kernel":
        return np.split(tensors[f"{module}.weight_{side}_{layer}"], len(gates))[place].T
    bias = {s: np.split(tensors[f"{module}.bias_{s}_{layer}"], len(gates))[place]
            for s in ("ih", "hh")}  # fmt: skip
    return bias[side] if gate in ("in", "hn") else bias["ih"] + bias["hh"]
