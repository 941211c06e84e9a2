"""`--mode=predict`: expressions of clips that are no data set, from a trained model."""

from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder
from logo_jax.data.frames import ClipFiles
from logo_jax.data.lists import find_clips
from logo_jax.evaluation import report
from logo_jax.experiments.evaluate import check_trained_alike, resolve
from logo_jax.experiments.judge import Judge
from logo_jax.experiments.parts import clip_shape
from logo_jax.training.checkpoint import load_variables, read_meta


def predict(config: ConfigDict, workdir: Path, checkpoint: str, source: str, output: Path) -> Path:
    """Write `predictions.csv`: a line for each clip in `source`, with its probabilities.

    Args:
        checkpoint: as in `evaluate`.
        source: a folder of frames, a folder of such folders, or a list file.
        output: folder for predictions.csv.

    Raises:
        UserError: the checkpoint, the source or the output cannot be used, or `config.data.short`
            is "drop" and every clip is too short; too short clips among others are left out, and
            named.
    """
    if not source:
        raise UserError("Give --input: a folder of frames, a folder of such folders, or a list.")
    path = resolve(config, workdir, checkpoint)
    meta = read_meta(path)
    check_trained_alike(config, meta, path)
    make_folder(output)
    classes = meta["classes"]
    found = find_clips(str(Path(source).expanduser()))
    if config.data.short == "drop":
        found = _long_enough(found, clip_shape(config)[0])
    clips = ClipFiles(found)
    judge = Judge(config, classes)
    variables = load_variables(path, like=judge.abstract_variables())
    probabilities = judge.probabilities(variables, clips, np.arange(len(found)))
    target = output / "predictions.csv"
    if jax.process_index() == 0:
        report.write_predictions(target, clips.clip_ids, None, probabilities, classes)
        for clip_id, row in zip(clips.clip_ids[:10], probabilities[:10], strict=True):
            print(f"{clip_id}: {classes[int(row.argmax())]} ({row.max():.2f})")
        print(f"{len(found):,} clips: {target}")
    return target


def _long_enough(
    found: list[tuple[str, list[Path]]], shortest: int
) -> list[tuple[str, list[Path]]]:
    short = [name for name, frames in found if len(frames) < shortest]
    if short:
        which = f"shorter than {shortest} frames (config.data.short=drop): {', '.join(short[:10])}"
        which += f" and {len(short) - 10:,} more" if len(short) > 10 else ""
        if len(short) == len(found):
            raise UserError(
                f"All {len(found):,} clips are {which}. Set config.data.short to pad_last."
            )
        print(f"{len(short):,} CLIPS LEFT OUT, {which}")
    return [clip for clip in found if len(clip[1]) >= shortest]
