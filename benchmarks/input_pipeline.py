"""Clips a second that the input pipeline delivers, beside the customary loader and the decoder.

    python -m benchmarks.input_pipeline [--clips=64] [--repeats=5] [--workers=0,1,2]

Makes a data set of JPEG clips in a temporary folder: synthetic faces with texture, 224 px, 64 to 76
frames each, of which a training step sees 16. Then measures in turn, in one process on one core:

- pipeline: `train_batches` to a batch on the device; frames of 224 px, cropped on the device.
- pipeline_test: `eval_batches`, likewise, with frames of 112 px as for test views.
- customary: the loader of most published code. A folder of JPEG files, PIL decodes and resizes a
  frame to 112 px, and NumPy stacks normalized float frames.
- decode, decode_test: simplejpeg alone, the same frames from memory to memory that is there, at
  the scale of pipeline and pipeline_test.

After that the pipeline with worker processes on all cores, and with the cache of decoded frames,
first epoch and second. Rates are medians over the repeats, after one that is not counted.
"""

import argparse
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import jax
import numpy as np
import simplejpeg
from PIL import Image

from logo_jax.common import heap
from logo_jax.common.mesh import data_mesh, to_devices
from logo_jax.common.progress import track
from logo_jax.common.versions import versions
from logo_jax.data import AugmentConfig, PreparedSet, eval_batches, load, train_batches
from logo_jax.data.datasets.synthetic_faces import configs, film, plan
from logo_jax.data.frames import frame_files
from logo_jax.data.sampling import dynamic_sampling

SIDE, IMAGE_SIZE = 224, 112
QUALITY = 88  # gives faces of 224 px about 11 kB, as face crops of films have
SAMPLER = functools.partial(dynamic_sampling, segments=8, duration=2)
BATCH_SIZE = 16
# ImageNet's, as in most published loaders.
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def make_clips(source: Path, number: int) -> list[int]:
    """Draw clips of textured faces into frame folders; return the size of each file."""
    config = dataclasses.replace(
        configs.WILD, num_train=number, num_val=7, num_test=7, size=SIDE, lengths=(64, 76)
    )
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((SIDE + 96, SIDE + 96, 3)).astype(np.float32)
    texture = sum(sigma * cv2.GaussianBlur(noise, (0, 0), sigma) for sigma in (0.8, 1.6, 3.2, 6.4))
    texture *= 8 / texture.std()
    sizes = []
    clips = plan.plan(config)
    for index, clip in track(enumerate(clips[:number]), number, "Drawing clips", "clips"):
        # The doctor's and the builder's checks want a test part: every eighth clip.
        part = "test" if index % 8 == 7 else "train"
        folder = source / part / f"class_{index % 7}" / f"{index:04d}"
        folder.mkdir(parents=True)
        for place, data in enumerate(film.make_frames(clip.spec)):
            top, left = rng.integers(0, 96, 2)
            frame = simplejpeg.decode_jpeg(data) + texture[top : top + SIDE, left : left + SIDE]
            frame = np.clip(frame, 0, 255).astype(np.uint8)
            encoded = simplejpeg.encode_jpeg(frame, QUALITY, "RGB", "420")
            (folder / f"{place:04d}.jpg").write_bytes(encoded)
            sizes.append(len(encoded))
    return sizes


