"""The FERV39K builder on a small tree in the official layout: lists, scenes, label orders."""

import shutil

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import logo_jax.data
from logo_jax.common.errors import UserError
from logo_jax.data import pipeline
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.datasets import facts
from logo_jax.data.sampling import dynamic_sampling

EMOTIONS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
SCENES = ("Action", "War")


def image(seed):
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


class Tree:
    """Two scenes, each with a clip of every emotion to train on and one to test on."""

    def __init__(self, root):
        self.root = root
        self.lists = {"train": [], "test": []}
        for scene in SCENES:
            for emotion in EMOTIONS:
                for number, part in ((9, "test"), (10, "train")):
                    folder = self.clip(f"{scene}/{emotion}/{number:04d}")
                    folder.mkdir(parents=True)
                    for frame in range(8 + number % 3):  # named 1.jpg, 2.jpg, ... 10.jpg
                        data = image([len(scene), EMOTIONS.index(emotion), number, frame])
                        (folder / f"{frame + 1}.jpg").write_bytes(data)
                    self.lists[part].append(f"{scene}/{emotion}/{number:04d} {emotion}")
        self.write()

    def clip(self, name):
        return self.root / "2_ClipsforFaceCrop" / name

    def path(self, part):
        return self.root / "4_setups" / "All_scenes" / f"{part}_All.csv"

    def write(self):
        for part, lines in self.lists.items():
            self.path(part).parent.mkdir(parents=True, exist_ok=True)
            self.path(part).write_bytes("\r\n".join([*lines, ""]).encode())


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path / "FERV39k")


@pytest.fixture
def load(tree, tmp_path):
    def load(**options):
        settings = {"source": tree.root, "num_workers": 0} | options
        return logo_jax.data.load("ferv39k", tmp_path / "data", **settings)

    return load


def test_what_is_stored_is_what_lies_on_disk(tree, load, capsys):
    prepared = load()
    assert prepared.classes == ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
    assert prepared.clip_ids[:3] == [
        "Action/Angry/0009",
        "Action/Angry/0010",
        "Action/Disgust/0009",
    ]
    assert len(prepared) == 28 and prepared.parts() == ("train", "test")
    for row, name in enumerate(prepared.clip_ids):
        clip = prepared[row]
        count = len(list(tree.clip(name).iterdir()))
        files = [tree.clip(name) / f"{frame + 1}.jpg" for frame in range(count)]
        assert clip["frames"] == [file.read_bytes() for file in files]
        assert prepared.classes[clip["label"]] == name.split("/")[1].lower()
        assert (row in prepared.rows("test")) == name.endswith("9")
    said = capsys.readouterr().err
    assert "FERV39K: 14 train and 14 test clips (official: 31,088 and 7,847)" in said
    assert "2 of 22 scenes" in said and "AN EXCERPT" in said


def test_label_orders_share_the_stored_clips(tree, load, tmp_path):
    dfew = load(label_order="dfew")
    shards = {path: path.stat().st_mtime_ns for path in dfew.folder.iterdir()}
    shutil.rmtree(tree.root)
    alphabetical = load(source="", label_order="alphabetical")
    assert alphabetical.folder == dfew.folder
    assert {path: path.stat().st_mtime_ns for path in dfew.folder.iterdir()} == shards
    assert alphabetical.classes == tuple(sorted(dfew.classes))
    for row, name in enumerate(dfew.clip_ids):
        emotion = name.split("/")[1].lower()
        for prepared in (dfew, alphabetical):
            assert prepared.classes[prepared.labels[row]] == emotion
            assert prepared[row]["label"] == prepared.labels[row]
    assert alphabetical.fingerprint != dfew.fingerprint
    assert load(source="").fingerprint == dfew.fingerprint  # DFEW's order is the default
    assert alphabetical.in_order(dfew.classes).labels.tolist() == dfew.labels.tolist()
    with pytest.raises(UserError, match='Unknown order of labels "abc": choose one of alphabeti'):
        load(source="", label_order="abc")


def test_batches_carry_the_labels_of_the_order(load):
    prepared = load(label_order="alphabetical")
    batch = next(
        pipeline.train_batches(
            prepared,
            prepared.rows("train"),
            batch_size=14,
            total_steps=1,
            seed=0,
            sampler=dynamic_sampling,
            frame_size=8,
            augment=AugmentConfig(),
        )
    )
    emotions = [prepared.clip_ids[row].split("/")[1] for row in batch["row"]]
    assert [EMOTIONS[label] for label in batch["label"]] == emotions


def test_scenes_are_chosen(load):
    prepared = load()
    for scene in SCENES:
        rows = prepared.rows("test", where=f"scene={scene}")
        assert [prepared.clip_ids[row].split("/")[0] for row in rows] == [scene] * 7
    both = np.concatenate([prepared.rows("train", where=f"scene={scene}") for scene in SCENES])
    np.testing.assert_array_equal(np.sort(both), prepared.rows("train"))
    with pytest.raises(UserError, match=r'has scene=Wra; scene is one of Action, War. Did .*"War"'):
        prepared.rows("train", where="scene=Wra")
    with pytest.raises(UserError, match='Unknown factor of ferv39k "scen": .*mean "scene"'):
        prepared.rows("train", where="scen=War")
    with pytest.raises(UserError, match="write <factor>=<value>"):
        prepared.rows("train", where="War")
    with pytest.raises(UserError, match="no clip of ferv39k/face_crops has all of it"):
        prepared.rows("train", where="scene=War,scene=Action")


