"""Preparation: whole or absent, whatever happens on the way."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from logo_jax.common import files
from logo_jax.common.errors import UserError
from logo_jax.data import PreparedSet, builder, frames, pool, shards
from logo_jax.data.decode import decode_image

ROOT = Path(__file__).parents[2]

# A builder in a module of its own, which worker processes can import.
MODULE = '''
import os, time
from logo_jax.common.errors import UserError
from logo_jax.data.builder import ClipBuilder, ClipEntry
from slow_frames import make_frames

class SlowClips(ClipBuilder):
    """Clips of three bytes."""
    needs_source = False
    classes = ("a", "b")
    make_frames = staticmethod(make_frames)

    @classmethod
    def configure(cls, clips=100, seconds=0.0, fail=-1, die=-1):
        return "x", {"clips": clips, "seconds": seconds, "fail": fail, "die": die}

    def entries(self):
        return [
            ClipEntry(f"c{i}", i % 2, (i, self.options), partitions={"split": "train"})
            for i in range(self.options["clips"])
        ]
'''
FRAMES = """
import os, time
from logo_jax.common.errors import UserError

def make_frames(payload):
    i, options = payload
    time.sleep(options["seconds"] * (2 if i % 3 == 0 else 1))
    if i == options["fail"]:
        raise UserError("it is broken")
    if i == options["die"]:
        os._exit(9)
    return [bytes([i])] * 3
"""


@pytest.fixture
def start(tmp_path):
    """Run a script (without a `__main__` guard) that has the builder above."""
    (tmp_path / "slow_clips.py").write_text(MODULE)
    (tmp_path / "slow_frames.py").write_text(FRAMES)

    def start(code):
        (tmp_path / "script.py").write_text(
            # A shell that starts tests in the background leaves Ctrl-C ignored.
            "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
            f"from slow_clips import SlowClips\ndata_dir = {str(tmp_path / 'data')!r}\n"
            + textwrap.dedent(code)
        )
        environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
        return subprocess.Popen(
            [sys.executable, tmp_path / "script.py"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def folders(data_dir):
    return sorted(path.name for path in (data_dir / "slow_clips" / "x").iterdir())


def test_workers_keep_the_order(start, tmp_path):
    process = start(
        """
        from logo_jax.data import PreparedSet
        folder = SlowClips(data_dir=data_dir, num_workers=2, seconds=0.001).prepare()
        prepared = PreparedSet(folder)
        assert prepared.clip_ids == [f"c{i}" for i in range(100)]
        assert [prepared[i]["frames"][0][0] for i in range(100)] == list(range(100))
        print("all is well")
        """
    )
    output, _ = process.communicate(timeout=60)
    assert output.endswith("all is well\n"), output
    assert "100 clips, 300 frames" in output


def wait_for_incomplete(process, tmp_path):
    """Wait until the preparation has begun to write."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if list((tmp_path / "data").glob("slow_clips/x/unfinished/00000.array_record")):
            time.sleep(0.3)
            return
        time.sleep(0.02)
    raise AssertionError(process.communicate()[0])


def group_is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_an_interrupted_preparation_leaves_nothing(start, tmp_path, how):
    code = "SlowClips(data_dir=data_dir, num_workers={workers}, seconds={seconds}).prepare()"
    process = start(code.format(workers=1, seconds=0.2))
    wait_for_incomplete(process, tmp_path)
    process.send_signal(how)
    process.communicate(timeout=30)  # ends when the worker, too, has closed the pipe
    assert process.returncode != 0
    assert "1.0.0" not in folders(tmp_path / "data")
    # The worker that a killed parent leaves behind ends by itself.
    end = time.monotonic() + 10
    while group_is_alive(process.pid) and time.monotonic() < end:
        time.sleep(0.1)
    assert not group_is_alive(process.pid)
    process = start(code.format(workers=0, seconds=0))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert folders(tmp_path / "data") == [".lock", "1.0.0"]


def test_a_worker_that_dies_is_noticed(start, tmp_path):
    process = start("SlowClips(data_dir=data_dir, num_workers=1, die=50).prepare()")
    output, _ = process.communicate(timeout=60)
    assert "UserError: A worker process was killed" in output
    assert folders(tmp_path / "data") == [".lock", "unfinished"]


