"""`--mode=study`: what each attention scheme costs, counted and measured on this machine.

python launch.py --mode=study --config=configs/study.py [--with_accuracy]

With accuracy, every scheme is trained on the same clips with each seed, as a sweep of a recipe over
`model.attention`: each run has a workdir of its own, resumes there, and is not repeated once it is
finished.
"""

import copy
import csv
import glob
import io
import json
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from logo_jax.common.errors import Interrupted, UserError, suggest
from logo_jax.common.files import atomic_writer, make_folder, write_json
from logo_jax.experiments import config as configs
from logo_jax.experiments import parts
from logo_jax.experiments.command_line import load
from logo_jax.experiments.sweep import run_name, sweep
from logo_jax.experiments.train import train
from logo_jax.models.blocks import BUILT_IN
from logo_jax.study.count import breakdown
from logo_jax.study.formulas import CONVENTION
from logo_jax.study.measure import (
    DoesNotFit,
    Program,
    compile_program,
    free_memory,
    median_and_spread,
    time_in_turn,
)
from logo_jax.study.points import Study
from logo_jax.study.report import write_report
from logo_jax.study.run import LINES, goes_on, in_words, run_study
from logo_jax.training.signals import Stopped

FOLDER = "accuracy"  # of the trainings, in the workdir
FEWEST_SEEDS = 3
# Fields of config.study beside those of `Study`.
ACCURACY_FIELDS = ("with_accuracy", "accuracy_config", "accuracy_seeds", "accuracy_overrides")
Row = dict[str, Any]


def study(config: ConfigDict | None, workdir: Path, with_accuracy: bool = False) -> None:
    """Run the study of a config; write `study.jsonl`, `study.csv`, plots and `report.html`.

    Args:
        with_accuracy: train the schemes too, whatever `config.study.with_accuracy` says; then
            `accuracy.csv` and `accuracy.jsonl` are written as well.

    Raises:
        UserError: a field of the config that no study can use, a workdir of another machine, or
            trainings that could not be done (the report has the others).
        Stopped: a stop signal came; it says that finished points are kept.
    """
    chosen = from_config(config)
    assert config is not None
    try:
        _run(chosen, config.study, workdir, with_accuracy)
    except Stopped as stop:
        stop.saved = goes_on(workdir)
        raise


def _run(chosen: Study, fields: ConfigDict, workdir: Path, with_accuracy: bool) -> None:
    if not (with_accuracy or fields.get("with_accuracy", False)):
        write_report(run_study(chosen, workdir), workdir)
        return
    run_with_accuracy(
        chosen,
        workdir,
        fields.get("accuracy_config", "configs/wild.py"),
        fields.get("accuracy_seeds", FEWEST_SEEDS),
        fields.get("accuracy_overrides", ConfigDict()).to_dict(),
    )


def run_with_accuracy(
    chosen: Study, workdir: Path, recipe: str, seeds: int, overrides: dict[str, Any] | None = None
) -> None:
    """Run a study, train its schemes by a recipe, and report both.

    Args:
        recipe: a config file of a system with the option `attention`, as launch.py takes it.
        seeds: of each scheme, at least `FEWEST_SEEDS`.
        overrides: fields of the recipe, as the file nests them.

    Raises:
        UserError: as `study`.
    """
    if seeds < FEWEST_SEEDS:
        raise UserError(
            f"accuracy_seeds is {seeds}: fewer than {FEWEST_SEEDS} seeds show no spread."
        )
    config = load(recipe)
    fields, known = (dict(configs.leaves(tree)) for tree in (overrides or {}, config.to_dict()))
    misfit = f"config.study.accuracy_overrides does not fit {recipe}: "
    if unknown := [name for name in fields if name not in known]:
        raise UserError(f'{misfit}it has no field "{unknown[0]}".{suggest(unknown[0], known)}')
    try:
        config.update_from_flattened_dict(fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"{misfit}{error}") from error
    config.unlock().scheme_file = chosen.scheme_file
    system = config.get("model", {}).get("name", "none")
    if system not in TOKEN_SYSTEMS:
        raise UserError(
            f'{recipe} trains the system "{system}", which has no attention scheme to choose: give '
            f"a config of one of {', '.join(TOKEN_SYSTEMS)}."
        )
    schemes = list(dict.fromkeys(name.partition(":")[0] for name in chosen.schemes))
    folder = workdir / FOLDER
    check_sources(folder, {scheme: chosen.source(scheme) for scheme in schemes})
    unbuilt = check_recipe(config, recipe, schemes)
    rows = run_study(chosen, workdir)
    write_report(rows, workdir)  # what was measured is there whatever comes of the trainings
    working = {row["scheme"] for row in rows if not row.get("failed")}
    schemes = [scheme for scheme in schemes if scheme in working or scheme in BUILT_IN]
    if not schemes:
        raise UserError(f"No scheme could be measured: {workdir / LINES} says why.")
    trained = [scheme for scheme in schemes if scheme not in unbuilt]
    problems = [f'{recipe} cannot build "{scheme}": {unbuilt[scheme]}' for scheme in unbuilt]
    if trained:
        try:
            field = f"model.attention={','.join(map(repr, trained))}"  # a name "2" is no number
            sweep(config, folder, [field], seeds, _train)
        except UserError as error:
            if not (folder / "sweep.csv").is_file():
                raise
            problems.append(str(error))  # the report has what could be trained
    accuracy = costs(config, schemes, chosen.repeats)
    asked = range(config.seed, config.seed + seeds)
    for row in accuracy:
        found = outcomes(folder / "sweep.csv", row["scheme"], asked)
        words = [found["status"], *([f"cost: {row['status']}"] if "status" in row else [])]
        row |= {"recipe": recipe} | found | {"status": "; ".join(words)}
    _write(accuracy, workdir)
    write_report(rows, workdir, accuracy)
    if problems:
        raise UserError("; ".join(problems))


