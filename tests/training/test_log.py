"""The training log over several starts."""

import json
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from logo_jax.common.errors import UserError
from logo_jax.training.checkpoint import find_checkpoint
from logo_jax.training.log import TrainingLog


def test_a_resumed_log_has_each_step_once(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (2, 4, 6):
        log.write(step, {"loss": 1.0 / step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a crash
    log = TrainingLog(tmp_path, 4)
    assert log.last_step("loss") == 4 and log.last_step("war") is None
    log.write(6, {"loss": 0.0})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert lines == [{"step": 2, "loss": 0.5}, {"step": 4, "loss": 0.25}, {"step": 6, "loss": 0.0}]


@pytest.mark.parametrize("line", [b"oops", b"{}", b"[1]", b'{"step": "1"}', b"\xff\xfe"])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b"\n")
    with pytest.raises(UserError, match=r"Line 2 of .*metrics.jsonl is damaged"):
        TrainingLog(tmp_path, 5)


def test_a_folder_in_place_of_the_log_is_refused(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match=r"metrics.jsonl cannot be read \(Is a directory\)"):
        TrainingLog(tmp_path, 5)


def events(path):
    """Records of a TensorBoard file: length (8 bytes), its checksum (4), data, checksum (4)."""
    content, found = path.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


def test_tensorboard_has_every_number_and_hides_what_is_repeated(tmp_path):
    log = TrainingLog(tmp_path, 4)
    log.write(6, {"loss": 0.5, "uar": 0.25})
    log.close()
    (path,) = (tmp_path / "tensorboard").iterdir()
    version, start, *rest = events(path)
    assert version.file_version == "brain.Event:2"
    assert start.step == 5 and start.session_log.status == SessionLog.START
    assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in rest] == [
        (6, "loss", 0.5),
        (6, "uar", 0.25),
    ]


@pytest.mark.slow
def test_the_first_of_two_processes_writes_and_its_failure_is_that_of_both(tmp_path):
    """A process that alone went on to save the state would wait for the other for ever."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = """if True:
        import sys
        import jax
        from logo_jax.common import distributed
        from logo_jax.common.errors import UserError
        from logo_jax.training.log import TrainingLog
        from tests.training.small_run import add_one, fit
        workdir, me = sys.argv[1], int(sys.argv[3])
        distributed.start(f"127.0.0.1:{sys.argv[2]}", 2, me)
        fit(workdir, 2, step=jax.jit(add_one))
        log = TrainingLog(workdir, 2)
        print(log.last_step("loss"))
        if me == 0:
            log._file.close()
            log._file = open("/dev/full", "w")
        try:
            fit(workdir, 4, log=log, step=jax.jit(add_one))
        except UserError as error:
            print(error)
    """
    command = [sys.executable, "-c", code, str(tmp_path), str(port)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    jobs = [
        subprocess.Popen([*command, number], env=environment, stdout=subprocess.PIPE, text=True)
        for number in "01"
    ]
    try:
        outputs = [job.communicate(timeout=120)[0] for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    assert all("2" in output.splitlines() for output in outputs)  # beside lines of the transport
    assert all("No space left" in output and "Step 3 is saved" in output for output in outputs)
    assert find_checkpoint(tmp_path).name == "3"
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2  # one for each start
