"""What the parts of LOGO-Former are worth on the hard synthetic faces: the runs of a comparison.

    scripts/comparison.sh                                                # all of it, and the report
    python launch.py --mode=cross_validate --seeds=3 --config=configs/comparison.py:no_sam  # a part

The argument is the variant: `logo_former` as it is, `no_regularizer` and `no_sam` without one of
them, `full` with full attention. All see the same 3,500 clips of `wild` in five folds that share no
person, the same 10 epochs, learning rate and seeds; nothing was tuned for any of them.

Result: not run in full yet. Cost: 60 trainings (4 variants, 5 folds, 3 seeds), a few minutes each
on 2 CPU cores.
"""

from configs import wild
from logo_jax.common.errors import pick

VARIANTS = {
    "logo_former": {},
    "no_regularizer": {"loss": {"compact_regularizer": 0.0}},
    "no_sam": {"optimizer": {"rho": 0.0}},
    "full": {"model": {"attention": "full"}},
}


def get_config(variant: str = "logo_former"):
    config = wild.get_config()
    config.data.options.num_train = 2800
    config.data.options.num_val = 350
    config.data.options.num_test = 350
    config.num_epochs = 10
    config.evaluation.controls = ""
    config.update(pick(VARIANTS, variant, "variant"))
    return config
