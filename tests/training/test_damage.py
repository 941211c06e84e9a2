"""A newest checkpoint that is cut, changed or half deleted: the run goes on from the one before."""

import random
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from logo_jax.common.errors import UserError
from logo_jax.training import damage as module
from logo_jax.training.checkpoint import Checkpoints, find_checkpoint, load_variables
from logo_jax.training.damage import CHECKSUMS, damage, set_aside_damaged
from tests.training.small_run import META, fit, state_of_step_0


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run with checkpoints of steps 1 and 2."""
    workdir = tmp_path_factory.mktemp("two")
    fit(workdir, 1)
    fit(workdir, 2)
    return workdir


def files(checkpoint):
    """What its checkpoint is read from; Orbax's notes beside the items are not."""
    notes = ("_CHECKPOINT_METADATA", "commit_success.txt")
    found = [p for p in checkpoint.rglob("*") if p.is_file() and p.stat().st_size]
    return sorted(p for p in found if p.parent != checkpoint or p.name not in notes)


def cut(checkpoint, rng):
    file = rng.choice(files(checkpoint))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change(checkpoint, rng):
    """One bit, in any file: Orbax itself does not see it in an array."""
    file = rng.choice(files(checkpoint))
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)


def half_delete(checkpoint, rng):
    for file in rng.sample(files(checkpoint), len(files(checkpoint)) // 2):
        file.unlink()


def lose_meta(checkpoint, rng):
    shutil.rmtree(checkpoint / "meta")


def empty(checkpoint, rng):
    for path in checkpoint.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("harm", [cut, change, half_delete, lose_meta, empty])
def test_the_one_before_is_used_with_a_warning_that_names_both(two, tmp_path, capsys, harm, seed):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last"
    harm(last / "2", random.Random(seed))
    set_aside_damaged(tmp_path)
    said = capsys.readouterr().err
    assert str(last / "2") in said and f"the run goes on from {last / '1'}" in said
    assert (tmp_path / "checkpoints" / "damaged" / "2").is_dir()
    np.testing.assert_array_equal(load_variables(find_checkpoint(tmp_path))["params"]["w"], 1)
    fit(tmp_path, 3)
    np.testing.assert_array_equal(load_variables(find_checkpoint(tmp_path))["params"]["w"], 3)
    assert not damage(last / "3")


def test_a_checkpoint_under_the_name_of_another_step_is_set_aside(two, tmp_path, capsys):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last"
    (last / "2").rename(last / "50")
    set_aside_damaged(tmp_path)
    said = capsys.readouterr().err
    assert f"{last / '50'} is damaged (it is that of step 2)" in said
    fit(tmp_path, 3, checkpoint_every=1)
    assert sorted(path.name for path in last.iterdir()) == ["2", "3"]


def test_checkpoints_that_changed_places_are_refused(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last"
    for old, new in (("1", "other"), ("2", "1"), ("other", "2")):
        (last / old).rename(last / new)
    set_aside_damaged(tmp_path)
    with pytest.raises(UserError, match=r"2 is damaged \(it is that of step 1\): rename"):
        fit(tmp_path, 3)


def test_what_is_whole_stays(two, tmp_path, capsys):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    set_aside_damaged(tmp_path)
    set_aside_damaged(tmp_path / "a run that has not begun")
    assert capsys.readouterr().err == ""
    assert find_checkpoint(tmp_path).name == "2"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "is missing"),
        ("{}", "does not list"),
        ('{"meta/metadata": [Infinity, 1]}', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"../../x": [1, 1]}', "../../x is missing"),
    ],
)
def test_checksums_that_say_nothing_are_damage(two, tmp_path, capsys, content, problem):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last"
    (last.parent / "x").write_text("")
    (last / "2" / CHECKSUMS).unlink()
    if content is not None:
        (last / "2" / CHECKSUMS).write_text(content)
    assert problem in damage(last / "2")
    set_aside_damaged(tmp_path)
    assert f"the run goes on from {last / '1'}" in capsys.readouterr().err


