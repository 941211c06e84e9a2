"""Start from a trained model: `config.init_from`, from DFEW to AFEW or to one's own classes."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from flax import traverse_util

from logo_jax.common.errors import UserError, suggest
from logo_jax.models.positions import fit_positions
from logo_jax.training.checkpoint import find_checkpoint, load_variables, read_meta

HEAD = ("params", "head")


@dataclasses.dataclass(frozen=True)
class Transfer:
    """What became of each tensor, for the log."""

    source: Path
    loaded: list[str]
    resized: list[str]
    new: list[str]
    left_over: list[str]
    head: str

    def __str__(self) -> str:
        return (
            f"started from {self.source}: {len(self.loaded)} tensors loaded; "
            + "".join(f"{line}; " for line in self.resized)
            + f"new: {', '.join(self.new) or 'none'}; "
            f"left over: {', '.join(self.left_over) or 'none'}; head: {self.head}"
        )


def start_from(
    path: str, variables: dict, classes: Sequence[str], class_map: str = ""
) -> tuple[dict, Transfer]:
    """Return `variables` with the tensors of a trained model in their places.

    The head is taken over when the classes have the same names (in any order: its columns are
    sorted by name). When they differ it stays new, except for the classes that `class_map` names.

    Args:
        path: workdir (its newest checkpoint is taken) or folder of one checkpoint step.
        variables: {"params", "batch_stats"} as initialized for the new classes.
        classes: names of the new classes.
        class_map: "new=old,..."; the column of each old class goes to the new one.

    Raises:
        UserError: no checkpoint there, another model, or a class name that does not exist.
    """
    checkpoint = find_checkpoint(path)
    old_classes = read_meta(checkpoint)["classes"]
    saved, resized = fit_positions(load_variables(checkpoint), variables)
    old = traverse_util.flatten_dict(saved)
    new = traverse_util.flatten_dict(variables)
    columns = _columns(old_classes, classes, class_map)

    result, loaded, fresh = dict(new), [], []
    for name, tensor in new.items():
        if name[:2] == HEAD:
            if name in old and columns and old[name].shape[:-1] == tensor.shape[:-1]:
                head = np.array(tensor)
                for column, old_column in columns.items():
                    head[..., column] = old[name][..., old_column]
                result[name] = head
        elif name not in old:
            fresh.append(name)
        elif old[name].shape != tensor.shape:
            raise UserError(
                f"{checkpoint} does not fit: {'.'.join(name)} has the shape {old[name].shape} "
                f"there and {tensor.shape} here. Set config.model and config.input as in that "
                "run's config.json."
            )
        else:
            result[name] = old[name]
            loaded.append(name)
    if not loaded:
        raise UserError(f"{checkpoint} has no tensor of this model: is it of another system?")
    report = Transfer(
        source=checkpoint,
        loaded=_names(loaded),
        resized=resized,
        new=_names(fresh),
        left_over=_names([name for name in old if name not in new and name[:2] != HEAD]),
        head=_head_report(columns, old_classes, classes),
    )
    return traverse_util.unflatten_dict(result), report


def parse_class_map(text: str) -> dict[str, str]:
    """Parse "new=old,..." into {new: old}.

    Raises:
        UserError: a part without "=", or a new class that stands there twice.
    """
    pairs = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        new, equals, old = part.partition("=")
        if not equals:
            raise UserError(
                f'config.init_class_map: "{part}" is not of the form "new class=old class".'
            )
        if new.strip() in pairs:
            raise UserError(
                f'config.init_class_map gives the new class "{new.strip()}" two old ones: leave '
                "one out."
            )
        pairs[new.strip()] = old.strip()
    return pairs


def _columns(old: Sequence[str], new: Sequence[str], class_map: str) -> dict[int, int]:
    """New head column -> old head column."""
    pairs: Mapping[str, str] = parse_class_map(class_map)
    if not pairs and sorted(old) == sorted(new):
        pairs = {name: name for name in new}
    for wanted, known, side in ((pairs, new, "new"), (pairs.values(), old, "old")):
        for name in wanted:
            if name not in known:
                raise UserError(
                    f'config.init_class_map names the {side} class "{name}", which does not exist: '
                    f"the {side} classes are {', '.join(known)}.{suggest(name, known)}"
                )
    return {new.index(a): old.index(b) for a, b in pairs.items()}


def _head_report(columns: Mapping[int, int], old: Sequence[str], new: Sequence[str]) -> str:
    if not columns:
        return f"new, for the classes {', '.join(new)}"
    taken = ", ".join(f"{new[a]} from {old[b]}" for a, b in columns.items())
    fresh = [name for column, name in enumerate(new) if column not in columns]
    return f"{taken}; new: {', '.join(fresh) or 'none'}"


def _names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    return sorted(".".join(path) for path in paths)
