"""`--mode=study`: what each attention scheme costs, counted and measured on this machine.

python launch.py --mode=study --config=configs/study.py
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from logo_jax.common.errors import UserError, suggest
from logo_jax.study.points import Study
from logo_jax.study.report import write_report
from logo_jax.study.run import run_study


def study(config: ConfigDict | None, workdir: Path) -> None:
    """Run the study of a config; write `study.jsonl`, `study.csv`, plots and `report.html`.

    Raises:
        UserError: a field of the config that no study can use, or a workdir of another machine.
    """
    write_report(run_study(from_config(config), workdir), workdir)


def from_config(config: ConfigDict | None) -> Study:
    """Read the fields of `config.study`; lists become tuples.

    Raises:
        UserError: an unknown field, or a value that no study can use.
    """
    if config is None or "study" not in config:
        raise UserError("There is no study to run: give --config=configs/study.py.")
    fields = config.study.to_dict()
    for name in fields:
        if name not in Study.__dataclass_fields__:
            raise UserError(
                f"config.study has no field {name}.{suggest(name, Study.__dataclass_fields__)}"
            )
    return Study(**{name: _frozen(value) for name, value in fields.items()})


def _frozen(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_frozen(item) for item in value)
    return value
