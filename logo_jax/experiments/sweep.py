"""`--sweep=field=a,b,c --seeds=3`: every combination trained and judged, one line each in a CSV.

    python launch.py --config=configs/wild.py --sweep=model.num_blocks=1,2,4 --seeds=3

Each run has a folder of its own in the workdir and resumes there; one that is finished is only
read. So an interrupted sweep goes on where it stopped, and one over more values or other fields
adds its lines to those that are there.
"""

import ast
import copy
import csv
import functools
import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from logo_jax.common.distributed import is_loss, on_first_host
from logo_jax.common.errors import UserError, suggest
from logo_jax.common.files import atomic_writer, make_folder
from logo_jax.experiments import config as configs
from logo_jax.experiments.train import train
from logo_jax.training.signals import Stopped

Setting = tuple[str, Any]
Job = Callable[[ConfigDict, Path], dict[str, Any]]
COLUMNS = ("seed", "war", "uar", "step", "seconds", "workdir", "error")  # after the fields'


def sweep(
    config: ConfigDict, workdir: Path, fields: Sequence[str], seeds: int, job: Job | None = None
) -> None:
    """Train and judge every combination of the values, with each seed; write `sweep.csv`.

    Args:
        fields: "field=value,value,...", as `model.num_blocks=1,2,4`; several are combined.
        seeds: number of seeds: `config.seed` and those after it.
        job: `cross_validate`, whose pooled numbers stand in the CSV; None = `train`.

    Raises:
        UserError: an unknown field, a value of another type or given twice, a CSV that is none of a
            sweep, or runs that could not be done (they stand in the CSV with their error; the
            others are finished first). In a job of several processes the first run that fails ends
            the sweep.
        Interrupted: the run that was going on is saved; the same command goes on there.
        Stopped: a stop signal came where no step was going on; it says what is saved.
    """
    swept = [text.partition("=")[0].removeprefix("config.") for text in fields]
    if "seed" in swept:
        raise UserError("--sweep=seed=...: seeds are --seeds=<number>, from config.seed on.")
    if len(set(swept)) < len(swept):
        raise UserError("--sweep names a field twice: give all its values once, field=a,b,c.")
    if seeds < 1:
        raise UserError(f"--seeds={seeds}: give the number of seeds, at least 1.")
    axes = [parse_field(config, text) for text in fields]
    combinations = [
        (settings, seed)
        for settings in itertools.product(*axes)
        for seed in range(config.seed, config.seed + seeds)
    ]
    for settings, seed in combinations:  # what no run can use is an error now, not hours later
        configs.check(_with(config, settings, seed))
    names = [
        run_name([*(f"{field}={value}" for field, value in settings), f"seed={seed}"])
        for settings, seed in combinations
    ]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UserError(
            f'Two runs of the sweep would share the folder "{doubled}": give each value once, and '
            'none that differs from another only in "/", "_" and spaces.'
        )
    make_folder(workdir)
    rows: list[dict[str, Any]] = []
    before = _earlier(workdir / "sweep.csv")
    for number, ((settings, seed), name) in enumerate(zip(combinations, names, strict=True), 1):
        print(f"sweep, run {number} of {len(combinations)}: {name}", flush=True)
        row = {**dict(settings), "seed": seed, "workdir": name}
        try:
            rows.append(row | _run(config, settings, seed, workdir / name, job or train))
        except Stopped as stop:
            if number > 1:
                stop.saved = f"the runs before {name} are saved; of {name} {stop.saved}"
            raise
        done = {row["workdir"] for row in rows}
        lines = [r for r in before if r["workdir"] not in done] + rows
        on_first_host(functools.partial(_write, workdir / "sweep.csv", lines))
    print(f"sweep: {len(rows)} runs in {workdir / 'sweep.csv'}")
    failed = [row["workdir"] for row in rows if row["error"]]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(rows)} runs failed ({', '.join(failed)}): the column error of "
            f"{workdir / 'sweep.csv'} says why."
        )


def run_name(parts: Sequence[str]) -> str:
    """The folder of a run, of its "field=value" and "seed=number"."""
    return "-".join(parts).replace("/", "_").replace(" ", "")


