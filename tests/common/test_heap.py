"""Freed memory is kept for the next array, and given back on request."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, resource, sys, threading
import numpy as np
from logo_jax.common import heap
from tests.common.memory import resident

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(2**25)  # 256 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def in_a_thread(times):
    result = []
    thread = threading.Thread(target=lambda: result.append(faults(times)))
    thread.start()
    thread.join()
    return result[0]

kept = sys.argv[1] == "keep" and heap.keep_freed_memory()
faults(1)
found = {"kept": kept, "faults": faults(5) + in_a_thread(5), "resident": resident()}
heap.give_back()
print(json.dumps({**found, "given_back": found["resident"] - resident()}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_freed_memory_is_kept_until_it_is_given_back():
    found = {}
    for how in ("keep", "leave"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        found[how] = json.loads(done.stdout)
    pages = 2**28 / 4096  # of one array, if they are not huge
    assert found["keep"]["kept"]
    assert found["keep"]["faults"] < pages / 10 and found["keep"]["resident"] > 2**28
    assert found["leave"]["faults"] > 5 * found["keep"]["faults"]
    assert found["keep"]["given_back"] > 2**27
