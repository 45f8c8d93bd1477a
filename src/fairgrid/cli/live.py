"""Live progress on a terminal: phase, elapsed time and workers; plain lines where stderr is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from fairgrid.client.progress import OnProgress, Phase, Progress, WorkerProgress

__all__ = ["live_progress"]


@contextmanager
def live_progress(console: Console, names: dict[str, str] | None = None) -> Iterator[OnProgress]:
    """A progress callback whose last state stays in view; ``names`` gives addresses a name."""
    view = _View(console, {} if names is None else names)
    if not console.is_terminal:
        yield view.print_change
        return
    with Live(view, console=console, refresh_per_second=8, transient=True) as live:
        view.live = live
        yield view.update


class _View:
    def __init__(self, console: Console, names: dict[str, str]) -> None:
        self.live: Live | None = None
        self._console = console
        self._names = names
        self._started = time.monotonic()
        self._shown: tuple[Phase, str] | None = None
        self._workers_shown: dict[str, str] = {}
        self._progress = Progress(Phase.PREPARING)
        self._spinner = Spinner("dots")

    def update(self, progress: Progress) -> None:
        """Take the newest state; a new phase leaves a line behind."""
        if self._shown is not None and self._shown[0] is not progress.phase:
            self._console.print(f"[green]✓[/] {self._shown[0].value}  [dim]{self._elapsed()}[/]")
        self._shown = (progress.phase, progress.note)
        self._progress = progress

    def print_change(self, progress: Progress) -> None:
        """For logs: a line when phase or note change, and one for each worker's new phase."""
        state = (progress.phase, progress.note)
        if state != self._shown:
            self._shown = state
            self._console.print(f"{self._elapsed():>8}  {progress.phase.value}: {progress.note}", markup=False)
        for worker in progress.workers:
            if self._workers_shown.get(worker.worker) != worker.phase:
                self._workers_shown[worker.worker] = worker.phase
                self._console.print(f"{self._elapsed():>8}    {self._name(worker)} {worker.phase}", markup=False)

    def __rich__(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_row(
            self._spinner, f"[bold]{self._progress.phase.value}[/]", self._progress.note, f"[dim]{self._elapsed()}[/]"
        )
        for worker in self._progress.workers:
            table.add_row("", f"  {self._name(worker)}", worker.phase, "")
        return table

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._started:.1f} s"

    def _name(self, worker: WorkerProgress) -> str:
        name = worker.worker
        return self._names.get(name, f"{name[:10]}…" if name.startswith("0x") else name)
