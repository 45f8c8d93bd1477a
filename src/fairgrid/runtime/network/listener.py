"""Listeners in other networks, and networks made for a job: what `inside.py` does, from the worker's side."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fairgrid.errors import HostFailure
from fairgrid.runtime.children import end_child, start_child
from fairgrid.runtime.network.grant import PROXY_PORT

__all__ = ["OwnNetwork", "listener_of_network", "listener_of_process", "made_network"]

_PROGRAM: Final = Path(__file__).with_name("inside.py")
_START_S: Final = 30.0
_SAID_BYTES: Final = 2000


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """A network with a loopback and nothing else, held by a process of ours."""

    listener: socket.socket
    path: str
    """Where engines find it: below /proc, valid while it is held."""


async def listener_of_process(pid: int) -> socket.socket:
    """The proxy's listener, inside the network of a process, which waits meanwhile.

    Raises:
        HostFailure: the network cannot be entered, or is the machine's own.
    """
    return await listener_of_network(Path(f"/proc/{pid}/ns/net"))


async def listener_of_network(path: Path) -> socket.socket:
    """The same inside the network that ``path`` names.

    Raises:
        HostFailure: as `listener_of_process`.
    """
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostFailure(f"The job's network cannot be found ({error}).") from error
    near, far = socket.socketpair()
    try:
        _check_foreign(namespace)
        process = await _started(
            _python("enter", str(namespace), str(far.fileno()), str(PROXY_PORT)), {}, (namespace, far.fileno())
        )
        far.close()
        try:
            listener, held = await _received(near, process)
            os.close(held)
            return listener
        finally:
            await _ended(process)
    finally:
        os.close(namespace)
        near.close()
        far.close()


@asynccontextmanager
async def made_network(
    prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> AsyncIterator[OwnNetwork]:
    """A network of its own while the block runs. ``prefix`` is the command that runs a program where it may be made.

    Raises:
        HostFailure: this machine makes none.
    """
    with tempfile.TemporaryDirectory(prefix="fairgrid-net-") as folder, socket.socket(socket.AF_UNIX) as door:
        path = Path(folder) / "door"
        door.bind(str(path))
        door.listen(1)
        door.setblocking(False)
        process = await _started((*prefix, *_python("make", str(path), str(PROXY_PORT))), environment or {})
        channel: socket.socket | None = None
        held = -1
        try:
            channel = await _accepted(door, process)
            listener, held = await _received(channel, process)
            with listener:
                _check_foreign(held)
                yield OwnNetwork(listener, f"/proc/{os.getpid()}/fd/{held}")
        finally:
            if channel is not None:
                channel.close()
            if held >= 0:
                os.close(held)
            await _ended(process)


def _python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", str(_PROGRAM), *words)


async def _started(
    command: Sequence[str], environment: Mapping[str, str], descriptors: tuple[int, ...] = ()
) -> asyncio.subprocess.Process:
    try:
        return await start_child(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            pass_fds=descriptors,
        )
    except OSError as error:
        raise HostFailure(f"The program that opens a job's network cannot be started ({error}).") from error


def _check_foreign(namespace: int) -> None:
    own = os.stat("/proc/self/ns/net")
    found = os.fstat(namespace)
    if (own.st_dev, own.st_ino) == (found.st_dev, found.st_ino):
        raise HostFailure("The job's network is the machine's own: it is not given a proxy, and not started.")


async def _accepted(door: socket.socket, process: asyncio.subprocess.Process) -> socket.socket:
    accepting = asyncio.ensure_future(asyncio.get_running_loop().sock_accept(door))
    ending = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait((accepting, ending), timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        if accepting.done():
            return accepting.result()[0]
    finally:
        for task in (accepting, ending):
            task.cancel()
        await asyncio.gather(accepting, ending, return_exceptions=True)
    raise HostFailure(f"No network can be made for the job: {await _said(process)}.")


async def _received(channel: socket.socket, process: asyncio.subprocess.Process) -> tuple[socket.socket, int]:
    """The listener and its network; the end of the other process ends the wait, too."""
    channel.setblocking(False)
    try:
        async with asyncio.timeout(_START_S):
            await _readable(channel)
    except TimeoutError:
        raise HostFailure(f"The job's network cannot be entered within {_START_S:.0f} s.") from None
    data, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
    if not data or len(descriptors) != 2:
        for descriptor in descriptors:
            os.close(descriptor)
        raise HostFailure(f"The job's network cannot be entered: {await _said(process)}.")
    listener = socket.socket(fileno=descriptors[0])
    listener.setblocking(False)
    return listener, descriptors[1]


async def _readable(channel: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(channel.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(channel.fileno())


async def _said(process: asyncio.subprocess.Process) -> str:
    """Why the other process ended; it is ended if it has not."""
    assert process.stderr is not None
    await end_child(process)
    said = (await process.stderr.read(_SAID_BYTES * 10)).decode(errors="replace").strip()
    return said.splitlines()[-1][-_SAID_BYTES:] if said else "no message"


async def _ended(process: asyncio.subprocess.Process) -> None:
    """It has done what it was for, or cannot; nothing of it is worth waiting for."""
    await end_child(process)
    # What nobody reads has no end of its own.
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
