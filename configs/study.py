"""What each attention scheme costs: multiply-adds, time and memory over frames and resolution.

    python launch.py --mode=study --config=configs/study.py [--with_accuracy]
    python -m logo_jax.study --help                            # the same without a config

Counts and measures the attention module of every scheme alone, forward and forward + backward, and
writes study.jsonl, study.csv, plots and report.html (one file). An interrupted study goes on where
it stopped. Cost: see docs/performance.md.

With accuracy every scheme is trained with three seeds as well, each run of configs/wild.py as long
as that file says.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Python file that registers schemes of one's own (docs/schemes.md), which join those below.
    config.scheme_file = ""
    config.study = ConfigDict()
    # Names of logo_jax.models.blocks.SCHEMES; ":chunked" (less memory) or ":cudnn" (GPU, bfloat16)
    # behind a name takes another form of the products.
    config.study.schemes = ("full", "full:chunked", "spatial", "mixing", "divided", "factorized",
                            "local", "global", "local_global")  # fmt: skip
    # Token grids: frames, height, width. 16 x 14 x 14 is ResNet-18's stage 2 at 112 px.
    config.study.grids = ((4, 7, 7), (8, 7, 7), (16, 7, 7), (32, 7, 7), (8, 14, 14), (16, 14, 14),
                          (8, 21, 21))  # fmt: skip
    # Windows in tokens; each is used on the grids that it divides.
    config.study.windows = ((4, 7, 7),)
    # Channels of a token.
    config.study.dims = (256,)
    # Types of the computation: "float32", "bfloat16".
    config.study.dtypes = ("float32",)
    # Attention heads.
    config.study.num_heads = 8
    # Clips at a time.
    config.study.batch = 1
    # Samples of each time; of growth, three at most.
    config.study.repeats = 5
    # Points that need more memory are recorded as such; 0 = what the machine has free.
    config.study.memory_gib = 0.0
    # What is measured: "grid" (the fields above), "exponents" (growth with frames and positions)
    # and "window" (local_global over windows), the last two at fixed sizes.
    config.study.series = ("grid", "exponents", "window")

    # Train the schemes too; --with_accuracy does the same.
    config.study.with_accuracy = False
    # The recipe of these trainings, its seeds (at least 3), and fields that differ from it.
    config.study.accuracy_config = "configs/wild.py"
    config.study.accuracy_seeds = 3
    config.study.accuracy_overrides = ConfigDict()
    return config
