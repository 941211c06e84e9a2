"""The DFEW builder on a small tree in the official layout, whole and broken."""

import shutil

import numpy as np
import pytest

import logo_jax.data
from logo_jax.common.errors import UserError


@pytest.fixture
def load(dfew, tmp_path):
    def load(**options):
        settings = {"source": dfew.root, "num_workers": 0} | options
        return logo_jax.data.load("dfew", tmp_path / "data", **settings)

    return load


def test_what_is_stored_is_what_lies_on_disk(dfew, load, capsys):
    prepared = load()
    assert prepared.classes[0] == "happy" and prepared.classes[5:] == ("disgust", "fear")
    assert prepared.clip_ids == [f"{clip:05d}" for clip in range(1, 15)]
    np.testing.assert_array_equal(prepared.labels, [0, 1, 2, 3, 4, 5, 6] * 2)
    for row in range(len(prepared)):
        clip = prepared[row]
        files = sorted(dfew.clip(row + 1).iterdir())
        assert clip["frames"] == [file.read_bytes() for file in files]
        assert clip["num_frames"] == prepared.num_frames[row] == len(files)
        assert (clip["clip_id"], clip["label"]) == (f"{row + 1:05d}", row % 7)
    said = capsys.readouterr().err
    assert "DFEW fold 2: 7 train and 7 test clips (official: 9,356 and 2,341)." in said
    assert "14 clips, 141 frames" in said and "happy 2, sad 2" in said


def test_five_folds_share_the_clips(load):
    prepared = load()
    assert prepared.folds == (1, 2, 3, 4, 5)
    np.testing.assert_array_equal(prepared.rows("test", 1), range(7))
    np.testing.assert_array_equal(prepared.rows("train", 1), range(7, 14))
    np.testing.assert_array_equal(prepared.rows("test", 4), range(7, 14))
    assert prepared.parts(3) == ("train", "test")
    with pytest.raises(UserError, match="split in folds: choose one of 1, 2, 3, 4, 5"):
        prepared.rows("train")
    with pytest.raises(UserError, match="no fold 6: choose one of"):
        prepared.rows("train", 6)
    with pytest.raises(UserError, match='no part "val": it has train, test'):
        prepared.rows("val", 1)


def test_frames_are_in_natural_order(dfew, load):
    ti = dfew.root / "Clip" / "clip_224x224_16f"
    shutil.copytree(dfew.clip(1).parent, ti)
    for folder in ti.iterdir():
        for frame in folder.iterdir():
            frame.rename(folder / f"{int(frame.stem.split('_')[1])}.jpg")
    prepared, original = load(frame_folder="clip_224x224_16f"), load()
    assert any("comparable" in remark for remark in prepared.remarks)
    assert prepared.folder != original.folder
    assert prepared[1]["frames"] == original[1]["frames"]  # lexicographic order puts 10 after 1


def test_clips_that_are_tested_in_several_folds_are_remarked_on(dfew, load):
    said = " ".join(load().remarks)
    assert "14 CLIPS ARE TESTED IN SEVERAL FOLDS (first: 00001, in fold 1 and fold 3 and" in said
    said = " ".join(load(folds=(1, 2)).remarks)
    assert "SEVERAL FOLDS" not in said


def test_a_folder_that_is_not_what_its_name_says_is_remarked_on(dfew, load):
    """Clips of any length in a folder named 16f, and 16 frames each in clip_224x224."""
    clips = dfew.clip(1).parent
    ti = clips.with_name("clip_224x224_16f")
    shutil.copytree(clips, ti)
    renamed = "14 OF 14 CLIPS LOOKED AT IN clip_224x224_16f DO NOT HAVE 16 FRAMES"
    made = "ALL 14 CLIPS LOOKED AT IN clip_224x224 HAVE 16 FRAMES"
    for name in ("clip_224x224", "clip_224x224_16f"):
        prepared = load(frame_folder=name)
        said = " ".join(prepared.remarks)
        shutil.rmtree(prepared.folder)
        assert (renamed in said) == (name != "clip_224x224") and made not in said
    for folder in (*clips.iterdir(), *ti.iterdir()):
        pattern = min(folder.iterdir())
        for frame in set(folder.iterdir()) - {pattern}:
            frame.unlink()
        for number in range(2, 17):
            shutil.copy(pattern, folder / f"0_{number:05d}.jpg")
    for name in ("clip_224x224", "clip_224x224_16f"):
        said = " ".join(load(frame_folder=name).remarks)
        assert (made in said) == (name == "clip_224x224") and renamed not in said


