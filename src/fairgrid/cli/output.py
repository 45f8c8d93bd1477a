"""What every command shares: people read stderr, machines read stdout, and the exit code says the same as both."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from rich.console import Console

from fairgrid.errors import FairgridError
from fairgrid.protocol.amounts import format_amount

__all__ = ["INTERRUPTED", "UNEXPECTED", "Interrupted", "Unexpected", "console", "emit_json", "fail", "rlc", "run_async"]

_Value = TypeVar("_Value")

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

UNEXPECTED = 70
"""Exit code after a failure that nobody foresaw: neither a verified job error nor one of the others."""

_LOG_WIDTH = 120


def console(*, quiet: bool = False) -> Console:
    """The console for people: stderr, so that stdout stays clean for machines."""
    screen = Console(stderr=True, quiet=quiet, highlight=False)
    if not screen.is_terminal:
        screen.width = max(screen.width, _LOG_WIDTH)
    return screen


def emit_json(document: dict[str, Any]) -> None:
    """Print the one JSON object of a ``--json`` run on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=False) + "\n")
    sys.stdout.flush()


class Interrupted(FairgridError):
    """The user pressed Ctrl-C, or the command was told to stop."""

    exit_code = INTERRUPTED


class Unexpected(FairgridError):
    """Something failed that the program does not know a remedy for."""

    exit_code = UNEXPECTED

    def __init__(self, cause: Exception) -> None:
        super().__init__(
            f"Fairgrid failed in a way that it does not know: {type(cause).__name__}: {cause}. If a deal was made, it "
            f"goes on: `fairgrid result` lists deals. Look at the traceback on stderr; if it is none of your folders "
            f"or disks, please report it."
        )


def fail(error: FairgridError, *, as_json: bool) -> NoReturn:
    """End the command with the exit code of ``error`` and its message, on stderr or as a JSON object."""
    if as_json:
        emit_json(
            {
                "status": "interrupted" if isinstance(error, Interrupted) else "error",
                "error": type(error).__name__,
                "message": str(error),
                "exitCode": error.exit_code,
            }
        )
    else:
        style = "yellow" if isinstance(error, Interrupted) else "bold red"
        console().print(str(error), style=style, markup=False, soft_wrap=True)
    sys.exit(error.exit_code)


def rlc(nrlc: int) -> str:
    """An amount for people: ``1.5 RLC``, exact to the last nRLC."""
    return format_amount(nrlc)


def run_async(main: Callable[[], Coroutine[Any, Any, _Value]]) -> _Value:
    """Run ``main()``; SIGINT and SIGTERM cancel it, its clean-up runs, and the command ends as interrupted."""

    async def supervised() -> _Value:
        task = asyncio.ensure_future(main())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise Interrupted("Interrupted.") from None
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    return asyncio.run(supervised())
