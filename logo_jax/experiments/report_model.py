"""What a report needs a trained model and its clips for: features, frames, attention, occlusion."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError
from logo_jax.data.pipeline import eval_batches
from logo_jax.experiments.judge import Judge
from logo_jax.experiments.parts import make_prepare, open_splits, sampler
from logo_jax.experiments.report_runs import checkpoint_of
from logo_jax.experiments.runs import Run
from logo_jax.models.rollout import Rollout, can_roll_out, capture, rollout
from logo_jax.training.checkpoint import load_variables

# Attention maps of one clip that are larger are not computed.
MOST_BYTES = 2**31


class TrainedModel:
    """The judged model of a run and the prepared set that it was judged on.

    Clips are seen in one view, by the frames that the run's sampling chooses at test time.

    Raises:
        UserError: the checkpoint or the prepared set is no longer there, or is another one.
    """

    def __init__(self, run: Run):
        self.config = ConfigDict(run.results["config"])
        self.classes = run.results["classes"]
        checkpoint = checkpoint_of(run)
        if checkpoint is None:
            raise UserError(f"the checkpoint of step {run.results['step']} is not there any more")
        data = run.results["data"]
        folder = Path(self.config.data.data_dir).expanduser() / data["name"] / data["config"]
        if not any(folder.glob("*/prepared.json")):  # else it would be prepared anew
            raise UserError(f"the prepared set is not in {self.config.data.data_dir} any more")
        try:
            self.clips = open_splits(self.config).prepared
        except AttributeError as error:  # how a config says that it lacks a field
            raise UserError(f"the run's config is of another version ({error})") from error
        if self.clips.fingerprint != data["fingerprint"]:
            raise UserError("the prepared set is not the one that the run was judged on")
        self.rows = {clip_id: row for row, clip_id in enumerate(self.clips.clip_ids)}
        judge = Judge(self.config, self.classes)
        self.model = judge.model
        self.variables = load_variables(checkpoint, like=judge.abstract_variables())
        self.prepare = make_prepare(self.config, train=False)
        self.batch_size: int = self.config.evaluation.batch_size

    @functools.cached_property
    def _apply(self) -> Any:
        def apply(variables: Any, frames: Any) -> Any:
            clips = self.prepare({"frames": frames})
            out: Any = self.model.apply(variables, clips, train=False)
            return jax.nn.softmax(out.logits), out.features

        return jax.jit(apply)

    def frames(self, clip_ids: Sequence[str]) -> UInt8[np.ndarray, "N T S S 3"]:
        """The frames that the model sees of the clips."""
        return np.concatenate(list(self._batches(clip_ids)))[: len(clip_ids)]

    def features(self, clip_ids: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """What the head reads."""
        found = [
            np.asarray(self._apply(self.variables, frames)[1]) for frames in self._batches(clip_ids)
        ]
        return np.concatenate(found)[: len(clip_ids)]

    def frame_effects(
        self, frames: UInt8[np.ndarray, "N T S S 3"], labels: Int[np.ndarray, " N"]
    ) -> Float[np.ndarray, "N T"]:
        """How the probability of the true class changes when a frame is replaced by the one before
        it (the first: by the one after it). One frame alone has no neighbour: 0."""
        count, length = frames.shape[:2]
        variants = np.repeat(frames[:, None], length + 1, axis=1)  # the last is the clip itself
        for t in range(length):
            variants[:, t, t] = frames[:, t - 1 if t else min(1, length - 1)]
        flat = variants.reshape(-1, *frames.shape[1:])
        found = []
        for start in range(0, len(flat), self.batch_size):
            batch = flat[start : start + self.batch_size]
            padding = np.repeat(batch[:1], self.batch_size - len(batch), axis=0)
            batch = np.concatenate([batch, padding])
            found.append(np.asarray(self._apply(self.variables, batch)[0]))
        all_of = np.concatenate(found)[: len(flat)].reshape(count, length + 1, -1)
        of_truth = all_of[np.arange(count), :, labels]
        return of_truth[:, :-1] - of_truth[:, -1:]

    def rollouts(self, frames: UInt8[np.ndarray, "N T S S 3"]) -> dict[str, np.ndarray]:
        """Mass of the clips' tokens, [N T H W] each, summing to 1 over a clip: "rollout" and, of
        models with two kinds of attention, either kind alone. Empty without a class token.

        Raises:
            UserError: the attention maps of a clip would not fit.
        """
        if not can_roll_out(self.model):
            return {}

        @jax.jit
        def maps(variables: Any, one: Any) -> Any:
            return self.model.apply(
                variables,
                self.prepare({"frames": one}),
                train=False,
                mutable=["intermediates"],
                capture_intermediates=capture,
            )[1]["intermediates"]

        shapes = jax.tree.leaves(jax.eval_shape(maps, self.variables, frames[:1]))
        size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes)
        if size > MOST_BYTES:
            raise UserError(f"the attention maps of one clip take {size / 2**30:.1f} GiB")
        found = [
            rollout(self.model, jax.device_get(maps(self.variables, frames[i : i + 1])))
            for i in range(len(frames))
        ]
        return self._stacked(found, frames.shape[1])

    def _stacked(self, found: Sequence[Rollout], length: int) -> dict[str, np.ndarray]:
        names = ["rollout", *found[0].parts]
        rows = [{"rollout": one.tokens, **one.parts} for one in found]
        stacked = {name: np.concatenate([row[name] for row in rows]) for name in names}
        for name, mass in stacked.items():
            tubelet = length // mass.shape[1]  # frames of one token
            mass = np.repeat(mass / tubelet, tubelet, axis=1)
            stacked[name] = mass / mass.sum((1, 2, 3), keepdims=True)
        return stacked

    def _batches(self, clip_ids: Sequence[str]) -> Any:
        rows = np.array([self.rows[clip_id] for clip_id in clip_ids])
        batches = eval_batches(
            self.clips,
            rows,
            batch_size=self.batch_size,
            sampler=sampler(self.config),
            frame_size=self.config.data.frame_size,
            frame_order=self.config.data.frame_order,
            seed=self.config.seed,
        )
        return (batch["frames"] for batch in batches)
