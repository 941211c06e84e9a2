"""Calibration against scikit-learn, closed forms and a search that knows no calculus."""

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
import sklearn.metrics
from sklearn.calibration import calibration_curve

from logo_jax.common.errors import UserError
from logo_jax.evaluation.calibration import (
    brier_score,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    measures,
    negative_log_likelihood,
    reliability,
    scaled,
)
from logo_jax.evaluation.reliability_plot import reliability_png


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def drawn(seed, clips=3000, num_classes=7, temperature=1.0):
    """Labels drawn from softmax(logits), and what a model says that divides by `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (clips, num_classes))
    uniform = rng.random((clips, 1))
    labels = (softmax(logits).cumsum(1) < uniform).sum(1).clip(max=num_classes - 1)
    return softmax(logits / temperature), labels


def test_scores_against_scikit_learn():
    probabilities, labels = drawn(0)
    classes = list(range(7))
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(
        sklearn.metrics.log_loss(labels, probabilities, labels=classes)
    )
    assert brier_score(probabilities, labels) == pytest.approx(
        sklearn.metrics.brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False)
    )


def test_bins_against_scikit_learn():
    # 3,000 clips without ties: quantile bins are 200 clips each in both.
    probabilities, labels = drawn(1)
    right = probabilities.argmax(1) == labels
    accuracy, confidence = calibration_curve(
        right, probabilities.max(1), n_bins=15, strategy="quantile"
    )
    bins = reliability(probabilities, labels)
    np.testing.assert_array_equal(bins.clips, np.full(15, 200))
    np.testing.assert_allclose(bins.accuracy, accuracy)
    np.testing.assert_allclose(bins.confidence, confidence)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(
        np.abs(accuracy - confidence).mean()
    )


def test_scores_by_hand():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    labels = np.array([0, 1])
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(np.log(2) / 2)
    assert brier_score(probabilities, labels) == pytest.approx((0.25 + 0.0625 * 2) / 2)
    # Each clip is a bin of its own: |1 - 0.5| and |1 - 1|.
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.25)
    # The opposite of the truth, for sure: 87.3 is -ln of the smallest float32.
    assert negative_log_likelihood(probabilities[1:], np.array([0])) == pytest.approx(
        87.34, abs=0.01
    )
    assert brier_score(probabilities[1:], np.array([0])) == 2
    assert str(negative_log_likelihood(probabilities[1:], np.array([1]))) == "0.0"  # not -0.0


def test_the_predicted_class_decides_between_equal_probabilities():
    probabilities = np.array([[0.4, 0.4, 0.2], [0.1, 0.45, 0.45]])
    labels = np.array([1, 2])
    wrong = measures(probabilities, labels)
    assert wrong["bins"]["accuracy"] == [0, 0] and wrong["ece"] == pytest.approx(0.425)
    right = measures(probabilities, labels, predicted=labels)
    assert right["bins"]["accuracy"] == [1, 1] and right["ece"] == pytest.approx(0.575)


def test_uneven_bins():
    probabilities, labels = drawn(2, clips=32)
    assert reliability(probabilities, labels).clips.tolist() == [3, 3] + [2] * 13
    few = reliability(probabilities[:4], labels[:4])
    assert few.clips.tolist() == [1, 1, 1, 1]


def test_the_order_of_clips_does_not_matter():
    # Many clips with the same confidence, as a saturated model has them.
    probabilities, labels = drawn(3, clips=500)
    probabilities = np.where(probabilities.max(1, keepdims=True) > 0.5, np.eye(7)[3], probabilities)
    shuffled = np.random.default_rng(0).permutation(500)
    for name in ("confidence", "accuracy", "clips"):
        np.testing.assert_allclose(
            getattr(reliability(probabilities, labels), name),
            getattr(reliability(probabilities[shuffled], labels[shuffled]), name),
        )


def test_a_calibrated_model_has_a_small_error_and_a_sharpened_one_does_not():
    calibrated, labels = drawn(4, clips=20_000)
    sharpened, _ = drawn(4, clips=20_000, temperature=0.5)
    assert expected_calibration_error(calibrated, labels) < 0.012
    assert expected_calibration_error(sharpened, labels) > 0.08


@pytest.mark.parametrize("temperature", [0.3, 0.6, 1.0, 2.5, 20.0])
def test_the_temperature_of_a_model_is_found(temperature):
    probabilities, labels = drawn(5, clips=20_000, temperature=temperature)
    fitted = fit_temperature(probabilities, labels)
    # A model that divides its logits by t is mended by T = 1 / t.
    assert fitted == pytest.approx(1 / temperature, rel=0.03)
    np.testing.assert_allclose(
        scaled(probabilities, 1 / temperature), drawn(5, clips=20_000)[0], rtol=1e-5, atol=1e-9
    )
    assert (scaled(probabilities, fitted).argmax(1) == probabilities.argmax(1)).all()


def test_no_other_temperature_is_better():
    probabilities, labels = drawn(6, clips=300, temperature=0.4)
    fitted = fit_temperature(probabilities, labels)
    grid = fitted * np.exp(np.linspace(-2, 2, 401))
    likelihoods = [negative_log_likelihood(scaled(probabilities, t), labels) for t in grid]
    assert np.argmin(likelihoods) == 200
    best = negative_log_likelihood(scaled(probabilities, fitted), labels)
    for nearby in (fitted * 0.9999, fitted * 1.0001):
        assert best < negative_log_likelihood(scaled(probabilities, nearby), labels)


def test_the_temperature_of_two_classes_has_a_closed_form():
    # The model says 0.9; 3 of 4 are right: T ln 3 = ln 9, so T = 2.
    probabilities = np.tile([0.9, 0.1], (4, 1))
    assert fit_temperature(probabilities, np.array([0, 0, 1, 0])) == pytest.approx(2, rel=1e-10)


def test_saturated_probabilities_have_a_temperature():
    # float32's softmax gives 1 and 0 exactly; 9 of 10 clips are right.
    probabilities = np.tile([1.0, 0.0], (10, 1))
    fitted = fit_temperature(probabilities, np.array([0] * 9 + [1]))
    assert scaled(probabilities, fitted)[0, 0] == pytest.approx(0.9)


def test_no_temperature():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(UserError, match="every validation clip is recognized"):
        fit_temperature(probabilities, np.array([0, 1]))
    with pytest.raises(UserError, match="no likelier than the others"):
        fit_temperature(probabilities, np.array([1, 0]))


def test_a_run_is_judged_before_and_after_its_temperature():
    probabilities, labels = drawn(3, temperature=0.5)
    test, validation = slice(0, 1000), slice(1000, 3000)
    held_out = probabilities[validation], labels[validation]
    found = calibrate(probabilities[test], labels[test], held_out)
    assert found["temperature"] == fit_temperature(*held_out)
    assert found["validation_clips"] == 2000 and not found["note"]
    better = scaled(probabilities[test], found["temperature"])
    assert found["after"]["nll"] == negative_log_likelihood(better, labels[test])
    assert found["after"]["nll"] < found["before"]["nll"]
    assert found["after"]["ece"] < found["before"]["ece"]


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (None, "There is no validation split, so no temperature is fitted"),
        ((np.eye(2), np.array([0, 1])), "every validation clip is recognized"),
    ],
)
def test_a_run_says_why_it_has_no_temperature(validation, words):
    found = calibrate(np.array([[0.9, 0.1]]), np.array([0]), validation)
    assert found["temperature"] is None and found["after"] is None and words in found["note"]


def test_the_picture(tmp_path, monkeypatch):
    saved = []
    save = matplotlib.figure.Figure.savefig
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda figure, *args, **options: (saved.append(figure), save(figure, *args, **options)),
    )
    probabilities, labels = drawn(7, clips=300)
    reliability_png(tmp_path / "reliability.png", probabilities, labels, "dfew $1$")
    axes = saved[0].axes[0]
    points = axes.lines[1].get_xydata()
    bins = reliability(probabilities, labels)
    np.testing.assert_array_equal(points, np.stack([bins.confidence, bins.accuracy], 1))
    error = expected_calibration_error(probabilities, labels)
    assert axes.get_title() == (f"dfew $1$\nECE {error:.4f}   15 bins of equal mass   300 clips")
    assert matplotlib.image.imread(tmp_path / "reliability.png").shape[0] > 300
    with pytest.raises(UserError, match="Cannot write"):
        reliability_png(tmp_path / "no" / "r.png", probabilities, labels, "test")
