"""Weights that were trained elsewhere, every tensor accounted for, and the way back to PyTorch.

    variables = logo_jax.pretrained.load("former_dfer.pth", system="former_dfer")
    variables, report = logo_jax.pretrained.load_into("resnet18_msceleb.pth", variables, "stt")
    logo_jax.pretrained.save("former_dfer.safetensors", variables, system="former_dfer")

A loader that compares nothing loads nothing: names that fail to match are an error here, never
skipped.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from logo_jax.common.errors import UserError, pick
from logo_jax.common.files import atomic_writer
from logo_jax.models.positions import SPACE, TIME, fit_positions, resize_position
from logo_jax.models.systems import SYSTEMS, System, build
from logo_jax.models.torch_files import read_tensors, sha256
from logo_jax.models.torch_form import from_torch, to_torch, torch_name

__all__ = ["fit_positions", "load", "load_into", "save"]

STAGE = re.compile(r"layer([1-4])\.\d+\.")  # of a ResNet
HEAD = re.compile(r"(fc|classifier\.6)\.(weight|bias)$")  # torchvision's, of a ResNet or a VGG
COUNTER = ".num_batches_tracked"  # PyTorch's count of batches, which no model here has


def load(
    path: str | os.PathLike,
    system: str,
    *,
    num_classes: int | None = None,
    clip_shape: tuple[int, int, int, int] = (16, 112, 112, 3),
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Return variables of `system` with the weights of a file.

    A file of the whole system fills all of them. One of its backbone alone (a ResNet-18 with
    torchvision's names) fills that, and the rest is drawn from `seed`; `load_into` tells which.

    Args:
        path: a safetensors file, or one of `torch.save` with tensors only.
        num_classes: outputs of the head; None takes them from the file, or 7 where it has no head.
        clip_shape: [T, H, W, 3] of the clips. Position embeddings of the token models are
            interpolated to it; those of former_dfer must fit.
        options: of the system, as for `build`.

    Raises:
        UserError: see `load_into`.
    """
    entry = pick(SYSTEMS, system, "system")

    def start(classes: int) -> Callable[[jax.Array], dict[str, Any]]:
        model = build(system, classes, **options)
        return lambda key: dict(model.init(key, jnp.zeros((1, *clip_shape)), train=False))

    if num_classes is None:
        num_classes, found = 7, _read(path)
        shapes = jax.eval_shape(start(num_classes), jax.random.key(seed))
        empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), shapes)
        head = torch_name(("head", "bias"), entry.torch_names)
        if head in found and not _is_backbone_alone(found, empty, entry):
            num_classes = len(found[head])
    variables = jax.jit(start(num_classes))(jax.random.key(seed))
    return load_into(path, variables, system)[0]


