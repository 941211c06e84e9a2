"""The cache of decoded frames: the same batches, within its bound, whatever happens to it."""

import functools
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st

from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, pipeline, reader
from logo_jax.data.augment import AugmentConfig
from logo_jax.data.frame_cache import FrameCache, open_cache
from logo_jax.data.interpolation import linear_interpolation
from logo_jax.data.sampling import dynamic_sampling

ROOT = Path(__file__).parents[2]
SAMPLER = functools.partial(dynamic_sampling, segments=4, duration=2)
TRAIN = {
    "batch_size": 4,
    "total_steps": 9,
    "seed": 3,
    "sampler": SAMPLER,
    "frame_size": 15,  # 675 bytes: no multiple of 8
    "augment": AugmentConfig(),
}
NUM_FRAMES = np.array([3, 5, 2])
GIB = 2**30


@pytest.fixture(scope="module", autouse=True)
def parsed_flags():
    flags.FLAGS.mark_as_parsed()


@pytest.fixture
def decoded(monkeypatch):
    """What has been decoded, as a list that grows."""
    seen = []
    original = reader.decode_into
    monkeypatch.setattr(
        reader, "decode_into", lambda data, out: (seen.append(data), original(data, out))
    )
    return seen


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def size_of(folder):
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def image(seed, size=8):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def make_cache(folder, limit=10**6, size=8):
    return FrameCache(folder, "set", NUM_FRAMES, size, limit)


def read(cache, row, frame, size=8):
    out = np.zeros((size, size, 3), np.uint8)
    return out if cache.read(row, frame, out) else None


def test_batches_are_the_same_and_the_second_epoch_decodes_nothing(noise_set, tmp_path, decoded):
    rows = noise_set.rows("train")  # 14 clips: step 3 is in the second epoch too
    cache = {"cache_gib": 1, "cache_dir": tmp_path}
    plain = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    decoded.clear()
    batches = pipeline.train_batches(noise_set, rows, **TRAIN, **cache)
    first = [next(batches) for _ in range(4)]
    assert len(decoded) == noise_set.num_frames[rows].sum()  # every frame once
    decoded.clear()
    assert_same(first + list(batches), plain)
    assert not decoded
    # Resumed in the middle of an epoch, and on two hosts.
    assert_same(pipeline.train_batches(noise_set, rows, **TRAIN, **cache, start_step=5), plain[5:])
    hosts = [
        pipeline.train_batches(
            noise_set, rows, **TRAIN, **cache, process_index=index, process_count=2
        )
        for index in range(2)
    ]
    for shares, batch in zip(zip(*hosts, strict=True), plain, strict=True):
        for name in batch:
            glued = np.concatenate([share[name] for share in shares])
            np.testing.assert_array_equal(glued, batch[name])
    assert not decoded


def test_evaluation_keeps_only_what_it_shows(noise_set, tmp_path, decoded):
    rows = noise_set.rows("test")
    settings = {"batch_size": 4, "sampler": SAMPLER, "frame_size": 8}
    plain = list(pipeline.eval_batches(noise_set, rows, **settings))
    shown = {(row, index) for row in rows for index in SAMPLER(int(noise_set.num_frames[row]))}
    for expected in (len(shown), 0):
        decoded.clear()
        cached = pipeline.eval_batches(noise_set, rows, **settings, cache_gib=1, cache_dir=tmp_path)
        assert_same(cached, plain)
        assert len(decoded) == expected


def test_evaluation_goes_on_where_training_has_filled_the_bound(noise_set, tmp_path, capsys):
    index = 64 + 16 * int(noise_set.num_frames.sum())
    cache = {"cache_gib": (index + 10 * 680) / GIB, "cache_dir": tmp_path}  # 10 frames of 15 px
    list(pipeline.train_batches(noise_set, noise_set.rows("train"), **TRAIN, **cache))
    settings = {"batch_size": 4, "sampler": SAMPLER, "frame_size": 8}
    plain = list(pipeline.eval_batches(noise_set, noise_set.rows("test"), **settings))
    for _ in range(2):
        found = pipeline.eval_batches(noise_set, noise_set.rows("test"), **settings, **cache)
        assert_same(found, plain)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith("Warning: Frames of 8 px are decoded each time that they are judged.")
    assert "raise config.data.cache_gib" in warning


