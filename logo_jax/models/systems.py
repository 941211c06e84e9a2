"""All systems by name. To add one: write its module by contract.py and enter it in `SYSTEMS`."""

import dataclasses
from typing import Any

import flax.linen as nn

from logo_jax.common.errors import UserError, pick, suggest
from logo_jax.models.logo_former import LogoFormer

SYSTEMS: dict[str, type[nn.Module]] = {"logo_former": LogoFormer}


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
    known = [field.name for field in dataclasses.fields(system) if field.init]
    known = [field for field in known if field not in ("num_classes", "parent", "name")]
    for option in options:
        if option not in known:
            raise UserError(
                f'The system {name} has no option "{option}": it has {", ".join(known)}.'
                + suggest(option, known)
            )
    # Modules are compared and hashed by their fields; a config file gives lists.
    frozen = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    return system(num_classes=num_classes, **frozen)
