"""Configs of the data sets: their options, scenes, and the paper's rows."""

import inspect

import numpy as np
import pytest

from configs import afew, dfew, ferv39k, ferv39k_scratch, frame_folders, mafw, paper
from logo_jax.common.errors import UserError
from logo_jax.data.prepared import PreparedSet, builder_class
from logo_jax.experiments import parts

CONFIGS = {
    "dfew": dfew,
    "ferv39k": ferv39k,
    "ferv39k_scratch": ferv39k_scratch,
    "afew": afew,
    "mafw": mafw,
    "frame_folders": frame_folders,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_names_every_option_and_its_default(name):
    config = CONFIGS[name].get_config()
    cls = builder_class(config.data.name)
    parameters = inspect.signature(cls.configure).parameters
    options = config.data.options.to_dict()
    assert set(options) == set(parameters)
    assert cls.configure(**options) == cls.configure()


def test_ferv39k_judges_all_test_clips_of_the_whole_set_or_of_a_scene():
    config = ferv39k.get_config()
    data = config.data
    assert (data.segments, data.duration, data.short, data.where) == (8, 2, "pad_last", None)
    assert config.model.pretrained == "weights needed"
    scene = ferv39k_scratch.get_config("Action")
    assert scene.data.where == "scene=Action" and scene.model.pretrained == "none"


def test_rows_of_the_papers_tables():
    for row in paper.ROWS:
        config = paper.get_config(row)
        assert config.data.name == ("ferv39k" if row in paper.TABLE_2_ALONE else "dfew")
        assert paper.get_config(f"{row},2").data.fold == 2
        if row in paper.TABLE_2:
            config = paper.get_config(f"{row},ferv39k")
            assert (config.data.name, config.data.fold) == ("ferv39k", 0)
            assert config.model.name == paper.ROWS[row][0]
    with pytest.raises(UserError, match="Unknown row of the paper's Table 2"):
        paper.get_config("resnet18_gru,ferv39k")
    with pytest.raises(UserError, match='"6" is no fold'):
        paper.get_config("stt,6")


@pytest.fixture
def scenes(monkeypatch):
    """A set of 40 clips that is nothing but a table."""
    prepared = PreparedSet.__new__(PreparedSet)
    prepared.name, prepared.config, prepared.classes = "ferv39k", "face_crops", ("a", "b")
    prepared.clip_ids = [str(row) for row in range(40)]
    prepared.groups = [""] * 40
    prepared.labels = np.arange(40, dtype=np.int32) % 2
    prepared.num_frames = np.full(40, 9, np.int32)
    prepared.partitions = {"split": np.array(["train"] * 30 + ["test"] * 10)}
    scene = np.where(np.arange(40) % 5 == 0, "War", "Action")
    scene[:30:7] = "Crime"
    prepared.factors = {"scene": scene, "turns": np.arange(40) // 20}
    monkeypatch.setattr(parts, "load", lambda *_, **__: prepared)
    return prepared


def test_clips_of_a_scene(scenes):
    config = ferv39k.get_config("Action")
    splits = parts.open_splits(config)
    for part in ("train", "test"):
        expected = [
            row
            for row in range(40)
            if scenes.factors["scene"][row] == "Action" and (row < 30) == (part == "train")
        ]
        assert splits.rows(part).tolist() == expected
    assert "ferv39k/face_crops, scene=Action: " in str(splits)
    config.data.where = "scene=War, turns=1"
    assert parts.open_splits(config).rows("test").tolist() == [30, 35]
    config.data.where = None
    assert len(parts.open_splits(config).train) == 30


def test_the_cut_of_the_validation_part_does_not_depend_on_the_scene(scenes):
    config = ferv39k.get_config()
    config.data.val_fraction = 0.3
    whole = parts.open_splits(config)
    config.data.where = "scene=Action"
    scene = parts.open_splits(config)
    for part in ("train", "val"):
        inside = [row for row in whole.rows(part) if scenes.factors["scene"][row] == "Action"]
        assert scene.rows(part).tolist() == inside


def test_a_selection_without_clips_is_a_sentence(scenes):
    for scene, message in (
        ("Wra", r'no clip has scene=Wra; scene is one of Action, Crime, War. Did you mean "War"'),
        ("", "no clip has scene=;"),
    ):
        config = ferv39k.get_config()
        config.data.where = f"scene={scene}"
        with pytest.raises(UserError, match=message):
            parts.open_splits(config)
    config = ferv39k.get_config("Crime")
    splits = parts.open_splits(config)
    with pytest.raises(UserError, match='part "test". It may have some without config.data.where='):
        splits.rows("test")


def test_a_class_that_no_chosen_clip_trains_is_said(scenes):
    scenes.remarks, scenes.left_out = [], []
    config = ferv39k.get_config()
    assert parts.open_splits(config).caveats == []
    scenes.num_frames = np.where(scenes.labels == 1, 9, 20).astype(np.int32)
    config.data.short = "drop"
    said = "NO CLIP TO TRAIN ON is of class b: nothing is learned of it."
    assert parts.open_splits(config).caveats[1:] == [said]
    config.data.short = "pad_last"
    scenes.factors["scene"][scenes.labels == 0] = "Crime"
    config.data.where = "scene=Action"
    assert parts.open_splits(config).caveats == [said.replace("class b", "class a")]
