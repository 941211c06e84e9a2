"""study.jsonl as it is, and damaged in every way that a reader could stumble over."""

import errno
import json
import os
import shutil

import pytest

from logo_jax.common.errors import UserError
from logo_jax.study.points import Point
from logo_jax.study.rows import ALL_MEASURED, TIMES, append_row, identity, read_rows

POINT = Point("full", "xla", (2, 2, 2), None, 8, 2)
GOOD = {
    **POINT.record(), "status": "measured", "machine": "an abacus", "formula_matches_count": True,
    **dict.fromkeys(ALL_MEASURED, 1), **{f"training_{name}": 0.5 for name in TIMES},
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.jsonl"


def test_rows_come_back(path):
    append_row(path, GOOD)
    append_row(path, GOOD | {"series": "exponents", "window": "2 x 1 x 1"})
    assert read_rows(path, "an abacus")[0] == GOOD
    path.write_bytes(path.read_bytes() + b'{"cut \xff')  # a crash in the middle of a line
    assert len(read_rows(path, "an abacus")) == 2 and path.read_bytes().endswith(b"}\n")
    # A row of an older version, before schemes had a source, is that of a built-in scheme.
    del GOOD["source"]
    assert identity(GOOD) == identity(POINT.record())


def test_a_full_disk_is_said(path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"study.jsonl: No space left on device; free some space"):
        append_row(path, GOOD)


def test_rows_of_another_machine(path):
    append_row(path, GOOD)
    with pytest.raises(UserError, match="another machine .an abacus; this one is a loom"):
        read_rows(path, "a loom")


DAMAGED = {
    "training_ms": ("fast", float("nan"), float("inf"), -1, None, [1], True, 10**400),
    "forward_spread_ms": (None,), "counted_dense": ("x",), "forward_multiply_adds": ("x",),
    "grid": ([2, 2, 2], "2 x 2"), "window": (None, "2"), "dim": ("8", 8.0), "batch": (1.0, 0),
    "status": (5, None), "machine": (None,), "scheme": ("local",), "label": (3,),
    "matmul_multiply_adds_per_s": (None,), "formula_matches_count": (1, "yes"), "repeats": (0,),
    "forward_temporary_mib": ("x",), "source": (1,),
}  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        *[json.dumps(GOOD | {name: value}) for name, all_ in DAMAGED.items() for value in all_],
        *[json.dumps({n: v for n, v in GOOD.items() if n != name}) for name in
          ("machine", "status", "grid", "scheme", "training_ms", "forward_ms", "repeats", "batch")],
        "hello", "", "[1, 2]", "null", "5", "[" * 100_000, '{"label": "full"}',
    ],
    ids=lambda line: line[-40:],
)  # fmt: skip
def test_damaged_lines_are_named(path, line):
    path.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    with pytest.raises(UserError, match=r"study.jsonl, line 2 is no point .* delete that line"):
        read_rows(path, "an abacus")


def test_files_that_are_no_text(path):
    path.write_bytes(b"\xff\xfe\x00\n")
    with pytest.raises(UserError, match="line 1 is no point"):
        read_rows(path, "an abacus")
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match="study.jsonl cannot be read .*: move it away"):
        read_rows(path, "an abacus")
    shutil.rmtree(path)
    assert read_rows(path, "an abacus") == []
