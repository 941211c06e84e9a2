"""From a config to the parts of a run: data, model, loss, optimizer."""

import contextlib
import dataclasses
import functools
from collections.abc import Generator
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from logo_jax.common.cores import num_cores
from logo_jax.common.distributed import first_host_first
from logo_jax.common.errors import UserError
from logo_jax.data.augment import AugmentConfig, to_clips
from logo_jax.data.pipeline import train_batches
from logo_jax.data.prepared import PreparedSet, load
from logo_jax.data.sampling import Sampler, make_samplers
from logo_jax.data.validation import cut_validation
from logo_jax.models import build
from logo_jax.models.blocks import load_schemes
from logo_jax.training.accumulate import check_parts
from logo_jax.training.objective import Objective
from logo_jax.training.optimizer import make_optimizer
from logo_jax.training.sharpness import Sharpness
from logo_jax.training.step import Prepare, make_train_step

# More do not help: the training process has to take what they make.
MOST_WORKERS = 8
MOST_STEPS = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Splits:
    """The prepared set of a run and the rows of its parts; a part without clips is empty.

    `dropped` says how many clips of each part are left out as shorter than `shortest` frames,
    `where` the factors by which the clips were chosen.
    """

    prepared: PreparedSet
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    shortest: int
    dropped: dict[str, int]
    where: str | None = None

    def rows(self, part: str) -> np.ndarray:
        """Rows of "train", "val" or "test".

        Raises:
            UserError: the part has no clips.
        """
        rows = {"train": self.train, "val": self.val, "test": self.test}[part]
        if not len(rows):
            mend = ""
            if self.dropped[part]:
                mend = f" {self.dropped_sentence()}"
            elif self.where:
                mend = f" It may have some without config.data.where={self.where}."
            elif part == "val":
                mend = " Set config.data.val_fraction to cut one."
            else:
                mend = (
                    " A run needs clips to train on and clips to be judged on at its end: add them "
                    f"to the source (docs/data.md), delete {self.prepared.folder} and start again."
                )
            raise UserError(f'{self.prepared.name} has no clips in the part "{part}".{mend}')
        return rows

    @property
    def caveats(self) -> list[str]:
        """Why results are not those of the protocol: what the set says, and what was left out."""
        said = filter(None, [self.dropped_sentence(), self._untrained_sentence()])
        return [*self.prepared.caveats, *said]

    def dropped_sentence(self) -> str:
        """What was left out and what that means; empty where nothing was."""
        if not any(self.dropped.values()):
            return ""
        counts = ", ".join(f"{number:,} {part}" for part, number in self.dropped.items())
        return (
            f"CLIPS LEFT OUT (config.data.short=drop), shorter than {self.shortest} frames: "
            f"{counts} clips. Results on what remains are not comparable with results on the whole "
            "test set."
        )

    def _untrained_sentence(self) -> str:
        """Which classes have no training clip, as a choice of clips may leave; else empty."""
        there = set(self.prepared.labels[self.train].tolist())
        absent = [name for label, name in enumerate(self.prepared.classes) if label not in there]
        if not absent:
            return ""
        return f"NO CLIP TO TRAIN ON is of class {', '.join(absent)}: nothing is learned of it."

    def __str__(self) -> str:
        counts = f"{len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test clips"
        where = f", {self.where}" if self.where else ""
        return f"{self.prepared.name}/{self.prepared.config}{where}: {counts}"


def open_set(config: ConfigDict) -> PreparedSet:
    """Open the data set of a config, preparing it first if need be."""
    opening = functools.partial(
        load,
        config.data.name,
        config.data.data_dir,
        config.data.source,
        allow_missing=config.data.allow_missing,
        allow_empty_classes=config.data.allow_empty_classes,
        stored_size=config.data.stored_size,
        **config.data.options.to_dict(),
    )
    # Where the hosts share data_dir one prepares; where each has its own, each does.
    return first_host_first(opening)


