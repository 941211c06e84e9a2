"""Small data sets for the tests of this folder."""

import dataclasses

import cv2
import numpy as np
import pytest

from logo_jax.data import builder
from logo_jax.data.datasets import facts
from tests.data import doctor_trees as trees


def jpeg(rng: np.random.Generator, height: int = 24, width: int = 20) -> bytes:
    """Encode one image of coloured noise."""
    image = cv2.resize(rng.integers(0, 256, (6, 5, 3), np.uint8), (width, height))
    return cv2.imencode(".jpg", image)[1].tobytes()


def noise_frames(payload: tuple[int, int, bool]) -> list[bytes]:
    """Frames of one clip from (seed, number of frames, whether frame 1 is cut in half)."""
    seed, num_frames, broken = payload
    rng = np.random.default_rng(seed)
    frames = [jpeg(rng) for _ in range(num_frames)]
    if broken:
        frames[1] = frames[1][: len(frames[1]) // 2]
    return frames


class NoiseClips(builder.ClipBuilder):
    """Clips of noise, two classes, split into train (two thirds) and test."""

    needs_source = False
    classes = ("calm", "moved")
    make_frames = staticmethod(noise_frames)

    @classmethod
    def configure(cls, clips: int = 21, frames: int = 3, broken: bool = False):
        """Number of clips; the clip with number i has `frames` + i frames."""
        return f"{clips}x{frames}", {"clips": clips, "frames": frames, "broken": broken}

    def entries(self):
        """Clips of growing length."""
        return [
            builder.ClipEntry(
                clip_id=f"clip {i}",
                label=i % 2,
                payload=(i, self.options["frames"] + i, self.options["broken"]),
                group=f"person {i // 3}",
                partitions={"split": "test" if i % 3 == 2 else "train"},
                factors={"amplitude": i / 7, "turns": i, "kind": "even" if i % 2 == 0 else "odd"},
            )
            for i in range(self.options["clips"])
        ]


@pytest.fixture(scope="session")
def noise_builder():
    """The builder class."""
    return NoiseClips


@pytest.fixture(scope="session")
def noise_set(tmp_path_factory):
    """21 prepared clips of 3 to 23 frames."""
    from logo_jax.data import PreparedSet

    return PreparedSet(NoiseClips(data_dir=tmp_path_factory.mktemp("data")).prepare())


DFEW_LABELS = (1, 2, 3, 4, 5, 6, 7)
DFEW_FOLDS = (1, 2, 3, 4, 5)


class DfewTree:
    """A small DFEW in the official layout: 14 clips of noise, two of each class, five folds.

    Clips 1 .. 7 are of the classes 1 .. 7, and so are clips 8 .. 14. In fold k the test list has
    clips 1 .. 7 where k is odd, clips 8 .. 14 where it is even.
    """

    def __init__(self, root):
        self.root = root
        rng = np.random.default_rng(0)
        for clip in range(1, 15):
            folder = self.clip(clip)
            folder.mkdir(parents=True)
            for frame in range(1, 10 + clip % 3):
                (folder / f"{clip:05d}_{frame:05d}.jpg").write_bytes(jpeg(rng))
        for fold in DFEW_FOLDS:
            first, second = range(1, 8), range(8, 15)
            test, train = (first, second) if fold % 2 else (second, first)
            self.write("train", fold, train)
            self.write("test", fold, test)

    def clip(self, number, frame_folder="clip_224x224"):
        """Folder of a clip."""
        return self.root / "Clip" / frame_folder / f"{number:05d}"

    def list(self, part, fold):
        """Path of a list."""
        return self.root / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"

    def write(self, part, fold, clips):
        """Write a list of clip numbers with their labels."""
        path = self.list(part, fold)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"{clip},{(clip - 1) % 7 + 1}" for clip in clips]
        path.write_text("\n".join(["video_name,label", *rows]) + "\n")

    def edit(self, part, fold, old, new):
        """Replace a piece of a list."""
        path = self.list(part, fold)
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture
def dfew(tmp_path):
    """A small DFEW."""
    return DfewTree(tmp_path / "DFEW")


@pytest.fixture(scope="session")
def patterns(tmp_path_factory):
    """A clean copy of each data set, made when first asked for."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = tmp_path_factory.mktemp("pattern") / name
            trees.TREES[name](made[name])
        return made[name]

    return make


@pytest.fixture
def small_is_official(monkeypatch):
    """The small copies have the official sizes."""
    seven = {f"fold_{k}": ((28, 7),) for k in range(1, 6)}
    eleven = {f"fold_{k}": ((44, 11),) for k in range(1, 6)}
    for name, folds, counts in (
        ("DFEW", seven, (5,) * 7),
        ("FERV39K", {"split": ((14, 14),)}, (2,) * 7),
        ("AFEW", {"split": ((14, 14),)}, ()),
        ("MAFW", eleven, (5,) * 11),
    ):
        known = dataclasses.replace(getattr(facts, name), folds=folds, test_counts=counts)
        monkeypatch.setattr(facts, name, known)


@pytest.fixture
def copy(patterns, tmp_path):
    """A copy of a clean tree to spoil."""
    return lambda name: trees.copy_of(patterns(name), tmp_path / name.upper())
