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
from fairgrid.runtime.engines.interface import Cell, CellUse, cell_command

__all__ = ["LocalEngine"]

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

    async def run(self, cell: Cell) -> CellUse:
        """Have the cell run; see `Engine`."""
        asked = time.monotonic()
        async with self._free:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(
                *cell_command(sys.executable, cell.folder),
                "--tied",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
            self._running.add(process)
            try:
                said = await asyncio.wait_for(_until_ended(process), cell.limit_s)
            except TimeoutError:
                raise HostFailure(f"The cell {cell.name} was ended after {cell.limit_s:.0f} s.") from None
            finally:
                await _end(process)
                assert process.stdin is not None
                process.stdin.close()
                self._running.discard(process)
            if process.returncode != 0:
                text = said.decode(errors="replace").strip()[-1000:]
                raise HostFailure(f"The cell {cell.name} ended with status {process.returncode}: {text}")
            return CellUse(str(process.pid), platform.node(), began - asked, time.monotonic() - began)

    async def sweep(self) -> int:
        """None: a cell is tied to the worker, and ends with it."""
        return 0

    async def close(self) -> None:
        """End every cell that is left."""
        await asyncio.gather(*(_end(process) for process in list(self._running)))


async def _until_ended(process: asyncio.subprocess.Process) -> bytes:
    """What it said on standard error. Its standard input stays open: the end of that would end it."""
    assert process.stderr is not None
    said = await process.stderr.read()
    await process.wait()
    return said


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
