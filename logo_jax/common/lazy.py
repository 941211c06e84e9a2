"""Files of a package as its attributes, imported when they are first used."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any


def attributes(
    package: str, folders: Sequence[str], public: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        folders: its `__path__`, whose files and packages become attributes.
        public: further names of the package, each with the file that has it.
    """

    def files() -> list[str]:  # when asked, so that an import lists no folder
        return [file.name for file in pkgutil.iter_modules(folders) if file.name[0] != "_"]

    def get(name: str) -> Any:
        if name in public:
            return getattr(importlib.import_module(f"{package}.{public[name]}"), name)
        if name in files():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*vars(sys.modules[package]), *files(), *public})