def check_recipe(config: ConfigDict, recipe: str, schemes: Sequence[str]) -> dict[str, str]:
    """Build the recipe's model with every scheme, before anything is measured.

    Returns:
        Schemes of one's own whose code raises an error, with its words.

    Raises:
        UserError: the recipe does not go with a scheme; the message names both.
    """
    unbuilt = {}
    for scheme in schemes:
        try:
            configs.check(_with_scheme(config, scheme))
        except UserError as error:
            raise UserError(f'{recipe} cannot train "{scheme}": {error}') from error
        except Exception as error:
            if scheme in BUILT_IN:
                raise
            unbuilt[scheme] = in_words(error)
    return unbuilt


def _train(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Train and judge; what a scheme of one's own raises is the error of its run alone."""
    try:
        return train(config, workdir)
    except (UserError, Interrupted, jax.errors.JaxRuntimeError):  # the sweep knows them
        raise
    except Exception as error:
        if config.model.attention in BUILT_IN:
            raise
        raise UserError(in_words(error)) from error


def _with_scheme(config: ConfigDict, scheme: str) -> ConfigDict:
    config = copy.deepcopy(config)  # keeps the types of fields that are not set
    config.model.attention = scheme
    return config


def check_sources(folder: Path, sources: dict[str, str]) -> None:
    """Refuse trainings of a scheme of one's own by another text of its file; note those to come.

    Args:
        folder: of the trainings.
        sources: `Study.source` of every scheme.

    Raises:
        UserError: there are such trainings, whose accuracy would stand beside the new costs.
    """
    path = folder / "sources.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        known = {}
    if not isinstance(known, dict):
        known = {}  # damaged, as above: as if nothing were known
    for scheme, source in sources.items():
        name = run_name([f"model.attention={scheme}", "seed="])
        trained = sorted(folder.glob(f"{glob.escape(name)}*"))
        if source and trained and known.get(scheme) != source:
            raise UserError(
                f'"{scheme}" was trained in {folder} when its scheme file read otherwise: delete '
                f"{trained[0]} and the other folders of its seeds, or choose another --workdir."
            )
    own = {scheme: source for scheme, source in sources.items() if source}
    if own:
        make_folder(folder)
        write_json(path, known | own)


# Systems whose attention scheme can be chosen.
TOKEN_SYSTEMS = ("logo_former", "stt", "timesformer", "xvit", "vivit_fact")


def outcomes(table: Path, scheme: str, seeds: Container[int]) -> Row:
    """WAR and UAR of a scheme with these seeds, from the CSV of the sweep, and what went wrong.

    The CSV may have seeds of earlier runs, which the other schemes lack.
    """
    runs = []
    if table.is_file():  # nothing was trained where no scheme could be built
        with table.open(encoding="utf-8", newline="") as file:
            runs = [row for row in csv.DictReader(file) if row["model.attention"] == scheme]
    runs = [run for run in runs if int(run["seed"]) in seeds]
    done = sorted((run for run in runs if not run["error"]), key=lambda run: int(run["seed"]))
    errors = list(dict.fromkeys(run["error"] for run in runs if run["error"]))
    return {
        "seeds": [int(run["seed"]) for run in done],
        "war": [float(run["war"]) for run in done],
        "uar": [float(run["uar"]) for run in done],
        "status": "; ".join(errors) or ("trained" if done else "not trained"),
    }


def costs(config: ConfigDict, schemes: Sequence[str], repeats: int) -> list[Row]:
    """Multiply-adds and times of the recipe's whole model with each scheme, for one clip.

    A row lacks what could not be had; then its `status` says why.
    """
    rows: dict[str, Row] = {scheme: {"scheme": scheme, "repeats": repeats} for scheme in schemes}
    programs: dict[str, Program] = {}

    def note(scheme: str, error: Exception) -> None:
        rows[scheme]["status"] = in_words(error)
        print(f"study: {scheme}, whole model: {in_words(error)}")

    for scheme in schemes:
        try:
            model, variables, clip = _model_and_shapes(config, scheme)
            rows[scheme] |= _count(model, variables, clip)
            programs[scheme] = _program(model, variables, clip)
        except Exception as error:  # its accuracy is known all the same
            foreseen = isinstance(error, DoesNotFit | jax.errors.JaxRuntimeError)
            if scheme in BUILT_IN and not foreseen:
                raise
            note(scheme, error)
    for scheme, samples in time_in_turn(programs, repeats, note).items():
        seconds, spread = median_and_spread(samples)
        rows[scheme] |= {"training_ms": 1e3 * seconds, "training_spread_ms": 1e3 * spread}
    return list(rows.values())


def _model_and_shapes(config: ConfigDict, scheme: str) -> tuple[nn.Module, Any, Any]:
    model = parts.build_model(_with_scheme(config, scheme), num_classes=7)
    clip = jax.ShapeDtypeStruct((1, *parts.clip_shape(config)), jnp.float32)
    return model, jax.eval_shape(model.init, jax.random.key(0), clip), clip


def _count(model: nn.Module, variables: Any, clip: Any) -> Row:
    """Multiply-adds of the plain form: half of two clips, as `study.run.count_point` says."""
    plain = model.clone(attention_impl="xla")
    two = jax.ShapeDtypeStruct((2, *clip.shape[1:]), clip.dtype)
    counts = breakdown(plain.apply, variables, two) // 2
    tokens = counts.dense + counts.products
    return {
        "multiply_adds": counts.convolutions + tokens,
        "tokens_multiply_adds": tokens,
        "products": counts.products,
    }


def _program(model: nn.Module, variables: Any, clip: Any) -> Program:
    """Forward and backward, in the form of the recipe."""
    rest = {
        name: jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), value)
        for name, value in variables.items()
        if name != "params"
    }

    def loss(params: Any, clip: Any) -> Any:
        out: Any = model.apply(params | rest, clip)
        return jnp.square(out.logits).sum()

    params = {"params": variables["params"]}
    return compile_program(jax.grad(loss), (params, clip), free_memory())