def open_splits(config: ConfigDict) -> Splits:
    """Open the data set of a config, and the rows of its parts."""
    prepared = open_set(config)
    fold = config.data.fold or None
    present = prepared.parts(fold)
    rows = {
        part: prepared.rows(part, fold) if part in present else np.zeros(0, np.int64)
        for part in ("train", "val", "test")
    }
    if config.data.val_fraction:
        if len(rows["val"]):
            raise UserError(
                f"config.data.val_fraction={config.data.val_fraction}, but {prepared.name} has a "
                "validation split of its own: set the field to 0."
            )
        rows["train"], rows["val"] = cut_validation(
            prepared, rows["train"], config.data.val_fraction, config.seed
        )
    # After the cut, which is then the same for every selection.
    where = config.data.get("where")  # runs of earlier versions lack it
    selected = prepared.select(where)
    rows = {part: found[selected[found]] for part, found in rows.items()}
    shortest = clip_shape(config)[0] if config.data.short == "drop" else 1
    kept = {part: found[prepared.num_frames[found] >= shortest] for part, found in rows.items()}
    dropped = {part: len(found) - len(kept[part]) for part, found in rows.items()}
    return Splits(prepared, kept["train"], kept["val"], kept["test"], shortest, dropped, where)


def clip_shape(config: ConfigDict) -> tuple[int, int, int, int]:
    """Shape [T, H, W, 3] of the clips that the model of a config sees."""
    num_frames = config.data.segments * config.data.duration
    return num_frames, config.input.image_size, config.input.image_size, 3


def build_model(config: ConfigDict, num_classes: int) -> nn.Module:
    """Build the model of a config; raises UserError for options that it does not have."""
    if config.get("scheme_file"):
        load_schemes(config.scheme_file)
    return build(config.model.name, num_classes, **model_options(config))


def model_options(config: ConfigDict) -> dict[str, Any]:
    """The options of the system that a config sets; the others have the system's defaults."""
    return {
        name: value
        for name, value in config.model.to_dict().items()
        if name not in ("name", "pretrained") and value is not None
    }


def samplers(config: ConfigDict, views: int = 1) -> list[Sampler]:
    """The functions that choose the frames of a clip, one for each of so many temporal views."""
    data = config.data
    return make_samplers(
        data.sampling, data.segments, data.duration, data.short, data.stride, views
    )


def sampler(config: ConfigDict) -> Sampler:
    """The function that chooses the frames of a clip, of its length and a random stream."""
    return samplers(config)[0]


def num_workers(config: ConfigDict) -> int:
    """Processes that read and decode clips."""
    asked: int = config.data.num_workers
    if asked < -1:
        raise UserError(f"config.data.num_workers={asked}: choose 0 or more, or -1.")
    if asked == -1:
        return 0 if jax.default_backend() == "cpu" else max(1, min(MOST_WORKERS, num_cores() - 1))
    return asked


def augmentation(config: ConfigDict) -> AugmentConfig:
    return AugmentConfig(**config.augment.to_dict())


def make_prepare(config: ConfigDict, train: bool) -> Prepare:
    """The function that makes clips of a batch on the device, inside the jitted step."""
    return functools.partial(
        to_clips,
        image_size=config.input.image_size,
        mean=tuple(config.input.mean),
        std=tuple(config.input.std),
        train=train,
    )


def training_batches(
    config: ConfigDict, prepared: PreparedSet, rows: np.ndarray, **settings: Any
) -> Generator[dict[str, np.ndarray], None, None]:
    """Yield the batches of `pipeline.train_batches`, with `soft_label` float32 [b C] if asked for.

    Raises:
        UserError: the set was prepared without the votes that make soft labels.
    """
    batches = train_batches(prepared, rows, **settings)
    if not config.loss.soft_labels:
        return batches
    return _with_soft_labels(batches, prepared.soft_labels)


def _with_soft_labels(
    batches: Generator[dict[str, np.ndarray], None, None], soft_labels: np.ndarray
) -> Generator[dict[str, np.ndarray], None, None]:
    with contextlib.closing(batches):
        for batch in batches:
            yield batch | {"soft_label": soft_labels[batch["row"]]}


