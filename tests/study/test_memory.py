"""Memory of a run as the process has it: against arrays of known size."""

import subprocess
import sys

import numpy as np
import pytest

from logo_jax.common import heap
from logo_jax.study import memory

MIB = 2**20


@pytest.fixture(autouse=True)
def as_launched(monkeypatch):
    """As if the heap were kept; the pieces here are so large that they are seen without it."""
    monkeypatch.setattr(heap, "_kept", True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_measured_is_what_a_run_takes():
    kept = np.ones(8 * MIB)  # 64 MiB that were there before
    found = memory.measured(lambda: np.ones(16 * MIB))  # 128 MiB
    assert kept.size and found is not None
    assert 126 * MIB < found < 140 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_scratch_of_fused_kernels_is_measured():
    """8 heads of 1,025 x 1,025 weights in float32 are 32 MiB, of which the plan has nothing.

    In a process that keeps its memory, as launch.py does: the scratch may come head by head.
    """
    code = """
from logo_jax.common import heap
heap.keep_freed_memory()
from logo_jax.study import memory
from logo_jax.study.measure import prepare
from logo_jax.study.points import Point
program = prepare(Point("full", "xla", (16, 8, 8), None, 64, 8), False, None)
print(program.temporary, memory.measured(program.run))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    planned, measured = map(int, found.stdout.split())
    assert planned < 4 * MIB and measured > 32 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize("kept", [True, False])
def test_what_a_thread_takes_again_is_seen_or_nothing_is_said(kept):
    """Pieces of 24 MiB, which glibc takes from the heap of a thread and does not give back."""
    code = f"""
import concurrent.futures
from logo_jax.common import heap
from logo_jax.study import memory
if {kept}:
    heap.keep_freed_memory()
thread = concurrent.futures.ThreadPoolExecutor(1)
run = lambda: thread.submit(lambda: bytearray(24 * 2**20) and None).result()
thread.submit(lambda: bytearray(31 * 2**20) and None).result()
run()
print(memory.measured(run))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if kept:
        assert 23 * MIB < int(found.stdout) < 26 * MIB
    else:
        assert found.stdout == "None\n"


def test_systems_that_do_not_tell(tmp_path):
    assert memory.measured(lambda: None, tmp_path / "absent") is None
    (tmp_path / "status").write_text("Name:\tpython\n")
    assert memory.measured(lambda: None, tmp_path) is None
