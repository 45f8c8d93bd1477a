"""How a program is started inside the guest: command line, environment and folders, by the kind of runtime."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

__all__ = ["GUEST_FILES", "Launch", "guest_command", "guest_environment"]

_GUEST_OUT: Final = "/iexec_out"
_PRELUDE: Final = Path(__file__).with_name("guest") / "prelude.py"


class Launch(StrEnum):
    """What the job's program is to the engine."""

    PYTHON = "python"
    """A script for CPython, which our prelude starts."""
    QUICKJS = "quickjs"
    """A script for QuickJS."""
    MODULE = "module"
    """The WebAssembly module itself."""


GUEST_FILES: Final[dict[Launch, dict[str, Path]]] = {
    Launch.PYTHON: {"prelude.py": _PRELUDE},
    Launch.QUICKJS: {},
    Launch.MODULE: {},
}
"""Files of ours that the guest sees in ``/.fairgrid``."""


def guest_command(launch: Launch, script: str, arguments: tuple[str, ...]) -> list[str]:
    """The command line; ``script`` is the program's name in ``/iexec_app``."""
    program = f"/iexec_app/{script}"
    match launch:
        case Launch.PYTHON:
            return ["python", "-I", "-B", "/.fairgrid/prelude.py", program, *arguments]
        case Launch.QUICKJS:
            return ["qjs", "--std", program, *arguments]
        case Launch.MODULE:
            return [program, *arguments]


def guest_environment(launch: Launch, environment: dict[str, str]) -> dict[str, str]:
    """What the program finds in its environment: its working folder is the output folder."""
    if launch is Launch.PYTHON:
        return environment
    return {"PWD": _GUEST_OUT, **environment}
