"""The builder of a user's own clips: folders, and what is wrong with them."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import logo_jax.data
from logo_jax.common.errors import UserError
from logo_jax.data.datasets.frame_folders.builder import FrameFolders
from tests.data.datasets.own_clips import load, write_frames


@pytest.fixture
def tree(tmp_path):
    """Three classes, two clips of each in train, one in test; all kinds of images."""
    root = tmp_path / "clips"
    for name in ("calm", "très étonné", "喜び"):
        write_frames(root / "train" / name / "first take", 3, ".jpg", (30, 20, 3))
        write_frames(root / "train" / name / 'so "called"', 12, ".png", (9, 9))
        write_frames(root / "test" / name / "b", 1, ".webp", (5, 100, 3))
    return root


def test_a_tree_of_folders(tree, capsys):
    prepared = load(tree)
    assert prepared.classes == ("calm", "très étonné", "喜び")
    assert prepared.clip_ids[:3] == [
        "train/calm/first take",
        'train/calm/so "called"',
        "train/très étonné/first take",
    ]
    assert prepared.labels.tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    assert prepared.num_frames.tolist() == [3, 12] * 3 + [1] * 3
    assert prepared.rows("test").tolist() == [6, 7, 8]
    assert prepared.parts() == ("train", "test")
    folder = tree / "train" / "calm" / 'so "called"'
    assert prepared[1]["frames"] == [(folder / f"{i}.png").read_bytes() for i in range(12)]
    assert "train, test: 6 train, 0 val, 3 test" in capsys.readouterr().err
    with pytest.raises(UserError, match="has one split and takes no fold"):
        prepared.rows("train", 1)


def test_a_set_that_another_process_made_meanwhile_is_compared(tree, tmp_path, monkeypatch):
    """Two preparations at once of different sources: the second one waits, and finds the first."""
    other = tmp_path / "other" / "clips"
    shutil.copytree(tree, other)
    shutil.rmtree(other / "test" / "calm" / "b")
    write_frames(other / "test" / "calm" / "c", 2)
    prepare = FrameFolders.prepare

    def waits(builder):
        monkeypatch.setattr(FrameFolders, "prepare", prepare)
        load(tree)
        return prepare(builder)

    monkeypatch.setattr(FrameFolders, "prepare", waits)
    with pytest.raises(UserError, match=rf"was prepared from {tree} and not from {other}"):
        logo_jax.data.load("frame_folders", tmp_path / "data", source=other, num_workers=0)


def test_prepared_sets_beside_the_clips(tree):
    """`--source=.` with the usual data_dir, more than once."""
    for _ in range(2):
        prepared = logo_jax.data.load("frame_folders", tree / "data", source=tree, num_workers=0)
        assert len(prepared) == 9


def test_a_clip_folder_may_be_called_as_an_image(tree):
    (tree / "test" / "calm" / "b").rename(tree / "test" / "calm" / "b.jpg")
    assert "test/calm/b.jpg" in load(tree).clip_ids


def test_names_that_no_file_system_takes(tree, tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        load(tree, set_name="x" * 300)


def test_a_class_without_training_clips(tree):
    for folder in (tree / "train" / "calm").iterdir():
        for frame in folder.iterdir():
            frame.unlink()
        folder.rmdir()
    with pytest.raises(UserError, match='no train clip is of class "calm"'):
        load(tree)
    assert len(load(tree, allow_empty_classes=True)) == 7


def test_misplaced_things_are_refused(tree):
    (tree / "train").rename(tree / "tarin")
    with pytest.raises(UserError, match=r'"tarin" is no split.*Did you mean "train"'):
        load(tree)
    (tree / "tarin").rename(tree / "train")
    write_frames(tree / "train" / "calm", 1)
    with pytest.raises(UserError, match=r"calm: 0.png should be in a folder of its clip"):
        load(tree)
    (tree / "train" / "calm" / "0.png").unlink()
    (tree / "classes.txt").write_text("calm\nsurprised\n喜び\n")
    with pytest.raises(UserError, match=r'"très étonné" is not in classes.txt'):
        load(tree)


def test_two_sets_side_by_side(tree, tmp_path):
    other = tmp_path / "other"
    for name in ("a", "b"):
        write_frames(other / "train" / name / "clip", 2)
    load(tree)
    with pytest.raises(
        UserError, match=r"default.* was prepared from .*clips and not from .*other"
    ):
        load(other)
    assert len(load(other, set_name="second")) == 2
    assert len(load(tree)) == 9
    for name in ("../x", "", ".x", "a\0b", "a\nb", "a\\b"):
        with pytest.raises(UserError, match="cannot be the name of a folder"):
            load(other, set_name=name)


def test_folders_of_one_class_in_two_cases_are_refused(tree):
    (tree / "train" / "calm").rename(tree / "train" / "Calm")
    with pytest.raises(UserError, match='"calm" occurs twice, in another case as "Calm"'):
        load(tree)


def test_another_source_is_not_passed_over(tree, tmp_path, monkeypatch):
    before = load(tree)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)  # the same lists and frames
    with pytest.raises(
        UserError, match=r"and not from .*copy: delete .*choose another data_dir or set_name, or"
    ):
        load(copy)
    assert load(copy, set_name="copy").fingerprint == before.fingerprint
    with pytest.raises(UserError, match=r"There is no folder .*nowhere: .*or leave source empty"):
        load(tmp_path / "nowhere")
    # The same folder under other names.
    (tmp_path / "link").symlink_to(tree)
    monkeypatch.chdir(copy)
    for same in (tmp_path / "link", Path("../clips"), f"{tree}/"):
        data_dir = tmp_path / "data"
        logo_jax.data.load("frame_folders", data_dir, source=same, num_workers=0)
    shutil.rmtree(tree)
    assert len(logo_jax.data.load("frame_folders", tmp_path / "data")) == 9  # without a source


def test_no_clips_at_all(tmp_path):
    (tmp_path / "clips").mkdir()
    with pytest.raises(UserError, match=r"no clips were found. Put your clips in <source>/<split>"):
        load(tmp_path / "clips")
    (tmp_path / "clips" / "train" / "happy").mkdir(parents=True)
    with pytest.raises(UserError, match='at least two classes are needed, there is only "happy"'):
        load(tmp_path / "clips")


def test_hidden_files_and_loops(tree):
    folder = tree / "train" / "calm" / "first take"
    (folder / ".0.jpg").write_bytes(b"a resource fork")
    (folder / "notes.txt").write_text("text")
    (tree / ".DS_Store").write_bytes(b"")
    assert load(tree).num_frames[0] == 3
    os.symlink("loop.jpg", folder / "loop.jpg")
    with pytest.raises(UserError, match=r"first take.*: (Too many levels|Symbolic)"):
        load(tree, set_name="loop")


names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\."),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    clips=st.dictionaries(
        names,
        st.lists(
            st.tuples(st.integers(0, 10**6), st.sampled_from([".png", ".jpg", ".bmp", ".webp"])),
            min_size=1,
            max_size=5,
            unique_by=lambda frame: frame[0],
        ),
        min_size=1,
        max_size=3,
    )
)
def test_whatever_lies_on_disk_is_stored(tmp_path_factory, clips):
    root = tmp_path_factory.mktemp("any") / "clips"
    written = {}
    for number, (name, frames) in enumerate(clips.items()):
        for class_name in ("a", "b"):
            folder = root / "train" / class_name / name
            folder.mkdir(parents=True)
            data = {}
            for index, suffix in frames:
                image = np.full((4 + number, 5, 3), index % 256, np.uint8)
                data[index] = cv2.imencode(suffix, image)[1].tobytes()
                (folder / f"take2_{index}{suffix}").write_bytes(data[index])
            written[f"train/{class_name}/{name}"] = [data[index] for index in sorted(data)]
    prepared = load(Path(root))
    stored = {prepared[row]["clip_id"]: prepared[row]["frames"] for row in range(len(prepared))}
    assert stored == written
    assert prepared.clip_ids == list(stored)


def test_a_list_that_is_not_read_is_remarked_on(tree):
    assert not any("NOT READ" in remark for remark in load(tree).remarks)
    (tree / "train.csv").write_text("video_name,label\n")
    (remark,) = [r for r in load(tree, set_name="again").remarks if "NOT READ" in r]
    assert remark.startswith('NOT READ: train.csv, since lists of the dialect "former_dfer" are')


def test_links_that_lead_back(tree):
    link = tree / "train" / "calm" / "back"
    for target, message in (
        ("../..", "back leads to .*clips, which holds it: remove"),
        (".", "back leads to .*calm, which holds it: remove"),
        ("back", r"The link .*back leads nowhere \((Too many levels|Symbolic)"),
        ("gone", r"The link .*back leads nowhere \(No such file"),
    ):
        link.symlink_to(target)
        with pytest.raises(UserError, match=message):
            load(tree)
        link.unlink()
    link.symlink_to(tree / "test" / "calm" / "b")  # a link to another clip is a clip
    assert "train/calm/back" in load(tree).clip_ids


def test_other_pixels_in_as_many_bytes_are_another_set(tmp_path):
    """BMP does not compress: all frames of one size have as many bytes."""
    found = []
    for seed in (0, 0, 1):
        root = tmp_path / f"made{len(found)}" / "clips"
        for place, name in enumerate(("a", "b")):
            write_frames(root / "train" / name / "c", 2, ".bmp", seed=seed + place)
        found.append(load(root).fingerprint)
    assert found[0] == found[1] != found[2]
