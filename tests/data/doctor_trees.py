"""Small copies of data sets in their real layouts, made once and copied for each test."""

import shutil

import cv2
import numpy as np

SEVEN = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
FRAMES = 3
FOLDS = "EmoLabel_DataSplit"


def frame(seed, size=224):
    """A JPEG of a smooth picture of its own."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (size, size))
    return cv2.imencode(".jpg", image)[1].tobytes()


def clip(folder, seed, frames=FRAMES, name="{:05d}.jpg"):
    """A clip folder of frames of its own."""
    folder.mkdir(parents=True)
    for number in range(1, frames + 1):
        (folder / name.format(number)).write_bytes(frame([*np.ravel(seed), number]))


def video(path, seed, frames=2, code="mp4v"):
    """A video of smooth pictures of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 25, (16, 16))
    for number in range(frames):
        rng = np.random.default_rng((seed, number))
        writer.write(cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (16, 16)))
    writer.release()


def only_videos(root):
    """DFEW with its videos, and no frames."""
    shutil.rmtree(root / "Clip" / "clip_224x224")
    for number in range(1, 36):
        video(root / "Clip" / "original" / f"{number:05d}.mp4", number)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def dfew(root):
    """35 clips; clip i is of class (i - 1) % 7 + 1, fold k tests on clips 7k - 6 to 7k."""
    for number in range(1, 36):
        clip(root / "Clip" / "clip_224x224" / f"{number:05d}", number, FRAMES + number % 2)
    for fold in range(1, 6):
        tested = range(7 * fold - 6, 7 * fold + 1)
        for part in ("train", "test"):
            rows = [n for n in range(1, 36) if (n in tested) == (part == "test")]
            path = root / FOLDS / f"{part}(single-labeled)" / f"set_{fold}.csv"
            write(path, ["video_name,label", *(f"{n},{(n - 1) % 7 + 1}" for n in rows)])


def ferv39k(root):
    """Two scenes; a training and a test clip of each class in each."""
    rows = {"train": [], "test": []}
    for scene in ("Action", "War"):
        for place, emotion in enumerate(SEVEN):
            for number, part in enumerate(("train", "test"), 1):
                name = f"{scene}/{emotion}/{number:04d}"
                clip(root / "2_ClipsforFaceCrop" / name, (len(scene), place, number))
                rows[part].append(f"{name} {emotion}")
    for part, lines in rows.items():
        write(root / "4_setups" / "All_scenes" / f"{part}_All.csv", lines)


def afew(root):
    for part in ("train", "validation"):
        for place, emotion in enumerate(SEVEN):
            for number in range(2):
                clip(root / part / emotion / f"0{number}", (len(part), place, number))


def mafw(root):
    """55 clips, a test clip of each of 11 classes in each fold."""
    classes = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise",
               "contempt", "anxiety", "helplessness", "disappointment")  # fmt: skip
    for number in range(1, 56):
        clip(root / "data" / "frames" / f"{number:05d}", number)
    for fold in range(1, 6):
        tested = range(11 * fold - 10, 11 * fold + 1)
        for part in ("train", "test"):
            rows = [n for n in range(1, 56) if (n in tested) == (part == "test")]
            folder = root / "Train & Test Set" / "single" / "no_caption" / f"set_{fold}"
            folder.mkdir(parents=True, exist_ok=True)
            lines = [f"{n:05d}.mp4 {classes[(n - 1) % 11]}\r\n" for n in rows]
            (folder / f"{part}.txt").write_text("".join(lines), newline="")


def frame_folders(root):
    for part in ("train", "test"):
        for place, name in enumerate(("calm", "moved")):
            for number in range(2):
                clip(root / part / name / f"c{number}", (len(part), place, number))


TREES = {
    "dfew": dfew, "ferv39k": ferv39k, "afew": afew, "mafw": mafw, "frame_folders": frame_folders,
}  # fmt: skip


def copy_of(pattern, target):
    shutil.copytree(pattern, target, symlinks=True)
    return target


def first_frame(root, number=3):
    """The first frame of a clip of DFEW."""
    return root / "Clip" / "clip_224x224" / f"{number:05d}" / "00001.jpg"


def replace(path, old, new, count=1):
    """Replace a piece of a file."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, count))


def list_of(root, part="train", fold=1):
    """A list of DFEW."""
    return root / FOLDS / f"{part}(single-labeled)" / f"set_{fold}.csv"


def each_list(root):
    """All lists of DFEW."""
    return sorted((root / FOLDS).rglob("*.csv"))


def rename_to_time_interpolated(root):
    """DFEW with the clips of 16 interpolated frames."""
    (root / "Clip" / "clip_224x224").rename(root / "Clip" / "clip_224x224_16f")
    for folder in (root / "Clip" / "clip_224x224_16f").iterdir():
        shutil.rmtree(folder)
        clip(folder, int(folder.name), 16, "{}.jpg")


def codes(found):
    """What was found, without the note that faces were not looked at."""
    return {f.code for f in found.findings.sorted()} - {"faces_not_examined"}


def text(found, code):
    (finding,) = [f for f in found.findings.sorted() if f.code == code]
    return finding.sentence
