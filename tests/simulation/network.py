"""Connections between workers and their pool, in memory: slow, cut, silent, with frames twice or out of order.

The worker's end looks like one of the `websockets` library, the pool's end like one of Starlette: the shipped
`PoolLink` and `serve_worker` talk over them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Address
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosedError

from tests.simulation.faults import Counter, Fault
from tests.simulation.nodes import Node, current_node

__all__ = ["Network", "NetworkTroubles"]

_HANDSHAKE_FRAMES = 3
"""Challenge, enrolment, welcome: they are not disturbed, or nobody would ever meet."""
_PING_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTroubles:
    """How bad the network is: seconds, and probabilities for each frame."""

    latency_s: float = 0.02
    duplicate: float = 0.0
    reorder: float = 0.0


class _Pipe:
    """One direction of a connection."""

    def __init__(self, connection: _Connection) -> None:
        self.connection = connection
        self.inbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._free_at = 0.0
        self._sent = 0

    def push(self, frame: str) -> None:
        net = self.connection.network
        self._sent += 1
        copies = 1
        loop = asyncio.get_running_loop()
        travel = net.rng.uniform(0.2, 1.0) * net.troubles.latency_s
        at = max(loop.time() + travel, self._free_at)
        if self._sent > _HANDSHAKE_FRAMES and not net.calm:
            if net.rng.random() < net.troubles.duplicate:
                copies = 2
                net.counter.count(Fault.DUPLICATE)
            if net.rng.random() < net.troubles.reorder:
                # It stays behind; what is sent after it arrives before.
                at += net.rng.uniform(0.0, 3.0 * net.troubles.latency_s)
                net.counter.count(Fault.REORDER)
            else:
                self._free_at = at
        else:
            self._free_at = at
        for _ in range(copies):
            loop.call_at(at, self._arrive, frame)

    def _arrive(self, frame: str) -> None:
        connection = self.connection
        if connection.closed:
            return
        until = connection.network.partitioned.get(connection.worker.name, 0.0)
        loop = asyncio.get_running_loop()
        if until > loop.time():
            # What is sent into a partition is sent again until it arrives, or until the connection is given up.
            loop.call_at(until + 0.01, self._arrive, frame)
            return
        if self is connection.to_pool:
            connection.network.arrived(connection.worker.name, frame)
        self.inbox.put_nowait(frame)

    def end(self) -> None:
        self.inbox.put_nowait(None)


class _Connection:
    """Between one worker and the pool's process of the moment."""

    def __init__(self, network: Network, worker: Node, pool: Node) -> None:
        self.network = network
        self.worker = worker
        self.pool = pool
        self.closed = False
        self.to_pool = _Pipe(self)
        self.to_worker = _Pipe(self)

    def close(self) -> None:
        """Both sides hear of it; what is under way is lost."""
        if not self.closed:
            self.closed = True
            self.to_pool.end()
            self.to_worker.end()
            self.network.connections.pop(self, None)
            self.network.ended(self.worker.name)


