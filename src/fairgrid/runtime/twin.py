"""A sandbox without isolation, for tests of workers and clients: the "job" is a Python function in this process."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from fairgrid.runtime.interface import Outcome, SandboxJob, Stop

__all__ = ["FunctionSandbox"]


class FunctionSandbox:
    """Calls ``function(job)`` in a thread; it writes to ``job.output_folder`` and returns stdout, or an `Outcome`."""

    def __init__(self, function: Callable[[SandboxJob], bytes | Outcome], *, runtime_id: str) -> None:
        self._function = function
        self._runtime_id = runtime_id
        self._going = asyncio.Event()
        self._going.set()

    @property
    def runtime_id(self) -> str:
        """The runtime that this sandbox pretends to be."""
        return self._runtime_id

    async def close(self) -> None:
        """Nothing is kept ready."""

    def suspend(self) -> bool:
        """Nothing begins, and nothing that ended is told, until `resume`; a function that runs is not stopped."""
        self._going.clear()
        return True

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    async def run(self, job: SandboxJob) -> Outcome:
        """Run the function; an exception becomes exit code 1 with its text as stderr."""
        await self._going.wait()
        try:
            with _watched(job):
                answer = await asyncio.to_thread(self._function, job)
        except Exception as error:
            answer = Outcome(Stop.EXITED, 1, b"", f"{type(error).__name__}: {error}\n".encode(), 0, 0.0, 0)
        await self._going.wait()
        return answer if isinstance(answer, Outcome) else Outcome(Stop.EXITED, 0, answer, b"", 0, 0.0, 0)


@contextlib.contextmanager
def _watched(job: SandboxJob) -> Iterator[None]:
    async def snapshot(destination: Path, max_bytes: int) -> bool:
        await asyncio.to_thread(shutil.copytree, job.output_folder, destination)
        return True

    if job.watch is None:
        yield
    else:
        with job.watch.attached(snapshot):
            yield
