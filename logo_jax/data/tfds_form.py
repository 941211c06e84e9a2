"""The form in which TFDS wants a data set: features, metadata, shards under its names."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from logo_jax.data.prepared import SPLIT
from logo_jax.data.shards import Shard


class _LocalInfo(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """Ask nobody: TFDS would look for this set on its server, and leave a temporary folder."""


class TfdsForm(tfds.core.DatasetBuilder):
    """What every builder of clips owes TFDS; the data set gives `classes`."""

    url_infos = None  # nothing is downloaded, so TFDS need not search the package for checksums

    def _info(self) -> tfds.core.DatasetInfo:
        frames = tfds.features.Tensor(shape=(), dtype=np.object_)
        features = tfds.features.FeaturesDict(
            {
                "frames": tfds.features.Sequence(frames),
                "num_frames": np.int32,
                "clip_id": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=list(self.classes)),
            }
        )
        return _LocalInfo(
            builder=self, description=self.__doc__, features=features, disable_shuffling=True
        )

    def _create_builder_config(self, builder_config, version):
        """Take the config as it is; TFDS would warn that it has not seen it before."""
        return builder_config

    def _log_download_bytes(self):
        """Keep TFDS from announcing a download."""

    def _log_download_done(self):
        """Keep TFDS from announcing its end."""

    def _as_dataset(self, *args, **kwargs):
        """TFDS's view as tf.data, which needs TensorFlow; `as_data_source` needs none."""
        raise NotImplementedError("Use as_data_source().")

    def adopt(self, found: Sequence[Shard]) -> None:
        """Put the shards into the folder of the set, too, and tell TFDS of them.

        They stay where they are as well (hard links, which take no space) until the whole set
        stands, so that nothing is lost if it does not come to that. File systems without such
        links have them moved.
        """
        template = tfds.core.ShardedFileTemplate(
            data_dir=self.data_path,
            dataset_name=self.name,
            split=SPLIT,
            filetype_suffix="array_record",
        )
        num_bytes = sum(shard.path.stat().st_size for shard in found)
        for index, shard in enumerate(found):
            place = template.sharded_filepath(shard_index=index, num_shards=len(found))
            try:
                os.link(shard.path, place)
            except OSError:
                os.replace(shard.path, place)
        split = tfds.core.SplitInfo(
            name=SPLIT,
            shard_lengths=[shard.num_stored for shard in found],
            num_bytes=num_bytes,
            filename_template=template,
        )
        self.info.set_splits(tfds.core.splits.SplitDict([split]))
