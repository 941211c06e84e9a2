"""From a command line to a config and a workdir.

absl parses the flags of launch.py; `--config.<field>=<value>` is kept aside, since what a field is
follows from the config, which for `--mode=evaluate` and `predict` is the one recorded in the
workdir.
"""

import copy
import functools
import importlib
import inspect
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from logo_jax.common.errors import UserError, suggest
from logo_jax.experiments import config as configs
from logo_jax.experiments.paths import refuse_lost_home, refuse_no_path

OVERRIDE = re.compile(r"--?(no)?config\.([^=]*)(=?)")
# Modes whose config is that of the command line; that of the others is the one of a finished run.
FROM_CONFIG = ("train", "cross_validate", "study")
# Modes that read the folders of finished runs.
OF_FINISHED = ("summarize", "compare", "report")
# Flags that only some modes read.
ONLY_IN = {
    "output": ("evaluate", "predict", *OF_FINISHED),
    "checkpoint": ("evaluate", "predict"),
    "split": ("evaluate",),
    "input": ("predict",),
    "folds": ("cross_validate",),
    "runs": OF_FINISHED,
    "with_accuracy": ("study",),
}
# Flags that name folders.
FOLDERS = ("workdir", "output", "input", "checkpoint", "runs")


def parse_flags(argv: list[str]) -> list[str]:
    """Parse the flags and return the program's name and the overrides of config fields.

    Raises:
        UserError: an unknown flag (with the nearest that exists), a wrong value, or an argument
            that belongs to no flag.
    """
    try:
        argv = [argv[0], *flags.FLAGS.read_flags_from_files(argv[1:], force_gnu=False)]
        plain, overrides = separate(argv)
        alone = flags.FLAGS(plain)[1:]
    except flags.Error as error:
        raise UserError(f"{error}") from error
    if len(alone) == 1 and flags.FLAGS["mode"].value == "verify":
        flags.FLAGS["workdir"].value = alone.pop()  # --mode=verify <workdir>
    if alone:
        near = f" Did you mean --{alone[0]}?" if "=" in alone[0] and alone[0][0] != "-" else ""
        raise UserError(f'"{alone[0]}" belongs to no flag: flags look like --name=value.{near}')
    return [argv[0], *overrides]