class Workloads:
    """What is measured; each function takes so many clips to the device, or to memory."""

    def __init__(self, source: Path, prepared: PreparedSet):
        self.prepared = prepared
        self.rows = np.arange(len(prepared))
        self.mesh = data_mesh()
        folders = sorted(folder for folder in source.glob("*/*/*"))
        self.files = [frame_files(folder) for folder in folders]
        clips = [prepared[row] for row in self.rows]
        chosen = [SAMPLER(len(clip["frames"])) for clip in clips]
        self.encoded = [
            [clip["frames"][index] for index in indices]
            for clip, indices in zip(clips, chosen, strict=True)
        ]
        frames = BATCH_SIZE, 16
        self.memory = np.ones((*frames, SIDE, SIDE, 3), np.uint8)
        self.memory_test = np.ones((*frames, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)

    def to_device(self, batches: Iterator[dict[str, np.ndarray]]) -> None:
        for batch in batches:
            jax.block_until_ready(to_devices(batch, self.mesh))

    def pipeline(self, clips: int, **options) -> None:
        self.to_device(
            train_batches(
                self.prepared,
                self.rows,
                batch_size=BATCH_SIZE,
                total_steps=clips // BATCH_SIZE,
                seed=0,
                sampler=SAMPLER,
                frame_size=SIDE,
                augment=AugmentConfig(),
                **options,
            )
        )

    def pipeline_test(self, clips: int) -> None:
        rows = np.resize(self.rows, clips)
        self.to_device(
            eval_batches(
                self.prepared, rows, batch_size=BATCH_SIZE, sampler=SAMPLER, frame_size=IMAGE_SIZE
            )
        )

    def customary(self, clips: int) -> None:
        rng = np.random.default_rng(0)
        for start in range(0, clips, BATCH_SIZE):
            batch = []
            for number in range(start, start + BATCH_SIZE):
                files = self.files[number % len(self.files)]
                frames = []
                for index in SAMPLER(len(files), rng=rng):
                    image = Image.open(files[index]).convert("RGB")
                    image = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
                    frame = np.asarray(image, np.float32) / 255
                    frames.append(((frame - MEAN) / STD).transpose(2, 0, 1))
                batch.append(np.stack(frames))
            self.to_device(iter([{"frames": np.stack(batch)}]))

    def decode(self, clips: int) -> None:
        for number in range(clips):
            memory = self.memory[number % BATCH_SIZE]
            for data, out in zip(self.encoded[number % len(self.encoded)], memory, strict=True):
                simplejpeg.decode_jpeg(data, buffer=out)

    def decode_test(self, clips: int) -> None:
        scale = {"min_height": IMAGE_SIZE, "min_width": IMAGE_SIZE, "min_factor": 2}
        for number in range(clips):
            memory = self.memory_test[number % BATCH_SIZE]
            for data, out in zip(self.encoded[number % len(self.encoded)], memory, strict=True):
                simplejpeg.decode_jpeg(data, buffer=out, **scale)


def rate(work: Callable[[int], None], clips: int) -> float:
    """Clips a second."""
    start = time.perf_counter()
    work(clips)
    return clips / (time.perf_counter() - start)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, its threads included, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rates_by_workers(
    work: Workloads, clips: int, counts: list[int], repeats: int
) -> tuple[dict[str, list[float]], float]:
    """Rates of the pipeline with so many workers, once they have started, and the most MiB that
    one of them has taken."""
    peak = 0.0
    found: dict[str, list[float]] = {str(count): [] for count in counts}
    for _ in track(range(repeats), repeats, "with workers", "repeats"):
        for count in counts:
            steps = clips // BATCH_SIZE
            # Until what was read ahead is used up, and all shared memory has been written to once.
            warm = max(1, 8 * count)
            batches = train_batches(
                work.prepared,
                work.rows,
                batch_size=BATCH_SIZE,
                total_steps=steps + warm,
                seed=0,
                sampler=SAMPLER,
                frame_size=SIDE,
                augment=AugmentConfig(),
                num_workers=count,
            )
            for _ in range(warm):
                next(batches)
            peak = max([peak, *map(peak_mib, multiprocessing.active_children())])
            start = time.perf_counter()
            work.to_device(batches)
            found[str(count)].append(steps * BATCH_SIZE / (time.perf_counter() - start))
    return found, peak


def peak_mib(worker: multiprocessing.process.BaseProcess) -> float:
    """The most memory that a running worker has taken.

    Not by getrusage: for a program that was started it says no less than its parent had then.
    """
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def rates_with_cache(
    work: Workloads, clips: int, repeats: int, folder: Path
) -> dict[str, list[float]]:
    """Rates of the first epoch, which fills the cache, and of the second."""
    found: dict[str, list[float]] = {"first_epoch": [], "second_epoch": []}
    for repeat in range(repeats):
        cache = {"cache_gib": 64, "cache_dir": folder / f"cache{repeat}"}
        for epoch in found:
            start_step = 0 if epoch == "first_epoch" else clips // BATCH_SIZE
            start = time.perf_counter()
            work.pipeline(clips + start_step * BATCH_SIZE, start_step=start_step, **cache)
            found[epoch].append(clips / (time.perf_counter() - start))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=64, help="of the set; a multiple of 16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", default="0,1,2")
    arguments = parser.parse_args()
    clips, repeats = arguments.clips, arguments.repeats
    heap.keep_freed_memory()  # as launch.py does
    rates: dict[str, list[float]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = make_clips(folder / "source", clips)
        prepared = load("frame_folders", folder / "data", folder / "source", num_workers=0)
        work = Workloads(folder / "source", prepared)
        # What is compared to the few percent stands side by side.
        names = ("customary", "pipeline", "decode", "pipeline_test", "decode_test")
        rates = {name: [] for name in names}
        with one_core():
            for repeat in track(range(repeats + 1), repeats + 1, "one core", "repeats"):
                for name in names if repeat % 2 else names[::-1]:
                    found = rate(getattr(work, name), clips)
                    if repeat:  # the first one warms up
                        rates[name].append(found)
            rates |= rates_with_cache(work, clips, max(1, repeats // 2), folder)
        parent_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        counts = [int(count) for count in arguments.workers.split(",")]
        by_workers, worker_mib = rates_by_workers(work, 8 * clips, counts, max(1, repeats // 2))

    def ratio(one: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))

    result = {
        "benchmark": "input_pipeline",
        "vs_customary": ratio("pipeline", "customary"),
        "vs_decode": ratio("pipeline", "decode"),
        "vs_customary_test": ratio("pipeline_test", "customary"),
        "vs_decode_test": ratio("pipeline_test", "decode_test"),
        "second_epoch_vs_no_cache": statistics.median(rates["second_epoch"])
        / statistics.median(rates["pipeline"]),
        "clips_per_second": rates,
        "clips_per_second_by_workers": by_workers,
        "peak_rss_mib": {"parent": parent_mib, "largest_worker": worker_mib},
        "clips": clips,
        "frames": len(sizes),
        "frame_bytes": {
            "mean": statistics.mean(sizes),
            "deciles": statistics.quantiles(sizes, n=10),
        },
        "load_average": os.getloadavg(),
        "versions": versions(),
    }
    print(f"{clips} clips, {len(sizes)} frames of {statistics.mean(sizes) / 1000:.1f} kB")
    print(f"{'clips/s, one core':<22}{'median':>9}{'min':>9}{'max':>9}")
    shown = rates | {f"{count} workers": found for count, found in by_workers.items()}
    for name, values in shown.items():
        print(f"{name:<22}{statistics.median(values):>9.1f}{min(values):>9.1f}{max(values):>9.1f}")
    print(
        f"pipeline / customary: {result['vs_customary']:.2f} (goal: at least 3); "
        f"pipeline / decode: {result['vs_decode']:.2f} (goal: at least 0.85)"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
