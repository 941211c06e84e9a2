"""CNN + LSTM or GRU: the baselines ResNet18+LSTM, ResNet18+GRU and VGG13+LSTM of the field.

A CNN turns each frame into a vector, recurrent layers read the vectors in order, and a linear head
reads what they have after the last frame. ResNet-18 gives the average of its last map (512), VGG-13
its fc7 (4096).

Recurrence as in PyTorch (`nn.LSTM`, `nn.GRU`), h and c zero before the first frame:
- LSTM, gates in the order input, forget, cell, output:
  i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), c' = f c + i g, h' = o tanh(c').
- GRU, gates in the order reset, update, new:
  r, z = sigmoid(W x + U h + b), n = tanh(W x + b + r (U h + b_h)), h' = (1 - z) n + z h.
- PyTorch has two biases for each gate where flax has one, their sum; the GRU's new gate has two in
  both, since r multiplies the second.

Decisions where the papers are silent; no table states the size of the recurrent layers:
- One layer of 256. The released code of DFEW has 256 units. VGG-13 with fc7 and one layer of 256
  has 133.4 M parameters (VGG-16 would have 138.7 M): FERV39K's authors list 133 M (138 M).
- DFEW's released ResNet + LSTM differs: bottleneck blocks (2048 channels), three layers, and a head
  over the outputs of all frames. Here the head reads the last output.
- A bidirectional layer gives the head the last state of each direction, that of the backward one
  after the first frame, so that both have read all frames.
- Start: input weights from LeCun's normal distribution, recurrent ones orthogonal, biases 0.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from logo_jax.common.errors import UserError, pick
from logo_jax.models.backbones import ResNet18
from logo_jax.models.contract import Output, at_least_float32, check_clips, compute_dtype
from logo_jax.models.vgg import VGG13

# There is no public PyTorch form with released weights. `backbone` has torchvision's names, `lstm`
# or `gru` PyTorch's, and the head is `fc`.
TORCH_NAMES = (
    (r"\b(layer\d|downsample|features|classifier)_", r"\1."),
    (r"^head$", "fc"),
)

CELLS: dict[str, type[nn.OptimizedLSTMCell] | type[nn.GRUCell]] = {
    "lstm": nn.OptimizedLSTMCell,
    "gru": nn.GRUCell,
}


class CnnRecurrent(nn.Module):
    """Clip -> logits, for clips of any number of frames and any size that the CNN can take.

    VGG-13 was published with dropout 0.5.
    """

    num_classes: int
    backbone: str = "resnet18"  # or "vgg13"
    cell: str = "lstm"  # or "gru"
    hidden_size: int = 256  # units of a recurrent layer, in each direction
    num_layers: int = 1  # recurrent layers, one upon the other
    bidirectional: bool = False  # a second recurrence from the last frame to the first
    width: int = 64  # channels of the CNN's first stage
    dropout: float = 0.0  # on the features of a frame, and between VGG-13's fc6 and fc7
    freeze_bn: bool = False  # batch norm keeps to its running statistics; VGG-13 has none
    dtype: str = "float32"  # or "bfloat16": type of the computation, not of the parameters

    def __post_init__(self) -> None:
        check_options(self)
        super().__post_init__()

    @nn.compact
    def __call__(
        self, clips: Float[Array | np.ndarray, "B T H0 W0 3"], train: bool = False
    ) -> Output:
        """Map normalized clips to logits and features, both float32.

        With `train=True` pass `rngs={"dropout": key}` if the rate is positive, and
        `mutable=["batch_stats"]` to get the new statistics.

        Raises:
            UserError: no batch of RGB clips; frames too small for VGG-13.
        """
        check_clips(clips.shape)
        batch, frames = clips.shape[:2]
        images = jnp.asarray(clips).reshape(batch * frames, *clips.shape[2:])
        x = self.frame_features(images, train).reshape(batch, frames, -1)
        recurrent = Recurrent(
            self.cell,
            self.hidden_size,
            self.num_layers,
            self.bidirectional,
            compute_dtype(self.dtype),
            name=self.cell,
        )
        features = at_least_float32(recurrent(x))
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.normal(0.02), name="head")
        return Output(logits=head(features), features=features)

    def frame_features(self, images: Float[Array, "N H W 3"], train: bool) -> Float[Array, "N D"]:
        """Describe each frame by a vector: 512 numbers of ResNet-18, 4096 of VGG-13."""
        dtype = compute_dtype(self.dtype)
        if self.backbone == "vgg13":
            return VGG13(self.width, self.dropout, dtype, name="backbone")(images, train=train)
        backbone = ResNet18(4, self.width, dtype, self.freeze_bn, name="backbone")
        x = backbone(images, train=train).mean((1, 2))
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class Recurrent(nn.Module):
    """Recurrent layers; returns the state of the last one after its last frame.

    The cells are named as PyTorch names their layers: `l0`, `l0_reverse`, `l1` and so on.
    """

    cell: str
    hidden_size: int
    num_layers: int
    bidirectional: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B D2"]:
        directions = {"": False, "_reverse": True} if self.bidirectional else {"": False}
        for layer in range(self.num_layers):
            outputs = [
                self.direction(x, f"l{layer}{suffix}", reverse)
                for suffix, reverse in directions.items()
            ]
            x = jnp.concatenate(outputs, axis=-1)  # [B, T, directions * hidden_size]
        # The backward direction ends at the first frame.
        last = [
            y[:, 0 if reverse else -1]
            for y, reverse in zip(outputs, directions.values(), strict=True)
        ]
        return jnp.concatenate(last, axis=-1)

    def direction(
        self, x: Float[Array, "B T D"], name: str, reverse: bool
    ) -> Float[Array, "B T hidden"]:
        """Run one cell over the frames; outputs stand in the order of the frames."""
        cell = CELLS[self.cell](self.hidden_size, dtype=self.dtype, name=name)
        # Flax would make the state float32; sums over many frames are kept there at least.
        carry = jax.tree.map(
            lambda state: state.astype(jnp.promote_types(self.dtype, jnp.float32)),
            cell.initialize_carry(jax.random.key(0), (x.shape[0], x.shape[2])),
        )
        rnn = nn.RNN(cell, reverse=reverse, keep_order=True)
        return rnn(x, initial_carry=carry)  # type: ignore[return-value]  # no carry is asked for


def check_options(model: CnnRecurrent) -> None:
    """Refuse options that no model can be built from.

    Raises:
        UserError: names the option and the mend.
    """
    pick(dict.fromkeys(("resnet18", "vgg13")), model.backbone, "backbone")
    pick(CELLS, model.cell, "cell")
    compute_dtype(model.dtype)
    for name in ("num_classes", "hidden_size", "num_layers", "width"):
        value = getattr(model, name)
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}.")
    if not 0 <= model.dropout < 1:
        raise UserError(f"dropout is a probability from 0 to below 1, not {model.dropout}.")
