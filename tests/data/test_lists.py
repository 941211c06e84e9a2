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
    assert [name for name, _ in found] == ["clips/b 1", "clips/a", str(folders / "b 10")]
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
    with pytest.raises(UserError, match=r"Frame 1 of clip b 1 cannot .*b 1/1.jpg: .*Replace"):
        list(pipeline.eval_batches(clips, np.arange(3), **settings))
    (folders / "b 1" / "1.jpg").unlink()
    with pytest.raises(UserError, match=r"b 1/1.jpg: No such file"):
        list(pipeline.eval_batches(clips, np.arange(3), **settings))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v.mp4", "v.mp4 is a video: save its frames as images into a folder"),
        ("v.MOV", "v.MOV is a video"),
        ("1.jpg", "1.jpg is one image: name the folder that holds the frames of its clip"),
        ("1.PNG", "1.PNG is one image"),
    ],
)
def test_a_file_that_is_no_list(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"\x00\x01\xff\xfe")
    with pytest.raises(UserError, match=message):
        lists.find_clips(tmp_path / name)


# Names in the order in which the frames were taken.
IN_TIME = {
    "plain": [f"{i}.jpg" for i in range(1, 17)],
    "clip and frame": [f"00001_{i:05d}.jpg" for i in (1, 2, 9, 10, 100)],
    "mixed": ["cover.jpg", "1.jpg", "2.jpg", "00001_00003.jpg", "10.jpg", "clip7-frame11.png"],
    "one face": [f"f_{i}_face0.jpg" for i in (1, 2, 3, 9, 10, 11, 100)],
    "size of the frame": [f"take2_{i}_224x224.png" for i in (1, 2, 10)],
    "two faces": [f"f_{i}_face{k}.jpg" for i in (1, 2, 10) for k in (0, 1)],
    "seconds": ["0.5.jpg", "9.0.jpg", "9.5.jpg", "10.0.jpg", "10.5.jpg"],
    "milliseconds": [f"{i / 29.97:.3f}.jpg" for i in range(70)],
    "padded seconds": [f"{i / 29.97:07.3f}.jpg" for i in range(70)],
    "hundredths": [f"{12.4 + i / 25:.2f}.jpg" for i in range(24)],
    "printed seconds": ["0.04.jpg", "0.08.jpg", "0.16.jpg", "0.2.jpg", "1.0.jpg", "1.04.jpg"],
    "clip.frame": [f"3.{i}.jpg" for i in (1, 8, 9, 10, 11, 20)],
    "index and seconds": [f"{i:04d}_{i / 29.97:.3f}.jpg" for i in range(40)],
    "frame and time": [f"frame{i:04d}_t{i / 29.97:.3f}s.jpg" for i in range(29, 60)],
    "clock": [f"00_00_{i // 30:02d}_{i % 30 * 33:03d}.jpg" for i in range(20, 70)],
    "index and score": [f"{i:04d}_0.{9999 - 7919 * i % 9000}.jpg" for i in range(1, 30)],
    "index and box": [f"{i:04d}_{7919 * i % 900}_{6101 * i % 2999}.jpg" for i in range(5, 40)],
    "sampled": [f"{i:04d}_{i * 40}.jpg" for i in (3, 9, 14, 60)],
    "track and frame": [f"face{7 * i % 5}_{i:04d}.jpg" for i in range(1, 30) if i % 4],
    "face and a cover": ["cover.jpg", "f_1_face0.jpg", "f_2_face0.jpg", "f_10_face0.jpg"],
    "no number": ["a.jpg", "b.jpg", "c.jpg"],
    "same numbers": ["1_a.jpg", "1_b.jpg", "1_c.jpg"],
    "two kinds of file": ["1.jpg", "1.png", "2.jpg", "2.png", "10.jpg"],
    "one frame": ["f_10_face0.jpg"],
}


@pytest.mark.parametrize("case", IN_TIME)
def test_frames_are_in_temporal_order(case, tmp_path):
    expected = IN_TIME[case]
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(expected).tolist()
        assert frames.frame_order(shuffled) == expected
    for name in expected:
        (tmp_path / name).write_bytes(b"")
    assert frames.frame_files(tmp_path) == [str(tmp_path / name) for name in expected]


def test_orders_that_contradict_each_other_are_doubtful():
    for case in ("index and score", "index and box", "track and frame", "two faces"):
        assert frames.order_is_doubtful(IN_TIME[case]) == (case != "two faces"), case
    for case in set(IN_TIME) - {"index and score", "index and box", "track and frame"}:
        doubtful = frames.order_is_doubtful(IN_TIME[case])
        assert doubtful == (case in ("mixed",)), case


def test_a_list_that_is_no_text(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8 text"):
        lists.read_lines(path)


def test_line_ends_of_all_systems(tmp_path):
    path = tmp_path / "list.txt"
    for end in (b"\n", b"\r\n", b"\r"):
        path.write_bytes(end.join([b"a 1", b"", b"b\xe2\x80\xa8c ", b""]))
        assert lists.read_lines(path) == [(1, "a 1"), (3, "b\u2028c")]


def test_numbers_of_thousands_of_digits(tmp_path):
    path = tmp_path / "list.txt"
    digits = "9" * 5000  # Python refuses to convert them
    path.write_text(f"clip {digits} 0\n")
    with pytest.raises(UserError, match="row 1: .* is no row of the form"):
        lists.read_frame_list(path, 2)
    path.write_text(f"clip 3 {digits}\n")
    with pytest.raises(UserError, match=r"1 labels are none of 0 to 1 .*\n.*row 1: label"):
        lists.read_frame_list(path, 2)


def test_a_row_that_the_csv_reader_refuses(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"name,label\n{'x' * 200_000},1\n")  # longer than a field may be
    with pytest.raises(UserError, match=r"list.csv, row 2 is no row of a csv file .*mend the row"):
        lists.read_csv(path, ("name", "label"), 2, 1)
