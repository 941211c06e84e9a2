"""The MAFW builder: 11 classes, five folds, three label orders."""

import cv2
import numpy as np
import pytest

import logo_jax.data
from logo_jax.common.errors import UserError
from logo_jax.data.datasets import facts


def write_list(root, part, fold, numbers, text):
    path = root / "Train & Test Set" / "single" / "no_caption" / f"set_{fold}" / f"{part}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{number:05d}.mp4 {text(number)}" for number in numbers]
    path.write_bytes("\r\n".join([*rows, ""]).encode())
    return path


def word(number):
    return facts.MAFW_CLASSES[number % 11]


@pytest.fixture
def root(tmp_path):
    """22 clips, two of each class; odd folds test on the first of them, even ones on the second."""
    root = tmp_path / "MAFW"
    for number in range(22):
        folder = root / "data" / "frames" / f"{number:05d}"
        folder.mkdir(parents=True)
        for frame in (2, 10, 1):
            image = np.full((6, 6, 3), number + frame, np.uint8)
            (folder / f"{frame}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    for fold in range(1, 6):
        first, second = range(11), range(11, 22)
        write_list(root, "test", fold, first if fold % 2 else second, word)
        write_list(root, "train", fold, second if fold % 2 else first, word)
    return root


@pytest.fixture
def load(root, tmp_path):
    def load(**options):
        settings = {"source": root, "num_workers": 0} | options
        return logo_jax.data.load("mafw", tmp_path / "data", **settings)

    return load


def test_words_decide_in_every_order(root, load, capsys):
    for order in ("mafw", "neutral_last", "dfew"):
        prepared = load(label_order=order)
        assert prepared.classes == facts.MAFW.label_orders[order]
        for row in range(22):
            assert prepared.clip_ids[row] == f"{row:05d}"
            assert prepared.classes[prepared[row]["label"]] == word(row)
    assert prepared.folds == (1, 2, 3, 4, 5)
    assert prepared.rows("test", 2).tolist() == list(range(11, 22))
    folder = root / "data" / "frames" / "00003"
    assert prepared[3]["frames"] == [(folder / f"{i}.png").read_bytes() for i in (1, 2, 10)]
    assert "MAFW fold 1: 11 train and 11 test clips (official: 7,333 and 1,839)" in (
        capsys.readouterr().err
    )


def test_fewer_folds_and_other_places(root, load):
    (root / "data").rename(root / "faces")
    (root / "Train & Test Set" / "single" / "no_caption").rename(root / "lists")
    given = {"train_list": "lists/set_{fold}/train.txt", "test_list": "lists/set_{fold}/test.txt"}
    assert load(folds=(3,), frame_folder="faces/frames", **given).folds == (3,)
    assert load(folds=3, frame_folder="faces/frames", **given).folds == (3,)
    with pytest.raises(UserError, match="There is no folder .*data/frames; "):
        load()
    for elsewhere in ("../x", "", "/", "data/../.."):
        with pytest.raises(UserError, match="name a folder inside of the source"):
            load(frame_folder=elsewhere)
    written = load(folds=3, frame_folder="./faces/frames/", **given).folder
    assert written == load(folds=3, frame_folder="faces/frames", **given).folder
    for clip in (root / "faces" / "frames").iterdir():
        clip.rename(root / clip.name)
    beside = load(folds=3, frame_folder=".", **given)
    assert beside.config == "source_folds_3" and len(beside) == 22


def test_broken_lists(root, load):
    path = write_list(root, "train", 1, range(11, 23), word)
    text = path.read_bytes()
    for old, new, message in (
        (b"00012.mp4 disgust", b"00012.mp4 hatred", r'train.txt, row 2: label "hatred"'),
        (b"00012.mp4 disgust", b"twelve.mp4 disgust", 'row 2: the clip "twelve.mp4" is no number'),
        (b"00012.mp4 disgust", b"12 disgust\r\n00012.mp4 disgust", "row 3: .*already in .*row 2"),
        (b"00012.mp4 disgust", b"00001.mp4 disgust", r"also in the train list of fold 1 \(.*row 2"),
        (
            b"00012.mp4 disgust",
            b"00012.mp4 fear",
            "clip 00012 has label disgust, but fear in .*",
        ),
        (b"00012.mp4 disgust", b"00012.mp4 anger_disgust", 'row 2: label "anger_disgust"'),
    ):
        assert old in text
        path.write_bytes(text.replace(old, new))
        with pytest.raises(UserError, match=message):
            load()


def test_numbers_need_their_order(root, load):
    words = load()
    for order in ("mafw", "neutral_last"):
        names = facts.MAFW.label_orders[order]
        for fold in range(1, 6):
            for part in ("train", "test"):
                rows = words.rows(part, fold)
                text = "".join(f"{row:05d}.mp4 3 {names.index(word(row)) + 1}\n" for row in rows)
                (root / f"{part}{fold}.txt").write_text(text)
        given = {"lists": "former_dfer", "labels": "one_based", "train_list": "train{fold}.txt"}
        given["test_list"] = "test{fold}.txt"
        listed = load(list_order=order, **given, folds=(1, 2) if order == "mafw" else (3, 4))
        assert listed.labels.tolist() == words.labels.tolist()
    with pytest.raises(UserError, match="declare list_order, one of mafw, neutral_last, dfew"):
        load(**given)
    with pytest.raises(UserError, match='11 labels|labels are none of 0 to 10.*labels="one_based"'):
        load(list_order="mafw", **given | {"labels": "zero_based"})


@pytest.mark.parametrize("name", ["{:05d}.mp4", "{}.avi", "{:05d}.MP4"])
def test_videos_of_any_name(root, load, name):
    folder = root / "data" / "clips"
    folder.mkdir()
    code = cv2.VideoWriter_fourcc(*("MJPG" if name.endswith("avi") else "mp4v"))
    for number in range(22):
        writer = cv2.VideoWriter(str(folder / f"made.{name[-3:].lower()}"), code, 25, (16, 16))
        for _ in range(2 + number % 2):
            writer.write(np.full((16, 16, 3), 10 * number, np.uint8))
        writer.release()
        (folder / f"made.{name[-3:].lower()}").rename(folder / name.format(number))
    prepared = load(frame_folder="data/clips", as_videos=True)
    assert prepared.num_frames.tolist() == [2 + number % 2 for number in range(22)]
    (folder / name.format(3)).unlink()
    with pytest.raises(UserError, match=r"00003.mp4"):
        load(frame_folder="data/clips", as_videos=True)
