"""What training minimizes: the losses by name, each times its weight, added up.

To add a loss: write it in `losses.py` (of the logits) or `feature_losses.py` (of the features),
give `Objective` a field of its name with the weight, enter it in `LOSSES`, and compute it in
`__call__`.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from logo_jax.common.errors import UserError
from logo_jax.models.contract import Output, at_least_float32
from logo_jax.training import feature_losses, losses
from logo_jax.training.class_balance import class_weights, log_prior

# Fields of `Objective` that are weights of losses. One of the first two must teach the classes.
CLASSIFIERS = ("cross_entropy", "focal")
LOSSES = (*CLASSIFIERS, "compact_regularizer", "center_loss", "ec_stfl")

LossState = dict[str, Any]


class Targets(NamedTuple):
    """What a batch's clips are: one class each, and a distribution over all classes."""

    labels: Int[Array, " B"]
    soft_labels: Float[Array, "B C"]


def targets_of(batch: Mapping[str, Any]) -> Any:
    """What an `Objective` takes of a batch: its labels, and its soft labels if it has any."""
    if "soft_label" in batch:
        return Targets(batch["label"], batch["soft_label"])
    return batch["label"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Objective:
    """The weighted sum of losses, as a function of a batch and of the state of the losses.

    LOGO-Former's equation 11 is cross entropy + compact regularizer; it gives no weight, and 1 is
    ours. The DFEW paper's systems are cross entropy + 1e-4 center loss, and + 10 EC-STFL. A loss of
    weight 0 is not computed.

    Class weights multiply cross entropy and the focal loss of each clip, and logit adjustment
    shifts the logits that these two see. The other losses compare either wrong classes with each
    other or features, where neither has a meaning.

    Attributes:
        class_counts: number of training clips of each class.
        cross_entropy, focal, compact_regularizer, center_loss, ec_stfl: the weights.
        regularizer_form: of the compact regularizer, "definition" or "as_printed".
        label_smoothing: of cross entropy alone. The paper's presets use none, since it flattens
            the wrong classes' logits as the regularizer does.
        focal_gamma: of the focal loss.
        center_rate: how fast the centres of the center loss move.
        class_weights: "none", "inverse" or "effective", the last with `class_weight_beta`.
        logit_adjustment: tau, the factor of the log prior added to the logits; 0 = off.
        soft_labels: cross entropy is against the batch's soft labels, such as shares of votes; all
            other losses, and the class weights, take the label.

    Raises:
        UserError: a weight or an option that no training can use.
    """

    class_counts: Int[np.ndarray, " C"]
    cross_entropy: float | int = 1.0
    focal: float | int = 0.0
    compact_regularizer: float | int = 0.0
    center_loss: float | int = 0.0
    ec_stfl: float | int = 0.0
    regularizer_form: str = "definition"
    label_smoothing: float | int = 0.0
    focal_gamma: float | int = 2.0
    center_rate: float | int = 0.5
    class_weights: str = "none"
    class_weight_beta: float | int = 0.999
    logit_adjustment: float | int = 0.0
    soft_labels: bool = False

    def __post_init__(self) -> None:
        for name in LOSSES:
            _require_weight(f"The weight of {name}", getattr(self, name))
        _require_weight("logit_adjustment", self.logit_adjustment)
        if not any(getattr(self, name) for name in CLASSIFIERS):
            raise UserError(
                "No loss teaches the classes: give cross_entropy or focal a weight above 0."
            )
        # The losses check their options when they are called: here, and not in the first step.
        out = Output(
            logits=jax.ShapeDtypeStruct((1, len(self.class_counts)), jnp.float32),
            features=jax.ShapeDtypeStruct((1, 1), jnp.float32),
        )
        labels: Any = jax.ShapeDtypeStruct((1,), jnp.int32)
        if self.soft_labels:
            if not self.cross_entropy:
                raise UserError(
                    "soft_labels is for cross entropy: give cross_entropy a weight above 0."
                )
            labels = Targets(labels, out.logits)
        jax.eval_shape(lambda out, labels: self(out, labels, self.init_state(out)), out, labels)

    def init_state(self, out: Output) -> LossState:
        """State of step 0 for a model that gives `out`, or the shapes and types of it.

        The centres are 0; Wen et al. leave their start open.
        """
        if not self.center_loss:
            return {}
        dtype = jnp.promote_types(out.features.dtype, jnp.float32)
        shape = (out.logits.shape[-1], out.features.shape[-1])
        return {"center_loss": {"centers": jnp.zeros(shape, dtype)}}

    def __call__(
        self, out: Output, targets: Int[Array, " B"] | Targets, state: LossState
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]], LossState]:
        """Return the loss, its parts by name without their weights, and the new state.

        Args:
            out: of the model.
            targets: the labels; with soft labels beside them where `soft_labels` is set.
            state: of the losses.
        """
        labels, soft = targets if isinstance(targets, Targets) else (targets, None)
        parts: dict[str, Array] = {}
        new_state: LossState = {}
        logits = at_least_float32(out.logits)
        if self.logit_adjustment:
            shift = self.logit_adjustment * log_prior(self.class_counts)
            adjusted = logits + jnp.asarray(shift, logits.dtype)
        else:
            adjusted = logits
        if self.cross_entropy:
            if self.soft_labels:
                if soft is None:
                    raise ValueError("The batch has no soft labels.")
                each = losses.soft_cross_entropy(adjusted, soft, self.label_smoothing)
            else:
                each = losses.cross_entropy(adjusted, labels, self.label_smoothing)
            parts["cross_entropy"] = self._weighted_mean(each, labels)
        if self.focal:
            each = losses.focal(adjusted, labels, self.focal_gamma)
            parts["focal"] = self._weighted_mean(each, labels)
        if self.compact_regularizer:
            each = losses.compact_regularizer(logits, labels, self.regularizer_form)
            parts["compact_regularizer"] = each.mean()
        if self.center_loss:
            centers = state["center_loss"]["centers"]
            each = feature_losses.center_loss(out.features, labels, centers)
            parts["center_loss"] = each.mean()
            moved = feature_losses.update_centers(centers, out.features, labels, self.center_rate)
            new_state["center_loss"] = {"centers": moved}
        if self.ec_stfl:
            parts["ec_stfl"] = feature_losses.ec_stfl(out.features, labels)
        weighted = [getattr(self, name) * part for name, part in parts.items()]
        loss = sum(weighted[1:], start=weighted[0])
        return loss, parts, new_state

    def _weighted_mean(
        self, each: Float[Array, " B"], labels: Int[Array, " B"]
    ) -> Float[Array, ""]:
        if self.class_weights == "none":
            return each.mean()
        weights = class_weights(self.class_counts, self.class_weights, self.class_weight_beta)
        return (jnp.asarray(weights, each.dtype)[labels] * each).mean()


def _require_weight(name: str, value: float | int) -> None:
    if not 0 <= value < math.inf:
        raise UserError(f"{name} is {value}, but must be 0 (off) or more.")
