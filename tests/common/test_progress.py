"""Lines of progress where there is no terminal."""

import pytest

from logo_jax.common import progress


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (2.0, "training: 6 of 10 steps, 2.0/s, 2 s left; loss 1"),
        (40.0, "training: 6 of 10 steps, 10.0 s each, 40 s left; loss 1"),
    ],
)
def test_rate_and_time_left_are_those_of_this_start(monkeypatch, capsys, seconds, said):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    clock = iter([0.0, seconds, seconds, seconds])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    shown = progress.Progress(10, "training", "steps", done=2)
    shown.update(4, "loss 1")
    assert capsys.readouterr().err == said + "\n"


def test_nothing_done_has_no_rate(capsys):
    progress.Progress(10, "training", "steps").close()
    assert capsys.readouterr().err == "training: 0 of 10 steps\n"
