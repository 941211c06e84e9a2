"""Times and memory: against programs whose cost is known."""

from collections import Counter
from math import prod
from types import SimpleNamespace

import flax.linen as nn
import jax
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.models.blocks import SCHEMES
from logo_jax.study import measure
from logo_jax.study.masks import influence
from logo_jax.study.measure import (
    DoesNotFit,
    Program,
    free_memory,
    matmul_rate,
    median_and_spread,
    prepare,
    time_in_turn,
)
from logo_jax.study.points import Point, Study

TINY = {"grid": (2, 2, 2), "window": (2, 1, 1), "dim": 8, "num_heads": 2}


class Clock:
    """Time that passes only while programs run."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def program(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds

        return Program(run, (), 0, 0, 0.0)


def test_times_are_those_of_the_programs_and_taken_in_turn(monkeypatch):
    clock = Clock(monkeypatch)
    samples = time_in_turn({"a": clock.program("a", 0.5), "b": clock.program("b", 0.25)}, 3)
    assert clock.calls == ["a", "b", "a", "b", "b", "a", "a", "b"]  # after a warm-up run of each
    assert samples == {"a": [0.5] * 3, "b": [0.25] * 3}


def test_short_programs_are_run_often_enough_for_the_clock(monkeypatch):
    clock = Clock(monkeypatch)
    samples = time_in_turn({"a": clock.program("a", 0.00390625)}, 2)
    assert samples == {"a": [0.00390625] * 2}
    assert len(clock.calls) == 2 + 2 * 3  # 3 runs last at least 10 ms


def test_median_and_spread():
    assert median_and_spread([5.0, 1.0, 2.0, 3.0, 4.0]) == (3.0, 2.0)


@pytest.mark.parametrize("backward", [False, True])
def test_memory_of_full_attention_holds_its_weights(backward):
    # The plan of a larger forward pass leaves the scratch of XLA's fused kernel out (memory.py).
    grid, heads = (16, 8, 8) if backward else (8, 8, 8), 4
    point = Point("full", "xla", grid, None, 16, heads)
    program = prepare(point, backward, None)
    weights = 4 * heads * (prod(grid) + 1) ** 2  # float32
    assert program.temporary >= weights
    assert program.peak >= weights
    chunked = prepare(Point("full", "chunked", grid, None, 16, heads), backward, None)
    assert chunked.temporary < program.temporary


def test_local_global_takes_a_fifth_of_the_memory_of_full():
    """Forward + backward on CPU at 16 x 14 x 14 tokens: 0.192, with room for other processors."""
    size = {"grid": (16, 14, 14), "window": (4, 7, 7), "dim": 256, "num_heads": 8}
    ours, full = (
        prepare(Point(scheme, "xla", **size), True, None) for scheme in ("local_global", "full")
    )
    assert ours.temporary <= 0.205 * full.temporary


def test_gradients_reach_everything():
    program = prepare(Point("local_global", "xla", **TINY), True, None)
    gradients = program.compiled(*program.arguments)
    assert jax.tree.structure(gradients) == jax.tree.structure(program.arguments)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))


class Normed(nn.Module):
    """A scheme with batch statistics."""

    options: object

    @nn.compact
    def __call__(self, grid, cls, *, train):
        return SCHEMES["full"](self.options)(
            nn.BatchNorm(use_running_average=not train)(grid), cls, train=train
        )


def test_batch_statistics_are_such_as_can_be(monkeypatch):
    """Of a variance below 0 all numbers would be NaN: what is timed, and what a token sees."""
    monkeypatch.setitem(SCHEMES, "normed", Normed)
    program = prepare(Point("normed", "xla", **TINY), False, None)
    assert all(np.isfinite(x).all() for x in program.compiled(*program.arguments))
    assert (influence("normed", (2, 2, 2), (2, 1, 1), (0, 0, 0), draws=1) > 1e-6).all()


def test_what_does_not_fit_is_said():
    with pytest.raises(DoesNotFit, match=r"needs \d.* has 0.0 GiB"):
        prepare(Point("full", "xla", **TINY), False, limit=100)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_free_memory_heeds_the_control_groups(tmp_path):
    assert free_memory(tmp_path) is None  # a system that says nothing
    write(tmp_path, {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:    1000 kB\n"})
    assert free_memory(tmp_path) == int(0.9 * 1000 * 1024)
    # A batch job in a group of its own: the limit stands one level above it.
    groups = "sys/fs/cgroup/job"
    write(tmp_path, {
        "proc/self/cgroup": "0::/job/step\n",
        f"{groups}/step/memory.max": "max\n", f"{groups}/step/memory.current": "5\n",
        f"{groups}/memory.max": "500000\n", f"{groups}/memory.current": "300000\n",
        f"{groups}/memory.stat": "anon 200000\ninactive_file 100000\n",
    })  # fmt: skip
    assert free_memory(tmp_path) == int(0.9 * (500000 - 300000 + 100000))


def test_what_no_machine_holds_is_told_before_it_runs():
    # 8 heads x 401,409^2 weights in float32 are 4.7 TiB.
    point = Point("full", "xla", (128, 56, 56), None, 8, 8)
    with pytest.raises(DoesNotFit, match=r"needs [\d,.]+ GiB, has"):
        prepare(point, True, free_memory())


def test_matmul_rate_is_that_of_the_best_size(monkeypatch):
    seconds = {256: 1e-3, 512: 4e-3, 1024: 0.2}  # 1024 takes longer than 0.1 s and is the last
    asked = []

    def times(programs, repeats):
        (size,) = programs
        asked.append(size)
        return {size: [seconds[size]] * repeats}

    monkeypatch.setattr(measure, "time_in_turn", times)
    assert matmul_rate("float32") == pytest.approx(512**3 / 4e-3)
    assert asked == [256, 512, 1024]


def test_points_of_a_study():
    study = Study(
        schemes=("full", "full:chunked", "local"), grids=((4, 4, 4), (4, 3, 3)),
        windows=((2, 2, 2), (4, 1, 1)), dims=(16, 32), series=("grid",),
    )  # fmt: skip
    groups = study.groups()
    assert [len(group) for group in groups] == [4, 4, 3, 3]  # local once or twice, full once
    assert {point.label for point in groups[0]} == {"full", "full:chunked", "local"}
    assert study.unused() == [
        "the window 2 x 2 x 2 does not divide the grid 4 x 3 x 3: left out; give a window whose "
        "sides divide those of the grid"
    ]
    twice = Study(dims=(256, 256), grids=((4, 7, 7),) * 2, series=("grid",) * 2)
    assert (twice.dims, twice.grids, twice.series) == ((256,), ((4, 7, 7),), ("grid",))
    labels = {p.label for group in Study().groups() for p in group if p.series == "grid"}
    assert set(SCHEMES) | {"full:chunked"} == labels
    growth = [group for group in Study().groups() if group[0].series == "exponents"]
    assert len(growth) == 2  # three numbers of frames in turn, three resolutions in turn
    for group in growth:
        counts = Counter(p.scheme for p in group)
        assert counts == {name: 3 for name in Study.schemes if ":" not in name}
        assert {p.impl for p in group} == {"chunked"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schemes": ("locl",)}, 'Unknown attention scheme "locl"'),
        ({"schemes": ("full:chunk",)}, 'Did you mean "chunked"'),
        ({"grids": ((4, 0, 4),)}, "grids has"),
        ({"windows": ((4, -1, 4),)}, "three positive numbers"),
        ({"dims": (12,)}, "multiple of 8"),
        ({"dtypes": ("float8",)}, "Unknown dtype"),
        ({"repeats": 0}, "repeats is 0"),
        ({"schemes": ()}, "at least one of schemes"),
    ],
)
def test_studies_that_cannot_be(options, message):
    with pytest.raises(UserError, match=message):
        Study(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repeats": 1.5}, "repeats is 1.5: it must be a whole number"),
        ({"schemes": (1,)}, r'schemes has 1: give names, as \("full", "local_global"\)'),
        ({"grids": (2, 2, 2)}, r"grids has 2: .* as \(\(16, 14, 14\), \(8, 7, 7\)\)"),
        ({"grids": ((2, "a", 2),)}, "grids has"),
        ({"windows": "a"}, "windows is 'a': give several, as"),
        ({"dims": ("a",)}, "dims has a: give a positive multiple"),
        ({"memory_gib": "a"}, "memory_gib is a: give a number"),
    ],
)
def test_values_of_the_wrong_type(options, message):
    study = object.__new__(Study)  # outside of tests nothing checks the types before
    for name, field in Study.__dataclass_fields__.items():
        object.__setattr__(study, name, options.get(name, field.default))
    with pytest.raises(UserError, match=message):
        study.__post_init__()
