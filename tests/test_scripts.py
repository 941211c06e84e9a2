"""The shell scripts: clean for shellcheck, and doing what their heads say; stubs for clusters."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run(name, *words, **environment):
    return subprocess.run(
        [SCRIPTS / name, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PAUSE": "0"} | environment,
    )


def stub(path, text):
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_shellcheck_finds_nothing():
    result = subprocess.run(
        ["shellcheck", *SCRIPTS.glob("*.sh")], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout


def test_all_scripts_can_be_run():
    scripts = list(SCRIPTS.glob("*.sh"))
    assert len(scripts) >= 4 and all(os.access(script, os.X_OK) for script in scripts)


def test_until_done_tries_again(tmp_path):
    counter = tmp_path / "tries"
    flaky = stub(tmp_path / "flaky", f'echo x >> {counter}; [ "$(wc -l < {counter})" = 3 ]')
    assert run("until_done.sh", 5, flaky).returncode == 0
    assert len(counter.read_text().split()) == 3
    never = stub(tmp_path / "never", f"echo x >> {counter}; exit 7")
    assert run("until_done.sh", 2, never).returncode == 7
    assert len(counter.read_text().split()) == 5


def test_until_done_leaves_what_a_person_must_mend(tmp_path):
    counter = tmp_path / "tries"
    wrong = stub(tmp_path / "wrong", f"echo x >> {counter}; exit 2")
    assert run("until_done.sh", 5, wrong).returncode == 2
    assert len(counter.read_text().split()) == 1


def test_until_done_does_not_try_what_is_no_command(tmp_path):
    result = run("until_done.sh", 3, "nosuchcommand")
    assert result.returncode == 127 and "starting again" not in result.stderr
    assert "nosuchcommand cannot be run" in result.stderr


def test_tpu_slice_without_flags_shows_the_usage():
    for words, names in (
        ([], {"TPU": "one", "ZONE": "z"}),
        (["--config=x"], {"TPU": "", "ZONE": ""}),
    ):
        result = run("tpu_slice.sh", *words, **names)
        assert result.returncode == 2 and result.stderr.startswith("usage: TPU=<name> ZONE=<zone>")


def test_until_done_goes_on_after_a_preempted_run(tmp_path):
    """A run that a signal stopped ends with the status that the script asks for."""
    marker = tmp_path / "preempted"
    text = f'[ -e {marker} ] || {{ touch {marker}; exit "$LOGO_JAX_STOPPED_STATUS"; }}'
    result = run("until_done.sh", 5, stub(tmp_path / "run", text))
    assert result.returncode == 0 and "Try 1 of 5 ended with status 75" in result.stderr


def test_until_done_hands_a_stop_on_and_waits_for_the_command(tmp_path):
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    text = (
        f"trap 'sleep 0.3; touch {saved}; exit 75' TERM\ntouch {ready}\nwhile :; do sleep 0.1; done"
    )
    process = subprocess.Popen([SCRIPTS / "until_done.sh", "5", stub(tmp_path / "run", text)])
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait(20) != 0 and saved.exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("until_done.sh", ["--help"]),
        ("until_done.sh", ["0", "true"]),
        ("until_done.sh", ["3"]),
        ("until_done.sh", []),
        ("local_processes.sh", []),
        ("local_processes.sh", ["--help"]),
        ("local_processes.sh", ["0", "--config=x"]),
        ("local_processes.sh", ["--config=x", "2"]),
    ],
)
def test_a_wrong_number_shows_the_usage(script, words):
    result = run(script, *words)
    assert result.returncode == 2
    assert result.stderr.startswith(f"usage: scripts/{script} <")


def test_local_processes_get_the_same_flags_and_their_number(tmp_path):
    python = stub(tmp_path / "python", f'printf "%s|" "$@" > {tmp_path}/args.${{4#--process_id=}}')
    result = run("local_processes.sh", 2, "--config=a b", PYTHON=python)
    assert result.returncode == 0, result.stderr
    for number in "01":
        words = (tmp_path / f"args.{number}").read_text().split("|")
        assert words[0] == "launch.py" and "--num_processes=2" in words
        assert f"--process_id={number}" in words and "--config=a b" in words


def test_local_processes_end_together(tmp_path):
    python = stub(
        tmp_path / "python", 'case "$*" in *process_id=1*) exit 3;; *) exec sleep 50;; esac'
    )
    start = time.monotonic()
    result = run("local_processes.sh", 3, PYTHON=python)
    assert time.monotonic() - start < 20
    assert result.returncode == 3 and "ended with status 3; the others are ended" in result.stderr


def test_local_processes_without_a_python_are_no_success(tmp_path):
    result = run("local_processes.sh", 2, PYTHON=tmp_path / "none")
    assert result.returncode == 127 and "There is no" in result.stderr
    start = time.monotonic()  # a status that bash's wait also gives where there is no process
    python = stub(tmp_path / "python", 'case "$*" in *id=1*) exit 127;; *) exec sleep 50;; esac')
    result = run("local_processes.sh", 2, PYTHON=python)
    assert time.monotonic() - start < 20
    assert result.returncode == 127 and "ended with status 127; the others" in result.stderr


def test_local_processes_wait_for_what_a_stop_saves(tmp_path):
    wait = "while :; do sleep 0.1; done"
    text = f"id=${{4#--process_id=}}\ntrap 'sleep 0.$id; touch {tmp_path}/saved.$id; exit 0' TERM"
    python = stub(tmp_path / "python", f"{text}\ntouch {tmp_path}/ready.$id\n{wait}")
    process = subprocess.Popen(
        [SCRIPTS / "local_processes.sh", "3"], env=os.environ | {"PYTHON": python}
    )
    while len(list(tmp_path.glob("ready.*"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait(20) == 0
    assert len(list(tmp_path.glob("saved.*"))) == 3


def test_tpu_slice_hands_a_stop_on_and_waits(tmp_path):
    hosts = f"""case "$*" in
        *pkill*) printf '%s' "$*" > {tmp_path}/told;;
        *) touch {tmp_path}/ready; while [ ! -e {tmp_path}/told ]; do sleep 0.1; done; exit 75;;
    esac"""
    stub(tmp_path / "gcloud", hosts)
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = subprocess.Popen(
        [SCRIPTS / "tpu_slice.sh", "--config=x"],
        env=os.environ | {"PATH": path, "TPU": "one", "ZONE": "z"},
    )
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait(20) == 75
    assert "--worker=all" in (tmp_path / "told").read_text()


def test_tpu_slice_quotes_its_flags(tmp_path):
    stub(tmp_path / "gcloud", f'printf "%s\\n" "$@" >> {tmp_path}/words')
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = run("tpu_slice.sh", "--workdir=/a b/$HOME", PATH=path, TPU="one two", ZONE="z")
    assert result.returncode == 0, result.stderr
    words = (tmp_path / "words").read_text().split("\n")
    assert "one" in words and "two" in words and "--worker=all" in words
    commands = [word for word in words if word.startswith("--command=")]
    assert len(commands) == 2 and r"--workdir=/a\ b/\$HOME" in commands[0]


def test_comparison_trains_every_variant_and_seed_from_its_own_start(tmp_path):
    python = stub(
        tmp_path / "python", f'printf "%s|" "$@" >> {tmp_path}/words; echo >> {tmp_path}/words'
    )
    result = run("comparison.sh", "--seeds=2", "--config.log_every=5", PYTHON=python)
    assert result.returncode == 0, result.stderr
    calls = (tmp_path / "words").read_text().splitlines()
    assert len(calls) == 2 * 4 * 2 + 1 and len(set(calls)) == len(calls)
    start, folds = calls[:2]
    run_folder = "runs/comparison/logo_former/seed0"
    assert (
        f"comparison.py:logo_former-start|--config.seed=0|--config.log_every=5|--workdir={run_folder}/start"
        in start
    )
    assert "--mode=cross_validate" in folds and f"--config.init_from={run_folder}/start|" in folds
    variants = ("logo_former", "no_regularizer", "no_sam", "full")
    named = ",".join(f"runs/comparison/{variant}" for variant in variants)
    assert f"--mode=compare|--runs={named}|" in calls[-1]
    assert run("comparison.sh", "--seeds=many", PYTHON=python).returncode == 2


def test_slurm_wants_a_process_for_each_gpu(tmp_path):
    stub(tmp_path / "srun", 'echo "$@"')
    cluster = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_CPUS_PER_TASK": "6",
        "SLURM_TASKS_PER_NODE": "8(x4)",
    }
    result = run("slurm.sh", "--config=x", **cluster, SLURM_GPUS_ON_NODE="8")
    assert result.returncode == 0, result.stderr
    assert "--cpus-per-task=6" in result.stdout and "launch.py --config=x" in result.stdout
    assert run("slurm.sh", **cluster).returncode == 0  # no GPUs
    result = run("slurm.sh", **cluster | {"SLURM_TASKS_PER_NODE": "1(x4)"}, SLURM_GPUS_ON_NODE="8")
    assert result.returncode == 2 and "--ntasks-per-node=8" in result.stderr and not result.stdout