@pytest.mark.slow
def test_two_processes_prepare_once(start, tmp_path):
    code = "SlowClips(data_dir=data_dir, num_workers=0, seconds=0.01).prepare()"
    processes = [start(code), start(code)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum("Prepared slow_clips" in output for output in outputs) == 1


def test_a_full_disk_is_a_sentence(tmp_path):
    # A limit on the size of files stands in for a full disk.
    code = f"""
        import resource, signal, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
        from conftest import NoiseClips
        from logo_jax.common.errors import UserError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            NoiseClips(data_dir={str(tmp_path)!r}, clips=60).prepare()
        except UserError as error:
            print(error)
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.startswith("Cannot write the prepared set to"), result
    assert "File too large" in result.stdout and "free some space" in result.stdout
    assert "Started again, it goes on from here" in result.stdout
    left = sorted(path.name for path in (tmp_path / "noise_clips" / "60x3").iterdir())
    assert left == [".lock", "unfinished"]


def test_a_folder_that_cannot_be_written(tmp_path, noise_builder):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(UserError, match="Cannot write to the folder"):
        noise_builder(data_dir=tmp_path / "data").prepare()


def test_a_lock_of_another_user(tmp_path):
    path = tmp_path / ".lock"
    path.touch()
    opened = []

    def read_only(name, mode="r"):
        opened.append(mode)
        if mode != "r":
            raise PermissionError(errno.EACCES, "Permission denied")
        return open(name, mode)

    with mock.patch.object(files, "open", read_only, create=True):
        with files.locked(path, "waiting"):
            pass
        path.unlink()
        with pytest.raises(UserError, match=r"Cannot open .*\.lock: Permission denied"):
            with files.locked(path, "waiting"):
                pass
    assert opened == ["r", "w"]


def test_frames_are_stored_smaller(tmp_path, noise_builder):
    plain = PreparedSet(noise_builder(data_dir=tmp_path, clips=3).prepare())
    small = PreparedSet(noise_builder(data_dir=tmp_path, clips=3, stored_size=16).prepare())
    assert small.folder != plain.folder and small.options["stored_size"] == 16
    for before, after in zip(plain[0]["frames"], small[0]["frames"], strict=True):
        shrunk = decode_image(after)
        assert shrunk.shape == (16, 16, 3)
        wanted = cv2.resize(decode_image(before), (16, 16), interpolation=cv2.INTER_AREA)
        assert np.abs(shrunk.astype(int) - wanted).mean() < 3
    same = PreparedSet(noise_builder(data_dir=tmp_path, clips=3, stored_size=24).prepare())
    assert same[0]["frames"] == plain[0]["frames"]  # 24 x 20 pixels are no more than 24
    partly = PreparedSet(noise_builder(data_dir=tmp_path, clips=3, stored_size=22).prepare())
    assert {decode_image(frame).shape for frame in partly[0]["frames"]} == {(22, 20, 3)}
    with pytest.raises(UserError, match="stored_size=-1 is no side of a frame"):
        noise_builder(data_dir=tmp_path, clips=3, stored_size=-1)


def test_a_clip_that_no_record_holds(tmp_path, noise_builder, monkeypatch):
    longest = noise_builder.make_frames((4, 7, False))
    monkeypatch.setattr(frames, "MAX_CLIP_BYTES", sum(map(len, longest)) - 1)
    with pytest.raises(UserError, match=r"clip clip 4: its 7 frames take [0-9,]+ bytes of .*cut"):
        noise_builder(data_dir=tmp_path, clips=5, num_workers=0).prepare()
    folder = noise_builder(data_dir=tmp_path, clips=5, num_workers=0, stored_size=12).prepare()
    assert len(PreparedSet(folder)) == 5


def test_more_clips_than_a_shard_holds(tmp_path, noise_builder, monkeypatch):
    monkeypatch.setattr(shards, "CLIPS_PER_SHARD", 4)
    prepared = PreparedSet(noise_builder(data_dir=tmp_path, clips=11).prepare())
    assert len(list(prepared.folder.glob("*array_record*"))) == 3
    assert [prepared[row]["clip_id"] for row in range(11)] == prepared.clip_ids
    assert prepared[10]["frames"] == noise_builder.make_frames((10, 13, False))


def test_names_that_trouble_csv(tmp_path):
    names = ['a "b", c', "line\nbreak\r\nand\rreturn", "日本", "\u2028", " ", "=1+1"]

    class OddNames(builder.ClipBuilder):
        """Clips with odd names."""

        needs_source = False
        classes = ("a", "b")
        make_frames = staticmethod(lambda payload: [b"x"])

        @classmethod
        def configure(cls):
            return "x", {}

        def entries(self):
            return [
                builder.ClipEntry(name, i % 2, i, name, {"split": "train"}, {"odd": name})
                for i, name in enumerate(names)
            ]

    prepared = PreparedSet(OddNames(data_dir=tmp_path, num_workers=0).prepare())
    assert prepared.clip_ids == prepared.groups == names
    assert prepared.factors["odd"].tolist() == names
    assert prepared[1]["clip_id"] == names[1]


def test_results_wait_in_bounded_number():
    taken = []
    results = pool.ordered_map(abs, (taken.append(i) or -i for i in range(50)), 1)
    first = next(results)
    assert first == 0 and len(taken) <= pool.AHEAD + 1
    assert [first, *results] == list(range(50))
    np.testing.assert_array_equal(list(pool.ordered_map(abs, [-1, 2], 0)), [1, 2])