BROKEN = {
    "another word": ("War/Sad/0010 Sad", "War/Sad/0010 Fear", r'"Fear" is fear .* folder Sad'),
    "no word": ("War/Sad/0010 Sad", "War/Sad/0010 Blue", r'row 13: label "Blue"'),
    "no scene": ("War/Sad/0010 Sad", "Wars/Sad/0010 Sad", r'row 13: "Wars" is no scene .*"War"'),
    "too short": ("War/Sad/0010 Sad", "Sad/0010 Sad", "row 13: .* is not of the form <Scene>"),
    "another folder": ("War/Sad/0010 Sad", "War/Blue/0010 Sad", 'row 13: the folder "Blue" of'),
    "a climb": ("War/Sad/0010 Sad", "../War/Sad/0010 Sad", "row 13: .* lies outside of"),
    "absolute": ("War/Sad/0010 Sad", "/x/War/Sad/0010 Sad", 'row 13: .*strip_prefix="/x/"'),
    "in both": (
        "War/Sad/0010 Sad", "War/Sad/0010 Sad\r\nWar/Sad/0009 Sad",
        r"test_All.csv, row 13: clip War/Sad/0009 is also in the train list \(.*train_.*row 14\)",
    ),
    "twice": ("War/Sad/0010 Sad", "War/Sad/0010 Sad\r\nWar/Sad/0010 Sad", "row 14: .* row 13; rem"),
    "no clip": ("War/Sad/0010 Sad", "War/Sad/0077 Sad", "War/Sad/0077: No such file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_lists_are_refused(tree, load, case):
    old, new, message = BROKEN[case]
    text = tree.path("train").read_bytes().decode()
    assert old in text
    tree.path("train").write_bytes(text.replace(old, new).encode())
    with pytest.raises(UserError, match=message):
        load()


def write_numbers(tree, order, base, form):
    """Lists of other repositories: numbers, in paths of another machine."""
    for part, lines in tree.lists.items():
        rows = []
        for line in lines:
            name, emotion = line.split(" ")
            frames = f" {len(list(tree.clip(name).iterdir()))}" if form == "former_dfer" else ""
            rows.append(f"/home/me/FERV/{name}{frames} {order.index(emotion.lower()) + base}")
        (tree.root / f"{part}.txt").write_text("\n".join(rows))


NUMBERED = {"train_list": "train.txt", "test_list": "test.txt"}


@pytest.mark.parametrize("form", ["former_dfer", "videomae"])
@pytest.mark.parametrize("order", ["dfew", "alphabetical"])
@pytest.mark.parametrize("labels", ["zero_based", "one_based"])
def test_numbered_lists_are_checked_against_the_folders(tree, load, form, order, labels):
    words = load()
    base = {"zero_based": 0, "one_based": 1}[labels]
    write_numbers(tree, facts.SEVEN_ORDERS[order], base, form)
    given = NUMBERED | {"lists": form, "labels": labels, "list_order": order}
    with pytest.raises(UserError, match='perhaps strip_prefix="/home/me/FERV/"'):
        load(**given)
    given["strip_prefix"] = "/home/me/FERV"
    numbered = load(**given)
    assert numbered.clip_ids == words.clip_ids
    assert numbered.labels.tolist() == words.labels.tolist()
    other = "dfew" if order == "alphabetical" else "alphabetical"
    with pytest.raises(UserError, match=r"row 1: the label .* lies in the folder Angry; mend the"):
        load(**given | {"list_order": other})
    with pytest.raises(UserError, match="declare list_order, one of dfew, alphabetical"):
        load(**given | {"list_order": ""})
    wrong = "one_based" if labels == "zero_based" else "zero_based"
    with pytest.raises(UserError, match=f'which fits labels="{labels}"'):
        load(**given | {"labels": wrong})


def test_declared_frame_counts(tree, load):
    write_numbers(tree, facts.SEVEN, 0, "former_dfer")
    (tree.clip("War/Sad/0010") / "3.jpg").unlink()
    given = NUMBERED | {"lists": "former_dfer", "list_order": "dfew"}
    given["strip_prefix"] = "/home/me/FERV/"
    with pytest.raises(UserError, match="War/Sad/0010: 9 frames are declared, 8 are there"):
        load(**given)
    prepared = load(**given, allow_frame_counts=True)
    assert prepared.num_frames[prepared.clip_ids.index("War/Sad/0010")] == 8


names = st.lists(st.integers(0, 10**7), min_size=1, max_size=12, unique=True)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clips=st.lists(names, min_size=14, max_size=14), pad=st.booleans())
def test_any_frames_are_stored_byte_for_byte_in_natural_order(tmp_path_factory, clips, pad):
    """Random numbers of frames, padded or not; the clip's folder has a space and a quote."""
    root = tmp_path_factory.mktemp("any") / "FERV39k"
    written = {}
    for part, some in (("train", clips[:7]), ("test", clips[7:])):
        lines = []
        for emotion, numbers in zip(EMOTIONS, some, strict=True):
            name = f'War/{emotion}/{part} "1"'
            folder = root / "2_ClipsforFaceCrop" / name
            folder.mkdir(parents=True)
            for number in numbers:
                (folder / f"{number:0{9 if pad else 1}d}.jpg").write_bytes(image(number))
            written[name] = [image(number) for number in sorted(numbers)]
            lines.append(f"{name} {emotion}")
        path = root / "4_setups" / "All_scenes" / f"{part}_All.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines))
    data_dir = root.parent / "data"
    prepared = logo_jax.data.load("ferv39k", data_dir, source=root, num_workers=0)
    stored = {prepared[row]["clip_id"]: prepared[row]["frames"] for row in range(len(prepared))}
    assert stored == written
