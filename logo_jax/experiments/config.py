"""Configs: checked before anything costs time, and recorded in the workdir of their run."""

import hashlib
import json
import logging
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import absl.logging
import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError, pick
from logo_jax.common.files import write_json
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.pipeline import FRAME_ORDERS
from logo_jax.data.sampling import make_samplers
from logo_jax.data.views import spatial_views
from logo_jax.experiments import parts
from logo_jax.experiments.transfer import parse_class_map
from logo_jax.training import ema
from logo_jax.training.checkpoint import newest, read_meta
from logo_jax.training.state import init_variables

RECORD = "config.json"
SELECTIONS = {"last": None, "best_on_val": "val", "best_on_test": "test"}

# Fields that each host of a job may have for itself.
OF_ONE_HOST = (
    "scheme_file",
    "data.data_dir",
    "data.source",
    "data.num_workers",
    "data.cache_gib",
    "data.cache_dir",
)
# Fields that may change when a run resumes or is judged: its parameters do not depend on them. A
# name that ends in a dot stands for all fields below it.
FREE_FIELDS = (
    "log_every",
    "checkpoint_every",
    "skip_nonfinite",  # a run that stopped at such a step can go on
    *OF_ONE_HOST,
    "evaluation.",  # the selection of checkpoints sees one view, whatever stands there
)
# What they may be in a config.json that was edited by hand.
FREE_TYPES: dict[str, tuple[type, ...]] = {
    "log_every": (int,),
    "checkpoint_every": (int,),
    "skip_nonfinite": (bool,),
    "scheme_file": (str,),
    "data.data_dir": (str,),
    "data.source": (str,),
    "data.num_workers": (int,),
    "data.cache_gib": (float, int),
    "data.cache_dir": (str,),
    "evaluation.batch_size": (int,),
    "evaluation.temporal_views": (int,),
    "evaluation.spatial_views": (int,),
    "evaluation.controls": (str,),
}


def quiet_libraries() -> None:
    """Silence what only developers of the libraries read; errors still arrive as exceptions."""
    absl.logging.set_verbosity(absl.logging.FATAL)  # Orbax tells every step of a save
    # One failed save makes a report for each tensor, when Orbax's futures are collected.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def use_compilation_cache() -> None:
    """Keep compiled programs between runs: a second start need not compile again.

    JAX_COMPILATION_CACHE_DIR chooses another folder.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    home = os.path.expanduser("~")
    if home == "~":  # a user whom the machine does not know, as in a container
        print(
            "This user has no home folder, so that every start compiles anew: set HOME, or "
            "JAX_COMPILATION_CACHE_DIR to a folder for compiled programs.",
            file=sys.stderr,
        )
        return
    folder = Path(home) / ".cache" / "logo_jax" / "compiled"
    jax.config.update("jax_compilation_cache_dir", str(folder))


def run_name(config_file: str, config: ConfigDict, all_folds: bool = False) -> str:
    """Name of the run of a config: its file, its argument, its frame order if not natural.

    `configs/dfew.py:3` -> `dfew-fold3`, `configs/paper.py:stt,3` -> `paper-stt-fold3`; with
    `all_folds`, `dfew-cv`.
    """
    path, _, argument = config_file.partition(":")
    words = [word for word in argument.split(",") if word and not word.isdigit()]
    name = "-".join([Path(path).stem, *words])
    if "data" not in config:  # a study
        return name
    if all_folds:
        name += "-cv"
    elif config.data.fold:
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
        "accumulate",
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
    for field in ("max_steps", "data.fold", "data.cache_gib", "seed"):
        if _field(config, field) < 0:
            raise UserError(f"config.{field}={_field(config, field)}: it cannot be negative.")
    parts.num_workers(config)
    if config.seed >= 2**32:  # JAX takes the lower 32 bits: another seed would give the same run
        raise UserError(f"config.seed={config.seed}: choose one below 2^32.")
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
    for field in ("optimizer.warmup_epochs", "optimizer.decay_every_epochs"):
        if not 0 <= _field(config, field) < math.inf:
            raise UserError(
                f"config.{field}={_field(config, field)}: it is a number of epochs, at least 0."
            )
    for field in ("input.mean", "input.std"):
        if not all(isinstance(x, int | float) and math.isfinite(x) for x in _field(config, field)):
            raise UserError(
                f"config.{field}={tuple(_field(config, field))}: all of it must be finite numbers."
            )
        if len(_field(config, field)) != 3:
            raise UserError(
                f"config.{field}={tuple(_field(config, field))}: give three numbers, of red, green "
                "and blue."
            )
    if min(config.input.std) <= 0:
        raise UserError(f"config.input.std={tuple(config.input.std)}: it must be above 0.")
    if parse_class_map(config.init_class_map) and not config.init_from:
        raise UserError(
            "config.init_class_map names columns of an old head: give config.init_from as well."
        )
    # What follows checks its fields when it is made; the numbers of classes and clips are not
    # known yet.
    AugmentConfig(**config.augment.to_dict())
    parts.count_steps(config, num_clips=1)
    objective = parts.make_objective(config, np.ones(2, np.int64))
    tx, rate = parts.optimizer_of(config, num_clips=10**6)
    model = parts.build_model(config, num_classes=2)
    ema.check_decay(config.ema_decay)
    ema.judged(config.judged_parameters, config.ema_decay)
    one = Mesh(np.array(jax.devices()[:1]), ("data",))  # a run may be judged on other devices
    parts.train_step_of(config, model, tx, objective, rate, one)
    jax.eval_shape(lambda: init_variables(model, parts.clip_shape(config), seed=0))


def controls(config: ConfigDict) -> list[str]:
    """The frame orders in which the test split is judged once more."""
    return [order.strip() for order in config.evaluation.controls.split(",") if order.strip()]


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as JSON holds it: dictionaries, lists, numbers, strings."""
    return json.loads(json.dumps(config.to_dict()))


