"""results.json of a run that was edited by hand: the field is named."""

import json

import pytest

from logo_jax.common.errors import UserError
from logo_jax.experiments.runs import FIELDS, PART, read_run
from tests.experiments.judged import settings, write_run

WRONG = {
    "classes": 5,
    "versions": [],
    "config.evaluation": [1],
    "test.war": "0.5",
    "test.calibration": [],
    "test.calibration.temperature": "2",
    "test.calibration.note": 1,
    "test.calibration.after": {"ece": 0.1, "nll": 1.0, "brier": "0.5"},
    "test.shuffled_war": "0.5",
    "test.reversed_confusion": [[1, 2], [3]],
    "seed": None,
    "step": "3",
    "train_clips": True,
    "device": 1,
}


@pytest.fixture
def run(tmp_path):
    write_run(tmp_path, settings())
    return tmp_path


def edit(run, name, value=None):
    """Set a field of results.json, or delete it where no value is given."""
    results = json.loads((run / "results.json").read_text())
    *above, last = name.split(".")
    place = results
    for word in above:
        place = place[word]
    if value is None:
        del place[last]
    else:
        place[last] = value
    (run / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize("name", WRONG)
def test_a_field_of_the_wrong_type_is_named(run, name):
    read_run(run)
    edit(run, name, WRONG[name])
    with pytest.raises(UserError, match=f"results.json is damaged.*{name}.*judge the run again"):
        read_run(run)


@pytest.mark.parametrize("name", [*FIELDS, *(f"test.{name}" for name in PART)])
def test_a_missing_field_is_named(run, name):
    edit(run, name)
    with pytest.raises(UserError, match=f"results.json is damaged.*{name}.*judge the run again"):
        read_run(run)
