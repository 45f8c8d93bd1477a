"""`PoolClient`: ask a pool what it is, which trust it reaches, and how far a task is."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import httpx

from fairgrid.errors import ServiceRefused, ServiceUnavailable, UsageError
from fairgrid.protocol.access import PoolPlace, access_message
from fairgrid.seams.clock import Clock, SystemClock
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


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """Which workerpool of which hub a pool serves, and how many it has connected."""

    version: str
    protocol_version: int
    chain_id: int
    hub: str
    workerpool: str
    scheduler: str
    workers: int
    owners: int


@dataclass(frozen=True, slots=True)
class OwnerWeight:
    """A connected owner, with weight and score of its lightest worker."""

    owner: str
    weight: int
    score: int


@dataclass(frozen=True, slots=True)
class PoolRoom:
    """How full a pool is for tasks of one trust, and whether it serves this requester."""

    admitted: bool
    reason: str
    """Why not."""
    room: int
    """So many more tasks would begin at once."""
    waiting: int
    oldest_wait_s: float


@dataclass(frozen=True, slots=True)
class TrustListing:
    """Connected owners, and the highest trust that they reach if all agree (0 without owners)."""

    owners: tuple[OwnerWeight, ...]
    reachable: int


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One worker's part in a task. Before the task is REVEALING ``worker`` is a number instead of an address, and all
    fields after ``phase`` are empty; ``digest`` is what its opened seal said."""

    worker: str
    phase: str
    owner: str = ""
    result_hash: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class TaskView:
    """How far a task is. ``result_digest`` and ``cid`` are empty until they are public. Fields ending in ``_at`` are
    the pool's local time, deadlines are chain time, both in seconds."""

    task_id: str
    deal_id: str
    index: int
    phase: str
    round: int
    trust: int
    contribution_deadline: int
    final_deadline: int
    created_at: float
    updated_at: float
    replicas: tuple[ReplicaView, ...]
    result_digest: str
    cid: str


@dataclass(frozen=True, slots=True)
class TaskSummary:
    task_id: str
    index: int
    phase: str


@dataclass(frozen=True, slots=True)
class DealView:
    """A deal's tasks; ``tasks`` is one page of ``task_count``."""

    deal_id: str
    task_count: int
    tasks: tuple[TaskSummary, ...]


@dataclass(frozen=True, slots=True)
class StoryEntry:
    """One thing that happened to a task; ``worker`` is empty until names are public, and where there is none."""

    number: int
    at: float
    text: str
    worker: str


@dataclass(frozen=True, slots=True)
class LiveOutput:
    """Bytes that a job printed, from ``offset`` of ``stream`` (``stdout`` or ``stderr``) on; a gap was too much."""

    stream: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LiveProgress:
    """What a running job says of itself: ``ppm`` millionths are done."""

    ppm: int
    message: str


@dataclass(frozen=True, slots=True)
class PartialView:
    """An archive of what a running job has written so far: unverified, from one ``worker``."""

    cid: str
    size: int
    worker: str


class PoolClient:
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

    async def __aenter__(self) -> PoolClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def info(self) -> PoolInfo:
        """Which pool this is."""
        return await self._ask("/info", _info)

    async def trust(self) -> TrustListing:
        """Which trust its connected owners reach now."""
        return await self._ask("/trust", _trust)

    async def room(self, *, trust: int, requester: str) -> PoolRoom:
        """How full it is, and whether ``requester`` may use it."""
        return await self._ask(f"/room?trust={trust}&requester={requester}", _room)

    async def task(self, task_id: str) -> TaskView:
        """How far a task is."""
        return await self._ask(f"/tasks/{task_id}", _task)

    async def deal(self, deal_id: str, *, limit: int = 1_000, offset: int = 0) -> DealView:
        """A deal's tasks by index, at most 1,000 at a time."""
        return await self._ask(f"/deals/{deal_id}?limit={limit}&offset={offset}", _deal)

    async def story(self, task_id: str) -> list[StoryEntry]:
        """Everything that happened to a task, in order."""
        return await self._ask(f"/tasks/{task_id}/story", _story)

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
                        event = _live_event(kind, value)
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
            return PartialView(str(document["cid"]), int(document["size"]), str(document["worker"]))
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


def _live_event(kind: str, data: str) -> LiveOutput | LiveProgress | None:
    """None for what a newer pool may say, or what makes no sense."""
    try:
        document = json.loads(data)
        if kind == "output":
            content = base64.b64decode(document["data"], validate=True)
            return LiveOutput(str(document["stream"]), int(document["offset"]), content)
        if kind == "progress":
            return LiveProgress(int(document["ppm"]), str(document["message"]))
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _info(document: Mapping[str, Any]) -> PoolInfo:
    return PoolInfo(
        version=str(document["version"]),
        protocol_version=int(document["protocolVersion"]),
        chain_id=int(document["chainId"]),
        hub=str(document["hub"]),
        workerpool=str(document["workerpool"]),
        scheduler=str(document["scheduler"]),
        workers=int(document["workers"]),
        owners=int(document["owners"]),
    )


def _room(document: Mapping[str, Any]) -> PoolRoom:
    admitted = document["admitted"]
    if not isinstance(admitted, bool):
        raise TypeError("admitted is no truth value")
    return PoolRoom(
        admitted=admitted,
        reason=str(document["reason"])[:500],
        room=max(int(document["room"]), 0),
        waiting=int(document["waiting"]),
        oldest_wait_s=float(document["oldestWaitS"]),
    )


def _trust(document: Mapping[str, Any]) -> TrustListing:
    owners = tuple(
        OwnerWeight(str(owner["owner"]), int(owner["weight"]), int(owner["score"])) for owner in document["owners"]
    )
    return TrustListing(owners, int(document["reachable"]))


def _task(document: Mapping[str, Any]) -> TaskView:
    return TaskView(
        task_id=str(document["taskId"]),
        deal_id=str(document["dealId"]),
        index=int(document["index"]),
        phase=str(document["phase"]),
        round=int(document["round"]),
        trust=int(document["trust"]),
        contribution_deadline=int(document["contributionDeadline"]),
        final_deadline=int(document["finalDeadline"]),
        created_at=float(document["createdAt"]),
        updated_at=float(document["updatedAt"]),
        replicas=tuple(
            ReplicaView(
                worker=str(replica["worker"]),
                phase=str(replica["phase"]),
                owner=str(replica.get("owner", "")),
                result_hash=str(replica.get("resultHash", "")),
                digest=str(replica.get("digest", "")),
            )
            for replica in document["replicas"]
        ),
        result_digest=str(document.get("resultDigest", "")),
        cid=str(document.get("cid", "")),
    )


def _deal(document: Mapping[str, Any]) -> DealView:
    tasks = tuple(
        TaskSummary(str(task["taskId"]), int(task["index"]), str(task["phase"])) for task in document["tasks"]
    )
    return DealView(str(document["dealId"]), int(document["taskCount"]), tasks)


def _story(document: Mapping[str, Any]) -> list[StoryEntry]:
    return [
        StoryEntry(int(line["number"]), float(line["at"]), str(line["text"]), str(line["worker"]))
        for line in document["lines"]
    ]