def digest(config: dict[str, Any]) -> str:
    """SHA-256 of all fields of a plain config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def is_free(field: str) -> bool:
    """Whether a run may change a field when it resumes or is judged."""
    return any(
        field == name or (name[-1] == "." and field.startswith(name)) for name in FREE_FIELDS
    )


def compare(config: ConfigDict, workdir: Path) -> None:
    """Compare a config with the one of the run in `workdir`, once there is something to keep.

    Raises:
        UserError: the run has another config (the message names the fields), or no record of it.
    """
    if newest(workdir) is not None or (workdir / "results.json").exists():
        refuse_differences(workdir, read(workdir), plain(config))


def record(config: ConfigDict, workdir: Path) -> None:
    """Write the config to the workdir, or `compare` it with the one of the run that lies there."""
    compare(config, workdir)
    write_json(workdir / RECORD, plain(config))


def refuse_differences(workdir: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise a UserError that names the fields, free ones excepted, that differ from the record."""
    changed = [text for field, text in differences(old, new) if not is_free(field)]
    if changed:
        raise UserError(
            f"{workdir} holds a run with another config: {'; '.join(changed)}. Choose another "
            "--workdir for the new config, or repeat the old values for that run."
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    """Fields of other values in two plain configs, and words for each; absent is as None."""
    before, after = dict(leaves(old)), dict(leaves(new))
    return [
        (field, f"config.{field} was {before.get(field)!r} and is {after.get(field)!r}")
        for field in {**before, **after}
        if before.get(field) != after.get(field)
    ]


def read(workdir: Path) -> dict[str, Any]:
    """Return the recorded config of the run in `workdir`.

    Raises:
        UserError: there is none, it is not JSON, or it lacks fields that the run was trained with.
    """
    path = workdir / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no fields")
    except OSError as error:
        raise UserError(
            f"{workdir} holds no run, or has lost its record: {path} cannot be read "
            f"({error.strerror})."
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is no config ({error}): restore it or delete the run.") from error
    names = dict(leaves(found))
    checkpoint = newest(workdir)
    if checkpoint is not None:
        trained = read_meta(checkpoint)["config"]
        lost = [name for name, _ in leaves(trained) if name not in names]
        if lost:
            raise UserError(
                f"{path} lacks the fields {', '.join(lost)}: restore it (a copy lies in "
                f"{checkpoint / 'meta'}) or delete the run."
            )
        refuse_other_checkpoint(checkpoint, trained, found)
    wrong = wrong_types(found)
    if wrong:
        raise UserError(f"{path}: the field {wrong[0]}: mend it there.")
    return found


def wrong_types(config: dict[str, Any]) -> list[str]:
    """The fields of a plain config that are of another type than `FREE_TYPES`, in words."""
    names = dict(leaves(config))
    return [
        f"{name} is {names[name]!r} and must be of the type {kinds[0].__name__}"
        for name, kinds in FREE_TYPES.items()
        if name in names
        and (
            not isinstance(names[name], kinds)
            or (isinstance(names[name], bool) and bool not in kinds)
        )
    ]


def refuse_other_checkpoint(checkpoint: Path, trained: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse a checkpoint that was trained with another config than that of its workdir, `own`.

    Raises:
        UserError: names the fields, free ones excepted.
    """
    changed = [text for field, text in differences(trained, own) if not is_free(field)]
    if changed:
        raise UserError(
            f"The checkpoint {checkpoint} was trained with another config than {RECORD} of its "
            f"workdir says: {'; '.join(changed)}. If it is that of another run, move it away; else "
            f"restore {RECORD} (a copy lies in {checkpoint / 'meta'})."
        )


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names, joined by dots, and values of all fields of a plain config; {} is a value."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _field(config: ConfigDict, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value[part]
    return value
