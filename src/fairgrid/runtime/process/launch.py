"""Starts `bwrap` with its descriptors, puts the job into its group before it may run, and waits for its true end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.cgroups.interface import OpenGroup
from fairgrid.runtime.process.bubblewrap import Bubblewrap, argument_file
from fairgrid.runtime.process.process_tree import below
from fairgrid.runtime.uninterrupted import settled

__all__ = ["Launched", "launch"]

_GATE: Final = ("/bin/sh", "-c", 'read -r word && exec "$@" < /dev/null', "sh")
"""Waits until the job is in its group; whoever started it may die before that, and then it ends, too."""
_READ_BYTES: Final = 65_536
_START_S: Final = 20.0
_LAST_WORDS_S: Final = 5.0
_PAUSE_S: Final = 0.01
_FREE_BYTES: Final = 8 << 20
"""Of a stream of which nothing more is kept, so much is read at once; then the job waits a little for each read."""


async def launch(
    bubblewrap: Bubblewrap,
    arguments: Sequence[str],
    command: Sequence[str],
    *,
    filter_program: bytes,
    group: OpenGroup,
) -> Launched:
    """Start ``command`` in the sandbox, in ``group``.

    Raises:
        HostFailure: bubblewrap cannot be started, or cannot make the sandbox.
    """
    status, status_end = os.pipe()
    gate, gate_end = os.pipe()
    given = [status_end]
    process = None
    try:
        calls = os.memfd_create("calls", 0)
        given.append(calls)
        os.write(calls, filter_program)
        os.lseek(calls, 0, os.SEEK_SET)
        own = ("--json-status-fd", str(status_end), "--seccomp", str(calls))
        listed = argument_file((*arguments, *own))
        given.append(listed)
        starting = asyncio.create_subprocess_exec(
            *(bubblewrap.path, "--args", str(listed), "--", *_GATE, *command),
            stdin=gate,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env={},
            pass_fds=given,
            start_new_session=True,
        )
        process, cancelled = await settled(starting)
        for descriptor in given:
            os.close(descriptor)
        given.clear()
        launched = Launched(process, status)
        try:
            if cancelled:
                raise asyncio.CancelledError
            await launched.enter(group)
            os.write(gate_end, b"go\n")
        except BaseException:
            await launched.end()
            raise
        return launched
    except OSError as error:
        raise HostFailure(f"The sandbox cannot be started: {error}.") from error
    finally:
        if process is None:
            given.append(status)
        for descriptor in (*given, gate, gate_end):
            os.close(descriptor)


class Launched:
    """One `bwrap` with the job behind it."""

    def __init__(self, process: asyncio.subprocess.Process, status: int) -> None:
        self._process = process
        self._status = status
        self._said = b""
        self._init, self._pid = -1, 0
        self.exit_code: int | None = None
        """The job's own, once it ended by itself; 128 and the signal's number if a signal ended it."""

    async def enter(self, group: OpenGroup) -> None:
        """Put the sandbox's first process into the group, before the job starts.

        Raises:
            HostFailure: there is no sandbox.
            OSError: the group refuses.
        """
        await self._find_init()
        if self._init < 0:
            assert self._process.stderr is not None
            said = (await self._process.stderr.read(_READ_BYTES)).decode(errors="replace").strip()
            raise HostFailure(f"Bubblewrap cannot make a sandbox here: {said[-500:] or 'no message'}.")
        group.add(self._pid)
        # What it started before that waits for the word to go on, and has started nothing itself. A process that is in
        # already is not moved again: the kernel takes milliseconds for each move.
        inside = set(group.pids())
        for pid in set(below(self._pid)) - inside:
            with contextlib.suppress(ProcessLookupError):
                group.add(pid)

    async def _find_init(self) -> None:
        async with asyncio.timeout(_START_S):
            pid = await self._child()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                self._init, self._pid = os.pidfd_open(pid), pid

    async def run(self, stdout: Callable[[bytes], None], stderr: Callable[[bytes], None]) -> None:
        """Hand on what the job prints, until all its processes are gone."""
        assert self._process.stdout is not None and self._process.stderr is not None
        reading = asyncio.gather(_pump(self._process.stdout, stdout), _pump(self._process.stderr, stderr))
        try:
            await self._process.wait()
            await self._wait_for_init()
            while piece := await self._status_piece():
                self._said += piece
            self.exit_code = _exit_code(self._said)
            # A descriptor of the job's may have been sent to nobody: no process holds the other ends any more.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reading, _LAST_WORDS_S)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def end(self) -> None:
        """Kill what is left, and wait until it is gone."""
        if self._init < 0:
            # Bubblewrap's child does not die with it from its first moment on.
            with contextlib.suppress(TimeoutError):
                await self._find_init()
        for kill in (self._kill_init, self._kill_outer):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill()
        # Waiting for a process means waiting for the ends of its pipes, too, and what nobody reads has none.
        transport = getattr(self._process, "_transport", None)
        if transport is not None:
            transport.close()
        await self._process.wait()
        await self._wait_for_init()
        for descriptor in (self._init, self._status):
            if descriptor >= 0:
                os.close(descriptor)
        self._init = self._status = -1

    def _kill_init(self) -> None:
        if self._init >= 0:
            signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def _kill_outer(self) -> None:
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait_for_init(self) -> None:
        """The first process of a pid namespace is gone only when all others in it are."""
        if self._init >= 0:
            await _readable(self._init)

    async def _child(self) -> int | None:
        while b"}" not in self._said:
            piece = await self._status_piece()
            if not piece:
                return None
            self._said += piece
        return _documents(self._said).get("child-pid")

    async def _status_piece(self) -> bytes:
        # Never by a thread: it could outlive the descriptor, and read that of another job in its place.
        await _readable(self._status)
        return os.read(self._status, 4096)


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(descriptor, _settle, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _pump(stream: asyncio.StreamReader, sink: Callable[[bytes], None]) -> None:
    taken = 0
    while piece := await stream.read(_READ_BYTES):
        sink(piece)
        taken += len(piece)
        if taken > _FREE_BYTES:
            await asyncio.sleep(_PAUSE_S)


def _exit_code(said: bytes) -> int | None:
    code = _documents(said).get("exit-code")
    return int(code) if code is not None else None


def _documents(said: bytes) -> dict[str, Any]:
    """What all JSON objects of bubblewrap say together."""
    together: dict[str, Any] = {}
    decoder, text = json.JSONDecoder(), said.decode(errors="replace").strip()
    while text:
        try:
            document, end = decoder.raw_decode(text)
        except ValueError:
            break
        together |= document
        text = text[end:].strip()
    return together
