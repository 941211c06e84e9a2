"""The git revision beside a result: of a checkout, and where there is none."""

import shutil
import subprocess

import pytest

from logo_jax.common.versions import _git_revision, versions


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_revision_of_a_checkout_and_of_what_is_none(tmp_path, monkeypatch):
    assert _git_revision(tmp_path) == ""  # an installed copy, or an unpacked archive

    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    assert _git_revision(tmp_path) == "unknown (CalledProcessError)"
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "--quiet", "-m", "one")
    assert _git_revision(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert _git_revision(tmp_path) == git("rev-parse", "HEAD") + "+changes"
    monkeypatch.setenv("PATH", "")
    assert _git_revision(tmp_path) == "unknown (FileNotFoundError)"


def test_the_revision_is_that_of_the_start_of_the_program(monkeypatch):
    first = versions()
    monkeypatch.setattr("logo_jax.common.versions._git_revision", lambda folder: "a later one")
    assert versions() == first


def test_versions_are_there():
    found = versions()
    assert {"python", "logo_jax", "jax", "flax", "git"} <= set(found)
    assert all(found[name] for name in set(found) - {"git"})