def test_lists_with_bom_crlf_and_blank_lines(dfew, load):
    before = load().fingerprint
    for part in ("train", "test"):
        path = dfew.list(part, 1)
        text = path.read_text().replace("\n", "\r\n").replace("\r\n", "\r\n\r\n", 2)
        path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n  \r\n")
    shutil.rmtree(load().folder)
    assert load().fingerprint == before


def test_lists_with_line_ends_of_an_old_mac(dfew, load):
    before = load().fingerprint
    path = dfew.list("train", 1)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    shutil.rmtree(load().folder)
    assert load().fingerprint == before


def test_fewer_folds_when_asked(dfew, load):
    for fold in (3, 4, 5):
        dfew.list("train", fold).unlink()
    with pytest.raises(UserError, match=r"set_3.csv is missing; .*holds set_1.csv, set_2.csv"):
        load()
    prepared = load(folds=(2, 1))
    assert prepared.folds == (1, 2)
    with pytest.raises(UserError, match="dfew/clip_224x224_folds_1_2 has no factors to choose"):
        prepared.rows("train", 1, where="scene=Action")
    with pytest.raises(UserError, match="folds of DFEW are the numbers 1 to 5, not 0"):
        load(folds=(0,))


def test_the_frame_folder_is_chosen_by_name(dfew, load):
    with pytest.raises(UserError, match=r"clip_224x16f; .*Clip holds clip_224x224\. "):
        load(frame_folder="clip_224x16f")
    with pytest.raises(UserError, match='Did you mean "clip_224x224"'):
        load(frame_folder="clip_224x22")
    with pytest.raises(
        UserError, match=r'has no option "frame_foldr".*Did you mean "frame_folder"'
    ):
        load(frame_foldr="clip_224x224")


def test_without_data_the_message_says_how_to_get_it(load, tmp_path):
    with pytest.raises(UserError) as error:
        load(source="")
    for words in (str(tmp_path / "data"), "sign their agreement", "EmoLabel_DataSplit"):
        assert words in str(error.value)
    with pytest.raises(UserError, match=r"There is no folder .*nowhere.*dfew-dataset"):
        load(source=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no folder .*Clip/clip_224x224; there is no .*either"):
        load(source=tmp_path / "empty")


BROKEN_LISTS = {
    "no header": ("video_name,label\n", "", r"train.*set_2\.csv, row 1: the header"),
    "label 0": ("3,3\n", "3,0\n", r'row 4: label "0"'),
    "label 8": ("3,3\n", "3,8\n", r'row 4: label "8"'),
    "a word": ("3,3\n", "3,x\n", r'1 labels are none of 1 to 7 .*\n.*row 4: label "x"'),
    "not a number": ("3,3\n", "3,nan\n", r'label "nan"'),
    "no label": ("3,3\n", "3\n", r'row 4: "3" is no row of the form "video_name,label"'),
    "three fields": ("3,3\n", "3,3,3\n", r"is no row of the form"),
    "a name": ("3,3\n", "c3,3\n", r'row 4: the video_name "c3" is no whole number'),
    "5,000 digits": ("3,3\n", "9" * 5000 + ",3\n", r"no whole number of at most 18 digits"),
    "twice": ("3,3\n", "3,3\n03,3\n", r'row 5: the clip "3" stands already in .*row 4'),
    "in both": ("3,3\n", "3,3\n8,1\n", r"clip 8 is also in the train list of fold 2"),
    "contradiction": ("3,3\n", "3,4\n", r"row 4: clip 3 has label 4, but 3 in .*test.*row 4"),
    "no clip of a class": ("6,6\n", "", r'no train clip in fold 2 is of class "disgust"'),
}


@pytest.mark.parametrize("case", BROKEN_LISTS)
def test_broken_lists_are_refused(dfew, load, tmp_path, case):
    old, new, message = BROKEN_LISTS[case]
    dfew.edit("train", 2, old, new)
    with pytest.raises(UserError, match=message):
        load()
    assert not (tmp_path / "data" / "dfew" / "clip_224x224" / "1.0.0").exists()


def test_empty_lists_are_refused(dfew, load):
    path = dfew.list("train", 2)
    path.write_text("\n\n")
    with pytest.raises(UserError, match=r"set_2\.csv is empty"):
        load()
    path.write_text("video_name,label\n")
    with pytest.raises(UserError, match=r"set_2\.csv has a header but no clips"):
        load()


def test_all_wrong_labels_are_shown_together(dfew, load):
    dfew.edit("train", 2, "3,3\n4,4\n", "3,0\n4,9\n")
    with pytest.raises(UserError, match=r'2 labels .*\n.*label "0"\n.*label "9"'):
        load(allow_missing=True)


def test_an_empty_class_may_be_allowed(dfew, load):
    dfew.edit("train", 2, "6,6\n", "")
    prepared = load(allow_empty_classes=True)
    assert 5 not in prepared.labels[prepared.rows("train", 2)]
    with pytest.raises(UserError, match=r'no train clip in fold 2 is of class "disgust"'):
        load()


@pytest.fixture
def broken_clips(dfew):
    """A missing folder, an empty one, a truncated frame, an empty frame, text named .jpg."""
    shutil.rmtree(dfew.clip(1))
    for frame in dfew.clip(2).iterdir():
        frame.unlink()
    frame = dfew.clip(3) / "00003_00004.jpg"
    frame.write_bytes(frame.read_bytes()[:-200])
    (dfew.clip(4) / "00004_00004.jpg").write_bytes(b"")
    (dfew.clip(5) / "00005_00001.jpg").write_bytes(b"see 00004")


def test_broken_clips_are_reported_together(load, tmp_path, broken_clips):
    with pytest.raises(UserError) as error:
        load()
    message = str(error.value)
    for words in (
        "5 clips of dfew cannot be used",
        "00001: No such file or directory",
        "clip_224x224/00002: there is no image in it",
        "00003/00003_00004.jpg: the JPEG data is damaged or truncated",
        "00004/00004_00004.jpg: the file is empty",
        "00005/00005_00001.jpg: it is no JPEG, PNG, BMP or WebP image",
        "allow_missing=True",
    ):
        assert words in message
    folder = tmp_path / "data" / "dfew" / "clip_224x224"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "problems.txt", "unfinished"]
    assert len((folder / "problems.txt").read_text().splitlines()) == 5


