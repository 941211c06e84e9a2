"""`build`: names and options that exist, and sentences for those that do not."""

import inspect

import jax
import pytest

import logo_jax
from logo_jax.common.errors import UserError
from logo_jax.models import SYSTEMS, build


def test_defaults_are_the_paper_size():
    model = build("logo_former", 7)
    assert (model.stage, model.width, model.dim, model.mlp_dim) == (4, 64, 512, 1024)
    assert (model.num_heads, model.num_blocks, model.window) == (8, 4, (4, 2, 2))
    assert (model.attention, model.pool, model.dtype) == ("local_global", "weighted", "float32")


def test_every_system_is_documented():
    for system in SYSTEMS.values():
        assert inspect.getdoc(system.module) and system.source and system.parity_test


def test_lists_of_a_config_file_become_tuples():
    model = build("logo_former", 7, window=[2, 2, 2])
    assert model.window == (2, 2, 2)
    hash(model)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("logo-former", {}, r'Unknown system "logo-former".*Did you mean "logo_former"\?'),
        ("logo_former", {"atention": "full"}, r'"atention".*Did you mean "attention"\?'),
        ("logo_former", {"parent": None}, r'no option "parent"'),
        ("logo_former", {"attention": "ful"}, r'attention scheme "ful".*Did you mean "full"\?'),
        ("logo_former", {"pool": "mean"}, r'Unknown pool "mean": choose one of average'),
        ("logo_former", {"backbone": "resnet"}, r'Did you mean "resnet18"\?'),
        ("logo_former", {"dtype": "bfloat"}, r'Did you mean "bfloat16"\?'),
        ("logo_former", {"dtype": "float64"}, r"JAX_ENABLE_X64"),
        ("logo_former", {"stage": 5}, r"stage must be 1, 2, 3 or 4"),
        ("logo_former", {"dim": 100}, r"dim 100 does not divide into 8 heads"),
        ("logo_former", {"window": [4, 2]}, r"window must be three positive whole numbers"),
        ("logo_former", {"window": (4, 0, 2)}, r"window must be three positive whole numbers"),
        ("logo_former", {"dropout": 1.0}, r"dropout is a probability"),
        ("logo_former", {"num_blocks": 0}, r"num_blocks must be at least 1"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(UserError, match=message):
        build(name, 7, **options)


@pytest.mark.parametrize("shape", [(4, 16, 16, 3), (1, 4, 16, 16, 1), (1, 4, 3, 16, 16)])
def test_what_is_no_batch_of_clips(shape):
    from logo_jax.models.contract import check_clips

    with pytest.raises(UserError, match=r"\[batch, frames, height, width, 3\], not \["):
        check_clips(shape)


def test_lazy_names():
    assert logo_jax.models.build is build
    assert callable(logo_jax.pretrained.load)
    assert jax.tree.leaves(logo_jax.models.Output(logits=1.0, features=2.0)) == [1.0, 2.0]
