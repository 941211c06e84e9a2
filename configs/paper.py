"""Every row of the paper's Tables 1 and 2 (Ma, Sun, Li; ICASSP 2023), on equal terms.

    python launch.py --config=configs/paper.py:resnet18_gru,3 --config.data.source=<folder DFEW>
    python launch.py --config=configs/paper.py:baseline,ferv39k \\
        --config.data.source=<folder FERV39k>

The argument is the row and, after a comma, the fold of DFEW (1 without it) or "ferv39k"; rows that
stand in Table 2 alone run on FERV39K without it. All rows are trained from scratch with the recipe
of configs/dfew_scratch.py: the same frames, batch, epochs, SGD with SAM. What differs is what the
row's name says: the system, its losses, its sampling. The published systems had recipes of their
own, pretrained weights among them (docs/models.md): a row here is a comparison of systems, no
reproduction of a number. Rows that end in `_ti` read DFEW's time-interpolated frames, and are not
comparable with the others.

Result: not measured; the data sets are gated. Cost: `python -m logo_jax.models` prints each
system's.
"""

from configs import default, dfew_scratch, ferv39k_scratch
from logo_jax.common.errors import pick

REGULARIZED = {"compact_regularizer": 1.0}
# Row -> (system, options of the system, weights of losses beside cross entropy).
ROWS = {
    # Table 1, DFEW.
    "r2plus1d_18_ti": ("r2plus1d_18", {}, {}),
    "resnet18_lstm_ti": ("resnet18_lstm", {}, {}),
    "r3d_18_center_loss_ti": ("r3d_18", {}, {"center_loss": 1e-4}),
    "ec_stfl_ti": ("r3d_18", {}, {"ec_stfl": 10.0}),  # the paper names no network; as the row above
    "r3d_18": ("r3d_18", {}, {}),
    "resnet18_lstm": ("resnet18_lstm", {}, {}),
    "resnet18_gru": ("resnet18_gru", {}, {}),
    "former_dfer": ("former_dfer", {"spatial_depth": 3}, {}),
    "stt": ("stt", {}, REGULARIZED),
    "logo_former": ("logo_former", {}, REGULARIZED),
    # Table 2, FERV39K, adds:
    "vgg13_lstm": ("vgg13_lstm", {}, {}),
    "baseline": ("stt", {}, {}),
    "baseline_reg": ("stt", {}, REGULARIZED),
    "logo_former_no_reg": ("logo_former", {}, {}),
}


# Rows of Table 2, FERV39K; the first ones stand in it alone.
TABLE_2_ALONE = ("vgg13_lstm", "baseline", "baseline_reg", "logo_former_no_reg")
TABLE_2 = ("r3d_18", "resnet18_lstm", "former_dfer", "logo_former", *TABLE_2_ALONE)


def get_config(argument: str = "logo_former,1"):
    row, _, place = argument.partition(",")
    system, options, losses = pick(ROWS, row, "row of the paper's tables")
    if place == "ferv39k" or (not place and row in TABLE_2_ALONE):
        pick(dict.fromkeys(TABLE_2), row, "row of the paper's Table 2")
        config = ferv39k_scratch.get_config()
    else:
        config = dfew_scratch.get_config(str(default.fold_number(place or "1", 5)))
    config.model.name = system
    config.model.update(options)
    config.loss.compact_regularizer = 0.0
    config.loss.update(losses)
    if row.endswith("_ti"):
        config.data.options.frame_folder = "clip_224x224_16f"
        # All 16 frames; dynamic sampling would see the first half of them in training.
        config.data.sampling = "uniform"
    return config
