"""The training loop, from the first step to the last."""

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh

from logo_jax.common.errors import Interrupted, UserError
from logo_jax.common.mesh import AnyHost, to_devices
from logo_jax.common.progress import Progress
from logo_jax.training.checkpoint import Checkpoints
from logo_jax.training.log import TrainingLog
from logo_jax.training.signals import StopSignals
from logo_jax.training.state import TrainState

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When the loop does what, counted in steps."""

    total_steps: int
    log_every: int
    checkpoint_every: int
    evaluate_every: int  # 0: never


@dataclasses.dataclass(frozen=True)
class _Work:
    """A step that the devices may still work on, and the clips of this host in it."""

    step: int
    metrics: Metrics
    clips: int
    rows: np.ndarray | None


def fit(
    state: TrainState,
    train_step: Callable[[TrainState, dict], tuple[TrainState, Metrics]],
    batches: Generator[dict[str, np.ndarray], None, None],
    schedule: Schedule,
    *,
    mesh: Mesh,
    checkpoints: Checkpoints,
    log: TrainingLog,
    meta: dict,
    evaluate: Callable[[TrainState], dict[str, float]] | None = None,
    selection_metric: str = "uar",
    clip_ids: Sequence[str] = (),
    skip_nonfinite: bool = False,
) -> TrainState:
    """Train from `state.step` to `schedule.total_steps` and return the last state, saved.

    Args:
        batches: this host's rows of the global batches, from the one of `state.step` on; closed
            at the end.
        meta: what each checkpoint says of itself beside its step.
        evaluate: numbers of a state on the data that selects the best checkpoint, `war` and `uar`
            among them; None where nothing is selected.
        clip_ids: names of the clips, by the batches' `row`, for messages.
        skip_nonfinite: go on after a step that is not finite, which `train_step` has not applied;
            it is told, counted in the log as `skipped`, and left out of the means.

    Raises:
        Interrupted: SIGTERM or Ctrl-C; the state of the last finished step is saved.
        UserError: the loss or the parameters are not finite, or a checkpoint or the log cannot be
            written.
    """
    first_step = int(state.step)
    if evaluate:
        _refuse_lost_best(checkpoints, log, selection_metric)
    select_now = evaluate and _due(first_step, schedule.evaluate_every, schedule.total_steps)
    if select_now and log.last_step(f"selection_{selection_metric}") != first_step:
        # The run was stopped between the checkpoint of this step and the end of its evaluation.
        assert evaluate is not None
        _keep_best(state, first_step, evaluate, selection_metric, checkpoints, log, meta)
    progress = Progress(schedule.total_steps, "training", "steps", done=first_step)
    averages = _Averages()
    meta = {**meta, "skipped": checkpoints.last_meta().get("skipped", 0)}  # of all starts
    running: _Work | None = None
    note = ""

    def finish(work: _Work) -> None:
        values = _finite(work, checkpoints, clip_ids, skip_nonfinite, progress)
        meta["skipped"] += values is None
        averages.add(values, work.clips)

    try:
        with StopSignals() as signals:
            everywhere = AnyHost(mesh)  # all hosts stop after the same step
            upcoming = _Upcoming(batches, mesh)
            if first_step < schedule.total_steps:
                averages.waited += upcoming.fetch(None)
            for step in range(first_step + 1, schedule.total_steps + 1):
                try:
                    batch = upcoming.take()
                except Exception:
                    if not signals.received:
                        raise
                    # The signal went to the input workers as well, so no further step can be done.
                    if running is not None:
                        finish(running)
                    checkpoints.save(state, {**meta, "step": step - 1})
                    raise _interrupted(signals.received, step - 1, schedule) from None
                state, metrics = train_step(state, batch.on_devices)
                if step < schedule.total_steps:  # while the devices work on this step
                    averages.waited += upcoming.fetch(metrics)
                # Reading the step before this one keeps the devices busy while the host reads.
                if running is not None:
                    finish(running)
                running = _Work(step, metrics, batch.clips, batch.row)
                stopped = everywhere.tell(bool(signals.received))

                log_now = _due(step, schedule.log_every, schedule.total_steps)
                save_now = _due(step, schedule.checkpoint_every, schedule.total_steps)
                select_now = _due(step, schedule.evaluate_every, schedule.total_steps)
                if log_now or save_now or select_now or stopped:
                    finish(running)
                    running = None
                if log_now:
                    values = averages.means()
                    averages = _Averages()
                    _write(log, step, values, state, checkpoints, meta)
                    loss = f"loss {values['loss']:.4f}" if "loss" in values else "all steps skipped"
                    note = f"{loss}, {values['clips_per_second']:.1f} clips/s"
                    note += f", input_wait {values['input_wait']:.0%}"
                progress.update(1, note)
                # An evaluation may outlast the grace period of a stop signal, which waits for it.
                if save_now or stopped or (evaluate and select_now):
                    checkpoints.save(state, {**meta, "step": step})
                if stopped and step < schedule.total_steps:
                    signal = signals.received or "A stop signal on another host"
                    raise _interrupted(signal, step, schedule)
                if evaluate and select_now:
                    began = time.perf_counter()
                    _keep_best(state, step, evaluate, selection_metric, checkpoints, log, meta)
                    # The time of the evaluation is not the input's or the step's.
                    averages.start += time.perf_counter() - began
    finally:
        progress.close()
        batches.close()
    _tell_skipped(meta["skipped"], schedule.total_steps)
    return state


def _tell_skipped(skipped: int, steps: int) -> None:
    """Say at the end how many steps were skipped; a run without any other is not judged."""
    if not skipped:
        return
    if skipped == steps:
        raise UserError(
            f"All {steps} steps were skipped since none was finite, so the parameters are those of "
            "the start and are not judged: lower config.optimizer.learning_rate or set "
            "config.optimizer.clip_norm, and start in another --workdir."
        )
    print(f"{skipped} of the {steps} steps were skipped, since they were not finite.")


@dataclasses.dataclass(frozen=True)
class _Batch:
    on_devices: dict[str, jax.Array]
    clips: int  # of this host
    row: np.ndarray | None  # of this host's clips


class _Upcoming:
    """The batch of the next step, on its way to the devices while they work on this one."""

    def __init__(self, batches: Iterator[dict[str, np.ndarray]], mesh: Mesh):
        self._batches, self._mesh = batches, mesh
        self._found: _Batch | Exception | None = None

    def fetch(self, running: Metrics | None) -> float:
        """Fetch the next batch, and return for how long the devices waited for it, in seconds.

        That is 0 where they still work on the step of the metrics `running`. Where they do not, it
        is all of the time that the batch took, though they may have been busy for part of it.
        """
        asked = time.perf_counter()
        try:
            batch = next(self._batches)
            on_devices = to_devices(batch, self._mesh)
            self._found = _Batch(on_devices, len(batch["label"]), batch.get("row"))
        except Exception as error:
            self._found = error  # raised by `take`, once the steps before it are done
        # mypy knows no `is_ready`, a documented method of jax.Array.
        if running and not all(value.is_ready() for value in running.values()):  # type: ignore[attr-defined]
            return 0.0
        return time.perf_counter() - asked

    def take(self) -> _Batch:
        """Return the batch, or raise what its fetching raised."""
        found, self._found = self._found, None
        if isinstance(found, Exception):
            raise found
        assert found is not None
        return found


def _due(step: int, every: int, total: int) -> bool:
    """Whether something done every `every` steps, and at the end, is done after `step`."""
    return every > 0 and step > 0 and (step % every == 0 or step == total)


def _finite(
    work: _Work,
    checkpoints: Checkpoints,
    clip_ids: Sequence[str],
    skip: bool,
    progress: Progress,
) -> dict[str, float] | None:
    """Read the numbers of a step; stop the run when they are not finite, or return None."""
    values = {name: float(value) for name, value in jax.device_get(work.metrics).items()}
    if values.pop("finite"):
        return values
    found = f"the loss is {values['loss']} and the gradient norm {values['gradient_norm']}"
    clips = ""
    if work.rows is not None and clip_ids:
        where = " of this host" if jax.process_count() > 1 else ""
        clips = f" Its clips{where}: {', '.join(clip_ids[row] for row in work.rows)}."
    if skip:
        progress.say(
            f"Step {work.step} is skipped: {found}, or a number of its state is not finite.{clips}"
        )
        return None
    saved = checkpoints.latest_step()
    kept = f"the checkpoint of step {saved} is kept" if saved else "no checkpoint was made yet"
    raise UserError(
        f"Step {work.step}: {found}, so the state is no longer finite; {kept}.{clips} Lower "
        "optimizer.learning_rate or set optimizer.clip_norm, and start in another --workdir; or "
        "add --skip_nonfinite, which goes on without such steps."
    )


def _interrupted(signal: str, step: int, schedule: Schedule) -> Interrupted:
    return Interrupted(
        f"{signal}: stopped after step {step} of {schedule.total_steps} and saved; the same "
        "command continues from there."
    )


def _write(
    log: TrainingLog,
    step: int,
    values: dict[str, float],
    state: TrainState,
    checkpoints: Checkpoints,
    meta: dict,
) -> None:
    """Write to the log; where that fails, save the state before the run stops."""
    try:
        log.write(step, values)
    except UserError as error:
        checkpoints.save(state, {**meta, "step": step})  # its own failure is told instead
        raise UserError(
            f"{error} Step {step} is saved, and the same command continues from there."
        ) from error


def _refuse_lost_best(checkpoints: Checkpoints, log: TrainingLog, metric: str) -> None:
    """Stop a run that would take a worse checkpoint for its best one, since that is gone."""
    lost = checkpoints.lost_best()
    told = log.last_step(f"selection_{metric}") is not None
    if lost is None and checkpoints.best_meta() is None and told:
        lost = log.workdir / "checkpoints" / "best"
    if lost is not None:
        raise UserError(
            f"The best checkpoint {lost} of the run is lost: put the folder back from a copy, or "
            "train again in another --workdir. The last step can be judged with --mode=evaluate "
            "--checkpoint=last."
        )


def _keep_best(
    state: TrainState,
    step: int,
    evaluate: Callable[[TrainState], dict[str, float]],
    metric: str,
    checkpoints: Checkpoints,
    log: TrainingLog,
    meta: dict,
) -> None:
    """Evaluate, and save the state as the best one when no earlier one was as good."""
    numbers = evaluate(state)
    best = checkpoints.best_meta()
    if best is None or (numbers[metric] > best["score"] and step > best["step"]):
        checkpoints.save_best(state, {**meta, "step": step, "score": numbers[metric]})
    # The line comes last: a start that finds it knows that nothing is left to do for the step.
    values = {f"selection_{name}": value for name, value in numbers.items()}
    _write(log, step, values, state, checkpoints, meta)


class _Averages:
    """Means over the steps since the last line of the log, and how the time went."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.steps = self.clips = self.skipped = 0
        self.waited = 0.0
        self.start = time.perf_counter()

    def add(self, values: dict[str, float] | None, host_clips: int) -> None:
        """Count a step; None stands for one that was skipped."""
        self.clips += host_clips * jax.process_count()
        if values is None:
            self.skipped += 1
            return
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.steps += 1
        self.last = values

    def means(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.start
        values = {name: total / self.steps for name, total in self.sums.items()}
        if self.steps:
            values["learning_rate"] = self.last["learning_rate"]
        if self.skipped:
            values["skipped"] = float(self.skipped)
        values["clips_per_second"] = self.clips / seconds
        values["input_wait"] = self.waited / seconds  # share of the time spent waiting for input
        return values