def parse_field(config: ConfigDict, text: str) -> list[Setting]:
    """Parse "field=value,value" into settings, each of which `config` would take.

    Raises:
        UserError: no such field, no value, or one of another type.
    """
    field, equals, values = text.partition("=")
    field = field.removeprefix("config.")
    known = [name for name, _ in configs.leaves(config.to_dict())]
    if not equals or not values:
        raise UserError(f'--sweep="{text}": give field=value,value,... as model.num_blocks=1,2.')
    if field not in known:
        raise UserError(f'--sweep: the config has no field "{field}".{suggest(field, known)}')
    settings = []
    for value in _values(values):
        try:
            copy.deepcopy(config).update_from_flattened_dict({field: value})
        except (TypeError, ValueError) as error:
            raise UserError(
                f"--sweep: {field}={value!r} is of the wrong type ({error})."
            ) from error
        settings.append((field, value))
    return settings


def _values(text: str) -> list[Any]:
    """Values between commas outside brackets: numbers, truth values, tuples, or plain text."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    values = []
    for part in parts:
        try:
            values.append(ast.literal_eval(part))
        except (ValueError, SyntaxError):
            values.append(part)  # a name: no quotes are asked for
    return values


def _run(
    config: ConfigDict, settings: Sequence[Setting], seed: int, workdir: Path, job: Job
) -> dict[str, Any]:
    """The numbers of one run: read where it is finished, trained where it is not."""
    config = _with(config, settings, seed)
    start = time.perf_counter()
    try:
        results = on_first_host(lambda: _finished(config, workdir))
        if results is None:
            results = job(config, workdir)  # a finished run is only judged again
    except (UserError, jax.errors.JaxRuntimeError) as error:  # the latter: out of memory, mostly
        if is_loss(error):
            raise
        if jax.process_count() > 1:  # the others may be in the midst of the run
            raise UserError(
                f"The run {workdir.name} failed: {error} In a job of several processes that ends "
                "the sweep; the same command goes on with this run."
            ) from error
        print(f"error: {error}", flush=True)
        return {"war": "", "uar": "", "step": "", "seconds": "", "error": str(error)}
    numbers = results["pooled" if "pooled" in results else "test"]
    return {
        "war": numbers["war"],
        "uar": numbers["uar"],
        "step": results["step"],
        # 0 for a run that was finished before; of a resumed one, the time since.
        "seconds": round(time.perf_counter() - start, 1),
        "error": "",
    }


def _finished(config: ConfigDict, workdir: Path) -> dict[str, Any] | None:
    """The results of a finished run that was judged by the same views and controls."""
    found = workdir / "results.json"
    if not found.is_file():
        return None
    if configs.read(workdir).get("evaluation") != configs.plain(config)["evaluation"]:
        return None
    configs.compare(config, workdir)  # an error where the run had another config
    try:
        results = json.loads(found.read_text(encoding="utf-8"))
        numbers = {name: results["test"][name] for name in ("war", "uar")}
        return {"test": numbers, "step": results["step"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{found} is damaged ({error!r}): judge the run again with --mode=evaluate "
            f"--workdir={workdir} --output={workdir}."
        ) from error


def _with(config: ConfigDict, settings: Sequence[Setting], seed: int) -> ConfigDict:
    config = copy.deepcopy(config)  # keeps the types of fields that are not set
    config.update_from_flattened_dict({**dict(settings), "seed": seed})
    return config


def _earlier(path: Path) -> list[dict[str, Any]]:
    """The lines of earlier sweeps in the same workdir, over other fields or values."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows, 1):
            if not row.get("workdir") or None in row:
                raise ValueError(f"its row {number} has no cell workdir, or more than the header")
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{path} is no table of a sweep ({error}): move it away, and the sweep writes a new "
            "one from the runs that are finished."
        ) from error
    return rows


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    table = io.StringIO()
    columns = {name: None for row in rows for name in row}  # of all sweeps, in their order
    fields = [name for name in columns if name not in COLUMNS] + list(COLUMNS)
    writer = csv.DictWriter(table, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_writer(path) as file:
        file.write(table.getvalue())
