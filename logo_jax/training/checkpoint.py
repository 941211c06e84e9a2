"""Checkpoints: the newest two and the best one of a run, each whole or absent.

    <workdir>/checkpoints/last/<step>/{variables,ema,progress,meta}
    <workdir>/checkpoints/best/<step>/{variables,ema,progress,meta}   only where a selection asks
    <workdir>/checkpoints/damaged/<step>                              set aside, never read

`variables` are parameters and batch statistics, all that evaluation needs; `ema` is their moving
average, where the run keeps one. `progress` is the rest of the train state. `meta` is JSON: step,
config, class names, fingerprint of the data, which parameters are judged, and checksums of the
other items and of itself. The position in the data is the step: the input is a function of
(seed, step) alone, so a run may resume with another number of input workers.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from logo_jax.common.distributed import is_loss
from logo_jax.common.errors import UserError
from logo_jax.common.mesh import data_mesh, replicated
from logo_jax.training.damage import WithChecksums, damage, mend, read_arrays, step_folders
from logo_jax.training.state import TrainState

METADATA_BYTES = 2**20  # what a checkpoint takes beside its arrays, generously
# What every meta holds.
META = {"step": int, "config": dict, "classes": list, "fingerprint": str, "train_clips": int}
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
        """Save `state` as the newest checkpoint, unless its step is saved already.

        Its meta says of which step the best checkpoint is, so that a loss of that is noticed.
        """
        _save(self._last, state, {**meta, "best_step": self._best.latest_step()})

    def save_best(self, state: TrainState, meta: dict) -> None:
        """Save `state` as the best checkpoint so far; `meta["score"]` says how good it is."""
        _save(self._best, state, meta)

    def best_meta(self) -> dict | None:
        """`meta` of the best checkpoint, None where there is none."""
        step = self._best.latest_step()
        return None if step is None else read_meta(Path(self._best.directory) / str(step))

    def last_meta(self) -> dict:
        """`meta` of the newest checkpoint, {} where there is none."""
        step = self._last.latest_step()
        return {} if step is None else read_meta(Path(self._last.directory) / str(step))

    def lost_best(self) -> Path | None:
        """Folder of the best checkpoint that the newest one knows of and that is not there."""
        known = self.last_meta().get("best_step")
        found = self._best.latest_step()
        if known is None or (found is not None and found >= known):
            return None
        return Path(self._best.directory) / str(known)

    def restore(self, state: TrainState) -> tuple[TrainState, dict]:
        """Return the newest checkpoint in the form (shapes, types, sharding) of `state`.

        Raises:
            UserError: it holds another model or optimizer; the message names the first tensors.
        """
        folder = self._last.directory / str(self._last.latest_step())
        items = {name: _restore(folder, name, item) for name, item in _split(state).items()}
        average = {"ema": items["ema"]} if "ema" in items else {}
        state = state.replace(**items["variables"], **items["progress"], **average)
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
    if (path / "variables").is_dir() and path.name.isascii() and path.name.isdecimal():
        return path
    found = newest(path, which)
    if found is None and which == "best" and newest(path) is not None:
        raise UserError(
            f"The run in {path} has lost its best checkpoint, {path}/checkpoints/best/<step>, or "
            "has made none yet: put the folder back from a copy, train the run to its end, or "
            "judge the last step with --mode=evaluate --checkpoint=last."
        )
    if found is None:
        raise UserError(
            f"No {which} checkpoint in {path}: give the workdir of a run (it has the folder "
            f"checkpoints/{which}/<step>) or the folder of one step."
        )
    return found


def newest(workdir: Path, which: str = "last") -> Path | None:
    """Return the folder of the newest "last" or "best" checkpoint, None where there is none.

    Raises:
        UserError: no folder can be there, or one has not the name of a step.
    """
    folder = workdir.absolute() / "checkpoints" / which
    steps = step_folders(folder)
    return folder / str(max(steps)) if steps else None


def read_meta(checkpoint: Path) -> dict:
    """Return `meta` of the checkpoint step in the folder `checkpoint`.

    Raises:
        UserError: the checkpoint is damaged.
    """
    with _readable(checkpoint, "meta"), _json_reader() as checkpointer:
        meta = checkpointer.restore(checkpoint / "meta")
        lost = [name for name in META if name not in meta]
        if lost:
            raise ValueError(f"its meta lacks {', '.join(lost)}")
        wrong = [name for name, kind in META.items() if not isinstance(meta[name], kind)]
        if wrong:
            raise ValueError(f"its meta has no {META[wrong[0]].__name__} for {wrong[0]}")
        return meta


def load_variables(checkpoint: Path, like: dict | None = None) -> dict:
    """Return the variables {"params", "batch_stats"} to be judged, of the step in `checkpoint`.

    They are those of the moving average where the run is judged by it (`parameters` of the meta).

    Args:
        like: variables (or their shapes) of the model that will take them, which the checkpoint
            must fit. They come back on every device of the job, whatever devices wrote them, and
            all processes of the job call this. None returns host arrays of whatever it holds.

    Raises:
        UserError: the checkpoint holds another model, or is damaged, or cannot be read here.
    """
    item = "ema" if read_meta(checkpoint).get("parameters") == "ema" else "variables"
    if like is not None:
        # Without a sharding Orbax would ask for the very devices that wrote the checkpoint.
        sharding = replicated(data_mesh())
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), like
        )
        return _restore(checkpoint, item, like)
    with _readable(checkpoint, item):
        return read_arrays(checkpoint / item)


def _manager(folder: Path, keep: int) -> ocp.CheckpointManager:
    # Saving is synchronous: a step is either trained and saved or neither, and SIGTERM needs no
    # wait for a thread. LatestN deletes an older checkpoint only after the newer one is complete.
    return ocp.CheckpointManager(
        folder,
        item_names=("variables", "ema", "progress", "meta"),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.LatestN(keep),
            enable_async_checkpointing=False,
            temporary_path_class=WithChecksums,
        ),
    )


def _split(state: TrainState) -> dict[str, dict[str, Any]]:
    return {
        "variables": {"params": state.params, "batch_stats": state.batch_stats},
        **({"ema": state.ema} if state.ema else {}),
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
        # Tensorstore reports a full disk as ValueError, and so does Gloo the end of a peer.
        if is_loss(error):
            raise
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
            f"Cannot save step {int(state.step)} in {folder}: {free / 2**20:.1f} MiB are free and "
            f"{needed / 2**20:.1f} MiB are needed. Earlier checkpoints are intact; free some space "
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
    with _readable(checkpoint, name), ocp.StandardCheckpointer() as checkpointer:
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


def _json_reader() -> ocp.Checkpointer:
    return ocp.Checkpointer(ocp.JsonCheckpointHandler())


@contextmanager
def _readable(checkpoint: Any, item: str) -> Iterator[None]:
    """Say in one sentence that an item of what was saved is not what it was, or cannot be read.

    Only files that are not what was written are damage: whatever else happens may be the fault of
    this machine, and nobody should delete a checkpoint for it.
    """
    problem = damage(Path(checkpoint), item)
    if problem:
        raise UserError(f"The checkpoint {checkpoint} is damaged ({problem}): {mend(problem)}.")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of many kinds; Tensorstore appends its settings
        if is_loss(error):
            raise
        reason = (str(error) or type(error).__name__).split(" [", 1)[0].splitlines()[0]
        raise UserError(
            f"The checkpoint {checkpoint} cannot be read here ({reason}), though its files are "
            "what was written: keep it, and try with more free memory, or with the versions of "
            "this package, JAX and Orbax that wrote it."
        ) from error


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every array of a tree (of keys: the shape of their data)."""
    shapes = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if _is_key(leaf):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        shapes[jax.tree_util.keystr(path, simple=True, separator=".")] = tuple(leaf.shape)
    return shapes