def _write(accuracy: Sequence[Row], workdir: Path) -> None:
    with atomic_writer(workdir / "accuracy.jsonl") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in accuracy)
    table = io.StringIO()
    table.write(f"# {CONVENTION}\n")
    writer = csv.writer(table, lineterminator="\n")
    names = list(dict.fromkeys(name for row in accuracy for name in row))
    names = [name for name in names if name not in ("seeds", "war", "uar")]
    writer.writerow(["scheme", "seed", "war", "uar", *names[1:]])
    for row in accuracy:
        for seed, war, uar in zip(row["seeds"], row["war"], row["uar"], strict=True):
            writer.writerow(
                [row["scheme"], seed, war, uar, *(row.get(name, "") for name in names[1:])]
            )
    with atomic_writer(workdir / "accuracy.csv") as file:
        file.write(table.getvalue())


def from_config(config: ConfigDict | None) -> Study:
    """Read the fields of `config.study`; lists become tuples.

    Raises:
        UserError: an unknown field, or a value that no study can use.
    """
    if config is None or "study" not in config:
        raise UserError("There is no study to run: give --config=configs/study.py.")
    fields = {**config.study.to_dict(), "scheme_file": config.get("scheme_file", "")}
    known = (*Study.__dataclass_fields__, *ACCURACY_FIELDS)
    for name in fields:
        if name not in known:
            raise UserError(f"config.study has no field {name}.{suggest(name, known)}")
    return Study(
        **{name: _frozen(value) for name, value in fields.items() if name not in ACCURACY_FIELDS}
    )


def _frozen(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_frozen(item) for item in value)
    return value
