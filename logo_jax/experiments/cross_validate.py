"""`--mode=cross_validate`: every fold trained and judged, and all of them in one result.

python launch.py --mode=cross_validate --config=configs/dfew.py --config.data.source=<folder DFEW>

Each fold is an ordinary run in <workdir>/fold<k>. The same command goes on where it stopped: folds
that are finished are only read, one that was interrupted resumes. `--folds=2,3` does some; folds
that were trained elsewhere may be copied there, or merged with `--mode=summarize`.
"""

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from logo_jax.common.distributed import on_first_host
from logo_jax.common.errors import UserError
from logo_jax.experiments import config as configs
from logo_jax.experiments import parts
from logo_jax.experiments.runs import RESULTS, read_run
from logo_jax.experiments.summarize import summarize
from logo_jax.experiments.train import train
from logo_jax.training.signals import Stopped


def cross_validate(config: ConfigDict, workdir: Path, folds: Sequence[int] = ()) -> dict[str, Any]:
    """Train and judge the folds of a data set, merge those that are done, return summary.json.

    Args:
        config: its `data.fold` does not matter.
        folds: which to train; none = all.

    Returns:
        The summary of all folds that `workdir` holds, on every host.

    Raises:
        UserError: the set has no folds or no such fold, or a run cannot be done.
        Interrupted: the fold that was going on is saved; the same command goes on there.
        Stopped: a stop signal came where no step was going on; it says what is saved.
    """
    known = parts.open_set(config).folds
    if not known:
        raise UserError(
            f"{config.data.name} has no folds but a split of its own: leave --mode=cross_validate "
            "out; training judges on its test part."
        )
    if unknown := sorted(set(folds) - set(known)):
        raise UserError(
            f"--folds: {config.data.name} has no fold {', '.join(map(str, unknown))}; its folds "
            f"are {', '.join(map(str, known))}."
        )
    chosen = sorted(set(folds)) or list(known)
    configs_of = {fold: _with_fold(config, fold) for fold in chosen}
    for fold in chosen:  # what cannot go on is an error now, not hours later
        configs.compare(configs_of[fold], workdir / f"fold{fold}")
    for number, fold in enumerate(chosen, 1):
        folder = workdir / f"fold{fold}"
        print(f"fold {fold} ({number} of {len(chosen)}): {folder}", flush=True)
        try:
            if on_first_host(functools.partial(finished, configs_of[fold], folder)):
                print("finished before")
                continue
            train(configs_of[fold], folder)
        except Stopped as stop:
            if number > 1:
                stop.saved = f"what came before fold {fold} is saved; of fold {fold} {stop.saved}"
            raise
    try:
        return on_first_host(lambda: summarize([workdir], workdir))
    except Stopped as stop:
        stop.saved = "the folds are saved, and --mode=summarize merges them"
        raise


def finished(config: ConfigDict, folder: Path) -> bool:
    """Whether a run of this config is trained, and judged by the same views and controls.

    Raises:
        UserError: the folder holds a run of another config, or its results are damaged.
    """
    if not (folder / RESULTS).is_file():
        return False
    configs.compare(config, folder)
    run = read_run(folder)
    judged = ConfigDict(run.results["config"]).evaluation
    return run.part == "test" and configs.plain(judged) == configs.plain(config.evaluation)


def _with_fold(config: ConfigDict, fold: int) -> ConfigDict:
    config = copy.deepcopy(config)  # keeps the types of fields that are not set
    config.data.fold = fold
    return config
