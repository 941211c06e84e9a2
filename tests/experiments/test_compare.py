"""Models and methods compared on the same clips: grouping, every seed, and what is refused."""

import json
import statistics as stdlib

import numpy as np
import pytest
from scipy.stats import binomtest

from logo_jax.common.errors import UserError
from logo_jax.experiments.compare import compare
from logo_jax.experiments.report_runs import read_models
from tests.experiments.judged import settings, write_run

SEEDS = (0, 1, 2)


def hits(part):
    labels, probabilities = part
    return probabilities.argmax(1) == labels


@pytest.fixture
def sweep(tmp_path):
    """Two methods, three seeds and three folds each, in the folders of a sweep."""
    parts = {}
    for rho, skill in ((0.0, 0.8), (0.05, 1.6)):
        for seed in SEEDS:
            for fold in (1, 2, 3):
                folder = tmp_path / "sweep" / f"rho={rho}-seed={seed}" / f"fold{fold}"
                config = settings(fold, seed, **{"optimizer.rho": rho})
                parts[rho, seed, fold] = hits(write_run(folder, config, skill))
    return tmp_path, parts


def test_every_seed_and_fold_of_two_methods(sweep, capsys):
    root, right = sweep
    results = compare([root / "sweep"], root / "out")
    assert json.loads((root / "out" / "compare.json").read_text()) == results
    first, second = results["methods"]
    assert (first["run"], first["fields"]) == ("rho=0.0", {"optimizer.rho": 0.0})
    assert second["fields"] == {"optimizer.rho": 0.05}
    assert [seed["seed"] for seed in second["seeds"]] == list(SEEDS)

    (pair,) = results["comparisons"]
    expected = np.array(
        [
            [right[0.0, s, f].mean() - right[0.05, s, f].mean() for f in (1, 2, 3)]
            for s in SEEDS
        ]
    )  # fmt: skip
    np.testing.assert_allclose([row["war"]["folds"] for row in pair["seeds"]], expected)
    assert pair["war"]["mean"] == pytest.approx(expected.mean())
    assert pair["war"]["std"] == pytest.approx(stdlib.stdev(expected.ravel().tolist()))
    assert pair["enough_seeds"]
    p_values = []
    for seed, row in zip(SEEDS, pair["seeds"], strict=True):
        one, two = (np.concatenate([right[r, seed, f] for f in (1, 2, 3)]) for r in (0.0, 0.05))
        wins, losses = int((one & ~two).sum()), int((two & ~one).sum())
        p_values.append(binomtest(wins, wins + losses).pvalue)
        assert row["war"]["p"] == pytest.approx(p_values[-1])
    smallest = int(np.argmin(p_values))  # Holm: the smallest of three p-values times three
    assert pair["seeds"][smallest]["war"]["p_holm"] == pytest.approx(3 * p_values[smallest])
    wars = [np.concatenate([right[0.0, s, f] for f in (1, 2, 3)]).mean() for s in SEEDS]
    assert first["over_seeds"]["pooled"]["war"] == pytest.approx(np.mean(wars))
    assert first["over_seeds"]["pooled"]["war_std"] == pytest.approx(stdlib.stdev(wars))

    said = capsys.readouterr().out
    assert "A: rho=0.0 (optimizer.rho=0.0)" in said and "sample deviation" in said
    assert "over all 3 pairs of models" in said and "No t-test" in said
    assert "Fewer than 3 seeds" not in said


def test_a_method_is_called_by_the_folder_of_its_seeds(tmp_path):
    for method, skill in (("with", 0.8), ("without", 1.6)):
        for seed in (0, 1):
            fields = {"optimizer.rho": skill}
            write_run(tmp_path / method / f"seed{seed}", settings(0, seed, **fields), skill)
    results = compare([tmp_path / "with", tmp_path / "without"], tmp_path / "out")
    assert [method["run"] for method in results["methods"]] == ["with", "without"]


def test_two_trained_models_need_not_have_one_seed(tmp_path, capsys):
    write_run(tmp_path / "a", settings(0, 3), 0.8)
    write_run(tmp_path / "b", settings(0, 4, **{"model.num_blocks": 2}), 1.6)
    results = compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert [m["seeds"][0]["seed"] for m in results["methods"]] == [3, 4]
    assert not results["comparisons"][0]["enough_seeds"]
    assert "Fewer than 3 seeds: this says nothing about the methods" in capsys.readouterr().out


def test_folds_in_folders_of_their_own_are_one_model(tmp_path):
    names = [write_folds(tmp_path, f"m{dim}-fold", dim) for dim in (16, 32)]
    results = compare([path for paths in names for path in paths], tmp_path / "out")
    assert [len(m["seeds"][0]["folders"]) for m in results["methods"]] == [3, 3]
    assert results["comparisons"][0]["folds"] == ["1", "2", "3"]


def write_folds(root, name, dim):
    paths = [root / f"{name}{fold}" for fold in (1, 2, 3)]
    for fold, path in enumerate(paths, 1):
        write_run(path, settings(fold, **{"model.dim": dim}), 1 + dim / 64)
    return paths


def test_the_seeds_of_one_method_are_compared_as_models(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"seed={seed}", settings(0, seed))
    results = compare([tmp_path], tmp_path / "out")
    names = [f"{tmp_path.name}/seed={seed}" for seed in (0, 1)]
    assert [m["run"] for m in results["methods"]] == names


def test_a_run_that_is_named_twice_is_one_run(tmp_path):
    write_run(tmp_path / "all" / "a", settings(0))
    write_run(tmp_path / "all" / "b", settings(0, **{"model.dim": 16}), 1.5)
    (tmp_path / "link").symlink_to(tmp_path / "all" / "a")
    twice = [tmp_path / "all", tmp_path / "all" / "a", tmp_path / "link", tmp_path / "all/../all/b"]
    assert [m["run"] for m in compare(twice, tmp_path / "out")["methods"]] == ["a", "b"]
    assert [model.name for model in read_models(twice)] == ["a", "b"]


def test_other_views_of_one_training_are_other_methods(tmp_path):
    write_run(tmp_path / "one", settings(0))
    write_run(tmp_path / "ten", settings(0, **{"evaluation.temporal_views": 10}), 1.5)
    results = compare([tmp_path / "one", tmp_path / "ten"], tmp_path / "out")
    assert [m["fields"] for m in results["methods"]] == [
        {"evaluation.temporal_views": 1},
        {"evaluation.temporal_views": 10},
    ]


def test_what_cannot_be_compared(tmp_path):
    write_run(tmp_path / "a", settings(0))
    with pytest.raises(UserError, match="only one trained model in .*a: name at least two"):
        compare([tmp_path / "a", tmp_path / "a"], tmp_path / "out")
    other = {"model.dim": 16}
    write_run(tmp_path / "b", settings(0, **other), prefix="other")
    with pytest.raises(UserError, match="80 clips were judged by one of the two models only"):
        compare([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    write_run(tmp_path / "b", settings(0, **other))
    write_run(tmp_path / "b1", settings(0, 1, **other))
    with pytest.raises(UserError, match=r"a has the seeds 0 and b 0, 1: name runs with the same"):
        compare([tmp_path / "a", tmp_path / "b", tmp_path / "b1"], tmp_path / "out")
    write_run(tmp_path / "again", settings(0))
    with pytest.raises(UserError, match="are both of the set's own split"):
        compare([tmp_path / "a", tmp_path / "again", tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
