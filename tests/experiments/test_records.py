"""What lies in a workdir and was edited or laid there by hand: the record and the lock."""

import json

import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments import config as configs
from logo_jax.experiments.train import train


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("log_every", None),
        ("log_every", "x"),
        ("skip_nonfinite", 1),
        ("data.data_dir", 5),
        ("evaluation.batch_size", "32"),
        ("evaluation.batch_size", True),
        ("evaluation.controls", [1]),
    ],
)
def test_wrong_types_in_a_record_are_named(config, tmp_path, field, value):
    record = configs.plain(config)
    *path, name = field.split(".")
    (record[path[0]] if path else record)[name] = value
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(
        UserError, match=f"config.json: the field {field} is .* must be of the type"
    ):
        configs.read(tmp_path)


def test_every_free_field_has_its_type(config):
    free = {name for name, _ in configs.leaves(configs.plain(config)) if configs.is_free(name)}
    assert free == set(configs.FREE_TYPES)


def test_a_lock_that_is_no_file_is_refused_and_a_link_is_not_emptied(config, tmp_path):
    (tmp_path / "precious").write_text("text")
    for lay in (
        lambda lock: lock.mkdir(),
        lambda lock: lock.symlink_to(tmp_path / "nowhere"),
        lambda lock: lock.symlink_to(tmp_path / "precious"),
    ):
        lock = tmp_path / ".lock"
        lay(lock)
        with pytest.raises(UserError, match="lock cannot be opened .* must be a file of its own"):
            train(config, tmp_path)
        lock.rmdir() if lock.is_dir() else lock.unlink()
    assert (tmp_path / "precious").read_text() == "text"
