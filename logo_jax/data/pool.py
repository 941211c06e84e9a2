"""Work spread over processes, with results in the order of the input and bounded memory.

Nothing heavy is imported here: a worker starts by importing this module and the one that its
function lives in, so both stay free of JAX and TensorFlow Datasets.
"""

import collections
import contextlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from logo_jax.common.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Results waiting to be written, for each worker: enough to keep all busy behind one slow clip.
AHEAD = 4


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int
) -> Generator[Result, None, None]:
    """Yield `function(item)` for each item, in order, computed in `num_workers` processes.

    At most `AHEAD * num_workers` results are held at a time. With `num_workers` of 0 the work is
    done in this process. `function` must be picklable; what it raises is raised here.

    Raises:
        UserError: a worker died without an exception, as when the machine is out of memory.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    # Not fork: the parent has threads (JAX, Grain) whose locks a forked child may find taken.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker)
    pending: collections.deque[Future[Result]] = collections.deque()
    remaining = iter(items)
    # A function that lives in the script itself can only be found by importing the script again.
    hidden = contextlib.nullcontext() if _lives_in_main(function) else _hide_main()
    try:
        with hidden:
            for item in itertools.islice(remaining, AHEAD * num_workers):
                pending.append(executor.submit(function, item))
            while pending:
                result = pending.popleft().result()
                for item in itertools.islice(remaining, 1):
                    pending.append(executor.submit(function, item))
                yield result
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process was killed, most likely for lack of memory: use fewer workers "
            f"(now {num_workers})."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """End this worker process as soon as its parent is gone, even where that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent alone handles Ctrl-C
    end_with_parent()


def _exit_after(sentinel: int) -> None:
    # A parent that was killed leaves its workers waiting for ever on a queue that they also hold.
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _lives_in_main(function: Callable) -> bool:
    inner = getattr(function, "func", function)  # functools.partial
    arguments = getattr(function, "args", ())
    return any(getattr(part, "__module__", "") == "__main__" for part in (inner, *arguments))


@contextlib.contextmanager
def _hide_main() -> Iterator[None]:
    """Keep new processes from importing the script that runs.

    Python imports the main script again in each spawned process, which starts the script over if
    it has no `if __name__ == "__main__":` guard. The workers need nothing from it.
    """
    main = sys.modules["__main__"]
    saved = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    for name in saved:
        setattr(main, name, None)
    try:
        yield
    finally:
        for name, value in saved.items():
            setattr(main, name, value)
