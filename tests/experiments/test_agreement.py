"""Two processes of one job that were not started alike."""

import copy
import json

import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments import agreement
from tests.experiments.test_layouts import start


def other_process(monkeypatch, **changed):
    """Let a second process say the same, but for `changed`."""

    def gather(text):
        return [text, json.dumps(json.loads(text) | changed)]

    monkeypatch.setattr(agreement, "gather_texts", gather)


def test_another_config_or_workdir_or_data_is_named(config, tmp_path, monkeypatch):
    other_process(monkeypatch)
    agreement.check_config(config, tmp_path)
    other_process(monkeypatch, **{"config.seed": 7})
    with pytest.raises(UserError, match="Process 1 .*config.seed is 0 there and 7 here"):
        agreement.check_config(config, tmp_path)
    other_process(monkeypatch, **{"the name of the workdir": "b"})
    with pytest.raises(UserError, match="the name of the workdir is .* there and 'b' here"):
        agreement.check_config(config, tmp_path)
    other_process(monkeypatch, **{"the fingerprint of the data (config.data.data_dir)": "x"})
    with pytest.raises(UserError, match=r"data \(config.data.data_dir\) is 'f' there and 'x' here"):
        agreement.check_data("f")


def test_fields_of_one_host_are_not_compared(config, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(agreement, "gather_texts", lambda text: said.append(text) or [text])
    for folder in ("a", "b"):
        config.data.data_dir, config.data.num_workers = folder, len(said)
        agreement.check_config(config, tmp_path)
    assert said[0] == said[1] and "config.checkpoint_every" in said[0]


@pytest.mark.slow
def test_two_processes_with_different_seeds_end_at_once(config, tmp_path):
    config.batch_size = config.evaluation.batch_size = 8
    other = copy.deepcopy(config)
    other.seed = 7
    jobs = start([config, other], tmp_path / "run", processes=2)
    outputs = [job.communicate(timeout=240)[0] for job in jobs]
    assert 2 in [job.returncode for job in jobs], outputs
    assert any("config.seed is 0 there and 7 here" in output for output in outputs)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert all(job.returncode for job in jobs), outputs
