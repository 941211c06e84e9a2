"""What the benchmarks say that they measure, and the processes of those against PyTorch."""

import os
import signal
from contextlib import closing

import jax
import jax.numpy as jnp
import pytest

from benchmarks import roofline, side_by_side
from logo_jax.models.token_model import LogoFormer
from logo_jax.study.count import multiply_adds

CLIP = (1, 4, 64, 64, 3)
SIZE = {"width": 8, "dim": 16, "mlp_dim": 24, "num_heads": 2, "num_blocks": 3, "window": (2, 1, 2)}


@pytest.mark.parametrize("stage", [4, 2])
def test_parts_of_the_roofline_are_the_model(stage):
    model = LogoFormer(roofline.CLASSES, stage=stage, **SIZE)
    clip = jax.ShapeDtypeStruct(CLIP, jnp.float32)
    variables = jax.eval_shape(lambda clip: model.init(jax.random.key(0), clip), clip)
    total = SIZE["dim"] * roofline.CLASSES  # the head, which is no part
    parameters = 0
    for part in roofline.parts_of(model, *CLIP[:3]):
        forward, _, (own, *inputs) = roofline.functions(part)
        total += part.times * multiply_adds(forward, own, *inputs, products=True)
        parameters += part.times * sum(x.size for x in jax.tree.leaves(own["params"]))
    assert total == multiply_adds(model.apply, variables, clip, products=True)
    params = dict(variables["params"])
    for name in ("space_position", "time_position", "class_token", "head"):
        del params[name]
    assert parameters == sum(x.size for x in jax.tree.leaves(params))


class Pair:
    """Stands for both networks, which need PyTorch."""

    def set_up_torch(self):
        pass


class Counts:
    needed = 5

    def __init__(self, pair, start):
        self.number = start

    def run(self):
        self.number += 1
        return self.number


class Raises:
    def __init__(self, pair):
        raise ValueError("no such network")


class Dies:
    def __init__(self, pair):
        pass

    def run(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow  # three processes that import both libraries
def test_a_program_in_a_process_of_its_own():
    with closing(side_by_side.Apart(Counts, Pair(), 7)) as program:
        assert program.needed == 5
        assert [program.run(), program.run()] == [8, 9]
    with pytest.raises(RuntimeError, match="ValueError: no such network"):
        side_by_side.Apart(Raises, Pair())
    with closing(side_by_side.Apart(Dies, Pair())) as program:
        for _ in range(2):
            with pytest.raises(RuntimeError, match="ended with code -9"):
                program.run()
