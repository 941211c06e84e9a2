"""Whether a model is as often right as it says: calibration error, likelihood, temperature.

Probabilities are [N C], rows sum to 1; labels are class numbers [N]. The confidence of a clip is
its highest probability.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from logo_jax.common.errors import UserError

BINS = 15
# The logarithm of a probability that underflowed to 0 is taken at float32's smallest normal number.
SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Reliability:
    """One entry per bin of equal mass, by rising confidence: means over its clips."""

    confidence: Float[np.ndarray, " K"]
    accuracy: Float[np.ndarray, " K"]
    clips: Int[np.ndarray, " K"]

    @property
    def error(self) -> float:
        """Mean over clips of |accuracy - confidence| of their bin."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.clips))


def reliability(
    probabilities: Float[np.ndarray, "N C"],
    labels: Int[np.ndarray, " N"],
    bins: int = BINS,
    predicted: Int[np.ndarray, " N"] | None = None,
) -> Reliability:
    """Sort the clips by confidence and cut them into bins of equal size (they differ by one clip
    at most; there are fewer bins than `bins` where there are fewer clips).

    Clips of the same confidence share their accuracy, so that the order of the clips in a file
    does not matter where such a group lies across two bins. `predicted` decides between classes
    of the same probability, as rounded files have them; else the first of them is predicted.
    """
    confidence = probabilities.max(axis=1)
    found = probabilities.argmax(axis=1) if predicted is None else predicted
    right = (found == labels).astype(np.float64)
    values, group = np.unique(confidence, return_inverse=True)
    accuracy = np.bincount(group, right, len(values)) / np.bincount(group)
    order = np.argsort(group, kind="stable")
    parts = np.array_split(order, min(bins, len(order)))
    return Reliability(
        np.array([confidence[part].mean() for part in parts], np.float64),
        np.array([accuracy[group[part]].mean() for part in parts], np.float64),
        np.array([len(part) for part in parts], np.int64),
    )


def expected_calibration_error(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"], bins: int = BINS
) -> float:
    """Mean over clips of |accuracy - confidence| of their bin (Naeini et al. 2015, equal mass).

    It is biased upwards on small sets: even a calibrated model's bins scatter around the diagonal.
    """
    return reliability(probabilities, labels, bins).error


def negative_log_likelihood(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]
) -> float:
    """Mean of -ln p(true class), in nats."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(0 - np.log(np.maximum(of_truth, SMALLEST)).mean())  # never -0


def brier_score(probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]) -> float:
    """Mean of the squared distance to the one-hot truth, summed over classes: 0 to 2."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def fit_temperature(
    probabilities: Float[np.ndarray, "N C"], labels: Int[np.ndarray, " N"]
) -> float:
    """The temperature T > 0 for which softmax(ln p / T) has the least negative log likelihood.

    To be fitted on validation clips only (Guo et al. 2017). With z = ln p and b = 1 / T the mean
    of -ln softmax(b z)[label] is convex in b: its slope is mean(E[z] - z[label]) and its curvature
    mean(Var[z]), both under softmax(b z). Newton's method, with bisection where it would leave the
    bracket.

    Raises:
        UserError: no T is best: every clip is recognized (T -> 0), or the true class is on average
            no likelier than the others (T -> infinity).
    """
    logs = np.log(np.maximum(probabilities, SMALLEST))
    of_truth = logs[np.arange(len(labels)), labels]
    if np.all(of_truth == logs.max(axis=1)):
        raise UserError(
            "The temperature cannot be fitted, since every validation clip is recognized; fit it "
            "on more clips."
        )
    if logs.mean() >= of_truth.mean():
        raise UserError(
            "The temperature cannot be fitted, since on the validation clips the true class is on "
            "average no likelier than the others; check that labels and probabilities belong "
            "together."
        )

    def slope_and_curvature(inverse: float) -> tuple[float, float]:
        weights = _softmax(inverse * logs)
        mean = (weights * logs).sum(axis=1)
        variance = (weights * (logs - mean[:, None]) ** 2).sum(axis=1)
        return float((mean - of_truth).mean()), float(variance.mean())

    low, high = 0.0, 1.0
    while slope_and_curvature(high)[0] < 0:
        low, high = high, 2 * high
    inverse = high
    for _ in range(200):
        slope, curvature = slope_and_curvature(inverse)
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        newton = inverse - slope / curvature if curvature > 0 else low
        proposal = newton if low < newton < high else (low + high) / 2
        if abs(proposal - inverse) <= 1e-12 * inverse:
            break
        inverse = proposal
    return 1 / inverse


def scaled(probabilities: Float[np.ndarray, "N C"], temperature: float) -> Float[np.ndarray, "N C"]:
    """softmax(ln p / T), which is softmax(logits / T); the predicted classes stay as they are."""
    return _softmax(np.log(np.maximum(probabilities, SMALLEST)) / temperature)


def measures(
    probabilities: Float[np.ndarray, "N C"],
    labels: Int[np.ndarray, " N"],
    predicted: Int[np.ndarray, " N"] | None = None,
) -> dict[str, Any]:
    """Calibration error, likelihood, Brier score and the bins of the diagram, ready for JSON."""
    bins = reliability(probabilities, labels, predicted=predicted)
    return {
        "ece": bins.error,
        "nll": negative_log_likelihood(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "bins": {
            "confidence": bins.confidence.tolist(),
            "accuracy": bins.accuracy.tolist(),
            "clips": bins.clips.tolist(),
        },
    }


def calibrate(
    probabilities: Float[np.ndarray, "N C"],
    labels: Int[np.ndarray, " N"],
    validation: tuple[Float[np.ndarray, "V C"], Int[np.ndarray, " V"]] | None,
) -> dict[str, Any]:
    """`measures` of the test clips before and after scaling by the temperature of a validation.

    Args:
        validation: probabilities and labels of validation clips; None where there are none.

    Returns:
        `before`, `after` and `temperature`, ready for JSON; the last two are None where none was
        fitted, and `note` says why.
    """
    numbers: dict[str, Any] = {
        "before": measures(probabilities, labels),
        "after": None,
        "temperature": None,
        "validation_clips": 0 if validation is None else len(validation[1]),
        "note": "",
    }
    if validation is None:
        numbers["note"] = "There is no validation split, so no temperature is fitted."
        return numbers
    try:
        numbers["temperature"] = fit_temperature(*validation)
    except UserError as error:  # no temperature is best: a fact about these clips, to be told
        numbers["note"] = str(error)
        return numbers
    numbers["after"] = measures(scaled(probabilities, numbers["temperature"]), labels)
    return numbers


def _softmax(logits: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
