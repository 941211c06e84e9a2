"""The AFEW builder: its validation part is what it is judged on."""

import cv2
import numpy as np
import pytest

import logo_jax.data
from logo_jax.common.errors import UserError

EMOTIONS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "AFEW"
    for part, clip in (("train", "000046280"), ("validation", "000149120")):
        for number, emotion in enumerate(EMOTIONS):
            folder = root / part / emotion / clip
            folder.mkdir(parents=True)
            for frame in range(9, 12):
                image = np.full((6, 6, 3), frame + number, np.uint8)
                (folder / f"{frame}.jpg").write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    return root


@pytest.fixture
def load(root, tmp_path):
    def load(**options):
        settings = {"source": root, "num_workers": 0} | options
        return logo_jax.data.load("afew", tmp_path / "data", **settings)

    return load


def test_validation_is_the_part_test(root, load, capsys):
    prepared = load()
    assert prepared.parts() == ("train", "test")
    for row, name in enumerate(prepared.clip_ids):
        part, emotion, _ = name.split("/")
        assert prepared.partitions["split"][row] == {"train": "train", "validation": "test"}[part]
        assert prepared.classes[prepared.labels[row]] == emotion.lower()
        frames = [(root / name / f"{frame}.jpg").read_bytes() for frame in range(9, 12)]
        assert prepared[row]["frames"] == frames
    said = capsys.readouterr().err
    assert "7 train and 7 test clips (official: 773 and 383 or 773 and 381)" in said
    assert "validation part is the part on which it is judged" in said
    order = load(label_order="alphabetical").classes
    assert order == tuple(name.lower() for name in EMOTIONS)


def test_lists_with_numbers(root, load):
    for part in ("train", "validation"):
        rows = [
            f"{p.relative_to(root)} {i}" for i, p in enumerate(sorted(root.glob(f"{part}/*/*")))
        ]
        (root / f"{part}.txt").write_text("\n".join(rows))
    given = {"lists": "videomae", "train_list": "train.txt", "test_list": "validation.txt"}
    listed = load(**given, list_order="alphabetical")
    assert listed.clip_ids == load().clip_ids
    assert listed.labels.tolist() == load().labels.tolist()
    with pytest.raises(UserError, match='label "0" is happy in the order .* in the folder Angry'):
        load(**given, list_order="dfew")
    with pytest.raises(UserError, match="train_list, test_list: AFEW's own clips are read from"):
        load(train_list="train.txt", test_list="validation.txt")


def test_misplaced_folders(root, load):
    (root / "train" / "Sad").rename(root / "train" / "Sadd")
    with pytest.raises(UserError, match='"Sadd" is no expression of AFEW. Did you mean "sad"'):
        load()
    (root / "train" / "Sadd").rename(root / "train" / "Sad")
    (root / "train" / "loop").symlink_to(root)
    with pytest.raises(UserError, match="The link .*loop leads to .*AFEW, which holds it: remove"):
        load()
    (root / "train" / "loop").unlink()
    (root / "validation").rename(root / "val")
    with pytest.raises(UserError, match=r"no folder .*validation; .* holds train, val\."):
        load()
