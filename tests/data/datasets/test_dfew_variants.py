"""DFEW by other lists than the official ones, as videos, and with the annotators' votes."""

import json
import shutil

import cv2
import numpy as np
import openpyxl
import pytest

import logo_jax.data
from logo_jax.common.errors import UserError
from logo_jax.data import pipeline
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.sampling import dynamic_sampling


@pytest.fixture
def load(dfew, tmp_path):
    def load(**options):
        settings = {"source": dfew.root, "num_workers": 0} | options
        return logo_jax.data.load("dfew", tmp_path / "data", **settings)

    return load


PREFIX = "/home/me/data/DFEW/Clip/clip_224x224/"
# Dialect -> a row of clip number, number of frames, class from 0; and the options.
FORMS = {
    "former_dfer": (lambda n, frames, k: f"{PREFIX}{n:05d} {frames} {k}", {"strip_prefix": PREFIX}),
    "videomae": (lambda n, frames, k: f"Clip/clip_224x224/{n:05d} {k}", {}),
    "csv": (lambda n, frames, k: f"{n:05d},{k}", {}),
}


def write_lists(dfew, form):
    for fold in range(1, 6):
        for part in ("train", "test"):
            rows = dfew.list(part, fold).read_text().split()[1:]
            clips = [tuple(map(int, row.split(","))) for row in rows]
            counts = {n: len(list(dfew.clip(n).iterdir())) for n, _ in clips}
            lines = [FORMS[form][0](n, counts[n], label - 1) for n, label in clips]
            if form == "csv":
                lines = ["video_name,label", *lines]
            (dfew.root / f"{part}_set_{fold}.csv").write_text("\r\n".join(lines))
    given = {"lists": form, **FORMS[form][1]}
    if form != "csv":
        given |= {"train_list": "train_set_{fold}.csv", "test_list": "test_set_{fold}.csv"}
    return given


@pytest.mark.parametrize("form", FORMS)
def test_all_dialects_give_the_same_set(dfew, load, form):
    listed = load(**write_lists(dfew, form))
    official = load()
    assert listed.folder != official.folder
    assert listed.fingerprint == official.fingerprint
    with pytest.raises(
        UserError, match=r"none of 1 to 7 \(the list has 0 to 6, which fits labels="
    ):
        load(**write_lists(dfew, form), labels="one_based")


def test_a_base_that_the_official_lists_do_not_have(load):
    with pytest.raises(UserError, match='none of 0 to 6 .*the list has 1 to 7.*labels="one_based"'):
        load(labels="zero_based")


def test_dialects_are_not_guessed(dfew, load):
    given = write_lists(dfew, "former_dfer")
    with pytest.raises(UserError, match=r'row 1: the header "video_name,label" is missing'):
        load(**given | {"lists": "csv"})
    with pytest.raises(
        UserError, match=r'row 1: .* lies outside of .*perhaps strip_prefix="/home/'
    ):
        load(**given | {"strip_prefix": ""})
    with pytest.raises(UserError, match='does not begin with strip_prefix="/somewhere/"'):
        load(**given | {"strip_prefix": "/somewhere/"})
    with pytest.raises(UserError, match='row 2: "8" does not begin with strip_prefix='):
        load(strip_prefix="/somewhere/")
    given = write_lists(dfew, "videomae")
    (dfew.root / "Clip" / "clip_224x224").rename(dfew.root / "Clip" / "clip_224x224_16f")
    # The lists name one folder of frames, the option another.
    with pytest.raises(UserError, match=r'"Clip/clip_224x224/\d+" is no whole number .*_16f; mend'):
        load(**given, frame_folder="clip_224x224_16f")


def test_declared_frames_that_are_not_there(dfew, load):
    """14 clips of DFEW have 11 to 15 frames, and lists in use declare 16."""
    given = write_lists(dfew, "former_dfer")
    (dfew.clip(5) / "00005_00003.jpg").unlink()
    with pytest.raises(UserError, match=r"1 clips of dfew .*\n.*00005: 11 frames are declared, 10"):
        load(**given)
    assert load(**given, allow_frame_counts=True).num_frames[4] == 10


