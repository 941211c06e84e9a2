"""Any system on the hard synthetic faces, the set of all comparisons, at the quickstart's size.

    python launch.py --config=configs/wild.py                  # LOGO-Former
    python launch.py --config=configs/wild.py:resnet18_gru     # any system of SYSTEMS below

Expected for LOGO-Former: a test WAR of about 0.76 and a UAR of about 0.68 (seed 0); a model blind
to the order of frames cannot exceed 0.676 and 0.571. Cost: thirteen minutes on 2 CPU cores, of
which two and a half draw the data set, once; systems with 3-D convolutions take several times as
long. All systems see the same 8 frames (but C3D, whose pools need 16), with the same losses and
optimizer; the sizes below make them fit a laptop and are nobody's published ones.
"""

from configs import quickstart
from logo_jax.common.errors import pick

TOKENS = {"dim": 64, "mlp_dim": 128, "num_heads": 4, "num_blocks": 2}
CNN_TOKENS = {**TOKENS, "stage": 3, "width": 8}
PATCHES = {**TOKENS, "patch_size": 8}
SYSTEMS = {
    "logo_former": {**CNN_TOKENS, "window": (2, 3, 3)},
    "stt": CNN_TOKENS,
    "former_dfer": {"width": 8, "num_heads": 4},
    "resnet18_lstm": {"width": 8, "hidden_size": 64},
    "resnet18_gru": {"width": 8, "hidden_size": 64},
    "vgg13_lstm": {"width": 8, "hidden_size": 64},
    "r3d_18": {"width": 8},
    "r2plus1d_18": {"width": 8},
    "mc3_18": {"width": 8},
    "c3d": {"width": 8},
    "i3d": {"width": 8},
    "m3dfel": {"width": 8},
    "timesformer": PATCHES,
    "xvit": PATCHES,
    "vivit_fact": PATCHES,
}


def get_config(system: str = "logo_former"):
    config = quickstart.get_config()
    config.data.options.config = "wild"
    config.num_epochs = 15
    options = pick(SYSTEMS, system, "system")
    for option in ("stage", "dim", "mlp_dim", "num_heads", "num_blocks", "width", "window"):
        config.model[option] = None  # the quickstart's
    config.model.name = system
    config.model.update(options)
    if system == "c3d":
        config.data.segments = 16
    return config
