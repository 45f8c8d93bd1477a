"""How a program is started inside the guest: command line, environment and folders, by the kind of runtime."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from fairgrid.runtime.wasm.engine import EngineClass

__all__ = [
    "ENTRY",
    "GUEST_FILES",
    "LIBRARY_FOLDER",
    "GuestProgram",
    "Launch",
    "guest_command",
    "guest_environment",
]

LIBRARY_FOLDER: Final = "/usr/local/lib"
"""Where the guest finds the interpreter's library, if that is a file of its own."""

_GUEST_OUT: Final = "/iexec_out"
_PRELUDE: Final = Path(__file__).with_name("guest") / "prelude.py"
_SCIENCE_PRELUDE: Final = _PRELUDE.with_name("science.py")


class Launch(StrEnum):
    """What the job's program is to the engine."""

    PYTHON = "python"
    """A script for CPython, which our prelude starts."""
    SCIENCE = "science"
    """A script for CPython with numpy and its relatives: a snapshot of a started interpreter, its library in a file."""
    QUICKJS = "quickjs"
    """A script for QuickJS."""
    MODULE = "module"
    """The WebAssembly module itself."""
    COMPONENT = "component"
    """The WebAssembly component itself."""


@dataclass(frozen=True, slots=True)
class GuestProgram:
    """What the engine runs, and how."""

    compiled: Path
    launch: Launch
    engine_class: EngineClass
    library: Path | None = None
    library_name: str = ""
    """The name of ``library`` in `LIBRARY_FOLDER`."""


GUEST_FILES: Final[dict[Launch, dict[str, Path]]] = {
    Launch.PYTHON: {"prelude.py": _PRELUDE},
    Launch.SCIENCE: {"prelude.py": _PRELUDE, "science.py": _SCIENCE_PRELUDE},
    Launch.QUICKJS: {},
    Launch.MODULE: {},
    Launch.COMPONENT: {},
}
"""Files of ours that the guest sees in ``/.fairgrid``."""


ENTRY: Final[dict[Launch, str]] = {
    Launch.PYTHON: "_start",
    Launch.SCIENCE: "run",
    Launch.QUICKJS: "_start",
    Launch.MODULE: "_start",
    Launch.COMPONENT: "run",
}
"""The export that runs the program; one that returns a number returns the exit code."""


def guest_command(launch: Launch, script: str, arguments: tuple[str, ...]) -> list[str]:
    """The command line; ``script`` is the program's name in ``/iexec_app``."""
    program = f"/iexec_app/{script}"
    match launch:
        case Launch.PYTHON:
            return ["python", "-I", "-B", "/.fairgrid/prelude.py", program, *arguments]
        case Launch.SCIENCE:
            return ["/usr/local/bin/python.wasm", "/.fairgrid/science.py", program, *arguments]
        case Launch.QUICKJS:
            return ["qjs", "--std", program, *arguments]
        case Launch.MODULE | Launch.COMPONENT:
            return [program, *arguments]


def guest_environment(launch: Launch, environment: dict[str, str]) -> dict[str, str]:
    """What the program finds in its environment: its working folder is the output folder."""
    if launch is Launch.PYTHON:
        return environment
    if launch is Launch.SCIENCE:
        return {"HOME": "/tmp", "PYTHONTZPATH": "", "TMPDIR": "/tmp", **environment}
    return {"PWD": _GUEST_OUT, **environment}
