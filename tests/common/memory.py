"""What a process holds, for tests that nothing is lost."""

import resource
from pathlib import Path


def resident() -> int:
    """Memory of this process, in bytes; on Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
