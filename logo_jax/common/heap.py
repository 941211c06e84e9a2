"""What the C library does with memory that is freed.

A step on CPU takes its intermediate arrays in one piece. glibc asks the system for a piece of more
than 32 MiB each time and hands it back after, and every page comes back as a fault that fills it
with zeros: a quarter and more of a training step of the paper's model (docs/performance.md). On the
hosts of accelerators this has not been measured.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_kept = False


def keep_freed_memory() -> bool:
    """Let the process keep freed memory for its next arrays; return whether it does.

    For programs and worker processes, before they make arrays: it holds for the whole process, and
    a library should not decide it. Only glibc on Linux knows this; elsewhere nothing is changed.
    All memory then comes from one heap, which never shrinks by itself, see `give_back`.
    """
    global _kept
    mallopt = _of_glibc("mallopt")
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_ARENA_MAX, 1))
    _kept = mallopt is not None and all([mallopt(*setting) == 1 for setting in settings])
    return _kept


def keeps() -> bool:
    """Whether this process keeps what is freed, in one heap."""
    return _kept


def give_back() -> None:
    """Hand freed memory back to the system, so that it counts as free there.

    Where memory is not kept, glibc gives a heap to each thread, and its trim leaves the ends of all
    but the first.
    """
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _of_glibc(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
