"""Memory that a run takes on a CPU, measured.

The compiler's plan leaves out what its kernels take for themselves: XLA computes the two products
of attention in fused kernels of a library there, whose scratch holds the weights of all heads.
Linux keeps the peak of a process, and lets the process begin anew with it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import jax

from logo_jax.common import heap

RUNS = 3
SETTLE = 0.05  # seconds; XLA frees a program's memory a moment after its results are there
_PROCESS = Path("/proc/self")


def measured(run: Callable[[], object], process: Path = _PROCESS) -> int | None:
    """Bytes by which a run lifts the peak of this process above what it had before: results and
    temporary memory.

    None where the system does not tell, for other devices than CPUs, and in a process that did not
    call `heap.keep_freed_memory`: what its threads had freed would be taken again without a rise.

    Args:
        run: runs a program that has run before, so that nothing is compiled or first made.
        process: its folder in /proc.

    The median of `RUNS`.
    """
    if jax.devices()[0].platform != "cpu" or not heap.keeps():
        return None
    rises = []
    for _ in range(RUNS):
        time.sleep(SETTLE)
        heap.give_back()  # or what was freed before would be taken again, without a rise
        try:
            (process / "clear_refs").write_text("5")  # the peak is now what there is
            before = _status(process, "VmRSS")
            run()
            rises.append(max(0, _status(process, "VmHWM") - before))
        except (OSError, KeyError):  # another system, or a container without these files
            return None
    return int(median(rises))


def _status(process: Path, name: str) -> int:
    """Bytes that a line of /proc/self/status says."""
    lines = (line.split() for line in (process / "status").read_text().splitlines())
    return {line[0]: int(line[1]) * 1024 for line in lines if line[-1] == "kB"}[f"{name}:"]