def make_objective(config: ConfigDict, class_counts: np.ndarray) -> Objective:
    """The losses of a config, for training clips of which `class_counts` [C] are of each class."""
    return Objective(class_counts=class_counts, **config.loss.to_dict())


def init_loss_state(
    objective: Objective, model: nn.Module, config: ConfigDict, variables: dict
) -> dict[str, Any]:
    """The state of step 0 of the losses, without computing the model's output."""
    clip = jax.ShapeDtypeStruct((1, *clip_shape(config)), np.float32)
    return objective.init_state(jax.eval_shape(model.apply, variables, clip))


def count_steps(config: ConfigDict, num_clips: int) -> int:
    """Steps of the whole training: batches run across the ends of epochs, none is cut short."""
    steps = _all_steps(config, num_clips)
    if steps > MOST_STEPS:
        raise UserError(
            f"config.num_epochs={config.num_epochs} makes {steps:,} steps, but they are counted in "
            f"32 bits, up to {MOST_STEPS:,}: choose fewer epochs."
        )
    return min(steps, config.max_steps) if config.max_steps else steps


def _all_steps(config: ConfigDict, num_clips: int) -> int:
    """Steps of all epochs, rounded up; whole numbers, which may be of any size."""
    return int(-(-config.num_epochs * num_clips // config.batch_size))


def epochs_to_steps(config: ConfigDict, epochs: float, num_clips: int) -> int:
    return round(epochs * num_clips / config.batch_size)


def sharpness_of(config: ConfigDict) -> Sharpness:
    """The form of sharpness-aware training of a config."""
    fields = config.optimizer
    return Sharpness(
        form=fields.sharpness,
        rho=fields.rho,
        adaptive=fields.adaptive,
        look_every=fields.look_every,
        look_alpha=fields.look_alpha,
        m=fields.m,
        mesa_weight=fields.mesa_weight,
        mesa_temperature=fields.mesa_temperature,
    )


def train_step_of(
    config: ConfigDict, model: nn.Module, tx: Any, objective: Objective, rate: Any, mesh: Mesh
) -> Any:
    """The training step of a config; raises UserError where its fields do not go together."""
    sharpness = sharpness_of(config)
    check_parts(config.batch_size, config.accumulate, mesh.size, "config.accumulate")
    if sharpness.climbs("esam"):
        field = 'config.optimizer.sharpness="esam"'
        check_parts(config.batch_size, 2 * config.accumulate, mesh.size, field)
    if sharpness.climbs("msam"):
        sharpness.shards(config.batch_size)  # an error before any data is read
    if config.accumulate > 1 and objective.ec_stfl:
        raise UserError(
            "config.loss.ec_stfl compares all pairs of a batch, which micro-batches would "
            "separate: leave config.accumulate at 1."
        )
    return make_train_step(
        model,
        tx,
        objective,
        make_prepare(config, train=True),
        rate,
        mesh,
        sharpness=sharpness,
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        skip_nonfinite=config.skip_nonfinite,
    )


def optimizer_of(config: ConfigDict, num_clips: int) -> tuple[Any, Any]:
    """The optimizer of a config, and its schedule: step -> learning rate."""
    fields = config.optimizer
    return make_optimizer(
        base=fields.base,
        learning_rate=fields.learning_rate,
        momentum=fields.momentum,
        weight_decay=fields.weight_decay,
        sharpness=sharpness_of(config),
        schedule=fields.schedule,
        warmup_steps=epochs_to_steps(config, fields.warmup_epochs, num_clips),
        decay_every_steps=epochs_to_steps(config, fields.decay_every_epochs, num_clips),
        decay_factor=fields.decay_factor,
        # The schedule of a trial that max_steps cuts short is that of the whole training.
        total_steps=_all_steps(config, num_clips),
        clip_norm=fields.clip_norm,
        backbone_lr_scale=fields.backbone_lr_scale,
    )
