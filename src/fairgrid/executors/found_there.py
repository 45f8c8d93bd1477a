"""What need not travel, because the other machine has it: it is written down by where it is found."""

from __future__ import annotations

import sys
import types
from collections.abc import Set
from typing import Any

from fairgrid.executors.guest.values import File
from fairgrid.executors.obstacles import check_standard, is_standard

__all__ = ["found_there", "is_bound_builtin"]


def is_bound_builtin(value: types.BuiltinMethodType) -> bool:
    """Whether it is a method of some value, such as ``"a-b".split``, and no function of a module."""
    return value.__self__ is not None and not isinstance(value.__self__, types.ModuleType)


def found_there(value: Any, packages: Set[str]) -> Any:
    """Functions and classes of the standard library and of packages that are there, by where they are found."""
    if value is File:
        return {"I": ["fairgrid_values", "File"]}
    module, path = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if module is None and isinstance(value, types.MethodDescriptorType):
        module, path = "builtins", value.__qualname__
    if module is None and type(value).__module__ == "numpy" and path is not None:
        # Its universal functions say their name, and not where they are found.
        module = "numpy"
    if not isinstance(module, str) or not isinstance(path, str) or module == "__main__":
        return None
    if not is_standard(module) and module.partition(".")[0] not in packages:
        return None
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not value:
        return None
    check_standard(module, f"The function {path}")
    return {"I": [module, path]}
