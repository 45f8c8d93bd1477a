"""Host processes that were started before their jobs: importing the engine costs a hundred times what a small job does.

Each of them waits with the engine, and the interpreter where there is one, in its memory. It takes one job and ends
with it; it has met nobody's job before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.children import end_child, signal_group, start_child
from fairgrid.runtime.wasm.engine import EngineClass
from fairgrid.runtime.wasm.launch import Launch

__all__ = ["KEPT_S", "ReadyHosts", "start_host"]

KEPT_S: Final = 900.0
"""Without a job for so long, the hosts that wait end and give their memory back; the next job starts new ones."""
_READY_S: Final = 120.0
_PAUSE_S: Final = 0.1
"""After a job took a host: a small job is over before the next host is started, which would slow it down."""
_COLD: Final = "fairgrid.runtime.wasm.host"
_READY: Final = "fairgrid.runtime.wasm.ready_host"


def _tell(event: str, **facts: object) -> None:
    # A third of a cell's start, and a cell has no hosts ahead.
    import structlog

    structlog.get_logger(__name__).info(event, **facts)


async def start_host(*preparation: str) -> asyncio.subprocess.Process:
    """A host process: one that reads its job at once, or with a ``preparation`` one that first makes itself ready.

    Raises:
        HostFailure: the system does not start it.
    """
    try:
        return await start_child(
            *(sys.executable, "-I", "-B", "-X", "utf8", "-m", _READY if preparation else _COLD, *preparation),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/" if os.name == "posix" else None,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
    except OSError as error:
        raise HostFailure(f"The sandbox process cannot be started: {error}.") from error


class ReadyHosts:
    """At most ``most`` hosts that wait for jobs of one engine class. Lives in one event loop; `close` ends them all.

    The first ones are started when the first job has taken its own. They also end with the thread that runs the loop,
    however that ends.
    """

    def __init__(
        self,
        most: int,
        engine_class: EngineClass,
        launch: Launch,
        interpreter: Path | None = None,
        *,
        kept_s: float = KEPT_S,
    ) -> None:
        """``interpreter`` is the compiled form that every job needs; None: each job brings its own."""
        self._most = most
        preparation = [engine_class.value, launch.value]
        self._preparation = preparation if interpreter is None else [*preparation, str(interpreter.resolve())]
        self._kept_s = kept_s
        self._waiting: deque[asyncio.subprocess.Process] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many are ready."""
        return len(self._waiting)

    @property
    def is_on(self) -> bool:
        """False where none is ever started ahead."""
        return self._most > 0

    @property
    def is_filling(self) -> bool:
        """Whether one is being started."""
        return self._filling is not None and not self._filling.done()

    def take(self) -> asyncio.subprocess.Process | None:
        """A host that is ready, which is the caller's from now on; None: there is none. More are started meanwhile."""
        if not self.is_on:
            return None
        taken = None
        while taken is None and self._waiting:
            host = self._waiting.popleft()
            if host.returncode is None:
                taken = host
            else:
                self._end(host)
        loop = asyncio.get_running_loop()
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = loop.call_later(self._kept_s, self.let_go)
        if not self.is_filling:
            self._filling = loop.create_task(self._fill())
        return taken

    def let_go(self) -> None:
        """End those that wait, and start no more until the next job."""
        if self._filling is not None:
            self._filling.cancel()
        while self._waiting:
            self._end(self._waiting.popleft())

    async def close(self) -> None:
        """End those that wait, wait until they are gone, and start no more."""
        self._most = 0
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        self.let_go()
        if self._filling is not None:
            await asyncio.gather(self._filling, return_exceptions=True)
            self._filling = None
        await asyncio.gather(*self._ending)

    def _end(self, host: asyncio.subprocess.Process) -> None:
        signal_group(host.pid, signal.SIGKILL)
        ending = asyncio.get_running_loop().create_task(end_child(host))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _fill(self) -> None:
        """Start hosts one after the other, so that they take little from the jobs that run."""
        await asyncio.sleep(_PAUSE_S)
        while len(self._waiting) < self._most:
            try:
                host = await start_host(*self._preparation)
            except HostFailure as error:
                _tell("no sandbox process was started ahead", reason=str(error))
                return
            is_ready = False
            try:
                assert host.stdout is not None
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_READY_S):
                        is_ready = await host.stdout.read(1) == b"\n"
            finally:
                if not is_ready:
                    await end_child(host)
            if not is_ready:
                _tell("a sandbox process did not become ready", status=host.returncode)
                return
            self._waiting.append(host)