def load_into(
    path: str | os.PathLike, variables: Mapping[str, Any], system: str
) -> tuple[dict[str, Any], str]:
    """Put the weights of a file into the variables of a system.

    The file holds the whole system under its PyTorch names, or the backbone alone; with or without
    a `module.` prefix (of nn.DataParallel), plain or in `{"state_dict": ...}`. A head for another
    number of classes is left out; of a ResNet, the stages after the model's last; position
    embeddings of another size are interpolated. The line for the log says all that.

    Args:
        variables: `{"params": ..., "batch_stats": ...}` of `model.init`.

    Returns:
        New variables, those without a tensor in the file untouched, and the line for the log: how
        many tensors came from which file, and what was ignored.

    Raises:
        UserError: the file cannot be read as data, or any other name is missing, left over or of
            another shape; the message lists all of them.
    """
    path = Path(path)
    entry = pick(SYSTEMS, system, "system")
    found = _read(path)
    head = _names_of_head(variables, entry)
    alone = _is_backbone_alone(found, variables, entry)
    whole = to_torch(variables, entry.torch_names)
    wanted = to_torch(_backbone(variables), entry.backbone_names) if alone else whole
    notes, skipped = [], set()

    if alone:
        skipped |= {name for name in found if HEAD.match(name)}
        notes += sorted(skipped, reverse=True)
        last = max((int(stage[1]) for name in wanted if (stage := STAGE.match(name))), default=0)
        later = {n for n in found if (stage := STAGE.match(n)) and int(stage[1]) > last}
        later = {name for name in later if not name.endswith(COUNTER)}
        skipped |= later
        notes += [f"{len(later)} of stages after {last}"] if later else []
    elif any(name in found and found[name].shape != whole[name].shape for name in head):
        skipped |= head & found.keys()
        notes += [f"{name} {found[name].shape}" for name in sorted(skipped, reverse=True)]
        wanted = {name: tensor for name, tensor in wanted.items() if name not in head}
    counters = {name for name in found if name.endswith(COUNTER)}
    notes += [f"{len(counters)} x {COUNTER[1:]}"] if counters else []

    loaded, problems, resized = {}, [], []
    for name in sorted(found.keys() - wanted.keys() - skipped - counters):
        problems.append(f"{name} is not in the model")
    for name, tensor in wanted.items():
        if name not in found:
            problems.append(f"{name} is missing in the file")
            continue
        value, leaf = found[name], name.rpartition(".")[2]
        same_width = value.ndim == 4 and value.shape[-1] == tensor.shape[-1]
        if leaf in (SPACE, TIME) and same_width and value.shape != tensor.shape:
            value = np.asarray(resize_position(leaf, jnp.asarray(value), tensor.shape))
            resized.append(f"{name} from {found[name].shape} to {tensor.shape}")
        if value.shape != tensor.shape:
            problems.append(f"{name} has shape {value.shape}, the model {tensor.shape}")
        elif not np.isfinite(value.astype(np.float64)).all():
            problems.append(f"{name} holds numbers that are not finite")
        loaded[name] = value
    what = "backbone" if alone else system
    if problems:
        raise UserError(
            f"The weights in {path} do not fit the model's {what} ({len(problems)} "
            f"problems): {'; '.join(sorted(problems))}. Choose the model's options as in the file, "
            "or another file."
        )

    report = f"{len(loaded)} of {len(wanted)} {what} tensors loaded from {path}, "
    report += f"sha256 {sha256(path)}"
    report += f"; interpolated: {', '.join(resized)}" if resized else ""
    report += f"; ignored: {', '.join(notes)}" if notes else ""
    if alone:
        new = from_torch(loaded, _backbone(variables), entry.backbone_names)
        merged = {
            group: {**tree, "backbone": new[group]} if group in new else dict(tree)
            for group, tree in variables.items()
        }
        return merged, report
    return from_torch({**whole, **loaded}, variables, entry.torch_names), report


def save(path: str | os.PathLike, variables: Mapping[str, Any], system: str) -> None:
    """Write variables as safetensors under the names and in the layout of the PyTorch form.

    Counters of batches, which PyTorch's batch norms have, are written as 0, so that
    `load_state_dict(..., strict=True)` takes the file.

    Raises:
        UserError: an unknown system, or the file cannot be written.
    """
    tensors = to_torch(variables, pick(SYSTEMS, system, "system").torch_names)
    counters = {
        name.removesuffix(".running_mean") + COUNTER: np.zeros((), np.int64)
        for name in tensors
        if name.endswith(".running_mean")
    }
    tensors = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with atomic_writer(path, "wb") as file:
        file.write(safetensors.numpy.save({**tensors, **counters}, metadata={"format": "pt"}))


def _read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    found = read_tensors(Path(path))
    if all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): tensor for name, tensor in found.items()}
    return found


def _names_of_head(variables: Mapping[str, Any], entry: System) -> set[str]:
    return set(to_torch({"params": {"head": variables["params"]["head"]}}, entry.torch_names))


def _is_backbone_alone(
    found: Mapping[str, np.ndarray], variables: Mapping[str, Any], entry: System
) -> bool:
    """Whether the names in a file are those of the backbone by itself rather than of the system."""
    whole = to_torch(variables, entry.torch_names)
    of_backbone = to_torch(_backbone(variables), entry.backbone_names)
    if not _names_of_head(variables, entry) & found.keys() and of_backbone.keys() <= found.keys():
        return True  # of a system whose backbone has the same names in it as alone
    return len(of_backbone.keys() & found.keys()) > len(whole.keys() & found.keys())


def _backbone(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {group: tree["backbone"] for group, tree in variables.items() if "backbone" in tree}
