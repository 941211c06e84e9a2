"""The start of a job on several hosts, and its end when one of them is gone."""

import contextlib
import itertools
import json
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np

from logo_jax.common.ending import end_at_once
from logo_jax.common.errors import Interrupted, Unreached, UserError

# A host that is gone is noticed after so long; JAX's own default is 100 s.
HEARTBEAT_SECONDS = 20
START_SECONDS = 300
LONGEST_WAIT = 7 * 24 * 3600  # seconds
# What JAX says where it finds no cluster to take the addresses from.
NO_CLUSTER = "coordinator_address should be defined"
# What the transports of collectives say when a peer is gone.
LOST = ("Gloo", "UNAVAILABLE", "closed by peer", "heartbeat", "DEADLINE_EXCEEDED", "NCCL")
TOO_LATE = "must be called before"
ALL_OF_THEM = (
    "start all of them with the same --coordinator, whose host and port they can reach, and the "
    "same --num_processes, each with its own --process_id."
)
LOST_PROCESS = 1
STOPPED = 130  # of Ctrl-C

Result = TypeVar("Result")
_meetings = itertools.count()


def start(coordinator: str = "", num_processes: int = 0, process_id: int = -1) -> None:
    """Join the other processes of the job; to be called before anything asks for devices.

    Without arguments JAX looks for a cluster (TPU pod slice, SLURM, Open MPI, Kubernetes); where
    there is none, the job is this one process.

    Args:
        coordinator: host:port of process 0.
        num_processes: of the whole job.
        process_id: of this one, from 0.

    Raises:
        UserError: only some of the arguments are given, or the address is none.
        Unreached: the others are not there.
    """
    given = [bool(coordinator), num_processes > 0, process_id >= 0]
    if any(given) and not all(given):
        raise UserError(
            "--coordinator=<host:port>, --num_processes and --process_id belong together: give all "
            "three, or none where the cluster is detected."
        )
    named = all(given)
    if named and process_id >= num_processes:
        raise UserError(
            f"--process_id={process_id}, but of {num_processes} processes the last is "
            f"{num_processes - 1}."
        )
    host, _, port = coordinator.rpartition(":")
    if named and not (host and port.isdecimal() and 0 < int(port) < 2**16):
        raise UserError(
            f"--coordinator={coordinator}: give the host of process 0 and a free port there, as "
            "--coordinator=10.0.0.1:12345."
        )
    address = (coordinator, num_processes, process_id) if named else (None, None, None)
    for error in _in_thread(lambda: _initialize(*address), START_SECONDS):
        if isinstance(error, ValueError) and not named and NO_CLUSTER in str(error):
            return
        if isinstance(error, RuntimeError) and TOO_LATE not in str(error):
            raise Unreached(
                f"The other processes of the job were not reached ({str(error).splitlines()[0]}): "
                f"{ALL_OF_THEM}"
            ) from error
        raise error


def _initialize(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        initialization_timeout=2 * START_SECONDS,  # JAX's own end is an abort without a sentence
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )


def first_host_first(work: Callable[[], Result]) -> Result:
    """Do `work` on the first host, then on all others: they find what it wrote to a shared disk."""
    if jax.process_index() == 0:
        result = work()
    wait_for_all()
    return result if jax.process_index() == 0 else work()


def on_first_host(work: Callable[[], Result]) -> Result:
    """Do `work` on the first host alone; all hosts return its result, which JSON must hold.

    Every process calls this. A UserError is raised on all of them, so that none goes on alone and
    waits for the others.
    """
    if jax.process_count() == 1:
        return work()
    said: dict[str, Any] = {}
    if jax.process_index() == 0:
        try:
            said = {"result": work()}
        except UserError as error:
            said = {"error": str(error)}
    said = json.loads(gather_texts(json.dumps(said))[0])
    if "error" in said:
        raise UserError(said["error"])
    return said["result"]


def wait_for_all() -> None:
    """Wait, for as long as it takes, until every process of the job has called this as often.

    A sum over devices would do as well, but on CPU it gives up after 30 seconds, and the first host
    may prepare a data set for hours.
    """
    if jax.process_count() == 1:
        return
    from orbax.checkpoint import multihost  # takes a second to import

    barrier = multihost.get_barrier_sync_fn()
    key = f"logo_jax {next(_meetings)}"
    for error in _in_thread(lambda: barrier(key=key, timeout_ms=1000 * LONGEST_WAIT), LONGEST_WAIT):
        raise error


def gather_texts(text: str) -> list[str]:
    """The texts of all processes of the job, in their order; every process calls this."""
    if jax.process_count() == 1:
        return [text]
    from jax.experimental.multihost_utils import process_allgather

    wait_for_all()  # what follows gives up after 30 seconds on CPU
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = process_allgather(np.array([len(content)], np.int32)).ravel()
    padded = np.zeros(max(sizes), np.uint8)  # all processes must give as many bytes
    padded[: len(content)] = content
    rows = process_allgather(padded)
    return [bytes(row[:size]).decode() for row, size in zip(rows, sizes, strict=True)]


def _in_thread(wait: Callable[[], None], seconds: int) -> list[Exception]:
    """Do `wait` in a thread, since it hears no signal, and return what it raises.

    Raises:
        Unreached: it is not done after so many seconds.
    """
    errors = []

    def work() -> None:
        try:
            wait()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Unreached(
            f"Not all processes of the job were there after {seconds} seconds: {ALL_OF_THEM}"
        )
    return errors


def is_loss(error: Exception) -> bool:
    """Whether an error of a library says that another process of the job is gone."""
    return jax.process_count() > 1 and any(sign in str(error) for sign in LOST)


@contextlib.contextmanager
def end_together() -> Iterator[None]:
    """End this process at once when the block fails on a job of several processes.

    An orderly exit would wait for the others, which may be gone or wait for this one, and then be
    aborted without a word of ours.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if jax.process_count() == 1 or isinstance(error, Interrupted):
            raise
        who = f"process {jax.process_index()} of {jax.process_count()}"
        if isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
            status = error.status
        elif isinstance(error, KeyboardInterrupt):  # a stop signal where no step was going on
            print(error, file=sys.stderr)
            status = getattr(error, "status", STOPPED)
        elif is_loss(error):
            print(
                f"error: {who} cannot go on since another one is gone: see what that one said, and "
                "start all of them again; the run continues from its last checkpoint. The library "
                f"says: {str(error).splitlines()[0]}",
                file=sys.stderr,
            )
            status = LOST_PROCESS
        else:
            traceback.print_exc()
            print(f"error: {who} failed, which ends the others.", file=sys.stderr)
            status = LOST_PROCESS
        end_at_once(status)
