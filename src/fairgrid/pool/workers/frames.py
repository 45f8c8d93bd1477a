"""Frames of a worker's websocket: one comes, one is read, and the last word before the pool closes."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect

from fairgrid.errors import FairgridError
from fairgrid.protocol import pool_messages, wire, worker_messages

__all__ = ["TurnedAway", "decode_frame", "receive_frame", "refuse_worker"]

_LAST_WORD_S = 2.0
_POLICY_VIOLATION = 1008


class TurnedAway(Exception):
    """The worker is turned away; the text says why, ``kind`` in one word for whoever counts."""

    def __init__(self, text: str, kind: str = "identity") -> None:
        self.kind = kind
        super().__init__(text)


def decode_frame(text: str) -> worker_messages.WorkerMessage:
    """The message in a frame.

    Raises:
        TurnedAway: it breaks the protocol.
    """
    try:
        return wire.decode_worker_message(text)
    except FairgridError as error:
        raise TurnedAway(str(error), "schema") from error


async def receive_frame(socket: WebSocket) -> str:
    """The text of the next frame.

    Raises:
        TurnedAway: it is no text.
        WebSocketDisconnect: the other side closed.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    if text is None:
        raise TurnedAway("Messages are text frames of JSON; a binary frame came.", "schema")
    return str(text)


async def refuse_worker(socket: WebSocket, reason: str) -> None:
    """Say why and close; who does not read is not waited for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD_S):
            await socket.send_text(wire.encode(pool_messages.Refused(reason=reason[:500])))
            await socket.close(_POLICY_VIOLATION)
