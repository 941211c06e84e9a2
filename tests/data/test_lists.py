"""Clips found for prediction, and names that frames are ordered by."""

import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.data import decode, frames, lists, pipeline
from logo_jax.data.sampling import dynamic_sampling


@pytest.fixture
def folders(tmp_path, noise_builder):
    for name, count in (("b 1", 2), ("a", 11), ("b 10", 1)):
        folder = tmp_path / "clips" / name
        folder.mkdir(parents=True)
        for index, data in enumerate(noise_builder.make_frames((index_of(name), count, False))):
            (folder / f"{index}.jpg").write_bytes(data)
    return tmp_path / "clips"


def index_of(name):
    return len(name)


def test_a_folder_of_frames(folders):
    ((name, paths),) = lists.find_clips(folders / "a")
    assert name == "a"
    assert [path.name for path in paths] == [f"{i}.jpg" for i in range(11)]


def test_a_folder_of_folders(folders):
    found = lists.find_clips(str(folders))
    assert [(name, len(paths)) for name, paths in found] == [("a", 11), ("b 1", 2), ("b 10", 1)]


def test_a_list(folders):
    path = folders.parent / "list.txt"
    path.write_bytes(
        b"\xef\xbb\xbfclips/b 1\r\n\r\nclips/a 11 3\r\n" + str(folders / "b 10").encode()
    )
    found = lists.find_clips(path)
    assert [len(paths) for _, paths in found] == [2, 11, 1]
    path.write_text("clips/a\nclips/c\n")
    with pytest.raises(UserError, match=r'list.txt, row 2: there is no folder "clips/c" in'):
        lists.find_clips(path)


def test_nothing_to_find(folders, tmp_path):
    with pytest.raises(UserError, match=r"There is no .*nowhere"):
        lists.find_clips(tmp_path / "nowhere")
    (folders / "0.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="holds images and folders"):
        lists.find_clips(folders)
    (folders / "0.jpg").unlink()
    (folders / "empty").mkdir()
    with pytest.raises(UserError, match="empty: there is no image in it"):
        lists.find_clips(folders)


def test_found_clips_make_batches(folders):
    clips = frames.ClipFiles(lists.find_clips(folders))
    assert clips.clip_ids == ["a", "b 1", "b 10"]
    settings = {"batch_size": 2, "sampler": dynamic_sampling, "frame_size": 16}
    first, second = pipeline.eval_batches(clips, np.arange(3), **settings)
    assert first["label"].tolist() == [-1, -1] and second["mask"].tolist() == [1, 0]
    only = decode.decode_frames([(folders / "b 10" / "0.jpg").read_bytes()], 16)
    np.testing.assert_array_equal(second["frames"][0], np.repeat(only, 16, 0))
    (folders / "b 1" / "1.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.raises(UserError, match=r"Frame 1 of clip b 1 cannot be decoded.*Replace"):
        list(pipeline.eval_batches(clips, np.arange(3), **settings))
    (folders / "b 1" / "1.jpg").unlink()
    with pytest.raises(UserError, match=r"b 1/1.jpg: No such file"):
        list(pipeline.eval_batches(clips, np.arange(3), **settings))


def test_natural_order():
    names = ["10.jpg", "2.jpg", "1.jpg", "cover.jpg", "00001_00003.jpg", "clip7-frame11.png"]
    ordered = ["cover.jpg", "1.jpg", "2.jpg", "00001_00003.jpg", "10.jpg", "clip7-frame11.png"]
    assert sorted(names, key=frames.natural_key) == ordered


def test_a_list_that_is_no_text(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        lists.read_lines(path)
