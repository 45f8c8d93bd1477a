"""The engine that every machine has: a cell is a process of this machine. The twin of the others in tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import sys
import time
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.engines.interface import Cell, CellUse
from fairgrid.runtime.levels import Probe

__all__ = ["LocalEngine"]

_GRACE_S: Final = 30.0
_END_S: Final = 20.0


class LocalEngine:
    """Runs at most ``slots`` cells at once; others wait their turn."""

    def __init__(self, slots: int = 1) -> None:
        self._free = asyncio.Semaphore(slots)
        self._running: set[asyncio.subprocess.Process] = set()

    @property
    def name(self) -> str:
        """What people call it."""
        return "local"

    async def probe(self) -> Probe:
        """It always works."""
        return Probe(True, detail="processes of this machine")

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run; see `Engine`."""
        asked = time.monotonic()
        async with self._free:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fairgrid.runtime.engines.cell", str(cell.folder)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._running.add(process)
            try:
                _, said = await asyncio.wait_for(process.communicate(), cell.wall_s + _GRACE_S)
            except TimeoutError:
                raise HostFailure(f"The cell {cell.name} was ended after {cell.wall_s + _GRACE_S:.0f} s.") from None
            finally:
                await _end(process)
                self._running.discard(process)
            if process.returncode != 0:
                text = said.decode(errors="replace").strip()[-1000:]
                raise HostFailure(f"The cell {cell.name} ended with status {process.returncode}: {text}")
            return CellUse(str(process.pid), platform.node(), began - asked, time.monotonic() - began)

    async def close(self) -> None:
        """End every cell that is left."""
        await asyncio.gather(*(_end(process) for process in list(self._running)))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it to end its job; what does not listen is killed."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _END_S)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
