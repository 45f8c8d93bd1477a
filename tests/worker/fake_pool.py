"""A pool of a few lines: enrols one worker at a time, shows what it sends, says what a test wants said."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from fairgrid.protocol.pool_messages import Challenge, PoolMessage, Refused, Welcome
from fairgrid.protocol.wire import PROTOCOL_VERSION, decode_worker_message, encode
from fairgrid.protocol.worker_messages import Enrol, Heartbeat, PhaseReport, WorkerMessage

Message = TypeVar("Message")


class FakePool:
    """Use as an async context manager. ``messages`` holds all that came after `Enrol` but heartbeats and phases."""

    def __init__(self, *, chain_id: int, hub: str, workerpool: str, heartbeat_s: float = 0.2, port: int = 0) -> None:
        self.challenge = Challenge(
            nonce="0x" + "42" * 32, chain_id=chain_id, hub=hub, workerpool=workerpool, version=PROTOCOL_VERSION
        )
        self.heartbeat_s = heartbeat_s
        self.refusal = ""
        self.first_frames: list[str | bytes] = []
        """Sent instead of the challenge."""
        self.enrolments: list[Enrol] = []
        self.messages: list[WorkerMessage] = []
        self.heartbeats: list[Heartbeat] = []
        self.phases: list[str] = []
        self.connections = 0
        self._port = port
        self._server: Server | None = None
        self._current: ServerConnection | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> FakePool:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen; on the same port as before when it was open before."""
        self._server = await serve(self._serve, "127.0.0.1", self._port)
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def close(self) -> None:
        """Drop the worker and stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def drop(self) -> None:
        """Cut the connection of the worker."""
        if self._current is not None:
            await self._current.close()

    async def send(self, message: PoolMessage) -> None:
        """Send a message to the enrolled worker."""
        await self.send_raw(encode(message))

    async def send_raw(self, frame: str | bytes) -> None:
        """Send any frame to the enrolled worker."""
        await self.until(lambda: self._current is not None)
        assert self._current is not None
        await self._current.send(frame)

    async def until(self, condition: Any, *, timeout_s: float = 60.0) -> None:
        """Wait until ``condition()`` is true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await _moment()

    async def expect(self, kind: type[Message], *, timeout_s: float = 60.0) -> Message:
        """The first message of this kind that was not taken yet, taken."""

        def found() -> list[Any]:
            return [message for message in self.messages if isinstance(message, kind)]

        await self.until(found, timeout_s=timeout_s)
        message = found()[0]
        self.messages.remove(message)
        return message  # type: ignore[no-any-return]

    def seen(self, kind: type[Any]) -> bool:
        """True if a message of this kind lies there, not taken."""
        return any(isinstance(message, kind) for message in self.messages)

    async def _serve(self, connection: ServerConnection) -> None:
        self.connections += 1
        assert connection.request is not None and connection.request.path == "/worker"
        with contextlib.suppress(ConnectionClosed):
            for frame in self.first_frames:
                await connection.send(frame)
            if not self.first_frames:
                await connection.send(encode(self.challenge))
            enrolment = decode_worker_message(await connection.recv())
            assert isinstance(enrolment, Enrol)
            self.enrolments.append(enrolment)
            if self.refusal:
                await connection.send(encode(Refused(self.refusal)))
                return
            await connection.send(encode(Welcome(self.heartbeat_s)))
            self._current = connection
            async for frame in connection:
                message = decode_worker_message(frame)
                if isinstance(message, Heartbeat):
                    self.heartbeats.append(message)
                elif isinstance(message, PhaseReport):
                    self.phases.append(message.phase)
                else:
                    self.messages.append(message)
        if self._current is connection:
            self._current = None

    def claim(self, **change: Any) -> None:
        """Change what the challenge says."""
        self.challenge = replace(self.challenge, **change)


async def _moment() -> None:
    await asyncio.sleep(0.01)
