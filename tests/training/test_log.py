"""The training log over several starts."""

import json
import struct

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from logo_jax.common.errors import UserError
from logo_jax.training.log import TrainingLog


def test_a_resumed_log_has_each_step_once(tmp_path):
    log = TrainingLog(tmp_path, 0)
    for step in (2, 4, 6):
        log.write(step, {"loss": 1.0 / step})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # a crash
    log = TrainingLog(tmp_path, 4)
    assert log.holds(4, "loss") and not log.holds(6, "loss") and not log.holds(4, "war")
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
