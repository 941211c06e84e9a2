"""Checkpoints that cannot be read, or would not be."""

import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.training import checkpoint
from logo_jax.training.checkpoint import (
    Checkpoints,
    find_checkpoint,
    load_variables,
    newest,
    read_meta,
)
from logo_jax.training.damage import damage as damage_of
from logo_jax.training.damage import set_aside_damaged, write_checksums
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


def rewrite_meta(workdir, meta):
    """Let the newest checkpoint have this meta, as if it had been saved with it."""
    (newest(workdir) / "meta" / "metadata").write_text(json.dumps(meta))
    write_checksums(newest(workdir))


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


def test_a_peer_that_is_gone_is_no_damage(trained, monkeypatch):
    def fail(*_):
        raise RuntimeError("UNKNOWN: Gloo AllGather failed: connection closed by peer")

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(checkpoint, "read_arrays", fail)
    monkeypatch.setattr(checkpoint, "read_meta", lambda _: {})
    with pytest.raises(RuntimeError, match="Gloo AllGather failed"):
        load_variables(find_checkpoint(trained))


def test_a_checkpoint_of_other_devices_is_read(tmp_path):
    """Orbax rebuilds the devices that wrote it, unless it is told where the arrays belong."""
    code = """if True:
        import sys
        import jax
        jax.config.update("jax_num_cpu_devices", 8)
        from logo_jax.training.checkpoint import Checkpoints
        from tests.training.small_run import META, state_of_step_0
        state = state_of_step_0()
        assert len(state.params["w"].sharding.device_set) == 8
        checkpoints = Checkpoints(sys.argv[1])
        checkpoints.save(state.replace(params={"w": state.params["w"] + 3}), {"step": 0, **META})
        checkpoints.close()
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    assert jax.device_count() == 1
    like = jax.eval_shape(lambda: {"params": {"w": jnp.zeros(3)}, "batch_stats": {}})
    found = load_variables(find_checkpoint(tmp_path), like=like)
    np.testing.assert_array_equal(found["params"]["w"], 3)
    np.testing.assert_array_equal(load_variables(find_checkpoint(tmp_path))["params"]["w"], 3)


def test_nobody_is_told_to_delete_a_whole_checkpoint(trained, monkeypatch):
    def fail(*_):
        raise MemoryError("no room for 4 GiB")

    monkeypatch.setattr(checkpoint, "read_arrays", fail)
    with pytest.raises(UserError, match=r"cannot be read here \(no room.*: keep it") as raised:
        load_variables(find_checkpoint(trained))
    assert "delete" not in str(raised.value) and "damaged" not in str(raised.value)


def test_meta_of_another_version_is_refused(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state_of_step_0(), {"step": 0, **META} | {"classes": []})
    assert read_meta(newest(tmp_path))["classes"] == []
    checkpoints.close()
    rewrite_meta(tmp_path, {"step": 0})
    with pytest.raises(UserError, match="its meta lacks config, classes, fingerprint, train_clips"):
        read_meta(newest(tmp_path))


@pytest.mark.parametrize(("field", "value"), [("config", [1]), ("classes", 5), ("step", "1")])
def test_meta_of_wrong_types_is_refused(trained, tmp_path, field, value):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    rewrite_meta(tmp_path, {"step": 1, **META, field: value})
    with pytest.raises(UserError, match=f"its meta has no .* for {field}|step"):
        read_meta(newest(tmp_path))


@pytest.mark.parametrize("name", ["r[w]", "a*", "b?"])
def test_a_folder_that_orbax_cannot_search_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"choose a --workdir whose path has no \*"):
        Checkpoints(tmp_path / name)


@contextlib.contextmanager
def largest_file(size):
    """Let no file grow beyond `size` bytes: a write fails in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noisy(step):
    """A state of 400 kB that cannot be compressed."""
    noise = jax.random.normal(jax.random.key(step), (100_000,))
    return state_of_step_0().replace(step=jnp.asarray(step, jnp.int32), params={"w": noise})


# The metadata fail, then an array in its first and in its last block.
@pytest.mark.parametrize("size", [100, 5_000, 300_000])
def test_a_disk_that_fills_while_saving_leaves_the_checkpoints_before(tmp_path, size):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(noisy(1), {"step": 1, **META})
    checkpoints.save(noisy(2), {"step": 2, **META})
    with largest_file(size), pytest.raises(UserError, match="Cannot save step 3 in .*are intact"):
        checkpoints.save(noisy(3), {"step": 3, **META})
    checkpoints.close()
    for step in (1, 2):
        checkpoint = tmp_path / "checkpoints" / "last" / str(step)
        assert not damage_of(checkpoint)
        np.testing.assert_array_equal(
            load_variables(checkpoint)["params"]["w"], noisy(step).params["w"]
        )
    set_aside_damaged(tmp_path)
    again = Checkpoints(tmp_path)  # the next start, with space
    assert again.latest_step() == 2
    restored, _ = again.restore(noisy(0))
    np.testing.assert_array_equal(restored.params["w"], noisy(2).params["w"])
    again.save(noisy(3), {"step": 3, **META})
    again.close()
    assert not damage_of(find_checkpoint(tmp_path)) and find_checkpoint(tmp_path).name == "3"
    names = {path.name for path in (tmp_path / "checkpoints" / "last").iterdir()}
    assert names == {"2", "3"}  # no half of a checkpoint lies about
