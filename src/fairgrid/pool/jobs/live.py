"""What running jobs print, on its way from workers to their requesters. A little of it is kept in memory, none stored.

A worker is a stranger: what it sends is taken only for a task of trust 1 that it holds a lease of, at a limited rate,
from one worker a task at a time.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from fairgrid.errors import FairgridError
from fairgrid.protocol import pool_messages, worker_messages

__all__ = ["LiveBoard", "LiveEvent", "PartialRefused"]

_MAX_TASKS: Final = 1_000
_KEPT_BYTES: Final = 64 * 1024
"""So much of the end of each stream is kept for a requester that comes later."""
_BURST_BYTES: Final = 512 * 1024
_BYTES_PER_S: Final = 128 * 1024
_MAX_WATCHERS: Final = 8
_WAITING_EVENTS: Final = 512
_PARTIAL_S: Final = 60.0


class PartialRefused(FairgridError):
    """There is no partial result; the text says why."""


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One thing to tell a requester: ``kind`` is ``output``, ``progress`` or ``run``; ``data`` is JSON."""

    kind: str
    data: dict[str, Any]


@dataclass(slots=True)
class _Stream:
    start: int = 0
    kept: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        return self.start + len(self.kept)

    def add(self, offset: int, data: bytes) -> bytes:
        """Take what is new of a message; a gap, or more than is kept, moves the start."""
        if offset > self.end:
            self.start, self.kept = offset, bytearray()
        fresh = data[self.end - offset :]
        self.kept += fresh
        surplus = len(self.kept) - _KEPT_BYTES
        if surplus > 0:
            del self.kept[:surplus]
            self.start += surplus
        return fresh


@dataclass(slots=True)
class _Feed:
    worker: str
    run: str
    streams: dict[str, _Stream] = field(default_factory=dict)
    progress: LiveEvent | None = None
    tokens: float = _BURST_BYTES
    at: float = 0.0

    def allow(self, size: int, now: float) -> bool:
        self.tokens = min(_BURST_BYTES, self.tokens + max(now - self.at, 0.0) * _BYTES_PER_S)
        self.at = now
        if self.tokens < size:
            return False
        self.tokens -= size
        return True


class LiveBoard:
    """The streams of all running tasks. ``holds`` says whether a worker may speak for a task now."""

    def __init__(self, *, holds: Callable[[str, str], bool], now: Callable[[], float]) -> None:
        self._holds = holds
        self._now = now
        self._feeds: OrderedDict[str, _Feed] = OrderedDict()
        self._watchers: dict[str, set[asyncio.Queue[LiveEvent | None]]] = {}
        self._partials: dict[str, tuple[str, asyncio.Future[worker_messages.PartialResult]]] = {}

    def take(
        self,
        worker: str,
        message: worker_messages.LiveOutput | worker_messages.Progress | worker_messages.PartialResult,
    ) -> None:
        """Take a worker's message; what it may not say is dropped."""
        if isinstance(message, worker_messages.PartialResult):
            asked = self._partials.get(message.request_id)
            if asked is not None and asked[0] == worker and not asked[1].done():
                asked[1].set_result(message)
            return
        if not self._holds(message.task_id, worker):
            return
        feed = self._feed(worker, message)
        if feed is None:
            return
        if isinstance(message, worker_messages.Progress):
            if feed.allow(512, self._now()):
                feed.progress = LiveEvent("progress", {"ppm": message.ppm, "message": message.message})
                self._tell(message.task_id, feed.progress)
            return
        if not feed.allow(len(message.data), self._now()):
            return  # The next message shows the gap.
        try:
            data = base64.b64decode(message.data, validate=True)
        except (ValueError, binascii.Error):
            return
        stream = feed.streams.setdefault(message.stream, _Stream())
        fresh = stream.add(message.offset, data)
        if fresh:
            self._tell(message.task_id, _output(message.stream, stream.end - len(fresh), fresh))

    @asynccontextmanager
    async def watching(self, task_id: str) -> AsyncIterator[asyncio.Queue[LiveEvent | None]]:
        """A queue of what is known of a task, then of what comes; None in it means that the watcher is too slow.

        Raises:
            PartialRefused: as many watch this task as may.
        """
        watchers = self._watchers.setdefault(task_id, set())
        if len(watchers) >= _MAX_WATCHERS:
            raise PartialRefused(f"{_MAX_WATCHERS} connections watch this task already.")
        queue: asyncio.Queue[LiveEvent | None] = asyncio.Queue(_WAITING_EVENTS)
        feed = self._feeds.get(task_id)
        if feed is not None:
            queue.put_nowait(LiveEvent("run", {"run": feed.run}))
            for name, stream in sorted(feed.streams.items()):
                queue.put_nowait(_output(name, stream.start, bytes(stream.kept)))
            if feed.progress is not None:
                queue.put_nowait(feed.progress)
        watchers.add(queue)
        try:
            yield queue
        finally:
            watchers.discard(queue)
            if not watchers:
                self._watchers.pop(task_id, None)

    def worker_of(self, task_id: str) -> str | None:
        """The worker whose job of this task is watched; None while there is none."""
        feed = self._feeds.get(task_id)
        return feed.worker if feed is not None and self._holds(task_id, feed.worker) else None

    async def partial(
        self, task_id: str, worker: str, send: Callable[[pool_messages.PartialRequest], None]
    ) -> worker_messages.PartialResult:
        """Ask a worker for the files of its running job; ``send`` sends it the request.

        Raises:
            PartialRefused: the worker says no, or nothing within a minute, or it was asked and has not answered yet.
        """
        if any(asked == worker for asked, _ in self._partials.values()):
            raise PartialRefused("The worker makes a partial result already. Ask later.")
        request = pool_messages.PartialRequest(task_id=task_id, request_id=secrets.token_hex(8))
        answer: asyncio.Future[worker_messages.PartialResult] = asyncio.get_running_loop().create_future()
        self._partials[request.request_id] = (worker, answer)
        try:
            send(request)
            async with asyncio.timeout(_PARTIAL_S):
                result = await answer
        except TimeoutError:
            raise PartialRefused(f"The worker did not answer within {_PARTIAL_S:.0f} s.") from None
        finally:
            del self._partials[request.request_id]
        if not result.cid:
            raise PartialRefused(result.reason or "The worker gives no reason.")
        return result

    def _feed(self, worker: str, message: worker_messages.LiveOutput | worker_messages.Progress) -> _Feed | None:
        feed = self._feeds.get(message.task_id)
        if feed is not None and feed.worker != worker and self._holds(message.task_id, feed.worker):
            return None  # Another replica of the same task: one at a time is shown.
        if feed is None or (feed.worker, feed.run) != (worker, message.run):
            feed = _Feed(worker, message.run, at=self._now())
            self._feeds[message.task_id] = feed
            self._tell(message.task_id, LiveEvent("run", {"run": message.run}))
        self._feeds.move_to_end(message.task_id)
        while len(self._feeds) > _MAX_TASKS:
            self._feeds.popitem(last=False)
        return feed

    def _tell(self, task_id: str, event: LiveEvent) -> None:
        for queue in self._watchers.get(task_id, ()):
            try:
                queue.put_nowait(event)
            except asyncio.QueueFull:
                # Who does not read loses the connection, not the order of what it reads.
                with contextlib.suppress(asyncio.QueueEmpty):
                    while True:
                        queue.get_nowait()
                queue.put_nowait(None)


def _output(stream: str, offset: int, data: bytes) -> LiveEvent:
    return LiveEvent("output", {"stream": stream, "offset": offset, "data": base64.b64encode(data).decode()})
