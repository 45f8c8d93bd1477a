"""Uploads in parts: a lost connection, or a sender that was restarted, goes on where the store has got to.

A session lives in the memory of the service and lasts as long as somebody sends; when the service restarts, senders
begin anew. Sending the same bytes twice changes nothing.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fairgrid.errors import ServiceError, UsageError, VerificationError
from fairgrid.protocol.cid import normal_cid
from fairgrid.storage.store import BlobStore, BlobTooLarge, BlobWriter, StoreFull

__all__ = ["SessionConflict", "SessionMissing", "UploadSessions", "UploadState"]

_MAX_SESSIONS: Final = 1_000
_IDLE_S: Final = 600.0


class SessionMissing(ServiceError):
    """There is no such upload, or not any more."""

    def __init__(self) -> None:
        super().__init__(
            "There is no such upload here (it was given up after 10 minutes, or the service restarted). Begin anew."
        )


class SessionConflict(ServiceError):
    """The bytes that were sent do not join what is there. ``offset`` is where to go on."""

    def __init__(self, reason: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"{reason} Go on at offset {offset}.")


@dataclass(frozen=True, slots=True)
class UploadState:
    """How far an upload is: ``offset`` of ``size`` bytes are here; ``done`` when the blob is kept under ``cid``."""

    name: str
    cid: str
    size: int
    offset: int
    done: bool

    def document(self) -> dict[str, Any]:
        """The JSON object that its sender gets."""
        return {"id": self.name, "cid": self.cid, "size": self.size, "offset": self.offset, "done": self.done}


@dataclass(slots=True)
class _Session:
    cid: str
    size: int
    writer: BlobWriter
    used_at: float
    offset: int = 0
    done: bool = False
    turn: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class UploadSessions:
    """The uploads in parts that are under way into one store. ``now`` gives seconds of any steady clock."""

    def __init__(self, store: BlobStore, *, now: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = now
        self._sessions: dict[str, _Session] = {}

    async def begin(self, cid: str, size: int, *, keep_s: int | None = None) -> UploadState:
        """Begin an upload of ``size`` bytes that must have this CID; they stay for ``keep_s`` seconds from its end.

        Raises:
            UsageError: this is no CID, or the size cannot be.
            BlobTooLarge: it is larger than the store takes.
            StoreFull: too many uploads are under way, or the store is full.
        """
        cid = normal_cid(cid)
        if size < 0:
            raise UsageError("A file has at least 0 bytes.")
        if size > self._store.limits.max_blob_bytes:
            raise BlobTooLarge(
                self._store.limits.max_blob_bytes, remedy="Split it, or ask the store's owner to raise --max-blob."
            )
        await self._expire()
        if len(self._sessions) >= _MAX_SESSIONS:
            raise StoreFull(f"{_MAX_SESSIONS} uploads are under way")
        name = secrets.token_hex(16)
        self._sessions[name] = session = _Session(cid, size, await self._store.begin(keep_s=keep_s), self._now())
        if size == 0:
            await self._commit(name, session)
        return self._state(name, session)

    async def state(self, name: str) -> UploadState:
        """How far an upload is.

        Raises:
            SessionMissing: there is none of this name.
        """
        return self._state(name, self._find(name))

    async def append(self, name: str, offset: int, body: AsyncIterator[bytes]) -> UploadState:
        """Add bytes that begin at ``offset``; what is there already is skipped. The last byte commits.

        What arrived before the body broke off stays.

        Raises:
            SessionMissing: there is none of this name.
            SessionConflict: the offset is beyond what is here, or the bytes go beyond the file's size.
            VerificationError: the whole has another CID; the session is gone.
            BlobTooLarge, StoreFull, UploadStalled: as elsewhere.
        """
        session = self._find(name)
        session.turn += 1
        mine, position = session.turn, offset
        if offset > session.offset and not session.done:
            raise SessionConflict(f"Bytes {session.offset} to {offset} are missing.", session.offset)
        async for piece in body:
            async with session.lock:
                if session.done:
                    break
                if session.turn != mine:
                    # An older connection of the same sender: it hangs, and the sender has come again.
                    raise SessionConflict("Another connection sends this file now.", session.offset)
                fresh = piece[session.offset - position :]
                position += len(piece)
                session.used_at = self._now()
                if session.offset + len(fresh) > session.size:
                    raise SessionConflict(f"The file should have {session.size} bytes; more came.", session.offset)
                if fresh and position > session.offset:
                    await session.writer.write(fresh)
                    session.offset += len(fresh)
        async with session.lock:
            if session.offset == session.size and not session.done:
                await self._commit(name, session)
        return self._state(name, session)

    async def drop(self, name: str) -> None:
        """Give an upload up; nothing of it is left. Dropping again does nothing."""
        session = self._sessions.pop(name, None)
        if session is not None:
            async with session.lock:
                await session.writer.abort()

    async def _commit(self, name: str, session: _Session) -> None:
        blob = await session.writer.commit()
        session.done = True
        if blob.cid != session.cid:
            # The bytes are kept under their own CID, as any upload is; only the promise was wrong.
            del self._sessions[name]
            raise VerificationError(
                f"The upload should be {session.cid}, but its bytes have the CID {blob.cid}. Send the file again."
            )

    async def _expire(self) -> None:
        now = self._now()
        for name, session in list(self._sessions.items()):
            if now - session.used_at > _IDLE_S and not session.lock.locked():
                await self.drop(name)

    def _find(self, name: str) -> _Session:
        session = self._sessions.get(name)
        if session is None:
            raise SessionMissing
        session.used_at = self._now()
        return session

    @staticmethod
    def _state(name: str, session: _Session) -> UploadState:
        return UploadState(name, session.cid, session.size, session.offset, session.done)
