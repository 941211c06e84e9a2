"""Checkpoints: the newest two and the best one of a run, each whole or absent.

    <workdir>/checkpoints/last/<step>/{variables,progress,meta}
    <workdir>/checkpoints/best/<step>/{variables,progress,meta}     only where a selection asks

`variables` are parameters and batch statistics, all that evaluation needs. `progress` is the rest
of the train state. `meta` is JSON: step, config, class names, fingerprint of the data. The
position in the data is the step: the input is a function of (seed, step) alone, so a run may
resume with another number of input workers.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from logo_jax.common.errors import UserError
from logo_jax.training.state import TrainState

METADATA_BYTES = 2**20  # what a checkpoint takes beside its arrays, generously
NEWEST_KEPT = 2  # a checkpoint that a crash of the machine has damaged still has a predecessor


class Checkpoints:
    """The checkpoints of one run: `last` for resuming, `best` for the selection.

    Raises:
        UserError: Orbax cannot save below a folder of this name.
    """

    def __init__(self, workdir: str | os.PathLike):
        folder = Path(workdir).absolute() / "checkpoints"
        if set("*?[") & set(str(folder)):
            # Orbax looks for its own files with a glob pattern that begins with the folder: it
            # finds none, and leaves half a checkpoint without a word.
            raise UserError(
                f"Checkpoints cannot be saved in {folder.parent}: choose a --workdir whose path "
                "has no *, ? and [."
            )
        self._last = _manager(folder / "last", NEWEST_KEPT)
        self._best = _manager(folder / "best", 1)

    def latest_step(self) -> int | None:
        return self._last.latest_step()

    def save(self, state: TrainState, meta: dict) -> None:
        """Save `state` as the newest checkpoint, unless its step is saved already."""
        _save(self._last, state, meta)

    def save_best(self, state: TrainState, meta: dict) -> None:
        """Save `state` as the best checkpoint so far; `meta["score"]` says how good it is."""
        _save(self._best, state, meta)

    def best_meta(self) -> dict | None:
        """`meta` of the best checkpoint, None where there is none."""
        step = self._best.latest_step()
        return None if step is None else read_meta(Path(self._best.directory) / str(step))

    def restore(self, state: TrainState) -> tuple[TrainState, dict]:
        """Return the newest checkpoint in the form (shapes, types, sharding) of `state`.

        Raises:
            UserError: it holds another model or optimizer; the message names the first tensors.
        """
        folder = self._last.directory / str(self._last.latest_step())
        items = {name: _restore(folder, name, item) for name, item in _split(state).items()}
        state = state.replace(**items["variables"], **items["progress"])
        return state, read_meta(Path(folder))

    def close(self) -> None:
        self._last.close()
        self._best.close()


def find_checkpoint(path: str | os.PathLike, which: str = "last") -> Path:
    """Return the folder of one checkpoint step.

    Args:
        path: a workdir (then `which` is "last" or "best"), or a folder of one step.

    Raises:
        UserError: no checkpoint there.
    """
    path = Path(path).expanduser().absolute()
    if (path / "variables").is_dir() and path.name.isdigit():
        return path
    found = newest(path, which)
    if found is None:
        raise UserError(
            f"No {which} checkpoint in {path}: give the workdir of a run (it has the folder "
            f"checkpoints/{which}/<step>) or the folder of one step."
        )
    return found


def newest(workdir: Path, which: str = "last") -> Path | None:
    """Return the folder of the newest "last" or "best" checkpoint, None where there is none."""
    folder = workdir.absolute() / "checkpoints" / which
    steps = [int(p.name) for p in folder.iterdir() if p.name.isdigit()] if folder.is_dir() else []
    return folder / str(max(steps)) if steps else None


def read_meta(checkpoint: Path) -> dict:
    """Return `meta` of the checkpoint step in the folder `checkpoint`.

    Raises:
        UserError: the checkpoint is damaged.
    """
    with _damage(checkpoint), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
        meta = checkpointer.restore(checkpoint / "meta")
        lost = {"step", "config", "classes", "fingerprint", "train_clips"} - set(meta)
        if lost:
            raise ValueError(f"its meta lacks {', '.join(sorted(lost))}")
        return meta


def load_variables(checkpoint: Path, like: dict | None = None) -> dict:
    """Return the variables {"params", "batch_stats"} of the checkpoint step in `checkpoint`.

    Args:
        like: variables (or their shapes) of the model that will take them, which the checkpoint
            must fit; None returns host arrays of whatever it holds.

    Raises:
        UserError: the checkpoint holds another model, or is damaged.
    """
    if like is not None:
        return _restore(checkpoint, "variables", like)
    with _damage(checkpoint), ocp.PyTreeCheckpointer() as checkpointer:
        as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
        tree = _saved_tree(checkpointer, checkpoint / "variables")
        args = ocp.args.PyTreeRestore(restore_args=jax.tree.map(lambda _: as_numpy, tree))
        return checkpointer.restore(checkpoint / "variables", args=args)


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    # Saving is synchronous: a step is either trained and saved or neither, and SIGTERM needs no
    # wait for a thread. LatestN deletes an older checkpoint only after the newer one is complete.
    return ocp.CheckpointManager(
        folder,
        item_names=("variables", "progress", "meta"),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            enable_async_checkpointing=False,
        ),
    )


def _split(state: TrainState) -> dict[str, dict[str, Any]]:
    return {
        "variables": {"params": state.params, "batch_stats": state.batch_stats},
        "progress": {
            "step": state.step,
            "opt_state": state.opt_state,
            "dropout_key": state.dropout_key,
            "loss_state": state.loss_state,
        },
    }


def _save(manager: ocp.CheckpointManager, state: TrainState, meta: dict) -> None:
    step = int(state.step)
    if manager.latest_step() == step:
        return
    items = {name: ocp.args.StandardSave(item) for name, item in _split(state).items()}
    _check_space(Path(manager.directory), state)
    try:
        manager.save(step, args=ocp.args.Composite(**items, meta=ocp.args.JsonSave(meta)))
        manager.wait_until_finished()
    except (OSError, ValueError) as error:
        # Tensorstore reports a full disk as ValueError.
        reason = str(error).rsplit(": ", 1)[-1]  # its first words name each file on the way
        raise UserError(
            f"Cannot save step {step} in {manager.directory}: {reason}. Earlier checkpoints are "
            "intact; free some space or mend the folder and run the same command again."
        ) from error


def _check_space(folder: Path, state: TrainState) -> None:
    """Refuse to begin a save that the disk cannot hold, rather than leave half of one.

    Raises:
        UserError: less space is free than the state takes.
    """
    needed = sum(_data(leaf).nbytes for leaf in jax.tree.leaves(state)) + METADATA_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"Cannot save step {int(state.step)} in {folder}: {free / 2**20:.0f} MiB are free and "
            f"{needed / 2**20:.0f} MiB are needed. Earlier checkpoints are intact; free some space "
            "and run the same command again."
        )


def _data(leaf: jax.Array) -> jax.Array:
    """The numbers of an array; a random key's are its data."""
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _restore(checkpoint: Any, name: str, like: Any) -> Any:
    """Restore one item of a checkpoint step in the form of `like`, which its tensors must fit."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    with _damage(checkpoint), ocp.StandardCheckpointer() as checkpointer:
        saved = _shapes(_saved_tree(checkpointer, checkpoint / name))
        # As the file has it: named tuples are dictionaries there.
        wanted = _shapes(abstract)
        wrong = [
            f"{tensor} is {saved.get(tensor, 'missing')} there and "
            f"{wanted.get(tensor, 'missing')} here"
            for tensor in sorted({*saved, *wanted})
            if saved.get(tensor) != wanted.get(tensor)
        ]
        if wrong:
            raise UserError(
                f"The checkpoint {checkpoint} is of another model: {len(wrong)} tensors differ, "
                f"such as {'; '.join(wrong[:3])}. Use the config that it was trained with, another "
                "--workdir, or config.init_from to start from it."
            )
        return checkpointer.restore(checkpoint / name, abstract)


def _saved_tree(checkpointer: ocp.Checkpointer, item: Any) -> Any:
    """The tree of what was saved, with shapes and types for arrays."""
    metadata = checkpointer.metadata(item).item_metadata
    if metadata is None:  # Orbax's word for files that are not there
        raise ValueError(f"{item.name} cannot be read")
    return metadata.tree


@contextmanager
def _damage(checkpoint: Any) -> Iterator[None]:
    """Say in one sentence that what was saved cannot be read."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).split(" [", 1)[0].splitlines()[0]  # Tensorstore appends its settings
        raise UserError(
            f"The checkpoint {checkpoint} is damaged ({reason}): delete this folder, and the run "
            "goes on from the checkpoint before it, if there is one."
        ) from error


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every array of a tree (of keys: the shape of their data)."""
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if _is_key(leaf):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        shapes[jax.tree_util.keystr(path, simple=True, separator=".")] = tuple(leaf.shape)
    return shapes
