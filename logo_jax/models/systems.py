"""All systems by name. To add one: write its module by contract.py and enter it in `SYSTEMS`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.models import c3d, former_dfer, i3d, m3dfel, recurrent, token_model, vgg, video_resnet
from logo_jax.models.torch_form import Names

# A file of a ResNet alone has torchvision's names.
RESNET_NAMES: Names = token_model.TORCH_NAMES


@dataclasses.dataclass(frozen=True)
class System:
    """A name of `build`: a module, and what of its defaults the name changes.

    Attributes:
        module: class of the flax module.
        source: where the system comes from.
        torch_names: from flax modules to those of the PyTorch form (torch_form.py).
        backbone_names: the same for a file of the backbone alone, without the prefix "backbone".
        parity_test: what compares it with an independent PyTorch form.
        options: fields of the module that differ from its defaults.
        published: parameters and multiply-adds as others state them, with the source.
    """

    module: type[nn.Module]
    source: str
    torch_names: Names
    parity_test: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    published: str = ""
    backbone_names: Names = RESNET_NAMES


def _token_system(source: str, published: str = "", **options: Any) -> System:
    names, test = token_model.TORCH_NAMES, "tests/models/test_parity.py"
    return System(token_model.LogoFormer, source, names, test, options, published)


def _recurrent_system(source: str, backbone_names: Names, **options: Any) -> System:
    return System(
        recurrent.CnnRecurrent,
        source,
        recurrent.TORCH_NAMES,
        "tests/models/test_recurrent.py",
        options,
        backbone_names=backbone_names,
    )


def _video_resnet(convolution: str, published: str) -> System:
    return System(
        video_resnet.VideoClassifier,
        "Tran et al., CVPR 2018; torchvision",
        video_resnet.TORCH_NAMES,
        "tests/models/test_video_resnet.py",
        {"convolution": convolution},
        published,
        backbone_names=video_resnet.TORCH_NAMES,
    )


# ViT-B/16, from which TimeSformer, X-ViT and ViViT start.
_VIT_B16: dict[str, Any] = {
    "backbone": "patch",
    "patch_size": 16,
    "dim": 768,
    "mlp_dim": 3072,
    "num_heads": 12,
    "num_blocks": 12,
    "final_norm": True,
}

SYSTEMS: dict[str, System] = {
    "logo_former": _token_system(
        "Ma, Sun and Li, ICASSP 2023", published="10.27 G (paper, Table 2)"
    ),
    "stt": _token_system(
        "Ma, Sun and Li, arXiv 2205.04749; the Baseline of LOGO-Former",
        published="25.16 G (LOGO-Former, Table 2)",
        attention="factorized",
    ),
    "former_dfer": System(
        former_dfer.FormerDfer,
        "Zhao and Liu, ACM MM 2021",
        former_dfer.TORCH_NAMES,
        "tests/models/test_former_dfer.py",
        published="18.03 M, 8.30 G (released code), 9.11 G (paper: spatial_depth=3)",
    ),
    "resnet18_lstm": _recurrent_system("DFEW and FERV39K benchmarks", RESNET_NAMES),
    "resnet18_gru": _recurrent_system("DFEW benchmark", RESNET_NAMES, cell="gru"),
    "vgg13_lstm": _recurrent_system(
        "FERV39K benchmark", vgg.TORCH_NAMES, backbone="vgg13", dropout=0.5
    ),
    "r3d_18": _video_resnet("3d", "33.37 M with 400 classes (torchvision)"),
    "r2plus1d_18": _video_resnet("2plus1d", "31.51 M with 400 classes (torchvision)"),
    "mc3_18": _video_resnet("mixed", "11.70 M with 400 classes (torchvision)"),
    "c3d": System(
        c3d.C3D,
        "Tran et al., ICCV 2015",
        c3d.TORCH_NAMES,
        "tests/models/test_c3d.py",
        backbone_names=c3d.TORCH_NAMES,
    ),
    "i3d": System(
        i3d.I3D,
        "Carreira and Zisserman, CVPR 2017",
        i3d.TORCH_NAMES,
        "tests/models/test_i3d.py",
        backbone_names=i3d.TORCH_NAMES,
    ),
    "m3dfel": System(
        m3dfel.M3DFEL,
        "Wang et al., CVPR 2023",
        m3dfel.TORCH_NAMES,
        "tests/models/test_m3dfel.py",
        backbone_names=video_resnet.TORCH_NAMES,
    ),
    "timesformer": _token_system("Bertasius et al., ICML 2021", attention="divided", **_VIT_B16),
    "xvit": _token_system("Bulat et al., NeurIPS 2021", attention="mixing", **_VIT_B16),
    "vivit_fact": _token_system(
        "Arnab et al., ICCV 2021, model 3", attention="factorized", tubelet=2, **_VIT_B16
    ),
}


def build(name: str, num_classes: int, **options: Any) -> nn.Module:
    """Make the system `name`; nothing is computed until `init` or `apply`.

    Args:
        name: a key of `SYSTEMS`.
        num_classes: number of logits.
        options: fields of the system's module; their defaults are the size of its paper.

    Returns:
        A module with `model.init(key, clips)` and `model.apply(variables, clips, train=...)`,
        which gives an `Output` for clips `[B T H W 3]`.

    Raises:
        UserError: an unknown system or option, or a value that no model can be built from.
    """
    system = pick(SYSTEMS, name, "system")
    known = options_of(name)
    for option in options:
        if option not in known:
            raise UserError(
                f'The system {name} has no option "{option}": it has {", ".join(known)}.'
                + suggest(option, known)
            )
    # Modules are compared and hashed by their fields; a config file gives lists.
    frozen = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in {**system.options, **options}.items()
    }
    return system.module(num_classes=num_classes, **frozen)


def options_of(name: str) -> dict[str, Any]:
    """The options that the system `name` takes, and their defaults."""
    system = pick(SYSTEMS, name, "system")
    fields = [field for field in dataclasses.fields(system.module) if field.init]
    known = {f.name: f.default for f in fields if f.name not in ("num_classes", "parent", "name")}
    return {**known, **system.options}