def test_broken_clips_are_left_out_when_asked(load, broken_clips, capsys):
    # Fold 1 tests on clips 1 to 7, of which five would be gone.
    prepared = load(allow_missing=True, allow_empty_classes=True)
    assert prepared.clip_ids == [f"{clip:05d}" for clip in range(6, 15)]
    assert len(prepared.left_out) == 5
    assert "9 clips, 90 frames" in capsys.readouterr().err
    assert prepared[0]["clip_id"] == "00006"
    with pytest.raises(UserError, match=r"was prepared without 5 clips.*allow_missing=True"):
        load(allow_empty_classes=True)


def test_left_out_clips_may_not_empty_a_class(load, broken_clips):
    with pytest.raises(UserError, match=r'no test clip in fold 1 is of class "happy", "sad"'):
        load(allow_missing=True)


def test_a_clip_of_one_frame_is_taken(dfew, load):
    for frame in sorted(dfew.clip(3).iterdir())[1:]:
        frame.unlink()
    prepared = load()
    assert prepared.num_frames[2] == 1 and len(prepared[2]["frames"]) == 1


def test_changed_lists_are_not_passed_over(dfew, load):
    load()
    load(source="")  # what is prepared needs no source
    dfew.edit("test", 2, "8,1\n", "")
    with pytest.raises(UserError, match=r"are not those that .* was prepared from"):
        load()
    load(source="")


def test_changed_frames_are_not_passed_over(dfew, load):
    shutil.rmtree(dfew.clip(14))
    settings = {"allow_missing": True, "allow_empty_classes": True}
    load(**settings)
    frame = dfew.clip(3) / "00003_00004.jpg"
    frame.unlink()
    with pytest.raises(UserError, match="clip 00003 of .*DFEW had 9 frames .*, now it has 8: del"):
        load(**settings)
    load(source="", **settings)
    frame.write_bytes(b"frames are counted, not read")
    load(**settings)
    shutil.rmtree(dfew.clip(3))
    with pytest.raises(UserError, match=r"had 9 frames .*clip_224x224/00003: No such file"):
        load(**settings)