def as_videos(dfew, padded=True):
    folder = dfew.root / "Clip" / "original"
    folder.mkdir()
    for number in range(1, 15):
        name = f"{number:05d}" if padded else str(number)
        writer = cv2.VideoWriter(
            str(folder / f"{name}.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (32, 24)
        )
        for frame in range(3 + number % 3):
            writer.write(np.full((24, 32, 3), 10 * number + frame, np.uint8))
        writer.release()
    shutil.rmtree(dfew.root / "Clip" / "clip_224x224")


@pytest.mark.parametrize("padded", [True, False])
def test_original_videos(dfew, load, capsys, padded):
    as_videos(dfew, padded)
    with pytest.raises(UserError, match=r"clip_224x224; .*Clip holds original\. Frame folders are"):
        load()
    prepared = load(frame_folder="original")
    assert prepared.num_frames.tolist() == [3 + number % 3 for number in range(1, 15)]
    for row in range(14):
        images = [cv2.imdecode(np.frombuffer(f, np.uint8), 1) for f in prepared[row]["frames"]]
        assert {image.shape for image in images} == {(24, 32, 3)}
        assert abs(images[0].mean() - 10 * (row + 1)) < 4
    assert "WHOLE FRAMES OF FILMS AND NO FACE CROPS" in capsys.readouterr().err
    load(frame_folder="original")  # nothing has changed


def test_declared_frames_that_videos_do_not_have(dfew, load):
    given = write_lists(dfew, "former_dfer") | {"frame_folder": "original"}
    as_videos(dfew)
    with pytest.raises(UserError, match=r"\n  clip 00001: .*mp4: 10 frames are declared, 4 are"):
        load(**given)
    prepared = load(**given, allow_frame_counts=True)
    assert prepared.num_frames.tolist() == [3 + number % 3 for number in range(1, 15)]


def test_faces_of_original_videos(dfew, load, monkeypatch, tmp_path):
    as_videos(dfew)
    with pytest.raises(UserError, match="There is no file .*yunet.onnx"):
        load(frame_folder="original", face_detector=str(tmp_path / "yunet.onnx"))
    with pytest.raises(UserError, match="frames of clip_224x224 are cut out already"):
        load(face_detector="yunet.onnx")

    class Left:
        def __init__(self, weights):
            pass

        def largest(self, image):  # nobody is in the first clip
            return None if image.mean() < 18 else (4.0, 4.0, 10.0, 10.0, 0.9)

    monkeypatch.setattr("logo_jax.data.datasets.dfew.builder.FaceDetector", Left)
    monkeypatch.setattr("logo_jax.data.videos._detector", Left)
    given = {"frame_folder": "original", "face_detector": "left"}
    with pytest.raises(UserError, match=r"\n  clip 00001: .*no face was found in its 4 frames"):
        load(**given)
    prepared = load(**given, allow_missing=True, allow_empty_classes=True)
    image = cv2.imdecode(np.frombuffer(prepared[0]["frames"][0], np.uint8), 1)
    assert image.shape == (14, 14, 3) and len(prepared) == 13
    assert any("cut out here with YuNet" in remark for remark in prepared.remarks)


HEADER = [
    "order",
    "1happy",
    "2sad",
    "3neutral",
    "4angry",
    "5surprise",
    "6disgust",
    "7fear",
    "label",
]


def votes_of(clip):
    votes = [0] * 7
    votes[(clip - 1) % 7] = 6 + clip % 3
    votes[clip % 7] = 4 - clip % 3
    return votes


def write_votes(dfew, header=HEADER, change=lambda rows: rows):
    book = openpyxl.Workbook()
    book.active.append(header)
    rows = [[clip, *votes_of(clip), (clip - 1) % 7 + 1] for clip in range(1, 15)]
    rows.append([15, 3, 3, 2, 2, 0, 0, 0, 0])  # not single-labelled, in no list
    for row in change(rows):
        book.active.append(row)
    path = dfew.root / "Annotation" / "annotation.xlsx"
    path.parent.mkdir(exist_ok=True)
    book.save(path)


VOTES = {"votes": "Annotation/annotation.xlsx"}


def test_votes_are_soft_labels(dfew, load):
    write_votes(dfew)
    prepared = load(**VOTES)
    for row in range(14):
        expected = np.array(votes_of(row + 1)) / 10
        np.testing.assert_allclose(prepared.soft_labels[row], expected, rtol=1e-6)
        assert prepared.factors["votes_sad"][row] == votes_of(row + 1)[1]
    assert (prepared.soft_labels.argmax(1) == prepared.labels).all()
    assert prepared.soft_labels.dtype == np.float32
    with pytest.raises(UserError, match="has no votes: soft labels need them"):
        load().soft_labels  # noqa: B018
    assert json.loads((prepared.folder / "prepared.json").read_text())["options"]["votes"]


def test_columns_of_votes_may_have_any_name(dfew, load):
    names = ["Nr", "h", "s", "n", "a", "u", "d", "f", "mode"]
    write_votes(dfew, names)
    with pytest.raises(
        UserError, match="no column of the clip's number is among Nr, h, .*vote_col"
    ):
        load(**VOTES)
    order = ["Nr", "mode", *names[1:-1]]
    assert load(**VOTES, vote_columns=order).soft_labels.shape == (14, 7)
    load(**VOTES, vote_columns=",".join(order))  # as on a command line
    with pytest.raises(UserError, match="vote_columns has 2 names: give 9"):
        load(**VOTES, vote_columns=["Nr", "mode"])
    with pytest.raises(UserError, match='no column of "x" is among'):
        load(**VOTES, vote_columns=["x", *order[1:]])


BAD_VOTES = {
    "another label": (
        lambda r: [[*r[0][:-1], 2], *r[1:]],
        "row 2: clip 1 has label 2, .*which is 1",
    ),
    "no row": (lambda r: r[1:], r"has no row of clip 1 \(.*set_1.csv, row"),
    "two rows": (lambda r: [*r, r[0]], "row 17: clip 1 stands already in .*row 2"),
    "a word": (
        lambda r: [[1, "six", *r[0][2:]], *r[1:]],
        'row 2: "six" in the column 1happy is no',
    ),
    "a fraction": (lambda r: [[1, 6.5, *r[0][2:]], *r[1:]], 'row 2: "6.5" in the column'),
    "columns of other classes": (
        lambda r: [[row[0], row[7], *row[1:7], row[8]] for row in r],
        "2 of 2 clips of the class happy have more votes for another .*clip 00001.; name the col",
    ),
    "two columns swapped": (
        lambda r: [[*row[:5], row[6], row[5], *row[7:]] for row in r],
        "2 of 2 clips of the class surprise have more votes for another class",
    ),
    "no votes": (lambda r: [[1, *[0] * 7, 1], *r[1:]], "row 2: clip 1 has no votes"),
    "a short row": (lambda r: [[1, 6], *r[1:]], "row 2: the cell in the column label is empty"),
}


@pytest.mark.parametrize("case", BAD_VOTES)
def test_bad_votes_are_sentences(dfew, load, case):
    change, message = BAD_VOTES[case]
    write_votes(dfew, change=change)
    with pytest.raises(UserError, match=message):
        load(**VOTES)


def test_single_clips_with_more_votes_for_another_class_are_remarked_on(dfew, load):
    write_votes(dfew, change=lambda rows: [[1, 1, 9, *[0] * 5, 1], *rows[1:]])
    remark = "1 clips have more votes for another class than for their own (first: clip 00001)."
    assert remark in load(**VOTES).remarks


def test_votes_that_are_no_spreadsheet(dfew, load):
    with pytest.raises(UserError, match=r"votes .*annotation.xlsx are missing"):
        load(**VOTES)
    path = dfew.root / "Annotation" / "annotation.xlsx"
    path.parent.mkdir()
    path.write_text("order,label\n")
    with pytest.raises(UserError, match="annotation.xlsx is no readable xlsx file"):
        load(**VOTES)


def test_soft_labels_reach_the_batches(dfew, load):
    from configs import dfew as config_file
    from logo_jax.experiments import parts

    write_votes(dfew)
    prepared = load(**VOTES)
    config = config_file.get_config()
    settings = {
        "batch_size": 7, "total_steps": 2, "seed": 0, "sampler": dynamic_sampling,
        "frame_size": 8, "augment": AugmentConfig(),
    }  # fmt: skip
    rows = prepared.rows("train", 1)
    plain = list(pipeline.train_batches(prepared, rows, **settings))
    assert [
        sorted(batch) for batch in parts.training_batches(config, prepared, rows, **settings)
    ] == [sorted(batch) for batch in plain]
    config.loss.soft_labels = True
    soft = list(parts.training_batches(config, prepared, rows, **settings))
    for batch, other in zip(soft, plain, strict=True):
        votes = [votes_of(int(row) + 1) for row in batch["row"]]
        np.testing.assert_allclose(batch["soft_label"], np.array(votes) / 10, rtol=1e-6)
        np.testing.assert_array_equal(batch["frames"], other["frames"])
