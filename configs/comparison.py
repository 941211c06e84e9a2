"""What the parts of LOGO-Former are worth on the hard synthetic faces: the runs of a comparison.

    scripts/comparison.sh                                           # all of it, and the report

The argument is the variant: `logo_former` as it is, `no_regularizer` and `no_sam` without one of
them, `full` with full attention. All see the same 2,000 clips of `wild` in five folds that share no
person, with the same epochs, learning rate and seeds; nothing was tuned for any of them.

From scratch a network of this size needs about 30,000 clips before it leaves chance on `wild`
(measured: after 16,000 a WAR of 0.24 with SAM and 0.46 without). So, as the field starts from
weights trained on other faces, each variant and seed first learns the easier `quick` set, drawn
with another seed and so of other people (`<variant>-start`), and then the folds from there.

Cost: 12 short trainings and 60 folds (4 variants, 5 folds, 3 seeds), about two minutes each on one
CPU core. Results: docs/comparison.md.
"""

from configs import quickstart, wild
from logo_jax.common.errors import pick

VARIANTS = {
    "logo_former": {},
    "no_regularizer": {"loss": {"compact_regularizer": 0.0}},
    "no_sam": {"optimizer": {"rho": 0.0}},
    "full": {"model": {"attention": "full"}},
}
START = "-start"


def get_config(variant: str = "logo_former"):
    if variant.endswith(START):
        config = quickstart.get_config()
        config.data.options.seed = 1
        config.num_epochs = 8
    else:
        config = wild.get_config()
        config.data.options.num_train = 1600
        config.data.options.num_val = 200
        config.data.options.num_test = 200
        config.num_epochs = 5
    config.evaluation.controls = ""
    config.update(pick(VARIANTS, variant.removesuffix(START), "variant"))
    return config
