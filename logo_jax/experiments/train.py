"""`--mode=train`: train, then evaluate. A second start with the same workdir resumes."""

import contextlib
import fcntl
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder
from logo_jax.common.mesh import check_batch_size
from logo_jax.common.versions import versions
from logo_jax.evaluation import metrics
from logo_jax.experiments import agreement, parts
from logo_jax.experiments import config as configs
from logo_jax.experiments.evaluate import selection_sentence, write_results
from logo_jax.experiments.judge import Judge
from logo_jax.experiments.transfer import start_from
from logo_jax.training import ema, loop
from logo_jax.training.checkpoint import Checkpoints, find_checkpoint, load_variables, newest
from logo_jax.training.damage import set_aside_damaged
from logo_jax.training.log import TrainingLog
from logo_jax.training.signals import Stopped
from logo_jax.training.state import TrainState, create_state, init_variables


def train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Train the model of `config` in `workdir`, evaluate it, and return results.json.

    Raises:
        UserError: the config, the data, the workdir or the loss stop the run, or another process
            is at work in the workdir.
        Interrupted: SIGTERM or Ctrl-C came; the run is saved and can be resumed.
        Stopped: such a signal came before the first step or after the last one.
    """
    with _alone(make_folder(workdir)):
        try:
            return _train(config, workdir)
        except Stopped as stop:
            if saved := newest(workdir):
                stop.saved = (
                    f"step {saved.name} is saved, and the same command continues from there"
                )
            raise


def _train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    versions()  # of the code that trains, not of what the checkout has become at the end
    agreement.check_config(config, workdir)
    set_aside_damaged(workdir)
    configs.compare(config, workdir)
    checkpoints = Checkpoints(workdir)
    resuming = checkpoints.latest_step() is not None
    if not resuming:
        _check_weights(config)

    splits = parts.open_splits(config)
    prepared, train_rows = splits.prepared, splits.rows("train")
    agreement.check_data(prepared.fingerprint)
    splits.rows("test")  # judged at the end: an empty part is an error now, not then
    print(f"{splits}; {len(prepared.classes)} classes: {', '.join(prepared.classes)}")
    for sentence in splits.caveats:
        print(sentence)
    judge = Judge(config, prepared.classes)
    model, mesh = judge.model, judge.mesh
    check_batch_size(config.batch_size, mesh, "config.batch_size")
    total_steps = parts.count_steps(config, len(train_rows))
    tx, learning_rate = parts.optimizer_of(config, len(train_rows))

    variables = init_variables(model, parts.clip_shape(config), config.seed)
    if not resuming:
        variables = _starting_point(config, variables, prepared.classes)
    labels = prepared.labels[train_rows]
    objective = parts.make_objective(config, np.bincount(labels, minlength=len(prepared.classes)))
    loss_state = parts.init_loss_state(objective, model, config, variables)
    step = parts.train_step_of(config, model, tx, objective, learning_rate, mesh)
    judged_parameters = ema.judged(config.judged_parameters, config.ema_decay)
    state = create_state(
        variables, tx, config.seed, mesh, loss_state, keep_ema=config.ema_decay > 0
    )
    meta: dict[str, Any] = {
        "config": configs.plain(config),
        "classes": list(prepared.classes),
        "fingerprint": prepared.fingerprint,
        "train_clips": len(train_rows),
        "parameters": judged_parameters,
    }
    starts: list[dict[str, Any]] = []
    if resuming:
        if best := checkpoints.best_meta():
            folder = newest(workdir, "best")
            assert folder is not None
            configs.refuse_other_checkpoint(folder, best["config"], configs.plain(config))
        state, saved = checkpoints.restore(state)
        if saved["fingerprint"] != prepared.fingerprint:
            raise UserError(
                f"{workdir} was trained on other data than what lies in {prepared.folder} now: "
                "choose another --workdir, or bring the old data back."
            )
        print(f"resuming {workdir} after step {saved['step']} of {total_steps}")
        starts = saved.get("trained_with", [])  # older checkpoints lack it
    meta["trained_with"] = _with_this_start(starts, int(state.step))
    _describe(config, workdir, total_steps, len(train_rows), variables)

    selection_part = configs.SELECTIONS[config.selection]
    selection_rows = splits.rows(selection_part) if selection_part else splits.train[:0]

    def evaluate(current: TrainState) -> dict[str, float]:
        rows = selection_rows
        variables = {"params": current.params, "batch_stats": current.batch_stats}
        if judged_parameters == "ema":
            variables = current.ema
        found = judge.probabilities(variables, prepared, rows, one_view=True).argmax(-1)
        confusion = metrics.confusion_matrix(prepared.labels[rows], found, len(prepared.classes))
        return {"war": metrics.war(confusion), "uar": metrics.uar(confusion)}

    configs.record(config, workdir)  # a start that got this far binds the later ones
    first_step = int(state.step)
    log = TrainingLog(workdir, first_step)
    try:
        loop.fit(
            state,
            step,
            parts.training_batches(
                config,
                prepared,
                train_rows,
                batch_size=config.batch_size,
                total_steps=total_steps,
                seed=config.seed,
                sampler=parts.sampler(config),
                frame_size=config.data.frame_size,
                augment=parts.augmentation(config),
                start_step=first_step,
                num_workers=parts.num_workers(config),
                frame_order=config.data.frame_order,
                class_balanced=config.data.class_balanced,
                cache_gib=config.data.cache_gib,
                cache_dir=config.data.cache_dir,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            ),
            loop.Schedule(
                total_steps=total_steps,
                log_every=config.log_every,
                checkpoint_every=config.checkpoint_every,
                evaluate_every=math.ceil(
                    config.select_every_epochs * len(train_rows) / config.batch_size
                ),
            ),
            mesh=mesh,
            checkpoints=checkpoints,
            log=log,
            meta=meta,
            evaluate=evaluate if selection_part else None,
            selection_metric=config.selection_metric,
            clip_ids=prepared.clip_ids,
            skip_nonfinite=config.skip_nonfinite,
        )
    finally:
        log.close()
        checkpoints.close()

    judged = find_checkpoint(workdir, "best" if selection_part else "last")
    final = load_variables(judged, like=judge.abstract_variables())
    return write_results(config, judge, final, splits, "test", judged, workdir)


def _with_this_start(starts: list[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """The earlier starts of a run and this one, unless it trains with what the last one did."""
    start = {"versions": versions(), "device": jax.devices()[0].device_kind,
             "devices": jax.device_count()}  # fmt: skip
    if starts and {**starts[-1], **start} == starts[-1]:
        return starts
    return [*starts, {"from_step": step, **start}]


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """Hold the workdir's lock; a process that is killed frees it.

    Raises:
        UserError: another process holds it, or the file system has no locks.
    """
    if jax.process_index() != 0:  # the hosts of one run share its workdir
        yield
        return
    path = workdir / ".lock"
    try:
        # Neither emptied nor looked for elsewhere, should it be a link.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(
            f"{path} cannot be opened ({error.strerror}): it must be a file of its own; delete it, "
            "or choose another --workdir."
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"Another process trains in {workdir}: wait for its end, or choose another "
                "--workdir."
            ) from error
        except OSError as error:
            raise UserError(
                f"{workdir} cannot be locked ({error.strerror}): choose a --workdir on a file "
                "system with locks."
            ) from error
        yield
    finally:
        os.close(file)


def _check_weights(config: ConfigDict) -> None:
    pretrained, system = config.model.pretrained, config.model.name
    if config.init_from:
        if pretrained not in ("none", "weights needed"):  # the latter is what configs/dfew.py says
            raise UserError(
                f"config.init_from and config.model.pretrained={pretrained} both give weights: "
                "leave one of them out."
            )
    elif pretrained != "none" and not Path(pretrained).expanduser().is_file():
        what = "a ResNet-18 trained on MS-Celeb-1M" if system == "logo_former" else system
        raise UserError(
            f'config.model.pretrained="{pretrained}" is no file: give the file with the weights '
            f"of {what} (docs/models.md says which), or --config.model.pretrained=none to train "
            "from scratch (configs/dfew_scratch.py has the learning rate for it)."
        )


def _starting_point(config: ConfigDict, variables: dict, classes: tuple[str, ...]) -> dict:
    """The variables of step 0: drawn, or of a weights file, or of a trained model."""
    if config.init_from:
        variables, transfer = start_from(
            config.init_from, variables, classes, config.init_class_map
        )
        print(transfer)
    elif config.model.pretrained != "none":
        from logo_jax.models.pretrained import load_into

        path = Path(config.model.pretrained).expanduser()
        variables, report = load_into(path, variables, config.model.name)
        print(report)
    return variables


def _describe(
    config: ConfigDict, workdir: Path, total_steps: int, clips: int, variables: dict
) -> None:
    sentence = selection_sentence(config.selection, config.selection_metric, clips)
    size = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    options = ", ".join(f"{name}={value}" for name, value in parts.model_options(config).items())
    print(
        f"{config.model.name} ({options}), {size / 1e6:.2f} M parameters, on "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}\n"
        f"{total_steps} steps of {config.batch_size} clips; input scaled by mean "
        f"{tuple(config.input.mean)} and std {tuple(config.input.std)}\n"
        f"selection: {sentence}\n"
        f"{_step_sentence(config)}\n"
        f"workdir: {workdir}",
        flush=True,
    )


def _step_sentence(config: ConfigDict) -> str:
    """What a step does, and which parameters are judged."""
    fields = config.optimizer
    form = "no ascent" if fields.rho == 0 and fields.sharpness != "mesa" else fields.sharpness
    micro = f", in {config.accumulate} micro-batches" if config.accumulate > 1 else ""
    judged = ema.judged(config.judged_parameters, config.ema_decay)
    average = f"; moving average with decay {config.ema_decay}" if config.ema_decay else ""
    return f"step: {fields.base}, {form}{micro}{average}; judged parameters: {judged}"
