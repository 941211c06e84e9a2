"""What the user says of a copy before it is examined, in the options of its builder.

What the builder would refuse without a look at any file is refused here too.
"""

import dataclasses
from typing import Any

from logo_jax.common.errors import UserError
from logo_jax.data.prepared import builder_class

# Option -> its help.
HELP = {
    "frame_folder": "folder of the clips (dfew: clip_224x224, clip_224x224_16f, original; mafw: "
    "data/frames); default: the first that is there",
    "lists": "dialect that the lists are declared to be in (official; frame_folders: former_dfer)",
    "train_list": "path of the training list in the source, {fold} for the fold",
    "test_list": "path of the test list",
    "labels": "how labels are declared to be written: one_based, zero_based or words",
    "list_order": "order of the classes that the labels are declared to count in",
    "strip_prefix": "beginning of the clips' names in the lists that is no part of the source",
}


@dataclasses.dataclass(frozen=True)
class Declared:
    """What the user says of the copy; empty where nothing is said.

    The names are those of the builders' options.
    """

    frame_folder: str = ""
    lists: str = ""
    train_list: str = ""
    test_list: str = ""
    labels: str = ""
    list_order: str = ""
    strip_prefix: str = ""

    @property
    def given(self) -> dict[str, Any]:
        """What is said, by name."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value}


def refuse_wrong(name: str, declared: Declared) -> None:
    """Refuse what the builder of the data set `name` would refuse before it looks at any file.

    A wrong word of the user is no fault of the data, and passed over it would be taken for a check
    that was made.

    Raises:
        UserError: an option that the set does not have, or a value that is none of it.
    """
    cls = builder_class(name)
    known = cls.option_names()
    for option, value in declared.given.items():
        if option not in known:
            usable = [field for field in dataclasses.asdict(declared) if field in known]
            raise UserError(
                f'--{option}="{value}": {name} has no such option; leave it out (of these, it has '
                f"{', '.join(usable)})."
            )
    cls.configured(**declared.given)
