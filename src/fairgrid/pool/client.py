"""`PoolClient`: ask a pool what it is, which trust it reaches, and how far a task is."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import httpx

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.pool.answers import (
    DealView,
    LiveOutput,
    LiveProgress,
    OwnerWeight,
    PartialView,
    PoolInfo,
    PoolKey,
    PoolRoom,
    ReplicaView,
    StoryEntry,
    TaskSummary,
    TaskView,
    TrustListing,
    read_deal,
    read_info,
    read_key,
    read_live_event,
    read_partial,
    read_room,
    read_story,
    read_task,
    read_trust,
)
from fairgrid.protocol.access import PoolPlace, access_message
from fairgrid.seams.clock import Clock, SystemClock
from fairgrid.seams.closing import Closing
from fairgrid.seams.http import TRANSIENT_STATUS, Interrupted, one_line, open_http, retried, start_of
from fairgrid.wallet.signer import Signer

__all__ = [
    "DealView",
    "LiveOutput",
    "LiveProgress",
    "OwnerWeight",
    "PartialView",
    "PoolClient",
    "PoolInfo",
    "PoolKey",
    "PoolRoom",
    "ReplicaView",
    "StoryEntry",
    "TaskSummary",
    "TaskView",
    "TrustListing",
    "pool_urls",
]

_SERVICE = "pool"
_Answer = TypeVar("_Answer")
_ACCESS_S = 600
_LIVE_SILENCE_S = 30.0
_MAX_ANSWER_BYTES = 16 * 1024 * 1024


class PoolClient(Closing):
    """A pool at ``url``. Use as an async context manager; lost connections are retried four times.

    ``url`` may name several processes of one pool, with commas between: the one that leads is found and asked.

    ``place`` is the pool that the network file names; `live` and `partial` sign for it, and for no other.

    ``transport`` replaces the network, for example by ``httpx.ASGITransport(pool_application(service))``.
    Every method raises `ServiceUnavailable` when nobody answers, and `ServiceRefused` when the pool says no (404: it
    does not know the deal or task) or its answer cannot be understood.
    """

    def __init__(
        self,
        url: str,
        *,
        place: PoolPlace | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._url = url
        self._place = place
        self._processes = pool_urls(url)
        self._asked = 0
        self._clock = clock or SystemClock()
        self._http = open_http(transport=transport)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def info(self) -> PoolInfo:
        """Which pool this is."""
        return await self._ask("/info", read_info)

    async def encryption_key(self) -> PoolKey:
        """What keys of private jobs are sealed for; not checked here."""
        return await self._ask("/encryption-key", read_key)

    async def trust(self) -> TrustListing:
        """Which trust its connected owners reach now."""
        return await self._ask("/trust", read_trust)

    async def room(self, *, trust: int, requester: str) -> PoolRoom:
        """How full it is, and whether ``requester`` may use it."""
        return await self._ask(f"/room?trust={trust}&requester={requester}", read_room)

    async def task(self, task_id: str) -> TaskView:
        """How far a task is."""
        return await self._ask(f"/tasks/{task_id}", read_task)

    async def deal(self, deal_id: str, *, limit: int = 1_000, offset: int = 0) -> DealView:
        """A deal's tasks by index, at most 1,000 at a time."""
        return await self._ask(f"/deals/{deal_id}?limit={limit}&offset={offset}", read_deal)

    async def story(self, task_id: str) -> list[StoryEntry]:
        """Everything that happened to a task, in order."""
        return await self._ask(f"/tasks/{task_id}/story", read_story)

    async def live(self, task_id: str, signer: Signer) -> AsyncIterator[LiveOutput | LiveProgress]:
        """What a running task of trust 1 prints and says of its progress, until it does not run any more.

        ``signer`` is its requester. What it printed before comes first, as much as the pool kept of it. A job that is
        started anew begins at offset 0 again. Raises `ServiceUnavailable` when the connection is lost: call it again.
        """
        headers = self._access(task_id, signer)
        timeout = httpx.Timeout(_LIVE_SILENCE_S, connect=5)
        await self.info()  # the process that leads is found by asking
        url = f"{self._base}/tasks/{task_id}/live"
        try:
            async with self._http.stream("GET", url, headers=headers, timeout=timeout) as response:
                if response.status_code != 200:
                    body = await start_of(response, limit=_MAX_ANSWER_BYTES)
                    raise ServiceRefused(_SERVICE, response.status_code, _error_of(body))
                kind = ""
                async for line in response.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        if kind == "end":
                            return
                        event = read_live_event(kind, value)
                        if event is not None:
                            yield event
        except httpx.TransportError as error:
            raise ServiceUnavailable(_SERVICE, self._url, str(error) or type(error).__name__) from error
        raise ServiceUnavailable(_SERVICE, self._url, "it closed the stream")

    async def partial(self, task_id: str, signer: Signer) -> PartialView:
        """Ask for the files of a running task of trust 1; ``signer`` is its requester. Takes up to a minute.

        What comes is unverified, and from one worker.
        """
        headers = self._access(task_id, signer)
        await self.info()  # the process that leads is found by asking

        async def attempt() -> tuple[int, bytes]:
            response = await self._http.post(
                f"{self._base}/tasks/{task_id}/partial", headers=headers, timeout=httpx.Timeout(75, connect=5)
            )
            return response.status_code, response.content[:_MAX_ANSWER_BYTES]

        status, body = await retried(attempt, service=_SERVICE, url=self._url, clock=self._clock)
        if status != 200:
            raise ServiceRefused(_SERVICE, status, _error_of(body))
        try:
            document = json.loads(body)
            return read_partial(document)
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceRefused(_SERVICE, status, "its answer cannot be understood") from error

    @property
    def _base(self) -> str:
        """The process that is asked now."""
        return self._processes[self._asked % len(self._processes)]

    def _access(self, task_id: str, signer: Signer) -> dict[str, str]:
        if self._place is None:
            raise UsageError("This client was not told which pool it asks; give PoolClient the network file's place.")
        expires_at = int(self._clock.now()) + _ACCESS_S
        place = self._place
        message = access_message(place.chain_id, place.hub, place.workerpool, task_id, expires_at)
        return {"authorization": f"Fairgrid expires={expires_at},signature={signer.sign_message(message)}"}

    async def _ask(self, path: str, read: Callable[[Mapping[str, Any]], _Answer]) -> _Answer:
        async def attempt() -> tuple[int, bytes]:
            try:
                async with self._http.stream("GET", self._base + path) as response:
                    if response.status_code in TRANSIENT_STATUS:
                        raise Interrupted(f"status {response.status_code}")
                    return response.status_code, await start_of(response, limit=_MAX_ANSWER_BYTES)
            except (httpx.TransportError, Interrupted):
                self._asked += 1
                raise

        status, body = await retried(attempt, service=_SERVICE, url=self._url, clock=self._clock)
        try:
            document = json.loads(body)
            if status != 200:
                raise ServiceRefused(_SERVICE, status, one_line(str(document["error"])))
            return read(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServiceRefused(_SERVICE, status, f"its answer to {path} cannot be understood") from error


def pool_urls(text: str) -> tuple[str, ...]:
    """The addresses in a pool's URL: one, or those of several processes of one pool with commas between."""
    return tuple(url for part in text.split(",") if (url := part.strip().rstrip("/"))) or ("",)


def _error_of(body: bytes) -> str:
    try:
        return one_line(str(json.loads(body)["error"]))
    except (ValueError, KeyError, TypeError):
        return "no reason given"
