"""`--mode=compare`: trained models, or methods over several seeds, on the same clips.

python launch.py --mode=compare --runs=runs/logo_former,runs/full --output=runs/compared

Each name is a run, a cross-validation, or a folder with several of them, such as a sweep. Runs
whose configs differ in seed and fold alone are of one method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.common.files import make_folder, write_json
from logo_jax.evaluation import seeds, statistics, summary
from logo_jax.evaluation.predictions import Predictions, read_predictions
from logo_jax.experiments import runs as found_runs
from logo_jax.experiments.evaluate import selection_sentence
from logo_jax.experiments.runs import FOLD, Run, find_all
from logo_jax.experiments.summarize import check_folds

LONGEST_FOLDER = 100


@dataclass(frozen=True)
class Model:
    """One trained model: a run, or its folds."""

    name: str
    runs: list[Run]
    predictions: Predictions

    @property
    def seed(self) -> int:
        return self.runs[0].seed


@dataclass(frozen=True)
class Method:
    """Models that differ in their seed alone, by seed. `fields`: where other methods differ."""

    name: str
    models: list[Model]
    fields: dict[str, Any]


def compare(folders: Sequence[Path], output: Path | None) -> dict[str, Any]:
    """Compare the models in `folders` pair by pair, print the tables, return compare.json.

    Args:
        output: folder of compare.json; None takes one in runs/ with the names of the methods.

    Raises:
        UserError: a folder has no finished run, there is one model only, the seeds of the methods
            differ, or the models do not judge the same clips.
    """
    methods = read_methods(folders)
    sets = [[model.predictions for model in method.models] for method in methods]
    pairs = seeds.compare_seeds(sets, seed=0)
    names = [f"{chr(ord('A') + number)}" for number in range(len(methods))]
    output = output or _default_output(methods)
    results = {
        "methods": [
            _method_numbers(name, method) for name, method in zip(names, methods, strict=True)
        ],
        "comparisons": pairs,
        "least_seeds": statistics.LEAST_SEEDS,
        "bootstrap": {
            "draws": statistics.DRAWS,
            "seed": 0,
            "meaning": summary.WHAT_INTERVALS_COVER,
        },
    }
    make_folder(output)
    write_json(output / "compare.json", results)
    print(text(results))
    print(f"comparison: {output / 'compare.json'}")
    return results


def read_methods(folders: Sequence[Path]) -> list[Method]:
    """The methods whose runs lie in `folders`, in that order, each with the same seeds.

    With one method only, its seeds are compared, as models.

    Raises:
        UserError: as `compare`.
    """
    groups: dict[str, dict[int, list[Run]]] = {}
    for run in (run for model in find_all(folders) for run in model):
        by_seed = groups.setdefault(found_runs.method(run), {})
        by_seed.setdefault(run.seed, []).append(run)
    methods = [[_model(by_seed[seed]) for seed in sorted(by_seed)] for by_seed in groups.values()]
    if len(methods) == 1:
        methods = [[model] for model in methods[0]]
    if len(methods) == 1:
        raise UserError(
            f"There is only one trained model in {', '.join(map(str, folders))}: name at least two."
        )
    if len(methods) > 26:
        raise UserError(f"There are {len(methods)} methods: compare at most 26 at once.")
    first = [model.seed for model in methods[0]]
    for models in methods:
        own = [model.seed for model in models]
        if own != first and max(len(own), len(first)) > 1:
            raise UserError(
                f"{methods[0][0].name} has the seeds {', '.join(map(str, first))} and "
                f"{models[0].name} {', '.join(map(str, own))}: name runs with the same seeds."
            )
    differing = _differing_fields([models[0].runs[0] for models in methods])
    return [
        Method(
            _method_name(models),
            models,
            {field: _field(models[0].runs[0], field) for field in differing},
        )
        for models in methods
    ]


def _model(runs: list[Run]) -> Model:
    runs = sorted(runs, key=lambda run: run.fold)
    check_folds(runs)
    files = [run.folder / "predictions.csv" for run in runs]
    folder = runs[0].folder
    if FOLD.fullmatch(folder.name):
        folder = folder.parent
    predictions = read_predictions(files, tuple(runs[0].results["classes"]))
    return Model(found_runs.name_of(folder), runs, predictions)


def _method_name(models: Sequence[Model]) -> str:
    name = models[0].name
    return found_runs.without_seed(name) if len(models) > 1 else name


def _differing_fields(firsts: Sequence[Run]) -> list[str]:
    """Fields of the configs in which the methods differ."""
    names = {
        field: None
        for run in firsts[1:]
        for field, _ in found_runs.different_fields(firsts[0], run, ignored=("data.fold",))
    }
    return list(names)


def _field(run: Run, field: str) -> Any:
    value: Any = run.results["config"]
    for part in field.split("."):
        value = value.get(part)
    return value


def _method_numbers(name: str, method: Method) -> dict[str, Any]:
    summaries = [summary.summarize(model.predictions, seed=0) for model in method.models]
    first = method.models[0].runs[0].results
    return {
        "name": name,
        "run": method.name,
        "fields": method.fields,
        "selection": first["selection"],
        "selection_metric": first["selection_metric"],
        "train_clips": max(r.results["train_clips"] for m in method.models for r in m.runs),
        "seeds": [
            {
                "seed": model.seed,
                "folders": [str(run.folder) for run in model.runs],
                **numbers,
            }
            for model, numbers in zip(method.models, summaries, strict=True)
        ],
        "over_seeds": seeds.over_seeds(summaries),
    }


def text(results: dict[str, Any]) -> str:
    """compare.json for the terminal."""
    lines = []
    for method in results["methods"]:
        fields = ", ".join(f"{name}={value}" for name, value in method["fields"].items())
        lines.append(f"{method['name']}: {method['run']}" + (f" ({fields})" if fields else ""))
        numbers = [seed["seed"] for seed in method["seeds"]]
        lines.append(seeds.seeds_text(method["seeds"], numbers))
        metric = method["selection_metric"] or ""
        lines += [selection_sentence(method["selection"], metric, method["train_clips"]), ""]
    names = [method["name"] for method in results["methods"]]
    shared = [[seed["seed"] for seed in method["seeds"]] for method in results["methods"]]
    # Of single models the seeds may differ; then they stand above.
    numbers = shared[0] if all(own == shared[0] for own in shared) else ["-"]
    lines.append(seeds.differences_text(results["comparisons"], names, numbers))
    count = len(results["comparisons"]) * len(shared[0])
    lines.append(
        f"\n(in points, first minus second; Holm's correction over all {count} pairs of models. "
        "p is about the trained models; what holds for the methods is seen from the seeds. No "
        "t-test: folds share training data)"
    )
    return "\n".join(lines)


def default_output(folders: Sequence[Path]) -> Path:
    """A folder in runs/ with the names of the methods in `folders`.

    Raises:
        UserError: as `compare`.
    """
    return _default_output(read_methods(folders))


def _default_output(methods: Sequence[Method]) -> Path:
    names = "-vs-".join(method.name for method in methods)
    return Path("runs") / f"compare-{names[:LONGEST_FOLDER]}"