class _PoolSide:
    """What `serve_worker` needs of a Starlette websocket."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        number = sum(connection.worker.name.encode())
        self.client = Address(f"10.{number % 200}.{number // 200}.1", 40_000)
        self.headers: dict[str, str] = {}

    async def accept(self) -> None:
        """Nothing to agree on."""

    async def receive(self) -> dict[str, Any]:
        frame = await self._connection.to_pool.inbox.get()
        if frame is None:
            return {"type": "websocket.disconnect", "code": 1006}
        return {"type": "websocket.receive", "text": frame}

    async def send_text(self, frame: str) -> None:
        connection = self._connection
        await connection.pool.checkpoint("before a message to a worker")
        if connection.closed:
            raise WebSocketDisconnect(1006)
        connection.network.told(connection.worker.name, frame)
        connection.to_worker.push(frame)
        await connection.pool.checkpoint("after a message to a worker")

    async def close(self, code: int = 1000) -> None:
        # Whatever was said before arrives first.
        asyncio.get_running_loop().call_later(2 * self._connection.network.troubles.latency_s, self._connection.close)


class _WorkerSide:
    """What `PoolLink` needs of a connection of the websockets library."""

    def __init__(self, connection: _Connection, mangle: Callable[[str], str | None]) -> None:
        self._connection = connection
        self._mangle = mangle

    async def send(self, frame: str) -> None:
        connection = self._connection
        await connection.worker.checkpoint("before a message to the pool")
        if connection.closed:
            raise ConnectionClosedError(None, None)
        changed = self._mangle(frame)
        if changed is not None:
            connection.network.heard(connection.worker.name, changed)
            connection.to_pool.push(changed)
        await connection.worker.checkpoint("after a message to the pool")

    async def recv(self) -> str:
        frame = await self._connection.to_worker.inbox.get()
        if frame is None:
            raise ConnectionClosedError(None, None)
        return frame

    async def __aiter__(self) -> AsyncIterator[str]:
        while True:
            yield await self.recv()


class Network:
    """All connections. ``serve`` answers at the pool; ``calm`` True ends random trouble with frames."""

    def __init__(self, rng: random.Random, troubles: NetworkTroubles, counter: Counter) -> None:
        self.rng = rng
        self.troubles = troubles
        self.counter = counter
        self.calm = False
        self.connections: dict[_Connection, None] = {}
        self.partitioned: dict[str, float] = {}
        """Until when (loop time) pool and worker do not hear each other."""
        self.pool: Node | None = None
        self.serve: Callable[[Any], Coroutine[Any, Any, None]] | None = None
        self.mangles: dict[str, Callable[[str], str | None]] = {}
        self.told: Callable[[str, str], None] = lambda worker, frame: None
        """Hears every frame that the pool sends."""
        self.failed: Callable[[str], None] = lambda text: None
        self.heard: Callable[[str, str], None] = lambda worker, frame: None
        """Hears every frame that a worker sends."""
        self.arrived: Callable[[str, str], None] = lambda worker, frame: None
        """Hears every frame of a worker that the pool is about to read."""
        self.ended: Callable[[str], None] = lambda worker: None
        """Hears of every connection that both sides know to be over."""

    @asynccontextmanager
    async def connect(self, uri: str, *, open_timeout: float = 20.0, **_options: Any) -> AsyncIterator[_WorkerSide]:
        """Stands in for `websockets.asyncio.client.connect`."""
        worker = current_node.get()
        assert worker is not None
        loop = asyncio.get_running_loop()
        until = self.partitioned.get(worker.name, 0.0)
        if until > loop.time():
            if until - loop.time() > open_timeout:
                await asyncio.sleep(open_timeout)
                raise TimeoutError("no answer to the opening handshake")
            await asyncio.sleep(until - loop.time())
        await asyncio.sleep(self.troubles.latency_s)
        if self.pool is None or self.serve is None or not self.pool.alive:
            raise OSError("connection refused")
        connection = _Connection(self, worker, self.pool)
        self.connections[connection] = None
        self.pool.start(self._served(self.pool, self.serve(_PoolSide(connection))))
        try:
            yield _WorkerSide(connection, self.mangles.get(worker.name, lambda frame: frame))
        finally:
            if worker.alive:
                connection.close()

    async def _served(self, pool: Node, serving: Coroutine[Any, Any, None]) -> None:
        try:
            await serving
        except Exception as error:
            if pool.alive:
                self.failed(f"the pool fails to serve a worker: {type(error).__name__}: {error}")

    def cut(self, worker: str) -> bool:
        """Cut a worker's connection; False if it has none."""
        mine = [connection for connection in self.connections if connection.worker.name == worker]
        for connection in mine:
            connection.close()
        return bool(mine)

    def part(self, worker: str, seconds: float) -> None:
        """Let worker and pool not hear each other for so long; neither is told. A worker's pings fail after 30 s."""
        loop = asyncio.get_running_loop()
        self.partitioned[worker] = max(self.partitioned.get(worker, 0.0), loop.time() + seconds)
        for connection in self.connections:
            if connection.worker.name == worker:
                loop.call_later(_PING_TIMEOUT_S, self._ping_failed, connection)

    def _ping_failed(self, connection: _Connection) -> None:
        if self.partitioned.get(connection.worker.name, 0.0) > asyncio.get_running_loop().time():
            connection.close()

    def died(self, node: Node, *, silently: bool) -> None:
        """A node is dead: the others' ends are closed, unless its whole machine fell silent."""
        for connection in list(self.connections):
            if node is connection.worker and silently:
                # Nobody says goodbye; the pool finds out by itself.
                continue
            if node in (connection.worker, connection.pool):
                connection.close()
