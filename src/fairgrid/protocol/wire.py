"""Messages between a worker and its pool, over the worker's outgoing websocket: one JSON object a frame.

The order of a task's life (decision 2): `Lease` → worker computes → `Seal` → `Authorisation` → the worker contributes
on chain → `RevealNotice` → the worker reveals on chain → `OpeningRequest`/`Opening` → `UploadRequest`/`Uploaded`
→ `TaskDone`. No message carries a digest before the task is REVEALING. Every message is frozen and strict: an unknown
key, a missing key or a wrong type is a `ProtocolViolation`, and so is a frame of over `MAX_FRAME_BYTES`.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from fairgrid.errors import UsageError
from fairgrid.protocol.pool_messages import PoolMessage
from fairgrid.protocol.worker_messages import WorkerMessage

__all__ = [
    "MAX_FRAME_BYTES",
    "PROTOCOL_VERSION",
    "ProtocolViolation",
    "decode_pool_message",
    "decode_worker_message",
    "encode",
]

PROTOCOL_VERSION = 1
MAX_FRAME_BYTES = 65_536

_Message = TypeVar("_Message")


class ProtocolViolation(UsageError):
    """The other side sent a message that this protocol does not have."""


_pool_adapter: TypeAdapter[PoolMessage] = TypeAdapter(Annotated[PoolMessage, Field(discriminator="kind")])
_worker_adapter: TypeAdapter[WorkerMessage] = TypeAdapter(Annotated[WorkerMessage, Field(discriminator="kind")])
_either_adapter: TypeAdapter[PoolMessage | WorkerMessage] = TypeAdapter(
    Annotated[PoolMessage | WorkerMessage, Field(discriminator="kind")]
)


def encode(message: PoolMessage | WorkerMessage) -> str:
    """The JSON text of a message. What is None is left out, so that older peers, which lack the field, can read it."""
    return _either_adapter.dump_json(message, exclude_none=True).decode()


def decode_pool_message(text: str | bytes) -> PoolMessage:
    """Read a frame that a pool sent.

    Raises:
        ProtocolViolation: it is too large, not JSON, or not one of `PoolMessage`.
    """
    return _decode(_pool_adapter, text)


def decode_worker_message(text: str | bytes) -> WorkerMessage:
    """Read a frame that a worker sent.

    Raises:
        ProtocolViolation: it is too large, not JSON, or not one of `WorkerMessage`.
    """
    return _decode(_worker_adapter, text)


def _decode(adapter: TypeAdapter[_Message], text: str | bytes) -> _Message:
    if len(text) > MAX_FRAME_BYTES:
        raise ProtocolViolation(f"A frame of {len(text)} bytes came; at most {MAX_FRAME_BYTES} are read.")
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise ProtocolViolation(f"A message breaks protocol version {PROTOCOL_VERSION}: {error}") from error