def separate(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line into flags and overrides of config fields, of each field the last."""
    plain: list[str] = []
    overrides: dict[str, str] = {}
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*plain, argument, *rest], list(overrides.values())
        match = OVERRIDE.match(argument)
        if match is None:
            plain.append(argument)
            continue
        negated, field, equals = match.groups()
        if not (negated or equals) and rest and not rest[0].startswith("-"):
            argument += "=" + rest.pop(0)  # --config.<field> <value>
        overrides[field] = argument
    return plain, list(overrides.values())


def run(given: flags.FlagValues, overrides: Sequence[str]) -> None:
    """Do what the flags of launch.py say.

    Args:
        overrides: "--config.<field>=<value>".

    Raises:
        UserError: what is given cannot be done.
    """
    configs.quiet_libraries()
    configs.use_compilation_cache()
    mode, swept = given.mode, bool(given.sweep or given.seeds)
    for flag in FOLDERS:
        refuse_no_path(f"--{flag}", given[flag].value or "")
    if given.skip_nonfinite:
        overrides = [*overrides, "--config.skip_nonfinite=True"]
    if swept and mode not in ("train", "cross_validate"):
        raise UserError(f"--sweep and --seeds train: leave --mode={mode} out.")
    for flag, modes in ONLY_IN.items():
        if given[flag].present and mode not in modes:
            raise UserError(
                f"--{flag} belongs to --mode={' and --mode='.join(modes)}, and --mode={mode} does "
                "not read it: give such a mode, or leave the flag out."
            )
    output = Path(given.output).expanduser() if given.output else None
    if mode in OF_FINISHED:
        if given.config or overrides:
            raise UserError(f"--mode={mode} reads finished runs: leave --config out.")
        folders = run_folders(given.runs, given.workdir)
        if mode == "compare":
            from logo_jax.experiments.compare import default_output

            output = output or default_output(folders)
        else:
            output = output or summary_folder(folders, given.workdir)
        function(mode)(folders, output)
        if mode != "report":
            function("report")(folders, output)
        return
    if mode == "verify":
        if given.config:
            raise UserError("--mode=verify takes the config of the run: leave --config out.")
        if not given.workdir:
            raise UserError("Give the folder to verify: --mode=verify <workdir>.")
        function(mode)(Path(given.workdir).expanduser(), overrides)
        return
    recipe, workdir = choose(mode, given.config, given.workdir, overrides)
    if swept:
        if mode == "cross_validate" and not given.workdir:
            workdir = workdir.with_name(f"{workdir.name}-sweep")
        job = function(mode)
        if given.folds:
            job = functools.partial(job, folds=parse_folds(given.folds))
        function("sweep")(recipe, workdir, given.sweep, given.seeds or 1, job)
    elif mode == "cross_validate":
        function(mode)(recipe, workdir, parse_folds(given.folds))
        function("report")([workdir], workdir)
    elif mode == "study":
        function(mode)(recipe, workdir, given.with_accuracy)
    elif mode == "train":
        function(mode)(recipe, workdir)
        function("report")([workdir], workdir)
    elif mode == "evaluate":
        output = output or workdir / "evaluation" / given.split
        function(mode)(recipe, workdir, given.checkpoint, given.split, output)
        function("report")([output], output)
    else:
        output = output or workdir / "predictions"
        function(mode)(recipe, workdir, given.checkpoint, given.input, output)


def function(name: str) -> Callable[..., Any]:
    """The function of experiments/<name>.py; what it needs is imported only then."""
    return getattr(importlib.import_module(f"logo_jax.experiments.{name}"), name)


def parse_folds(text: str) -> list[int]:
    """The numbers of `--folds=2,3`.

    Raises:
        UserError: something else stands there.
    """
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isdecimal() for word in words):
        raise UserError(f'--folds="{text}": give numbers of folds, as --folds=2,3.')
    return [int(word) for word in words]


def choose(
    mode: str, config_file: str | None, workdir: str | None, overrides: Sequence[str]
) -> tuple[ConfigDict, Path]:
    """Return the config, checked, and the workdir that a command line means.

    To train, the config is that of the file and its overrides. To evaluate or predict, it is the
    one recorded in the workdir: a run is judged as it was trained. Only free fields
    (`configs.is_free`) may differ there.

    Args:
        mode: "train", "cross_validate", "evaluate", "predict" or "study".
        config_file: configs/<file>.py[:argument].
        workdir: folder of the run; None takes runs/<name of the config>.
        overrides: "--config.<field>=<value>".

    Raises:
        UserError: no such file, field or run, a value of the wrong type or that no run can use, or
            another value of a field than the recorded one.
    """
    given = None
    if config_file:
        given = override(load(config_file), overrides)
    elif mode in FROM_CONFIG or not workdir:
        raise UserError("Give --config=configs/<file>.py (or, to evaluate or predict, --workdir).")
    if mode == "cross_validate":
        _refuse_fold(config_file, overrides)
    if workdir:
        folder = Path(workdir).expanduser()
    else:
        assert config_file and given is not None
        name = configs.run_name(config_file, given, mode == "cross_validate")
        folder = Path("runs") / name
    config = given if mode in FROM_CONFIG else recorded(folder, given, overrides)
    assert config is not None
    if mode != "study":  # whose config has other fields, and checks itself
        if "study" in config:
            raise UserError(f"{config_file} is the config of a study: add --mode=study.")
        configs.check(config)
    return config, folder


def run_folders(runs: str, workdir: str | None) -> list[Path]:
    """The folders that `--runs=a,b,...`, or else `--workdir`, names.

    Raises:
        UserError: neither is given.
    """
    names = [name.strip() for name in runs.split(",") if name.strip()] or [workdir or ""]
    if not names[0]:
        raise UserError("Give --runs=<folder>,<folder>,... (or, to summarize, --workdir).")
    return [Path(name).expanduser() for name in names]


def summary_folder(folders: Sequence[Path], workdir: str | None) -> Path:
    """Where a summary is written: the workdir, or the one folder that holds the folds.

    Raises:
        UserError: there are several folders and none is named.
    """
    if workdir:
        return Path(workdir).expanduser()
    if len(folders) > 1:
        raise UserError("Give --output=<folder>, where the summary of these runs is written.")
    return folders[0]


def _refuse_fold(config_file: str | None, overrides: Sequence[str]) -> None:
    """A cross-validation trains every fold, whatever a config's argument says."""
    argument = (config_file or "").partition(":")[2]
    if any(word.isdigit() for word in argument.split(",")):
        raise UserError(
            f'--mode=cross_validate trains every fold, but "{config_file}" names one: leave its '
            "number out, or choose folds by --folds=2,3."
        )
    if any(_field(text) == "data.fold" for text in overrides):
        raise UserError(
            "--mode=cross_validate trains every fold: leave config.data.fold out, or choose folds "
            "by --folds=2,3."
        )


def recorded(workdir: Path, given: ConfigDict | None, overrides: Sequence[str]) -> ConfigDict:
    """Return the config of the run in `workdir`, with the overrides of its free fields.

    Raises:
        UserError: no record there, or `given` (where there is one) or an override says something
            else of another field.
    """
    record = configs.read(workdir)
    free = [text for text in overrides if configs.is_free(_field(text))]
    if given is not None:
        configs.refuse_differences(workdir, record, configs.plain(given))
    elif len(free) < len(overrides):
        bound = ", ".join(f"config.{_field(text)}" for text in overrides if text not in free)
        raise UserError(
            f"{bound} cannot be set here: a run is judged with the config that it was trained "
            f"with. Only these fields may differ: {', '.join(configs.FREE_FIELDS)}."
        )
    return override(ConfigDict(record), free)


def load(text: str) -> ConfigDict:
    """Return the config of `path/to/file.py`, or of `path/to/file.py:argument`.

    Raises:
        UserError: no such file, or one that takes no argument, or needs one.
    """
    name, colon, argument = text.partition(":")
    refuse_lost_home("--config", name)
    path = Path(name).expanduser()
    if not path.is_file():
        present = sorted(str(file) for file in path.parent.glob("*.py"))
        raise UserError(f'There is no config file "{name}".{suggest(str(path), present)}')
    get_config = runpy.run_path(str(path)).get("get_config")
    if get_config is None:
        raise UserError(f"{path} is no config file: it has no function get_config.")
    arguments = [argument] if colon else []
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError as error:
        mend = f'no argument: leave ":{argument}" out' if colon else f"one: {path}:<argument>"
        raise UserError(f"{path} takes {mend}.") from error
    return get_config(*arguments)


def override(config: ConfigDict, overrides: Sequence[str]) -> ConfigDict:
    """Return a copy of `config`, its fields locked, with `--config.<field>=<value>` set.

    Raises:
        UserError: an unknown field (with the nearest that exists) or a value of the wrong type.
    """
    config = copy.deepcopy(config)  # keeps the types of fields that are not set
    known = [name for name, _ in configs.leaves(config.to_dict())]
    for text in overrides:
        field = _field(text)
        if not any(name == field or name.startswith(f"{field}.") for name in known):
            raise UserError(f'The config has no field "{field}".{_nearest(field, known)}')
    values = flags.FlagValues()
    try:
        # The flags of the fields are made when that of the config is.
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=values, sys_argv=list(overrides)
        )
        values(["overrides", *overrides])
    except flags.Error as error:
        raise UserError(f"{error}") from error
    for field, value in configs.leaves(config.to_dict()):
        if isinstance(value, str):
            refuse_lost_home(f"config.{field}", value)
    return config


def _field(text: str) -> str:
    match = OVERRIDE.match(text)
    assert match is not None
    return match.group(2)


def _nearest(field: str, known: Sequence[str]) -> str:
    """The field of that name elsewhere in the config, or the nearest name."""
    last = field.rpartition(".")[2]
    elsewhere = [name for name in known if name.rpartition(".")[2] == last]
    if elsewhere:
        return f" Did you mean {' or '.join(f'config.{name}' for name in elsewhere)}?"
    near = suggest(field, known) or suggest(last, [name.rpartition(".")[2] for name in known])
    return near