def test_mixed_frames_come_from_the_cache_too(noise_set, tmp_path):
    sampler = functools.partial(linear_interpolation, length=5)
    settings = {"batch_size": 2, "sampler": sampler, "frame_size": 8}
    plain = list(pipeline.eval_batches(noise_set, np.arange(4), **settings))
    for _ in range(2):
        cached = pipeline.eval_batches(
            noise_set, np.arange(4), **settings, cache_gib=1, cache_dir=tmp_path
        )
        assert_same(cached, plain)


@pytest.mark.slow
def test_workers_share_a_cache(noise_set, tmp_path):
    rows = noise_set.rows("train")
    plain = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    for workers in (2, 1):
        cached = pipeline.train_batches(
            noise_set, rows, **TRAIN, cache_gib=1, cache_dir=tmp_path, num_workers=workers
        )
        assert_same(cached, plain)


@pytest.mark.parametrize("slots", [1, 10, 60])
def test_the_bound_is_kept(noise_set, tmp_path, slots):
    rows = noise_set.rows("train")
    index = 64 + 16 * int(noise_set.num_frames.sum())
    limit = index + slots * 680 + 500  # room for so many frames of 675 bytes
    plain = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    for _ in range(2):
        batches = pipeline.train_batches(
            noise_set, rows, **TRAIN, cache_gib=limit / GIB, cache_dir=tmp_path
        )
        for batch, expected in zip(batches, plain, strict=True):
            assert_same([batch], [expected])
            assert size_of(tmp_path) <= limit
    assert size_of(tmp_path) == index + slots * 680


def test_two_sizes_share_one_bound(tmp_path):
    limit = 3000
    small, large = make_cache(tmp_path, limit, size=8), make_cache(tmp_path, limit, size=16)
    for row, count in enumerate(NUM_FRAMES):
        small.write(row, {frame: image(frame) for frame in range(count)})
        large.write(row, {frame: image(frame, 16) for frame in range(count)})
        assert size_of(tmp_path) <= limit
    assert small.full or large.full
    with pytest.raises(UserError, match="may take .* GiB, of which .* are taken"):
        make_cache(tmp_path, limit, size=32)
    # A smaller bound later on removes nothing, and lets nothing grow.
    before = size_of(tmp_path)
    again = make_cache(tmp_path, 100, size=8)
    again.write(2, {0: image(0), 1: image(1)})
    assert size_of(tmp_path) == before


@settings(deadline=None, max_examples=30)
@given(writes=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 99))))
def test_what_is_read_is_what_was_written(tmp_path_factory, writes):
    """A frame is written once; a second write of one that is there keeps its slot."""
    folder = tmp_path_factory.mktemp("cache")
    one, other = make_cache(folder), pickle.loads(pickle.dumps(make_cache(folder)))
    latest = {}
    for number, (row, frame, seed) in enumerate(writes):
        (one if number % 2 else other).write(row, {frame: image(seed)})
        latest[row, frame] = seed
    for cache in (one, other, make_cache(folder)):
        for row, count in enumerate(NUM_FRAMES):
            for frame in range(count):
                found = read(cache, row, frame)
                if (row, frame) in latest:
                    np.testing.assert_array_equal(found, image(latest[row, frame]))
                else:
                    assert found is None
            assert set(cache.absent(row)) == {
                frame for frame in range(count) if (row, frame) not in latest
            }
    assert size_of(folder) == 64 + 16 * NUM_FRAMES.sum() + 192 * len(latest)


# Of the entries of the index, 16 bytes each behind 64, other steps damage other parts.
@pytest.mark.parametrize("name, step", [("frames.bin", 997), ("index.bin", 997), ("index.bin", 80)])
def test_damage_is_found_and_mended(noise_set, tmp_path, name, step, decoded):
    rows = noise_set.rows("train")
    settings = TRAIN | {"cache_gib": 1, "cache_dir": tmp_path}
    plain = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    assert_same(pipeline.train_batches(noise_set, rows, **settings), plain)
    (path,) = tmp_path.glob(f"*/{name}")
    content = bytearray(path.read_bytes())
    for position in range(71 if step == 80 else 100, len(content), step):
        content[position] ^= 64
    path.write_bytes(content)
    decoded.clear()
    assert_same(pipeline.train_batches(noise_set, rows, **settings), plain)
    assert decoded
    decoded.clear()
    assert_same(pipeline.train_batches(noise_set, rows, **settings), plain)
    assert not decoded  # the damaged frames were put back
    assert size_of(tmp_path) < 2**20  # and not far behind the others


