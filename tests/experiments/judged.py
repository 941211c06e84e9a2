"""Runs as training leaves them, written without training: results.json and predictions.csv."""

import json

import numpy as np

from configs import dfew
from logo_jax.evaluation.calibration import calibrate
from logo_jax.evaluation.report import write_predictions
from logo_jax.experiments import config as configs

CLASSES = ("happy", "sad", "neutral")
FOLDS = (1, 2, 3)


def settings(fold=1, seed=0, **fields):
    config = dfew.get_config()
    config.data.fold = fold
    config.seed = seed
    config.update_from_flattened_dict(fields)
    return config


def draw(fold, seed, skill=1.2, clips=40):
    """Labels [N] of a fold, and probabilities [N C] of a model that is often right."""
    labels = np.random.default_rng(fold).integers(0, 3, clips)
    rng = np.random.default_rng((fold, seed, int(100 * skill)))
    logits = rng.normal(0, 1, (clips, 3)) + skill * np.eye(3)[labels]
    powers = np.exp(logits)
    return labels, (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def write_run(folder, config, skill=1.2, prefix="", **more):
    """Write a run of `config` that is finished; return its labels and probabilities."""
    fold = config.data.fold
    labels, probabilities = draw(fold, config.seed, skill)
    found = probabilities.argmax(1)
    confusion = np.zeros((3, 3), np.int64)
    np.add.at(confusion, (labels, found), 1)
    results = {
        "test": {
            "war": float((labels == found).mean()),
            "uar": float((confusion.diagonal() / confusion.sum(1)).mean()),
            "confusion": confusion.tolist(),
            "calibration": calibrate(probabilities, labels, None),
            "shuffled_confusion": confusion.T.tolist(),
        },
        "classes": list(CLASSES),
        "selection": "last",
        "selection_metric": None,
        "checkpoint": "checkpoints/last/7",
        "step": 7,
        "train_clips": 80 + fold,
        "dropped_clips": {"train": 0, "val": 0, "test": 0},
        "data": {
            "name": "dfew",
            "config": "clip_224x224",
            "fold": fold or None,
            "folds": list(FOLDS) if fold else [],
            "fingerprint": "f",
            "caveats": [],
        },
        "seed": config.seed,
        "versions": {"python": "3"},
        "device": "cpu",
        "config": configs.plain(config),
        "config_hash": configs.digest(configs.plain(config)),
    }
    results |= more
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{prefix or fold}-{row}" for row in range(len(labels))]
    folds = [str(fold or "")] * len(labels)
    target = folder / "predictions.csv"
    write_predictions(target, ids, labels, probabilities, CLASSES, folds)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.json").write_text(json.dumps(configs.plain(config)))
    return labels, probabilities