def test_a_folder_in_place_of_the_checksums_is_damage(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    checkpoint = tmp_path / "checkpoints" / "last" / "2"
    (checkpoint / CHECKSUMS).unlink()
    (checkpoint / CHECKSUMS).mkdir()
    assert damage(checkpoint) == "checksums.json cannot be read"


def test_a_step_has_its_checksums_as_soon_as_its_name(tmp_path, monkeypatch):
    """A kill between the two would leave a best checkpoint that nobody can trust."""
    seen = []
    rename = module.WithChecksums.finalize

    async def look(self):
        await rename(self)
        seen.append((self.get_final().name, (Path(self.get_final()) / CHECKSUMS).is_file()))

    monkeypatch.setattr(module.WithChecksums, "finalize", look)
    fit(tmp_path, 1)
    assert dict(seen) == {"variables": False, "progress": False, "meta": False, "1": True}


@pytest.mark.parametrize("name", ["checkpoints", "checkpoints/last", "checkpoints/best"])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(UserError, match=f"{name} is a file, and must be a folder: move it away"):
        set_aside_damaged(tmp_path)


def test_names_that_are_no_steps(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    last = tmp_path / "checkpoints" / "last"
    (last / "²").mkdir()
    set_aside_damaged(tmp_path)
    fit(tmp_path, 3)
    (last / "3").rename(last / "0003")
    with pytest.raises(UserError, match="0003 is not the name of a step: rename it to 3"):
        set_aside_damaged(tmp_path)


@pytest.mark.slow
def test_two_processes_set_aside_what_has_no_checksums(two, tmp_path):
    """The first one does, and the other waits for it."""
    shutil.copytree(two, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "last" / "2" / CHECKSUMS).unlink()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = """if True:
        import sys, time
        from pathlib import Path
        from logo_jax.common import distributed
        from logo_jax.training.damage import set_aside_damaged
        distributed.start(f"127.0.0.1:{sys.argv[2]}", 2, int(sys.argv[3]))
        start = time.monotonic()
        set_aside_damaged(Path(sys.argv[1]))
        print(time.monotonic() - start < 20)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(port)]
    jobs = [
        subprocess.Popen([*command, number], stdout=subprocess.PIPE, text=True) for number in "01"
    ]
    assert [job.communicate(timeout=120)[0] for job in jobs] == ["True\n", "True\n"]
    assert find_checkpoint(tmp_path / "run").name == "1"


def test_the_same_step_may_be_damaged_twice(two, tmp_path):
    for _ in range(2):
        shutil.copytree(two, tmp_path, dirs_exist_ok=True)
        lose_meta(tmp_path / "checkpoints" / "last" / "2", None)
        set_aside_damaged(tmp_path)
    names = {path.name for path in (tmp_path / "checkpoints" / "damaged").iterdir()}
    assert names == {"2", "2-2"}


def test_the_only_checkpoint_stays_and_its_reader_says_what_is_wrong(two, tmp_path):
    shutil.copytree(two, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints" / "last" / "1")
    change(tmp_path / "checkpoints" / "last" / "2", random.Random(0))
    set_aside_damaged(tmp_path)
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match=r"damaged \(.* is not what was written\)"):
        checkpoints.restore(state_of_step_0())
    checkpoints.close()


def test_a_changed_byte_of_an_array_is_refused_by_its_reader(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    noise = jax.random.normal(jax.random.key(0), (4000,))
    state = state_of_step_0().replace(params={"w": noise})
    checkpoints.save(state, {"step": 0, **META})
    checkpoints.close()
    checkpoint = find_checkpoint(tmp_path)
    largest = max((checkpoint / "variables").rglob("*"), key=lambda p: p.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(UserError, match="is damaged .variables/.* is not what was written"):
        load_variables(checkpoint)
