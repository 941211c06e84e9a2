"""Checkpoints that cannot be read, or would not be."""

import shutil

import pytest

from logo_jax.common.errors import UserError
from logo_jax.training.checkpoint import (
    Checkpoints,
    find_checkpoint,
    load_variables,
    newest,
    read_meta,
)
from tests.training.small_run import META, fit, state_of_step_0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    fit(workdir, 1)
    return workdir


def empty(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


@pytest.mark.parametrize("damage", [shutil.rmtree, empty])
@pytest.mark.parametrize("part", ["variables", "variables/d", "progress", "meta"])
def test_damage_is_said_in_one_sentence(trained, tmp_path, part, damage):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    checkpoint = find_checkpoint(tmp_path)
    damage(checkpoint / part)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match="is damaged .*: delete this folder"):
        checkpoints.restore(state_of_step_0())
    checkpoints.close()
    if "variables" in part:
        with pytest.raises(UserError, match="is damaged"):
            load_variables(checkpoint)
    if part == "meta":
        with pytest.raises(UserError, match="is damaged"):
            read_meta(checkpoint)


def test_meta_of_another_version_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state_of_step_0(), {"step": 0, **META} | {"classes": []})
    assert read_meta(newest(tmp_path))["classes"] == []
    checkpoints.close()
    (newest(tmp_path) / "meta" / "metadata").write_text('{"step": 0}')
    (newest(tmp_path) / "checksums.json").unlink()
    with pytest.raises(UserError, match="its meta lacks classes, config, fingerprint, train_clips"):
        read_meta(newest(tmp_path))


@pytest.mark.parametrize("name", ["r[w]", "a*", "b?"])
def test_a_folder_that_orbax_cannot_search_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"choose a --workdir whose path has no \*"):
        Checkpoints(tmp_path / name)
