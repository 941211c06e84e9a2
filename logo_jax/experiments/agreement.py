"""Whether all processes of a job were started alike; else their replicas come out mixed."""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from logo_jax.common.distributed import gather_texts
from logo_jax.common.errors import UserError
from logo_jax.experiments import config as configs


def check_config(config: ConfigDict, workdir: Path) -> None:
    """Refuse a job whose processes have different configs or workdirs; all of them call this.

    A shared disk may have another path on each host, so only the name of the workdir is compared.
    Free fields that are not of one host are compared too: they decide what all processes do
    together, when they save and how many batches they judge.

    Raises:
        UserError: names what differs.
    """
    fields = {
        f"config.{name}": value
        for name, value in configs.leaves(configs.plain(config))
        if name not in configs.OF_ONE_HOST
    }
    _refuse({**fields, "the name of the workdir": workdir.absolute().name})


def check_data(fingerprint: str) -> None:
    """Refuse a job whose processes have different data; all of them call this.

    Raises:
        UserError: says that the data differ.
    """
    _refuse({"the fingerprint of the data (config.data.data_dir)": fingerprint})


def _refuse(facts: dict[str, Any]) -> None:
    all_facts = [json.loads(text) for text in gather_texts(json.dumps(facts))]
    first = all_facts[0]
    for process, other in enumerate(all_facts):
        wrong = [
            f"{name} is {first.get(name)!r} there and {other.get(name)!r} here"
            for name in {**first, **other}
            if first.get(name) != other.get(name)
        ]
        if wrong:
            raise UserError(
                f"Process {process} of the job was started otherwise than process 0: "
                f"{'; '.join(wrong)}. Start all processes with the same command, on the same data."
            )
