"""Start from weights that were trained elsewhere, every tensor accounted for.

    variables, report = logo_jax.pretrained.load_backbone("resnet18_msceleb.pth", variables)
    print(report)

A loader that compares nothing loads nothing: names that fail to match are an error here, never
skipped.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from logo_jax.common.errors import UserError
from logo_jax.models.torch_files import read_tensors, sha256

# Flax's names of leaves in PyTorch's terms.
LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean",
          "var": "running_var"}  # fmt: skip


def load_backbone(
    path: str | os.PathLike, variables: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Put the weights of a ResNet-18 into the backbone of a system.

    The file has torchvision's names, `fc` and `num_batches_tracked` included or not, with or
    without a `module.` prefix (of nn.DataParallel), plain or in `{"state_dict": ...}`: the files of
    torchvision and both that circulate for MS-Celeb-1M. Stages after the model's last are ignored.

    Args:
        path: a safetensors file, or one of `torch.save` with tensors only.
        variables: `{"params": ..., "batch_stats": ...}` of `model.init`.

    Returns:
        New variables, the rest of them untouched, and the line for the log: how many tensors came
        from which file, and what was ignored.

    Raises:
        UserError: the file cannot be read as data, or any other name is missing, left over or of
            another shape; the message lists all of them.
    """
    path = Path(path)
    found = read_tensors(path)
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    wanted = {
        (group, *key): value
        for group in ("params", "batch_stats")
        for key, value in flatten_dict(variables[group]["backbone"]).items()
    }
    names = {key: torch_name(key[1:]) for key in wanted}
    stages = {int(part[5]) for key in wanted for part in key if part.startswith("layer")}
    ignored, unknown = _sort_rest(set(found) - set(names.values()), max(stages, default=0))

    problems = [f"{name} is not in the model" for name in unknown]
    loaded = {}
    for key, value in wanted.items():
        name = names[key]
        if name not in found:
            problems.append(f"{name} is missing in the file")
            continue
        tensor = found[name]
        # PyTorch's kernels are [out, in, height, width], flax's [height, width, in, out].
        expected = value.shape if value.ndim == 1 else value.transpose(3, 2, 0, 1).shape
        if tensor.shape != expected:
            problems.append(f"{name} has shape {tensor.shape}, the model {expected}")
        elif not np.isfinite(tensor.astype(np.float64)).all():
            problems.append(f"{name} holds numbers that are not finite")
        else:
            tensor = tensor if value.ndim == 1 else tensor.transpose(2, 3, 1, 0)
            loaded[key] = jnp.asarray(tensor, value.dtype)
    if problems:
        raise UserError(
            f"The weights in {path} do not fit the model's backbone ({len(problems)} of its "
            f"tensors): {'; '.join(sorted(problems))}. Choose the model's stage and width as in "
            "the file, or another file."
        )

    merged = {group: dict(tree) for group, tree in variables.items()}
    for group in ("params", "batch_stats"):
        part = {key[1:]: value for key, value in loaded.items() if key[0] == group}
        merged[group]["backbone"] = unflatten_dict(part)
    report = (
        f"{len(loaded)} of {len(wanted)} backbone tensors loaded from {path}, sha256 {sha256(path)}"
    )
    return merged, f"{report}; ignored: {', '.join(ignored)}" if ignored else report


def torch_name(key: tuple[str, ...]) -> str:
    """Name a leaf as torchvision does: `layer1_0/bn1/mean` is `layer1.0.bn1.running_mean`."""
    *modules, leaf = (re.sub(r"^(layer\d|downsample)_", r"\1.", part) for part in key)
    return ".".join([*modules, LEAVES[leaf]])


def _sort_rest(names: set[str], last_stage: int) -> tuple[list[str], list[str]]:
    """Tell names that a backbone has no use for (listed as the log says them) from unknown ones."""
    counters = {name for name in names if name.endswith(".num_batches_tracked")}
    later = {
        name
        for name in names - counters
        if (stage := re.match(r"layer([1-4])\.[01]\.", name)) and int(stage[1]) > last_stage
    }
    head = {"fc.weight", "fc.bias"} & names
    ignored = sorted(head, reverse=True)
    if later:
        ignored.append(f"{len(later)} of stages after {last_stage}")
    if counters:
        ignored.append(f"{len(counters)} x num_batches_tracked")
    return ignored, sorted(names - counters - later - head)
