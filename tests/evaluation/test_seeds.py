"""Methods compared over seeds, from files: every seed and fold is shown, against plain numpy."""

import json
import math
import re
import statistics as stdlib

import numpy as np
import pytest

from logo_jax.evaluation.__main__ import main

CLASSES = ("happy", "sad")
CLIPS = 120


def write(path, seed, share):
    """A file with a column fold; the model of this seed is right with probability `share`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(CLIPS) % 2
    right = rng.random(CLIPS) < share
    lines = ["clip_id,fold,true,predicted,p:happy,p:sad"]
    for i, (label, hit) in enumerate(zip(labels, right, strict=True)):
        said = label if hit else 1 - label
        share_of = ("0.8,0.2", "0.2,0.8")[said]
        lines.append(f"{i},{i // 2 % 3 + 1},{CLASSES[label]},{CLASSES[said]},{share_of}")
    path.write_text("\n".join(lines))
    return right


@pytest.fixture
def runs(tmp_path):
    hits = {}
    for method, share in (("a", 0.8), ("b", 0.6)):
        for seed in range(3):
            path = tmp_path / f"{method}{seed}.csv"
            hits[method, seed] = write(path, 10 * seed + ord(method), share)
    files = {m: [str(tmp_path / f"{m}{s}.csv") for s in range(3)] for m in "ab"}
    return files, hits, tmp_path


def test_every_seed_and_fold(runs, capsys):
    files, hits, folder = runs
    target = str(folder / "numbers.json")
    main([*files["a"], "--compare", *files["b"], "--seeds", "--json", target, "--draws", "200"])
    with open(target) as file:
        results = json.load(file)
    (pair,) = results["comparisons"]
    folds = np.arange(CLIPS) // 2 % 3
    expected = np.array(
        [
            [hits["a", s][folds == f].mean() - hits["b", s][folds == f].mean() for f in range(3)]
            for s in range(3)
        ]
    )
    np.testing.assert_allclose([row["war"]["folds"] for row in pair["seeds"]], expected)
    assert pair["war"]["mean"] == pytest.approx(expected.mean())
    assert pair["war"]["std"] == pytest.approx(stdlib.stdev(expected.ravel().tolist()))
    assert pair["enough_seeds"] and pair["folds"] == ["1", "2", "3"]
    p_values = []
    for seed, row in enumerate(pair["seeds"]):
        only_a = int((hits["a", seed] & ~hits["b", seed]).sum())
        only_b = int((hits["b", seed] & ~hits["a", seed]).sum())
        n, least = only_a + only_b, min(only_a, only_b)
        p_values.append(min(1, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n))
        assert row["war"]["p"] == pytest.approx(p_values[-1])
    least = min(range(3), key=p_values.__getitem__)
    assert pair["seeds"][least]["war"]["p_holm"] == pytest.approx(min(1, 3 * p_values[least]))
    text = capsys.readouterr().out
    assert f"{100 * expected[1, 2]:+.2f}" in text
    assert f"sample deviation {100 * stdlib.stdev(expected.ravel().tolist()):.2f}" in text
    assert "Fewer than" not in text
    for number, method in enumerate("ab"):
        scores = [one["pooled"]["war"] for one in results["methods"][number]["seeds"]]
        assert scores == pytest.approx([hits[method, s].mean() for s in range(3)])


def test_two_seeds_are_not_enough(runs, capsys):
    files, _, _ = runs
    main([*files["a"][:2], "--compare", *files["b"][:2], "--seeds", "--draws", "50"])
    assert "Fewer than 3 seeds: this says nothing about the methods" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--compare", "{b}"], "One method has 3 seeds and another 1"),
        (["--scenes"], "judge one trained model"),
    ],
)
def test_mistakes_are_one_sentence(runs, capsys, flags, words):
    files, _, _ = runs
    with pytest.raises(SystemExit) as stopped:
        main([*files["a"], "--seeds", *(flag.format(b=files["b"][0]) for flag in flags)])
    assert stopped.value.code == 2
    assert re.search(words, capsys.readouterr().err)
