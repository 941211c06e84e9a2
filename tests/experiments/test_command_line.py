"""What a command line means, without starting a process for each."""

import json

import jax
import pytest
from absl import flags

import launch  # its flags
from configs import frame_folders
from logo_jax.common.errors import Interrupted, UserError
from logo_jax.experiments.command_line import (
    ONLY_IN,
    choose,
    load,
    override,
    parse_flags,
    parse_folds,
    run,
    separate,
)
from logo_jax.experiments.config import plain, use_compilation_cache
from logo_jax.experiments.paths import refuse_no_path

ROOT = launch.__file__.rpartition("/")[0]
RECIPE = f"{ROOT}/configs/frame_folders.py"


@pytest.fixture(autouse=True)
def clean_flags():
    yield
    for name in (*("config", "mode", "workdir", "folds", "runs", "seeds"), *ONLY_IN):
        flags.FLAGS[name].unparse()


def chosen(*arguments):
    overrides = parse_flags(["launch.py", *arguments])[1:]
    return choose(launch.MODE.value, launch.CONFIG.value, launch.WORKDIR.value, overrides)


def test_overrides_are_set_and_the_last_one_wins():
    config, workdir = chosen(
        "--config",
        RECIPE,
        "--config.model.window=(2,2,2)",
        "--config.batch_size=3",
        "--config.model.window",
        "(4,2,2)",
        "-config.batch_size=5",
        "--config.data.allow_missing",
        "--noconfig.data.allow_empty_classes",
    )
    assert config.model.window == (4, 2, 2) and config.batch_size == 5
    assert config.data.allow_missing is True and config.data.allow_empty_classes is False
    assert str(workdir) == "runs/frame_folders"


def test_flags_and_overrides_are_told_apart():
    assert separate(
        ["x", "--config=a.py", "--config.b", "1", "--config.b=2", "--workdir", "w"]
    ) == (
        ["x", "--config=a.py", "--workdir", "w"],
        ["--config.b=2"],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config", f"{ROOT}/configs/dfw.py"],
            r'no config file ".*dfw.py". Did you mean ".*dfew',
        ),
        (["--config="], "Give --config=configs/<file>.py"),
        ([], "Give --config=configs/<file>.py"),
        ([f"--config={RECIPE}:2"], 'frame_folders.py takes no argument: leave ":2" out'),
        ([f"--config={ROOT}/configs/default.py:2"], "takes no argument"),
        ([f"--config={ROOT}/tests/conftest.py"], "it has no function get_config"),
        (["--confg=3"], "Did you mean: config"),
        ([f"--config={RECIPE}", "config.batch_size=6"], "Did you mean --config.batch_size=6"),
        ([f"--config={RECIPE}", "--", "--config.seed=6"], '"--config.seed=6" belongs to no flag'),
        ([f"--config={RECIPE}", "--config.attention=full"], "mean config.model.attention"),
        ([f"--config={RECIPE}", "--config.modl.dim=8"], "Did you mean config.model.dim"),
        (
            [f"--config={RECIPE}", "--config.model.num_blcks=3"],
            'no field "model.num_blcks". Did you mean "model.num_blocks"',
        ),
        ([f"--config={RECIPE}", "--config.batch_size=x"], "--config.batch_size=x"),
        (["--mode=judge"], "value should be one of <train|evaluate|predict>"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments, message):
    with pytest.raises(UserError, match=message):
        chosen(*arguments)


def test_argument_of_a_config_file():
    assert load(f"{ROOT}/configs/dfew.py:3").data.fold == 3


@pytest.mark.parametrize(
    ("recipe", "name"), [("dfew.py", "dfew-cv"), ("paper.py:stt", "paper-stt-cv")]
)
def test_folder_of_a_cross_validation(recipe, name):
    _, workdir = chosen("--mode=cross_validate", f"--config={ROOT}/configs/{recipe}")
    assert str(workdir) == f"runs/{name}"


@pytest.mark.parametrize(
    "arguments", [["dfew.py:3"], ["paper.py:stt,3"], ["dfew.py", "--config.data.fold=2"]]
)
def test_a_cross_validation_takes_no_fold(arguments):
    config, *overrides = arguments
    with pytest.raises(UserError, match=r"trains every fold.* choose folds by --folds=2,3"):
        chosen("--mode=cross_validate", f"--config={ROOT}/configs/{config}", *overrides)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--folds=2"], "--folds belongs to --mode=cross_validate, and"),
        (["--runs=a"], "--runs belongs to --mode=summarize and --mode=compare and"),
        (["--mode=evaluate", "--seeds=3"], "--sweep and --seeds train: leave --mode=evaluate out"),
        (["--mode=compare", f"--config={RECIPE}"], "reads finished runs: leave --config out"),
        (["--mode=compare", "--config.seed=1"], "reads finished runs: leave --config out"),
        (["--mode=compare"], "Give --runs=<folder>,<folder>"),
        (["--mode=summarize", "--runs=a,b"], "Give --output=<folder>"),
        ([f"--config={RECIPE}", "--output=r"], "--output belongs to --mode=evaluate and .*report"),
        (["--mode=verify", "r", "--checkpoint=last"], "--checkpoint belongs to .*=verify does not"),
        ([f"--config={RECIPE}", "--split=val"], "--split belongs to --mode=evaluate, and"),
        (["--mode=evaluate", "--input=x"], "--input belongs to --mode=predict, and"),
        (["--mode=verify"], "Give the folder to verify: --mode=verify <workdir>"),
        (["--mode=verify", "no such folder"], "There is no folder no such folder"),
        (["--mode=summarize", "--runs=no such folder"], "There is no folder no such folder"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message):
    overrides = parse_flags(["launch.py", *arguments])[1:]
    with pytest.raises(UserError, match=message):
        run(flags.FLAGS, overrides)