@pytest.mark.parametrize("name", ["frames.bin", "index.bin"])
def test_files_cut_short_or_lost_are_made_anew(noise_set, tmp_path, name):
    rows = noise_set.rows("train")
    settings = TRAIN | {"cache_gib": 1, "cache_dir": tmp_path}
    plain = list(pipeline.train_batches(noise_set, rows, **TRAIN))
    assert_same(pipeline.train_batches(noise_set, rows, **settings), plain)
    (path,) = tmp_path.glob(f"*/{name}")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 3)
    assert_same(pipeline.train_batches(noise_set, rows, **settings), plain)
    path.unlink()
    assert_same(pipeline.train_batches(noise_set, rows, **settings), plain)


FILL = """
    import sys
    import numpy as np
    from logo_jax.data.frame_cache import FrameCache

    cache = FrameCache(sys.argv[1], "set", np.full(200, 10), 64, 10**9)
    print("ready", flush=True)
    for row in range(200):
        cache.write(row, {k: np.full((64, 64, 3), row + k, np.uint8) for k in range(10)})
    print("done", flush=True)
"""


def start_filling(tmp_path):
    script = tmp_path / "fill.py"
    script.write_text(textwrap.dedent(FILL))
    return subprocess.Popen(
        [sys.executable, script, tmp_path / "cache"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def check_filled(tmp_path):
    """Count the frames; each is either whole or absent."""
    cache = FrameCache(tmp_path / "cache", "set", np.full(200, 10), 64, 10**9)
    found = 0
    for row in range(200):
        for frame in range(10):
            out = np.zeros((64, 64, 3), np.uint8)
            if cache.read(row, frame, out):
                assert (out == row + frame).all()
                found += 1
    return found


def test_a_killed_process_leaves_no_half_frame(tmp_path):
    process = start_filling(tmp_path)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    check_filled(tmp_path)
    again = start_filling(tmp_path)
    assert again.communicate()[0] == "ready\ndone\n"
    assert check_filled(tmp_path) == 2000


def test_two_processes_fill_one_cache(tmp_path):
    processes = [start_filling(tmp_path) for _ in range(2)]
    for process in processes:
        assert process.communicate()[0] == "ready\ndone\n"
    assert check_filled(tmp_path) == 2000


def test_a_full_disk_is_a_sentence(tmp_path):
    cache = make_cache(tmp_path)
    cache.__dict__["_frames_file"] = os.open("/dev/full", os.O_RDWR)
    with pytest.raises(
        UserError, match=r"frame cache in .*(No space left|cannot be used).*cache_gib=0"
    ):
        cache.write(0, {0: image(0)})


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write to the folder"):
        make_cache(tmp_path / "file" / "cache")


def test_another_set_size_or_decoder_has_a_cache_of_its_own(tmp_path, monkeypatch):
    folders = {make_cache(tmp_path).folder, make_cache(tmp_path, size=9).folder}
    folders.add(FrameCache(tmp_path, "other", NUM_FRAMES, 8, 10**6).folder)
    monkeypatch.setattr("cv2.__version__", "0.0")
    folders.add(make_cache(tmp_path).folder)
    assert len(folders) == 4


def test_a_broken_frame_that_nobody_wants_is_no_error(noise_builder, tmp_path):
    prepared = PreparedSet(noise_builder(data_dir=tmp_path, broken=True).prepare())
    cache = open_cache(prepared, 8, 1, "")
    assert cache.root == prepared.folder / "frame_cache"
    shown = reader.Reader(prepared, lambda n, rng: np.array([0]), 8, "natural", cache, True)
    batch = shown.batch([shown.choose(5, None, np.random.default_rng)], 1, 1)
    assert batch["frames"].any() and list(cache.absent(5)) == [1]
    wanted = reader.Reader(prepared, lambda n, rng: np.array([1]), 8, "natural", cache, True)
    with pytest.raises(UserError, match="Frame 1 of clip clip 5 cannot be decoded"):
        wanted.batch([wanted.choose(5, None, np.random.default_rng)], 1, 1)
    assert PreparedSet(prepared.folder)[5]["num_frames"] == 8  # the set beside it is as it was


def test_no_cache_without_a_bound(noise_set):
    assert open_cache(noise_set, 8, 0, "") is None


@pytest.mark.parametrize("gib", [-1, float("inf"), float("nan"), 1e300])
def test_a_bound_that_is_no_number_of_gib(noise_set, tmp_path, gib):
    with pytest.raises(
        UserError, match=rf"cache_gib is {re.escape(str(gib))}: give a number of GiB, or 0"
    ):
        next(
            pipeline.train_batches(
                noise_set, np.arange(4), **TRAIN, cache_gib=gib, cache_dir=tmp_path
            )
        )
