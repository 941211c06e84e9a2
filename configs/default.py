"""Every field of a config, with its default. The other files here change what they need.

    python launch.py --config=configs/<file>.py[:argument] --config.<field>=<value>

A command-line override names a field below; a name that does not stand here is an error.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from logo_jax.common.errors import UserError


def get_config() -> ConfigDict:
    config = ConfigDict()
    # Seed of parameters, dropout, order of the clips and augmentation.
    config.seed = 0
    # Passes over the training clips.
    config.num_epochs = 100
    # Stop after so many steps even if the epochs are not over; 0 = never.
    config.max_steps = 0
    # Clips per step, over all devices and hosts.
    config.batch_size = 32
    # Micro-batches into which every pass of a step cuts the batch: less memory (docs/training.md).
    config.accumulate = 1
    # Decay of the moving average of parameters and batch statistics; 0 = none is kept.
    config.ema_decay = 0.0
    # "trained" or "ema": which of the two is judged; unset, the average where one is kept.
    config.judged_parameters = placeholder(str)
    # Go on after a step whose loss or parameters are not finite, without its update.
    config.skip_nonfinite = False
    # Steps between two lines of the log.
    config.log_every = 20
    # Steps between two checkpoints; the last step, and what a selection evaluates, is always one.
    config.checkpoint_every = 200
    # Which parameters are judged: "last", "best_on_val", or "best_on_test" (as much of the field
    # does; it looks at the test set, and the result says so).
    config.selection = "last"
    # The number that selects the best checkpoint: "uar" or "war".
    config.selection_metric = "uar"
    # Epochs between two evaluations for the selection.
    config.select_every_epochs = 1
    # Start from the parameters of this workdir or checkpoint; "" = from scratch.
    config.init_from = ""
    # "new class=old class,..." : head columns of the old classes that serve the new ones.
    config.init_class_map = ""

    # Python file that registers attention schemes of one's own (docs/schemes.md); "" = none.
    config.scheme_file = ""

    config.data = ConfigDict()
    # Data set: "dfew", "ferv39k", "afew", "mafw", "frame_folders" or "synthetic_faces".
    config.data.name = "synthetic_faces"
    # Where prepared data sets lie, and are written.
    config.data.data_dir = "data"
    # The data set as its owners gave it, read once for the preparation; not needed afterwards.
    config.data.source = ""
    # Options of the data set's builder (docs/data.md).
    config.data.options = ConfigDict()
    # Side in pixels to which larger frames are made smaller, once, when the set is prepared (saves
    # disk and reading; choose no less than data.frame_size); 0 = the files as they are.
    config.data.stored_size = 0
    # Leave out clips whose frames are missing or broken, instead of stopping the preparation.
    config.data.allow_missing = False
    # Accept a class without a clip in training or test.
    config.data.allow_empty_classes = False
    # Fold of a set that has folds, from 1; 0 = the set's own split.
    config.data.fold = 0
    # Only the clips with these factors, such as "scene=Action" of ferv39k; unset = all of them.
    config.data.where = placeholder(str)
    # Share of the training clips held out as validation split, where the set has none of its own.
    config.data.val_fraction = 0.0
    # Frames of a clip that the model sees: "dynamic" (segments x consecutive frames), "uniform",
    # "dense", "time_interpolation" or "linear_interpolation" (docs/data.md).
    config.data.sampling = "dynamic"
    # Segments, and consecutive frames of each; for every sampling, their product frames are seen.
    config.data.segments = 8
    config.data.duration = 2
    # Clips too short for the sampling: "pad_last" (repeat the last frame), "spread" (repeat frames
    # evenly), "former_dfer" (its known defect), or "drop" (leave clips of fewer frames than the
    # model sees out, of the test set too).
    config.data.short = "pad_last"
    # Frames from one to the next in dense sampling.
    config.data.stride = 1
    # Side, in pixels, to which frames are resized before augmentation; crops are cut from that.
    # Test frames are decoded at the size that the views of a test clip need, where it is smaller.
    config.data.frame_size = 224
    # Order of a clip's sampled frames: "natural"; as controls "shuffled", "reversed", "frozen" (the
    # apex repeated), "thinned" (every second one repeated), "single" (the middle one repeated).
    config.data.frame_order = "natural"
    # Share of the training clips' draws that are uniform over the classes; 0 = every clip once an
    # epoch.
    config.data.class_balanced = 0.0
    # Processes that read and decode; 0 = the training process itself. Results do not depend on it.
    # -1 = 0 where the model runs on CPUs, which need the cores themselves; else one for each core
    # but one, and 8 at most.
    config.data.num_workers = -1
    # Most that a cache of decoded frames may take on disk, GiB; 0 = none. It is filled in the first
    # epoch with whole clips, as far as they fit, and spares the later ones reading and decoding.
    config.data.cache_gib = 0.0
    # Folder of such caches, a fast local disk; "" = beside the prepared data set.
    config.data.cache_dir = ""

    # Augmentation in training, one draw per clip; evaluation sees the whole frame.
    config.augment = ConfigDict()
    # Random sized crop: smallest and largest share of the frame's area, width/height ratio.
    config.augment.min_area = 0.08
    config.augment.max_area = 1.0
    config.augment.min_ratio = 3 / 4
    config.augment.max_ratio = 4 / 3
    # Probability of a horizontal flip.
    config.augment.flip = 0.5
    # Brightness and contrast factors are drawn from 1 - x to 1 + x.
    config.augment.brightness = 0.0
    config.augment.contrast = 0.0

    config.input = ConfigDict()
    # Side of the frames that the model sees, in pixels.
    config.input.image_size = 112
    # Pixel values are scaled to 0..1, then (value - mean) / std, per channel in RGB order.
    config.input.mean = (0.0, 0.0, 0.0)
    config.input.std = (1.0, 1.0, 1.0)

    # System and its options: `logo_jax.models.build(name, num_classes, **options)`. An option that
    # is not set (None) has the system's own default, the size of its paper (docs/models.md, and
    # `python -m logo_jax.models`); one that the system does not have is an error when set.
    config.model = ConfigDict()
    config.model.name = "logo_former"
    # File with weights of the backbone or of the whole system, or "none" = from scratch.
    config.model.pretrained = "none"
    # Type of activations, "float32" or "bfloat16"; parameters and statistics stay float32.
    config.model.dtype = "float32"
    # Compute activations of attention blocks and of the ResNet's stem and blocks again in the
    # backward pass instead of keeping them: less memory, more time.
    config.model.remat = placeholder(bool)
    # Batch norm uses its running statistics in training too, and leaves them as they are.
    config.model.freeze_bn = placeholder(bool)
    # Channels of the first stage of a CNN.
    config.model.width = placeholder(int)
    # Probabilities of dropout, and of skipping a residual branch.
    config.model.dropout = placeholder(float)
    config.model.drop_path = placeholder(float)

    # Of logo_former and the other token models. Attention scheme of the blocks: "local_global",
    # "local", "global", "full", "spatial", "divided", "factorized" or "mixing".
    config.model.attention = placeholder(str)
    # Form of the attention products: "xla", "chunked" (less memory) or "cudnn" (fused, GPU).
    config.model.attention_impl = placeholder(str)
    # "resnet18" through this stage (1 to 4), or "patch": patches of tubelet x patch_size².
    config.model.backbone = placeholder(str)
    config.model.stage = placeholder(int)
    config.model.patch_size = placeholder(int)
    config.model.tubelet = placeholder(int)
    # Width of tokens and of the MLP, number of heads and of blocks.
    config.model.dim = placeholder(int)
    config.model.mlp_dim = placeholder(int)
    config.model.num_heads = placeholder(int)
    config.model.num_blocks = placeholder(int)
    # Frames x rows x columns of tokens of one attention window; pad the grid if it does not fit;
    # move the windows of every second block by half a window.
    config.model.window = placeholder(tuple)
    config.model.pad_windows = placeholder(bool)
    config.model.shift_windows = placeholder(bool)
    # Pooling of keys and values per window: "weighted", "average", "max" or "conv".
    config.model.pool = placeholder(str)
    # Local and global attention side by side instead of one after the other.
    config.model.parallel = placeholder(bool)
    # Mixing: 1/n of the channels of keys and values come from either neighbouring frame.
    config.model.mixing_share = placeholder(int)
    # Layer norm before the head; output projection of the global attention.
    config.model.final_norm = placeholder(bool)
    config.model.global_out_proj = placeholder(bool)

    # Of former_dfer: blocks of its S-Former and T-Former.
    config.model.spatial_depth = placeholder(int)
    config.model.temporal_depth = placeholder(int)
    # Of resnet18_lstm, resnet18_gru, vgg13_lstm (and backbone: "resnet18" or "vgg13").
    config.model.cell = placeholder(str)
    config.model.hidden_size = placeholder(int)
    config.model.num_layers = placeholder(int)
    config.model.bidirectional = placeholder(bool)
    # Of r3d_18, r2plus1d_18 and mc3_18, which are "3d", "2plus1d" and "mixed" of one module.
    config.model.convolution = placeholder(str)
    # Of m3dfel: instances into which a clip is cut.
    config.model.num_instances = placeholder(int)

    config.loss = ConfigDict()
    # Weights of the losses that are added up; one of weight 0 is not computed. Of the logits: cross
    # entropy, focal loss, and the compact regularizer of LOGO-Former.
    config.loss.cross_entropy = 1.0
    config.loss.focal = 0.0
    config.loss.compact_regularizer = 1.0
    # Of the features: center loss (the DFEW paper: 1e-4) and EC-STFL (the DFEW paper: 10).
    config.loss.center_loss = 0.0
    config.loss.ec_stfl = 0.0
    # Regularizer: "definition" = symmetric KL divergence; "as_printed" = equation (12) literally.
    config.loss.regularizer_form = "definition"
    # Of cross entropy: share of the target that is spread over all classes.
    config.loss.label_smoothing = 0.0
    # Cross entropy against the shares of the annotators' votes instead of the label, where the data
    # set was prepared with its votes (docs/data.md).
    config.loss.soft_labels = False
    # Of the focal loss: how much less a clip counts that is classified well already.
    config.loss.focal_gamma = 2.0
    # Of the center loss: how fast the centres of the classes follow their features.
    config.loss.center_rate = 0.5
    # Weight of a clip in cross entropy and focal loss, by its class's number n of training clips:
    # "none", "inverse" (1 / n), "effective" ((1 - beta) / (1 - beta^n)); 1 on average.
    config.loss.class_weights = "none"
    config.loss.class_weight_beta = 0.999
    # Times the log of each class's share of the training clips, added to the logits of cross
    # entropy and focal loss in training; 0 = off.
    config.loss.logit_adjustment = 0.0

    config.optimizer = ConfigDict()
    # Base optimizer: "sgd" or "adamw".
    config.optimizer.base = "sgd"
    config.optimizer.learning_rate = 0.01
    config.optimizer.momentum = 0.9
    # Leaves biases, norms, positions and the class token alone.
    config.optimizer.weight_decay = 1e-4
    # Radius of SAM's perturbation; 0 = the base optimizer alone. Adaptive = ASAM.
    config.optimizer.rho = 0.05
    config.optimizer.adaptive = False
    # Form of sharpness-aware training (docs/training.md): "sam", "asam" (sam with adaptive),
    # "looksam", "esam", "msam", or "mesa", which needs ema_decay and has no use for rho.
    config.optimizer.sharpness = "sam"
    # Of looksam: steps from one ascent to the next; how far its direction is followed in between.
    config.optimizer.look_every = 5
    config.optimizer.look_alpha = 0.7
    # Of msam: clips that share a perturbation.
    config.optimizer.m = 8
    # Of mesa: weight of the divergence from the averaged model, temperature of both softmaxes.
    config.optimizer.mesa_weight = 1.0
    config.optimizer.mesa_temperature = 1.0
    # "step" (times decay_factor every decay_every_epochs), "cosine" or "constant".
    config.optimizer.schedule = "step"
    config.optimizer.decay_every_epochs = 40.0
    config.optimizer.decay_factor = 0.1
    config.optimizer.warmup_epochs = 0.0
    # Largest global norm of the gradient; 0 = no clipping.
    config.optimizer.clip_norm = 0.0
    # Learning rate of the backbone relative to the rest; 0 = frozen.
    config.optimizer.backbone_lr_scale = 1.0

    config.evaluation = ConfigDict()
    # Clips per evaluation batch, over all devices and hosts.
    config.evaluation.batch_size = 32
    # Views of a test clip, over which probabilities are averaged: samplings shifted in time, times
    # 1 (the whole frame), 2 (and its mirror image) or 3 (crops left, centre, right).
    config.evaluation.temporal_views = 1
    config.evaluation.spatial_views = 1
    # Frame orders in which the test split is judged once more, each at the cost of one evaluation,
    # comma-separated: does the model use time? "" = none.
    config.evaluation.controls = "shuffled,reversed,frozen,thinned"
    return config


def fold_number(argument: str, folds: int) -> int:
    """The fold that a config's argument names, as in `--config=configs/dfew.py:3`."""
    if argument not in map(str, range(1, folds + 1)):
        raise UserError(f'"{argument}" is no fold: the argument of the config is 1 to {folds}.')
    return int(argument)


def add_list_options(config: ConfigDict, list_order: bool = True) -> None:
    """Options of lists that are not the official ones, see docs/data.md."""
    options = config.data.options
    # "official", "former_dfer", "videomae" or "csv"; paths of train and test lists in the source.
    options.lists = "official"
    options.train_list = ""
    options.test_list = ""
    # "one_based", "zero_based" or "words"; "" = as usual in these lists. The order that numbers
    # count in, where several circulate. The beginning of paths of another machine.
    options.labels = ""
    if list_order:
        options.list_order = ""
    options.strip_prefix = ""
    # Accept lists that contradict the official counts, and clips whose number of frames is not the
    # declared one.
    options.allow_unofficial = False
    options.allow_frame_counts = False
