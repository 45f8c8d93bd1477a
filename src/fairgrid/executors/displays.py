"""Where a run's progress is shown: a line in a terminal, a card in a notebook, nowhere in a pipe."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Any, Protocol

from fairgrid.executors.progress import RunProgress

__all__ = ["Display", "find_display"]


class Display(Protocol):
    """Shows progress. `show` comes from one thread, the last time with ``over``."""

    def show(self, progress: RunProgress) -> None:
        """Show this instead of what was shown before."""
        ...


_TERMINAL_TAKEN = threading.Lock()
"""A terminal has one line for this: of two executors at once, the first shows its progress."""


class TerminalLine:
    """A line on stderr, gone when the run is over."""

    def __init__(self) -> None:
        self._live: Any = None
        self._silent = False

    def show(self, progress: RunProgress) -> None:
        """Begins with the first call."""
        if self._silent or (self._live is None and (progress.over or not progress.calls)):
            return
        if self._live is None and not self._begin():
            return
        if progress.over:
            self._live.stop()
            self._live, self._silent = None, True
            _TERMINAL_TAKEN.release()
            return
        from rich.text import Text

        self._live.update(Text(str(progress), no_wrap=True, overflow="ellipsis"), refresh=True)

    def _begin(self) -> bool:
        from rich.console import Console
        from rich.live import Live

        if not _TERMINAL_TAKEN.acquire(blocking=False):
            self._silent = True
            return False
        # What is printed goes above the line, but never from a pipe into the terminal.
        prints_here = sys.stdout is not None and sys.stdout.isatty()
        self._live = Live(
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
            redirect_stdout=prints_here,
            redirect_stderr=prints_here,
        )
        self._live.start()
        return True


class NotebookCard:
    """A card below the cell that made the executor; it stays, with the last state."""

    def __init__(self, make_display: Any, first: RunProgress) -> None:
        self._handle = make_display(first, display_id=True)

    def show(self, progress: RunProgress) -> None:
        """Update it."""
        self._handle.update(progress)


def find_display(first: RunProgress) -> Display | None:
    """What fits the place where this program runs; None where nobody looks."""
    if _in_notebook():
        return NotebookCard(importlib.import_module("IPython.display").display, first)
    if sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return TerminalLine()
    return None


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"
