"""launch.py as a user runs it: a command line, a message, an exit status."""

import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from logo_jax.training.checkpoint import find_checkpoint

ROOT = Path(__file__).parents[1]

TINY = {
    "data.segments": 2,
    "data.frame_size": 20,
    "data.num_workers": 0,
    "input.image_size": 16,
    "batch_size": 4,
    "max_steps": 2,
    "evaluation.batch_size": 4,
    "model.stage": 1,
    "model.width": 4,
    "model.dim": 16,
    "model.mlp_dim": 16,
    "model.num_heads": 2,
    "model.num_blocks": 1,
    "model.window": "(2,2,2)",
}


def launch(*arguments, cwd, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(Path(cwd) / "compiled")},
        **options,
    )


# Runs a command that hears Ctrl-C, whatever was inherited: a background job ignores it.
HEAR_CTRL_C = [
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execv(sys.argv[1], sys.argv[1:])",
]


def error_of(result) -> str:
    """The one line that a failed command says, free of tracebacks."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


def make_dfew(root: Path, rng) -> Path:
    """DFEW's official layout with seven tiny clips for training and seven for testing a fold."""
    source = root / "DFEW"
    for clip in range(1, 36):
        folder = source / "Clip" / "clip_224x224" / f"{clip:05d}"
        folder.mkdir(parents=True)
        for frame in range(1, 6):
            image = rng.integers(0, 255, (24, 24, 3)).astype(np.uint8)
            cv2.imwrite(str(folder / f"{clip:05d}_{frame:05d}.jpg"), image)
    for fold in range(1, 6):
        for part in ("train", "test"):
            folder = source / "EmoLabel_DataSplit" / f"{part}(single-labeled)"
            folder.mkdir(parents=True, exist_ok=True)
            lines = [
                f"{clip},{(clip - 1) % 7 + 1}\n"
                for clip in range(1, 36)
                if ((clip - 1) // 7 == fold - 1) == (part == "test")
            ]
            (folder / f"set_{fold}.csv").write_text("video_name,label\n" + "".join(lines))
    return source


@pytest.fixture(scope="module")
def tiny_dfew(tmp_path_factory):
    """A folder in which fold 3 of a tiny DFEW was trained by the main command."""
    root = tmp_path_factory.mktemp("launch")
    source = make_dfew(root, np.random.default_rng(0))
    result = launch(
        f"--config={ROOT}/configs/dfew.py:3",
        f"--config.data.source={source}",
        "--config.model.pretrained=none",
        *[f"--config.{field}={value}" for field, value in TINY.items()],
        cwd=root,
    )
    assert result.returncode == 0, result.stderr
    return root, source, result


def test_main_job_trains_and_judges(tiny_dfew):
    root, _, result = tiny_dfew
    workdir = root / "runs" / "dfew-fold3"  # the default name
    results = json.loads((workdir / "results.json").read_text())
    assert results["data"]["fold"] == 3 and results["step"] == 2
    assert results["classes"] == [
        "happy",
        "sad",
        "neutral",
        "angry",
        "surprise",
        "disgust",
        "fear",
    ]
    assert np.sum(results["test"]["confusion"]) == 7
    assert "selected on nothing" in result.stdout and "trained on 28 clips" in result.stdout
    with (workdir / "predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 7


@pytest.mark.slow
def test_evaluate_needs_only_the_workdir(tiny_dfew):
    root, _, _ = tiny_dfew
    result = launch(
        "--mode=evaluate",
        "--workdir=runs/dfew-fold3",
        "--split=train",
        f"--config.data.data_dir={root / 'data'}",
        cwd=root,
    )
    assert result.returncode == 0, result.stderr
    results = json.loads(
        (root / "runs" / "dfew-fold3" / "evaluation" / "train" / "results.json").read_text()
    )
    assert results["train"]["clips"] == 28 and "test" not in results


def test_predict_reads_folders_of_frames(tiny_dfew):
    root, source, _ = tiny_dfew
    clips = source / "Clip" / "clip_224x224"
    result = launch(
        "--mode=predict", "--workdir=runs/dfew-fold3", f"--input={clips}", "--output=out", cwd=root
    )
    assert result.returncode == 0, result.stderr
    with (root / "out" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 35
    for row in rows:
        assert sum(float(v) for k, v in row.items() if k.startswith("p:")) == pytest.approx(
            1, abs=1e-4
        )


@pytest.mark.slow
def test_predictions_equal_those_of_the_evaluation(tiny_dfew):
    root, source, _ = tiny_dfew
    clip = source / "Clip" / "clip_224x224" / "00015"  # a test clip of fold 3
    launch(
        "--mode=predict", "--workdir=runs/dfew-fold3", f"--input={clip}", "--output=one", cwd=root
    )
    with (root / "one" / "predictions.csv").open(newline="") as file:
        (alone,) = list(csv.DictReader(file))
    with (root / "runs" / "dfew-fold3" / "predictions.csv").open(newline="") as file:
        judged = {row["clip_id"]: row for row in csv.DictReader(file)}["00015"]
    for name in (column for column in alone if column.startswith("p:")):
        assert float(alone[name]) == pytest.approx(float(judged[name]), abs=1e-5)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.model.num_blcks=3", 'Did you mean "model.num_blocks"?'),
        pytest.param(
            "--config.selection=bst_on_val",
            'Did you mean "best_on_val"?',
            marks=pytest.mark.slow,
        ),
        ("--workdir=/dev/null/run", "Cannot write to the folder /dev/null/run"),
        pytest.param(
            "--config.model.pretrained=weights.pth",
            '"weights.pth" is no file',
            marks=pytest.mark.slow,
        ),
        pytest.param("--config.data.data_dir=empty", "agreement", marks=pytest.mark.slow),
        # The same field stands in TINY: the last one wins, and no six numbers come of the two.
        pytest.param("--config.model.window=(3,2,2)", "does not divide", marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, tiny_dfew, argument, message):
    root, _, _ = tiny_dfew
    arguments = [f"--config={ROOT}/configs/dfew_scratch.py", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.{field}={value}" for field, value in TINY.items()]
    arguments += [f"--config.data.data_dir={root / 'data'}", argument]
    assert message in error_of(launch(*arguments, cwd=tmp_path))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("dfew.py:6", '"6" is no fold: the argument of the config is 1 to 5'),
        pytest.param(
            "dfew.py", "is no file: give the file with the weights", marks=pytest.mark.slow
        ),
    ],
)
def test_a_config_that_cannot_run_says_why(tmp_path, argument, message):
    assert message in error_of(launch(f"--config={ROOT}/configs/{argument}", cwd=tmp_path))


@pytest.mark.slow
def test_a_full_disk_stops_with_a_sentence_and_loses_nothing(tmp_path, tiny_dfew):
    """A limit on the size of files stands for a full disk: writing fails in the middle."""
    root, _, _ = tiny_dfew
    arguments = [f"--config={ROOT}/configs/dfew_scratch.py:3", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.{field}={value}" for field, value in TINY.items()]
    arguments += [f"--config.data.data_dir={root / 'data'}", "--config.checkpoint_every=1"]

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    result = launch(*arguments, cwd=root, preexec_fn=limit)
    assert result.returncode == 2, result.stderr
    # Threads of the checkpoint library report their own failures too, before the sentence, after it
    # and on its line.
    (sentence,) = re.findall(r"error: Cannot .*", result.stderr)
    assert str(tmp_path / "run") in sentence
    assert launch(*arguments, cwd=root).returncode == 0


@pytest.mark.slow
def test_another_fold_is_not_judged_with_the_recorded_run(tmp_path, tiny_dfew):
    root, _, _ = tiny_dfew
    arguments = [f"--config={ROOT}/configs/dfew_scratch.py:2", f"--workdir={root}/runs/dfew-fold3"]
    message = error_of(launch("--mode=evaluate", *arguments, cwd=root))
    assert "config.data.fold was 3 and is 2" in message


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_steps_ends_without_a_traceback(tmp_path, tiny_dfew, number):
    """A data set that takes its time stands for what comes before the first step."""
    command = [sys.executable, str(ROOT / "launch.py"), f"--config={ROOT}/configs/quickstart.py"]
    process = subprocess.Popen(
        HEAR_CTRL_C + command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob("data/*/*/incomplete.*")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in stderr
    assert f"{number.name}: stopped; nothing was saved" in stderr


def test_a_start_without_the_others_is_worth_another_try():
    """Not status 2, after which scripts/until_done.sh stops trying."""
    code = (
        "import launch; from logo_jax.common import distributed; distributed.START_SECONDS = 1; "
        "launch.run()"
    )
    flags = ["--coordinator=127.0.0.1:9", "--num_processes=2", "--process_id=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert "error: Not all processes of the job were there after 1 seconds" in done.stderr


# Compiles for long, and hears SIGTERM in the midst of it; the cache would spare it the work.
COMPILING = """
import os, signal, threading
import launch

def compiling(argv):
    import jax, jax.numpy as jnp

    def work(x):
        for number in range(150):
            x = jnp.tanh(x @ x + number) * jnp.sin(x)
        return x

    compiled = jax.jit(work).lower(jnp.ones((64, 64))).compile
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    compiled()

launch.main = compiling
launch.run()
"""


def test_a_signal_while_a_program_is_compiled_ends_without_a_crash(tmp_path):
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0", "XLA_FLAGS": ""}
    done = subprocess.run(
        [sys.executable, "-c", COMPILING], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "SIGTERM: stopped; nothing was saved" in done.stderr
    assert "Segmentation fault" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_with_input_workers_saves_and_goes_on(tmp_path, tiny_dfew):
    """The terminal sends SIGINT to all processes of the group."""
    root, _, _ = tiny_dfew
    arguments = [f"--config={ROOT}/configs/dfew_scratch.py:3", f"--workdir={tmp_path / 'run'}"]
    arguments += [f"--config.{field}={value}" for field, value in TINY.items()]
    arguments += [f"--config.data.data_dir={root / 'data'}", "--config.max_steps=100000"]
    arguments += ["--config.num_epochs=100000", "--config.log_every=1"]
    process = subprocess.Popen(
        [
            *HEAR_CTRL_C,
            sys.executable,
            str(ROOT / "launch.py"),
            *arguments,
            "--config.data.num_workers=2",
        ],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "JAX_COMPILATION_CACHE_DIR": str(root / "compiled")},
    )
    log = tmp_path / "run" / "metrics.jsonl"
    while not (log.exists() and log.stat().st_size):
        assert process.poll() is None
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert "Traceback" not in output and "the same command continues" in output
    assert find_checkpoint(tmp_path / "run")


def test_a_status_that_is_none_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGO_JAX_STOPPED_STATUS", "abc")
    result = launch("--config=configs/quickstart.py", cwd=tmp_path)
    assert result.returncode == 2 and "LOGO_JAX_STOPPED_STATUS=abc: give" in result.stderr


def test_launch_is_short():
    assert len((ROOT / "launch.py").read_text().splitlines()) < 80
