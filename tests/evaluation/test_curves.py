"""Curves of a training: what is read, and what is drawn."""

import json

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from logo_jax.common.errors import UserError
from logo_jax.common.figures import LIGHT
from logo_jax.evaluation.curves import curves, read_log, reliability_diagram, training_seconds

LINES = [
    {"step": 2, "loss": 2.0, "cross_entropy": 1.5, "focal": 0.5, "learning_rate": 0.1,
     "clips_per_second": 8.0},
    {"step": 2, "selection_war": 0.5, "selection_uar": 0.25},
    {"step": 5, "loss": 1.0, "cross_entropy": 0.8, "focal": 0.2, "learning_rate": 0.05,
     "clips_per_second": 4.0},
]  # fmt: skip


def drawn(axes):
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.lines}


def test_reads_whole_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"step": 6, "lo')
    assert read_log(path) == LINES
    path.write_text('{"step": 1}\n{"loss": 2}\n')
    with pytest.raises(UserError, match="Line 2 of .*metrics.jsonl is damaged"):
        read_log(path)
    with pytest.raises(UserError, match="Cannot read"):
        read_log(tmp_path / "none")


def test_time_is_that_of_the_steps():
    assert training_seconds(LINES, batch_size=16) == pytest.approx(2 * 16 / 8 + 3 * 16 / 4)


def test_one_log_is_drawn_with_the_parts_of_its_loss():
    found = curves({"A": [LINES]}, ("cross_entropy", "focal", "ec_stfl"))
    loss, rate, selection = (draw(LIGHT).axes[0] for draw in found.values())
    assert drawn(loss) == {
        "loss": [(2, 2.0), (5, 1.0)],
        "cross_entropy": [(2, 1.5), (5, 0.8)],
        "focal": [(2, 0.5), (5, 0.2)],
    }
    assert drawn(selection) == {"WAR": [(2, 50.0)], "UAR": [(2, 25.0)]}
    assert [line.get_ydata()[-1] for line in rate.lines] == [0.05]


def test_several_logs_have_one_curve_each_and_no_empty_panel():
    found = curves({"A": [LINES[::2]], "B": [LINES[::2]]}, ("cross_entropy", "focal"))
    assert set(found) == {"loss", "learning rate"}
    assert set(drawn(found["loss"](LIGHT).axes[0])) == {"A", "B"}


def test_folds_of_one_model_have_its_colour_and_one_label():
    found = curves({"A": [LINES, LINES], "B": [LINES] * 3}, ())
    for draw, lines in zip(found.values(), (5, 5, 10), strict=True):
        axes = draw(LIGHT).axes[0]
        assert len(axes.lines) == lines
        assert len({line.get_color() for line in axes.lines}) == 2
        assert axes.get_legend_handles_labels()[1] == ["A", "B"]


def test_a_long_legend_covers_no_curve():
    for logs in (
        {f"model {n}": [LINES] for n in range(12)},
        {"a name " * 6: [LINES], "B": [LINES]},
    ):
        for draw in curves(logs, ()).values():
            figure = draw(LIGHT)
            FigureCanvasAgg(figure).draw()
            (axes,) = figure.axes
            below = axes.xaxis.label.get_window_extent().y0
            assert axes.get_legend().get_window_extent().y1 <= below


def test_reliability_has_a_point_for_each_bin():
    bins = {"confidence": [0.3, 0.9], "accuracy": [0.2, 1.0]}
    axes = reliability_diagram({"A": [bins], "B": [bins] * 3})(LIGHT).axes[0]
    assert drawn(axes)["A"] == [(0.3, 0.2), (0.9, 1.0)]
    assert len(axes.lines) == 1 + 4 and len({line.get_color() for line in axes.lines[1:]}) == 2
    assert axes.get_legend_handles_labels()[1] == ["A", "B"]
