"""The start of a job of several processes; what several really do is in test_layouts.py."""

import os
import socket
import subprocess
import sys

import jax
import pytest

from logo_jax.common import distributed
from logo_jax.common.errors import UserError


def test_one_process_where_there_is_no_cluster():
    # In a process of its own: the start comes before anything else of JAX.
    code = (
        "from logo_jax.common import distributed; distributed.start(); "
        "import jax; print(jax.process_count())"
    )
    clusters = ("SLURM", "OMPI", "KUBERNETES", "PMI", "TPU")
    alone = {name: text for name, text in os.environ.items() if not name.startswith(clusters)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=alone, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "1\n", result.stderr


@pytest.mark.parametrize("given", [("host:1", 0, -1), ("", 2, -1), ("", 0, 1), ("host:1", 2, -1)])
def test_half_an_address_is_refused(given):
    with pytest.raises(UserError, match="belong together"):
        distributed.start(*given)


def test_a_number_that_no_process_has_is_refused():
    with pytest.raises(UserError, match="--process_id=2, but of 2 processes the last is 1"):
        distributed.start("host:1", 2, 2)


@pytest.mark.parametrize("address", ["host", "host:", ":1", "host:x", "host:70000"])
def test_an_address_without_host_or_port_is_refused(address):
    with pytest.raises(UserError, match=f"--coordinator={address}: give the host"):
        distributed.start(address, 2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("process_id", [0, 1])
def test_processes_that_do_not_come_are_a_sentence(process_id):
    """JAX itself would abort with a dump of its stack."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "from logo_jax.common import distributed; distributed.START_SECONDS = 2; "
        f"distributed.start('127.0.0.1:{port}', 2, {process_id})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "Unreached: Not all processes of the job were there after 2 seconds" in result.stderr


@pytest.mark.slow
def test_the_others_wait_long_for_the_first_host():
    """A sum over devices would give up after 30 seconds on CPU."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = """if True:
        import sys, time
        import jax
        from logo_jax.common import distributed
        me = int(sys.argv[2])
        distributed.start(f"127.0.0.1:{sys.argv[1]}", 2, me)
        start = time.monotonic()
        distributed.first_host_first(lambda: time.sleep(32 * (1 - me)))
        print(time.monotonic() - start > 31)
    """
    command = [sys.executable, "-c", code, str(port)]
    jobs = [
        subprocess.Popen([*command, number], stdout=subprocess.PIPE, text=True) for number in "01"
    ]
    assert [job.communicate(timeout=120)[0] for job in jobs] == ["True\n", "True\n"]


def test_other_errors_of_the_start_are_not_swallowed(monkeypatch):
    def fail(*_, **__):
        raise ValueError("something else")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(ValueError, match="something else"):
        distributed.start()


def test_unreachable_processes_are_a_sentence(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("DEADLINE_EXCEEDED: barrier timed out\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(UserError, match=r"were not reached \(DEADLINE_EXCEEDED: barrier timed out"):
        distributed.start("host:1", 2, 0)


def test_alone_nothing_is_changed_about_errors():
    with pytest.raises(RuntimeError, match="mine"), distributed.end_together():
        raise RuntimeError("mine")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UserError("no such file"), 2, "error: no such file"),
        (KeyboardInterrupt("SIGINT: stopped"), 130, "SIGINT: stopped"),
        (RuntimeError("Gloo: closed by peer"), 1, "process 1 of 2 cannot go on"),
        (ValueError("mine"), 1, "process 1 of 2 failed, which ends the others"),
    ],
)
def test_one_of_several_processes_ends_at_once(monkeypatch, capsys, error, status, said):
    """An orderly exit would wait minutes for the others."""
    ended = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    monkeypatch.setattr(distributed, "end_at_once", ended.append)
    with distributed.end_together():
        raise error
    assert ended == [status] and said in capsys.readouterr().err
