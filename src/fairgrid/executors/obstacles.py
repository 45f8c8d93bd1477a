"""What cannot travel to another machine, and what to do instead: the one place with these sentences."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import sys
import sysconfig
import types
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, Final

from fairgrid.errors import CannotTravel
from fairgrid.executors.guest.values import NotAValue
from fairgrid.executors.runtimes import SCIENCE_RUNTIME
from fairgrid.runtime.program_check import SCIENCE_PACKAGES

__all__ = [
    "COMPILED_SUFFIXES",
    "MISSING_MODULES",
    "check_owner",
    "check_standard",
    "distribution_of",
    "foreign",
    "is_compiled",
    "is_installed",
    "is_standard",
    "obstacle",
]

MISSING_MODULES: Final = frozenset(
    "ctypes curses ensurepip fcntl grp lzma mmap msilib msvcrt multiprocessing nis nt ossaudiodev pty pwd pydoc_data "
    "readline resource rlcompleter spwd ssl syslog termios tkinter tty turtle venv webbrowser winreg winsound".split()
)
"""Modules of the standard library that the sandbox's interpreter does not have; a test asks it."""

_PACKAGE_FOLDERS: Final = ("site-packages", "dist-packages")
COMPILED_SUFFIXES: Final = (".so", ".pyd", ".dylib")
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
    (
        ("numpy.ndarray", "numpy.float", "numpy.int", "numpy.uint", "numpy.bool", "numpy.str", "numpy.complex"),
        "is of numpy, which this runtime does not have",
        "Make the executor with runtime='science', or pass `.tolist()` or `.item()` of it.",
    ),
    (("numpy.",), "has no closed form", "Pass a plain array (np.asarray), or what it is made of."),
    (("pandas.",), "has no closed form", "Pass `.to_dict('list')`, `.to_numpy()` or CSV text of it."),
    (("sklearn.",), "has no closed form", "Make it inside of the function, and pass or return its numbers."),
    (
        ("collections.", "array."),
        "is not a plain container",
        "Pass list(...) or dict(...) of it; inside of the function it can be made again.",
    ),
)


def is_standard(module: str) -> bool:
    """Whether a module belongs to the standard library."""
    return module.partition(".")[0] in _STANDARD


def check_standard(module: str, what: str) -> None:
    """Make sure that the sandbox has a module, if it is of the standard library.

    Raises:
        CannotTravel: it is, and has not.
    """
    if module.partition(".")[0] in MISSING_MODULES:
        raise CannotTravel(
            what,
            f"uses the module {module}, which the sandbox does not have (no processes, devices or network there)",
            "Do that part before or after the call.",
        )


def is_installed(places: Iterable[str]) -> bool:
    """Whether files or folders are those of an installed package; an editable one is not."""
    return any(
        PurePath(file).is_relative_to(place)
        for file in places
        for place in (*_INSTALLED, *(folder for folder in sys.path if folder.endswith(_PACKAGE_FOLDERS)))
    )


def foreign(module: str, what: str) -> CannotTravel:
    """The error for a module that is neither of the standard library, nor of the runtime, nor the user's own."""
    root = module.partition(".")[0]
    uses = f"uses the module {module}"
    if root == "__main__":
        return CannotTravel(what, "imports the script itself", "Import from a module, or use the name directly.")
    if root in SCIENCE_PACKAGES:
        return CannotTravel(
            what,
            f"{uses}, which this executor's runtime does not have",
            f"Make the executor with runtime='science' ({SCIENCE_RUNTIME}), which has "
            f"{', '.join(sorted(SCIENCE_PACKAGES))}.",
        )
    try:
        spec = importlib.util.find_spec(root)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return CannotTravel(what, f"{uses}, which is not found here", "Install it, or correct the name.")
    if is_compiled(root, spec.origin):
        return CannotTravel(
            what,
            f"{uses}, which is compiled code for this machine",
            f"No runtime of the grid carries {root}: do that part before or after the call, or run a program of "
            f"another level (docs/runtimes.md).",
        )
    return CannotTravel(
        what,
        f"{uses}, which is not of the standard library",
        f"It is an installed package: declare it, Executor(environment=['{distribution_of(root)}']).",
    )


def distribution_of(root: str) -> str:
    """The name under which a package is installed."""
    return next(iter(importlib.metadata.packages_distributions().get(root, ())), root)


def is_compiled(root: str, origin: str | None) -> bool:
    """Whether an installed package holds compiled extensions."""
    if origin is not None and origin.endswith(COMPILED_SUFFIXES):
        return True
    try:
        files = importlib.metadata.files(distribution_of(root)) or ()
    except importlib.metadata.PackageNotFoundError:
        return False
    return any(file.suffix in COMPILED_SUFFIXES for file in files)


def check_owner(module: str, what: str) -> None:
    """Make sure that source of a module may travel: one's own, not that of an installed package.

    Raises:
        CannotTravel: it is of a package.
    """
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None)
    if file is not None and is_installed([file]):
        raise foreign(module, what)


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
        return "is an open file of this machine", "Read it before, and pass its content; or pass fairgrid.File(path)."
    if isinstance(value, PurePath):
        return (
            "names a file of this machine",
            "Pass fairgrid.File(...) of it, its content (.read_bytes()), or its name as str(...).",
        )
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
