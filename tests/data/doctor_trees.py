"""Small copies of data sets in their real layouts, made once and copied for each test."""

import shutil

import cv2
import numpy as np

SEVEN = ("Happy", "Sad", "Neutral", "Angry", "Surprise", "Disgust", "Fear")
FRAMES = 3


def frame(seed, size=224):
    """A JPEG of a smooth picture of its own."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (size, size))
    return cv2.imencode(".jpg", image)[1].tobytes()


def clip(folder, seed, frames=FRAMES, name="{:05d}.jpg"):
    """A clip folder of frames of its own."""
    folder.mkdir(parents=True)
    for number in range(1, frames + 1):
        (folder / name.format(number)).write_bytes(frame((seed, number)))


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
            path = root / "EmoLabel_DataSplit" / f"{part}(single-labeled)" / f"set_{fold}.csv"
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
