"""The processes that were started in one directory, by this program or an earlier one: run, told apart, ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Sequence

from fairgrid.localnet.folder import NetworkFolder, ProcessBook
from fairgrid.localnet.options import ANVIL
from fairgrid.localnet.processes import (
    Guardian,
    ProcessSpec,
    RunningProcess,
    end_processes,
    start_process,
)

__all__ = ["Crew"]

_READY = r"^ready (http\S+)"
_CHAIN_GRACE_S = 20.0
"""The chain saves its state before it ends."""
_GRACE_S = 8.0


class Crew:
    """Processes by name. Those of earlier programs are known by the directory's book, ours by their handles, too."""

    def __init__(self, folder: NetworkFolder) -> None:
        self.guardian: Guardian | None = None
        """Ends our processes when this one ends; None if they outlive it."""
        self._folder = folder
        self._book = ProcessBook(folder.processes)
        self._running: dict[str, RunningProcess] = {}

    def guard(self) -> None:
        """Let what is started from now on end with this process, however it ends."""
        if self.guardian is None:
            self.guardian = Guardian()

    async def run(self, name: str, command: Sequence[str], *, ready_within_s: float) -> None:
        """Start ``fairgrid`` with these arguments unless the process of that name runs.

        Raises:
            ProcessFailed: it ends, or does not say in time that it is ready.
        """
        if self.runs(name):
            return
        spec = ProcessSpec(
            name,
            (sys.executable, "-m", "fairgrid", *command),
            self._folder.log(name),
            ready=_READY,
            timeout_s=ready_within_s,
        )
        await start_process(spec, guardian=self.guardian, started=self.note)

    def note(self, process: RunningProcess) -> None:
        """Remember a process at once: what is written down can be ended by anybody who finds the directory."""
        self._running[process.spec.name] = process
        self._book.add(process.record)

    def runs(self, name: str) -> bool:
        """True if the process of that name runs."""
        return self._book.runs(name)

    def names(self) -> list[str]:
        """Processes that were started here and not ended in order, whether they run or not."""
        return self._book.names()

    def ended(self) -> dict[str, int | None]:
        """Processes that were started and run no more, with their exit codes where they are ours to know.

        A child of ours has ended when it can be waited for: the system shows a killed one as gone a moment before.
        """
        ended: dict[str, int | None] = {}
        for record in self._book.records():
            child = self._running.get(record.name)
            if child is None:
                if not record.running():
                    ended[record.name] = None
            elif (code := child.exit_code()) is not None:
                ended[record.name] = code
        return ended

    def kill(self, name: str) -> None:
        """End one process as a crash would."""
        for record in self._book.records():
            if record.name == name:
                record.signal(kill=True)

    def detach(self) -> None:
        """Let our processes outlive this one."""
        for process in self._running.values():
            process.detach()

    async def end(self, names: Iterable[str]) -> None:
        """End these processes in order, by whomever they were started, and forget them.

        Raises:
            ServiceError: a process does not end, even killed.
        """
        chosen = set(names)
        records = [record for record in self._book.records() if record.name in chosen]
        await end_processes(records, grace_s=_CHAIN_GRACE_S if chosen == {ANVIL} else _GRACE_S)
        for record in records:
            process = self._running.pop(record.name, None)
            if process is not None:
                await process.stop()  # its first thread may have ended before the others; and the system forgets it
            self._book.remove(record)

    async def end_all_but(self, name: str) -> None:
        """End every other process.

        Raises:
            ServiceError: a process does not end, even killed.
        """
        await self.end(other for other in self.names() if other != name)

    async def dismiss(self) -> None:
        """Nothing is left to guard."""
        if self.guardian is not None:
            await asyncio.to_thread(self.guardian.close)
            self.guardian = None
