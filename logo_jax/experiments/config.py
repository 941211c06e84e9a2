"""Configs: checked before anything costs time, and recorded in the workdir of their run."""

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import absl.logging
import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.common.files import write_json
from logo_jax.data.sampling import make_samplers
from logo_jax.data.views import spatial_views
from logo_jax.training.objective import Objective

RECORD = "config.json"
SELECTIONS = {"last": None, "best_on_val": "val", "best_on_test": "test"}
FRAME_ORDERS = ("natural", "shuffled", "reversed", "single")

# Fields that a run may change when it resumes, because its parameters do not depend on them.
FREE_FIELDS = (
    "log_every",
    "checkpoint_every",
    "data.data_dir",
    "data.source",
    "data.num_workers",
    "evaluation.batch_size",
    "evaluation.controls",
    "evaluation.temporal_views",  # the selection of checkpoints sees one view
    "evaluation.spatial_views",
    "model.pretrained",  # read at step 0 only
    "init_from",
    "init_class_map",
)


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the command line; what is wrong with it becomes one sentence.

    Raises:
        UserError: an unknown flag or config field (with the nearest that exists), a value of the
            wrong type, no such config file, or an argument that the config does not take.
    """
    for argument in argv[1:]:
        name, _, value = argument.partition("=")
        path = Path(value.split(":")[0])
        if name.lstrip("-") == "config" and value and not path.is_file():
            present = sorted(str(file) for file in path.parent.glob("*.py"))
            raise UserError(f"There is no config file {path}.{suggest(str(path), present)}")
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(f"{error}") from error
    except (AttributeError, KeyError) as error:
        # ml_collections' words: 'num_blcks'\\nDid you mean "num_blocks" instead of "num_blcks"?
        words = str(error).replace("\\\\", "\\")
        field = re.search(r"'(\w+)", words)
        near = re.search(r'Did you mean "(\w+)"', words)
        raise UserError(
            f'The config has no field "{field.group(1) if field else words}".'
            + (f' Did you mean "{near.group(1)}"?' if near else "")
        ) from error


def quiet_libraries() -> None:
    """Silence what only developers of the libraries read; errors still arrive as exceptions."""
    absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax tells every step of a save
    # One failed save makes a report for each tensor, when Orbax's futures are collected.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def use_compilation_cache() -> None:
    """Keep compiled programs between runs: a second start need not compile again.

    JAX_COMPILATION_CACHE_DIR chooses another folder.
    """
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = Path.home() / ".cache" / "logo_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def run_name(config_file: str, config: ConfigDict) -> str:
    """Name of the run of a config: its file, its fold, and its frame order if not natural.

    `configs/dfew.py:3` -> `dfew-fold3`.
    """
    name = Path(config_file.split(":")[0]).stem
    if config.data.fold:
        name += f"-fold{config.data.fold}"
    if config.data.frame_order != "natural":
        name += f"-{config.data.frame_order}"
    return name


def check(config: ConfigDict) -> None:
    """Refuse values that no run can use, each with one sentence.

    Raises:
        UserError: names the field, its value and what it may be.
    """
    pick(SELECTIONS, config.selection, "config.selection")
    pick({"war": 0, "uar": 0}, config.selection_metric, "config.selection_metric")
    for order in [config.data.frame_order, *controls(config)]:
        pick(dict.fromkeys(FRAME_ORDERS), order, "frame order")
    for field in (
        "num_epochs",
        "batch_size",
        "log_every",
        "checkpoint_every",
        "select_every_epochs",
        "data.segments",
        "data.duration",
        "data.stride",
        "data.frame_size",
        "input.image_size",
        "evaluation.batch_size",
        "evaluation.temporal_views",
    ):
        if _field(config, field) < 1:
            raise UserError(f"config.{field}={_field(config, field)}: it must be at least 1.")
    for field in ("max_steps", "data.fold", "data.num_workers", "seed"):
        if _field(config, field) < 0:
            raise UserError(f"config.{field}={_field(config, field)}: it cannot be negative.")
    data = config.data
    views = config.evaluation.temporal_views
    make_samplers(data.sampling, data.segments, data.duration, data.short, data.stride, views)
    spatial_views(config.evaluation.spatial_views, config.evaluation.batch_size)
    if not 0 <= config.data.val_fraction < 1:
        raise UserError(
            f"config.data.val_fraction={config.data.val_fraction}: it is a share of the training "
            "clips, from 0 to less than 1."
        )
    if not 0 <= config.data.class_balanced <= 1:
        raise UserError(
            f"config.data.class_balanced={config.data.class_balanced}: it is a share of the draws, "
            "from 0 to 1."
        )
    Objective(class_counts=np.ones(2, np.int64), **config.loss.to_dict())  # checks its fields


def controls(config: ConfigDict) -> list[str]:
    """The frame orders in which the test split is judged once more."""
    return [order.strip() for order in config.evaluation.controls.split(",") if order.strip()]


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON holds it: dictionaries, lists, numbers, strings."""
    return json.loads(json.dumps(config.to_dict()))


def record(config: ConfigDict, workdir: Path) -> None:
    """Write the config to the workdir, or compare it with the one of the run that lies there.

    Raises:
        UserError: the workdir holds a run with another config; the message names the fields.
    """
    path = workdir / RECORD
    new = plain(config)
    if path.exists():
        old = dict(_leaves(read(workdir)))
        changed = [
            f"config.{field} was {old.get(field, 'absent')!r} and is {value!r}"
            for field, value in _leaves(new)
            if old.get(field, None) != value and field not in FREE_FIELDS
        ]
        if changed:
            raise UserError(
                f"{workdir} holds a run with another config: {'; '.join(changed)}. Choose another "
                "--workdir for the new config, or repeat the old values to continue that run."
            )
    write_json(path, new)


def read(workdir: Path) -> dict[str, Any]:
    """Return the recorded config of the run in `workdir`.

    Raises:
        UserError: there is none, or it is not JSON.
    """
    path = workdir / RECORD
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{workdir} holds no run: it has no {RECORD}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): restore it or delete the run.") from error


def _field(config: ConfigDict, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value[part]
    return value


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
