"""Features as a picture (t-SNE), and the numbers of the space in which they really lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from logo_jax.common.errors import UserError
from logo_jax.common.figures import Draw, Theme, style
from logo_jax.evaluation.curves import COLOURS

MOST_CLIPS = 2000  # for which t-SNE takes seconds
LEAST_CLIPS = 10
PERPLEXITY = 30.0
MARKERS = "os^Dv<>PX*"


@dataclass(frozen=True)
class Spread:
    """How features of classes lie, by Euclidean distance, over pairs of different clips.

    Attributes:
        intra: mean distance of two clips of one class.
        inter: mean distance of two clips of different classes.
        silhouette: mean over clips of (b - a) / max(a, b), with a the mean distance to the clips
            of the own class and b that to the nearest other class (Rousseeuw 1987); -1 to 1.
    """

    intra: float
    inter: float
    silhouette: float

    @property
    def ratio(self) -> float:
        return self.intra / self.inter


def sample(num_clips: int, seed: int = 0, most: int = MOST_CLIPS) -> Int[np.ndarray, " n"]:
    """At most `most` of the clips, drawn without repetition, in ascending order."""
    if num_clips <= most:
        return np.arange(num_clips)
    return np.sort(np.random.default_rng(seed).choice(num_clips, most, replace=False))


def spread(features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> Spread:
    """Distances within and between classes, in the space of the features.

    Raises:
        UserError: there are not two classes, or no two clips of one class.
    """
    from sklearn.metrics import pairwise_distances, silhouette_score

    same = labels[:, None] == labels[None]
    other = ~np.eye(len(labels), dtype=bool)
    if same.all() or not (same & other).any():
        raise UserError(
            "Distances within and between classes need two classes, and two clips of one of them."
        )
    distances = pairwise_distances(features.astype(np.float64))
    return Spread(
        float(distances[same & other].mean()),
        float(distances[~same].mean()),
        float(silhouette_score(features.astype(np.float64), labels)),
    )


def tsne(features: Float[np.ndarray, "N D"], seed: int = 0) -> Float[np.ndarray, "N 2"]:
    """The plane of t-SNE (van der Maaten and Hinton 2008), started from PCA, for a fixed seed.

    The perplexity is 30, or a third of the clips where there are fewer than 91.

    Raises:
        UserError: there are fewer than 10 clips.
    """
    from sklearn.manifold import TSNE

    if len(features) < LEAST_CLIPS:
        raise UserError(
            f"t-SNE of {len(features)} clips shows nothing: it needs at least {LEAST_CLIPS}."
        )
    plane = TSNE(
        n_components=2,
        perplexity=perplexity(len(features)),
        init="pca",
        learning_rate="auto",
        random_state=seed,
    )
    return np.asarray(plane.fit_transform(features.astype(np.float32)), np.float32)


def perplexity(num_clips: int) -> float:
    return min(PERPLEXITY, (num_clips - 1) / 3)


def embedding_plot(
    panels: Sequence[tuple[str, Float[np.ndarray, "N 2"]]],
    labels: Int[np.ndarray, " N"],
    classes: Sequence[str],
) -> Draw:
    """A drawing with one panel per run, the same clips in all of them.

    Axes have no units: t-SNE keeps neighbours, not distances.
    """

    def draw(theme: Theme) -> Figure:
        figure = Figure(figsize=(4.6 * len(panels), 4.9))
        for number, (title, points) in enumerate(panels, 1):
            axes = figure.add_subplot(1, len(panels), number)
            for label, name in enumerate(classes):
                x, y = points[labels == label].T
                axes.scatter(
                    x, y, s=10, lw=0, alpha=0.8, color=COLOURS[label % len(COLOURS)],
                    marker=MARKERS[label // len(COLOURS) % len(MARKERS)], label=name,
                )  # fmt: skip
            axes.set_title(title, parse_math=False, fontsize=10)
            style(axes, theme)
            axes.grid(False)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(visible=True, color=theme.faint)
        columns = 2 * len(panels)
        handles, names = figure.axes[0].get_legend_handles_labels()
        legend = figure.legend(
            handles,
            names,
            loc="lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
            markerscale=1.6,
        )
        for text in legend.get_texts():
            text.set(color=theme.ink, parse_math=False)
        rows = -(-len(classes) // columns)
        figure.subplots_adjust(bottom=0.03 + 0.05 * rows, top=0.93, left=0.02, right=0.98,
                               wspace=0.05)  # fmt: skip
        return figure

    return draw
