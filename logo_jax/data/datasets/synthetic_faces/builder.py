"""The TFDS builder of the synthetic faces."""

import dataclasses
from typing import Any, ClassVar

from logo_jax.common.errors import UserError, pick
from logo_jax.data.builder import ClipBuilder, ClipEntry
from logo_jax.data.datasets.synthetic_faces import film
from logo_jax.data.datasets.synthetic_faces.configs import CONFIGS, SyntheticConfig
from logo_jax.data.datasets.synthetic_faces.plan import NUM_FOLDS, clip_factors, plan
from logo_jax.data.datasets.synthetic_faces.timelines import CLASSES


class SyntheticFaces(ClipBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Drawn faces in seven classes of movement, three pairs of which differ in time order alone."""

    make_frames = staticmethod(film.make_frames)  # type: ignore[assignment]
    needs_source: ClassVar[bool] = False
    how_to_get: ClassVar[str] = "It is drawn by code; nothing is downloaded."

    @classmethod
    def configure(
        cls,
        config: str = "quick",
        num_train: int | None = None,
        num_val: int | None = None,
        num_test: int | None = None,
        seed: int = 0,
    ) -> tuple[str, dict[str, Any]]:
        """Choose the set.

        Args:
            config: "quick" or "wild".
            num_train, num_val, num_test: clips of each part; None takes the config's own number.
            seed: another number gives other people in other clips of the same kind.

        Raises:
            UserError: there is no such config, or a number is too small to hold all classes.
        """
        chosen = pick(CONFIGS, config, "config of the synthetic faces")
        asked = {"num_train": num_train, "num_val": num_val, "num_test": num_test}
        sizes: dict[str, Any] = {
            name: getattr(chosen, name) if number is None else number
            for name, number in asked.items()
        }
        for name, number in sizes.items():
            if number < len(CLASSES):
                raise UserError(
                    f"synthetic_faces: {name}={number} is too small for {len(CLASSES)} classes."
                )
        if seed < 0:
            raise UserError(f"synthetic_faces: seed={seed} must not be negative.")
        options = {"config": config, **sizes, "seed": seed}
        if dataclasses.replace(chosen, **sizes, seed=seed) == chosen:
            return config, options
        return f"{config}-{'-'.join(str(size) for size in sizes.values())}-seed{seed}", options

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def synthetic_config(self) -> SyntheticConfig:
        """The config with the options put in."""
        chosen = CONFIGS[self.options["config"]]
        names = ("num_train", "num_val", "num_test", "seed")
        return dataclasses.replace(chosen, **{name: self.options[name] for name in names})

    def entries(self) -> list[ClipEntry]:
        """List all clips: columns `split` and `fold_1` to `fold_5`, persons as groups."""
        entries = []
        for clip in plan(self.synthetic_config):
            folds = {
                f"fold_{fold}": "test" if clip.fold == fold else "train"
                for fold in range(1, NUM_FOLDS + 1)
            }
            entries.append(
                ClipEntry(
                    clip_id=clip.clip_id,
                    label=clip.label,
                    payload=clip.spec,
                    group=clip.identity,
                    partitions={"split": clip.part, **folds},
                    factors=clip_factors(clip),
                )
            )
        return entries
