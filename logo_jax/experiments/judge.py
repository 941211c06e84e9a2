"""A trained model and its data, ready to be judged."""

import math
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common.mesh import check_batch_size, data_mesh, to_devices
from logo_jax.common.progress import track
from logo_jax.data.pipeline import ClipSource, eval_batches
from logo_jax.data.views import decoded_size, spatial_views
from logo_jax.experiments import parts
from logo_jax.training.state import init_variables
from logo_jax.training.step import make_eval_step


class Judge:
    """A model ready to be evaluated: it gives the probabilities of clips."""

    def __init__(self, config: ConfigDict, classes: Sequence[str]):
        self.config = config
        self.mesh = data_mesh()
        check_batch_size(config.evaluation.batch_size, self.mesh, "config.evaluation.batch_size")
        self.model = parts.build_model(config, len(classes))
        self.step = make_eval_step(self.model, parts.make_prepare(config, train=False), self.mesh)

    def abstract_variables(self) -> dict:
        """Shapes and types of the model's variables, without computing any."""
        return jax.eval_shape(
            lambda: init_variables(self.model, parts.clip_shape(self.config), self.config.seed)
        )

    def probabilities(
        self,
        variables: dict,
        clips: ClipSource,
        rows: np.ndarray,
        frame_order: str = "",
        one_view: bool = False,
    ) -> np.ndarray:
        """Softmax of the logits, float32 [N, C], of the clips of `rows` [N], in that order.

        It is averaged over the views of the config: temporal times spatial ones. With `one_view`
        the frames are those of a single temporal view, whole. The order of the frames is
        `frame_order`, or that of the training where it is "".
        """
        frame_order = frame_order or self.config.data.frame_order
        views = self.config.evaluation
        size = views.batch_size
        in_time = parts.samplers(self.config, 1 if one_view else views.temporal_views)
        in_space = [
            to_devices(view, self.mesh)
            for view in spatial_views(
                1 if one_view else views.spatial_views, size // jax.process_count()
            )
        ]
        batches = eval_batches(
            clips,
            rows,
            batch_size=size,
            sampler=in_time,
            frame_size=decoded_size(
                1 if one_view else views.spatial_views,
                self.config.input.image_size,
                self.config.data.frame_size,
            ),
            num_workers=parts.num_workers(self.config),
            cache_gib=self.config.data.cache_gib,
            cache_dir=self.config.data.cache_dir,
            frame_order=frame_order,
            seed=self.config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        name = "evaluation" if frame_order == "natural" else f"evaluation, frames {frame_order}"
        found = [
            np.asarray(self.step(variables["params"], variables["batch_stats"], batch | view))
            for batch in (
                to_devices(host_batch, self.mesh)
                for host_batch in track(
                    batches, math.ceil(len(rows) / size) * len(in_time), name, "batches"
                )
            )
            for view in in_space
        ]
        # Batches of all views follow each other: [batches, views, B, C].
        stacked = np.stack(found).reshape(-1, len(in_time) * len(in_space), *found[0].shape)
        averages = stacked.mean(1, dtype=np.float64).astype(np.float32)
        return np.concatenate(averages)[: len(rows)]  # the last batch is padded