@pytest.mark.parametrize("text", ["two", "1-3", "1,,2", "-1"])
def test_folds_are_numbers(text):
    assert parse_folds("2, 3") == [2, 3] and parse_folds("") == []
    with pytest.raises(UserError, match=r"give numbers of folds, as --folds=2,3"):
        parse_folds(text)


@pytest.fixture
def workdir(tmp_path):
    config = override(frame_folders.get_config(), ["--config.data.data_dir=elsewhere"])
    config.input.image_size = 56  # 4 x 4 tokens
    config.model.window = (8, 2, 2)
    (tmp_path / "config.json").write_text(json.dumps(plain(config)))
    return tmp_path


SAME = ["--config.input.image_size=56", "--config.model.window=(8,2,2)"]


@pytest.mark.parametrize("recipe", [[], [f"--config={RECIPE}", *SAME]])
def test_a_run_is_judged_with_its_own_config(workdir, recipe):
    """Of the given config only what the command line says of free fields is taken."""
    config, found = chosen(
        *recipe,
        "--mode=evaluate",
        f"--workdir={workdir}",
        "--config.evaluation.controls=shuffled,reversed",
        "--config.data.num_workers=1",
    )
    assert found == workdir
    assert config.input.image_size == 56 and config.data.data_dir == "elsewhere"
    assert config.evaluation.controls == "shuffled,reversed" and config.data.num_workers == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.input.image_size=112"], "config.input.image_size cannot be set here"),
        ([f"--config={RECIPE}", "--config.model.window=(8,2,2)"], r"image_size was 56 and is 112"),
        ([f"--config={RECIPE}", *SAME, "--config.input.mean=(.5,.5,.5)"], "config.input.mean was"),
        ([f"--config={RECIPE}", *SAME, "--config.data.fold=2"], "config.data.fold was 0 and is 2"),
    ],
)
def test_a_run_is_not_judged_with_another_config(workdir, arguments, message):
    with pytest.raises(UserError, match=message):
        chosen("--mode=evaluate", f"--workdir={workdir}", *arguments)


def test_a_workdir_without_a_record_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run, or has lost its record"):
        chosen("--mode=predict", f"--config={RECIPE}", f"--workdir={tmp_path}")


@pytest.mark.parametrize("flag", ["workdir", "output", "runs"])
def test_an_address_of_an_object_store_is_refused(flag):
    with pytest.raises(UserError, match=f"--{flag}=.* has a NUL byte"):
        refuse_no_path(f"--{flag}", "runs/\0")
    parse_flags(["launch.py", "--config", RECIPE, f"--{flag}=gs://bucket/run"])
    with pytest.raises(UserError, match=f"--{flag}=gs://bucket/run: .* mount the object store"):
        run(flags.FLAGS, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workdir=~nobody-9/run"], "--workdir=~nobody-9/run: "),
        (["--runs=a, ~nobody-9/run", "--mode=compare"], "--runs=~nobody-9/run: "),
        (["--config=~nobody-9/recipe.py"], "--config=~nobody-9/recipe.py: "),
        (["--config.data.data_dir=~nobody-9"], "config.data.data_dir=~nobody-9: "),
    ],
)
def test_the_home_of_an_unknown_user_is_refused(arguments, message):
    overrides = parse_flags(["launch.py", f"--config={RECIPE}", *arguments])[1:]
    with pytest.raises(UserError, match=f'^{message}"~nobody-9" is no home folder here; write'):
        run(flags.FLAGS, overrides)


def test_a_user_without_a_home_compiles_anew(monkeypatch, capsys):
    folder = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as it is for such a user
    use_compilation_cache()
    assert jax.config.jax_compilation_cache_dir == folder
    assert "no home folder, so that every start compiles anew" in capsys.readouterr().err


@pytest.mark.parametrize("status", [None, 75])
def test_a_stopped_run_ends_with_the_status_that_a_script_asks_for(monkeypatch, capsys, status):
    def stop(*_, **__):
        raise Interrupted("stopped after step 3 and saved")

    monkeypatch.setattr(launch.app, "run", stop)
    monkeypatch.setattr(launch, "raise_on_stop", lambda: None)
    if status:
        monkeypatch.setenv("LOGO_JAX_STOPPED_STATUS", str(status))
    with pytest.raises(SystemExit) as ended:
        launch.run()
    assert ended.value.code == (status or 0)
    assert capsys.readouterr().out == "stopped after step 3 and saved\n"
