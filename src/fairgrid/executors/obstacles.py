"""What cannot travel to another machine, and what to do instead: the one place with these sentences."""

from __future__ import annotations

import io
import sys
import sysconfig
import types
from pathlib import PurePath
from typing import Any, Final

from fairgrid.errors import CannotTravel
from fairgrid.executors.guest.values import NotAValue

__all__ = ["MISSING_MODULES", "check_module", "check_owner", "is_standard", "obstacle"]

MISSING_MODULES: Final = frozenset(
    "ctypes curses ensurepip fcntl grp lzma mmap msilib msvcrt multiprocessing nis nt ossaudiodev pty pwd pydoc_data "
    "readline resource rlcompleter spwd ssl syslog termios tkinter tty turtle venv webbrowser winreg winsound".split()
)
"""Modules of the standard library that the sandbox's interpreter does not have; a test asks it."""

_INSTALLED: Final = frozenset(sysconfig.get_path(name) for name in ("purelib", "platlib"))
_STANDARD: Final = sys.stdlib_module_names | {"builtins"}

_REMEDIES: Final[tuple[tuple[tuple[str, ...], str, str], ...]] = (
    (
        ("_thread.lock", "_thread.RLock", "threading.", "multiprocessing.", "_multiprocessing.", "queue.", "_queue."),
        "ties calls to each other, and they run on different machines",
        "Leave it out: calls share no memory, so there is nothing to guard.",
    ),
    (("socket.", "_socket.", "ssl."), "is a connection of this machine", "Fetch what you need first, and pass that."),
    (("sqlite3.",), "is a database of this machine", "Query it first, and pass the rows."),
    (("numpy.",), "belongs to a package that the grid does not have yet", "Pass `.tolist()` or `.item()` of it."),
    (("pandas.",), "belongs to a package that the grid does not have yet", "Pass `.to_dict()` of it."),
    (
        ("collections.", "array."),
        "is not a plain container",
        "Pass list(...) or dict(...) of it; inside of the function it can be made again.",
    ),
)


def is_standard(module: str) -> bool:
    """Whether a module belongs to the standard library."""
    return module.partition(".")[0] in _STANDARD


def check_module(module: str, what: str) -> None:
    """Make sure that the sandbox has a module.

    Raises:
        CannotTravel: it does not.
    """
    root = module.partition(".")[0]
    if root in MISSING_MODULES:
        raise CannotTravel(
            what,
            f"uses the module {module}, which the sandbox does not have (no processes, devices or network there)",
            "Do that part before or after the call.",
        )
    if not is_standard(module):
        raise CannotTravel(
            what,
            f"uses the module {module}, which is not of the standard library",
            f"Packages do not travel yet. Of your own module, import the functions and not the module "
            f"(`from {module} import …`): those travel as source.",
        )


def check_owner(module: str, what: str) -> None:
    """Make sure that source of a module may travel: one's own, not that of an installed package.

    Raises:
        CannotTravel: it is of a package.
    """
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None)
    if file is not None and any(PurePath(file).is_relative_to(place) for place in _INSTALLED):
        raise CannotTravel(
            what, f"belongs to the package {root}", "Packages do not travel yet: write what you need of it yourself."
        )


def obstacle(error: NotAValue, what: str) -> CannotTravel:
    """The error for a value without a form; ``what`` names the call or function that has it."""
    value, why = error.value, error.why
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    part = f"{what}{error.where}"
    if why:
        return CannotTravel(part, why, "Pass a plainer value.")
    found = _of_type(value) or next(
        ((reason, remedy) for starts, reason, remedy in _REMEDIES if name.startswith(starts)), None
    )
    if found is not None:
        reason, remedy = found
        return CannotTravel(part, f"is a {name}, which {reason}", remedy)
    for base in (bool, int, float, str, bytes, list, dict, tuple, set, frozenset):
        if isinstance(value, base):
            return CannotTravel(
                part, f"is a {name}, a subclass of {base.__name__}", f"Pass {base.__name__}(...) of it."
            )
    return CannotTravel(
        part,
        f"is a {name}, and only plain values travel: nothing that comes back is ever unpickled",
        "Make its class a dataclass, or pass the numbers, texts, lists and dicts that it is made of.",
    )


def _of_type(value: Any) -> tuple[str, str] | None:
    if isinstance(value, io.IOBase):
        return "is an open file of this machine", "Read it before, and pass its content as bytes or text."
    if isinstance(value, PurePath):
        return "names a file of this machine", "Pass its content (.read_bytes()), or its name as str(...)."
    if isinstance(value, types.GeneratorType | types.AsyncGeneratorType):
        return "holds a running frame", "Make a list of it first."
    if isinstance(value, types.CoroutineType):
        return "holds a running frame", "Await it first, and pass its result."
    if isinstance(value, memoryview):
        return "is a view of this process's memory", "Pass bytes(...) of it."
    if isinstance(value, BaseException):
        return "holds frames of this process", "Pass str(...) of it."
    if isinstance(value, types.BuiltinFunctionType | types.MethodDescriptorType | types.BuiltinMethodType):
        return "is compiled code outside of the standard library", "Call it before or after, not on the grid."
    if hasattr(type(value), "__next__"):
        return "is an iterator with a state", "Make a list of it first."
    return None
