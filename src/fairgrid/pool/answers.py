"""What a pool's REST API answers, as typed values; each reader takes one answer's JSON object.

A reader raises KeyError, TypeError, ValueError or AttributeError for an object that is not what the pool promises.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "DealView",
    "LiveOutput",
    "LiveProgress",
    "OwnerWeight",
    "PartialView",
    "PoolInfo",
    "PoolKey",
    "PoolRoom",
    "ReplicaView",
    "StoryEntry",
    "TaskSummary",
    "TaskView",
    "TrustListing",
    "read_deal",
    "read_info",
    "read_key",
    "read_live_event",
    "read_partial",
    "read_room",
    "read_story",
    "read_task",
    "read_trust",
]

_LONGEST_RETURN_S = 60.0
"""Nobody promises more."""


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
    audit_share: float = 0.0
    """At least this share of the tasks of proven workers is computed once more in silence, as the pool says."""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """What keys of private jobs are sealed for; believed only with the signature of the workerpool's owner."""

    public: bytes
    """X25519, 32 bytes."""
    signature: str
    """Of `protocol.sealing.pool_key_message`, EIP-191, 0x-hex."""


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
    returning_s: float = 0.0
    """So long (s) other owners may come back, who were lost a moment ago or when the pool was restarted."""
    after_return: int | None = None
    """The trust that all would reach then; None when the pool cannot know it."""

    def worth_waiting_s(self, trust: int) -> float:
        """So long (s) owners may come back with whom ``trust`` is reached; 0 when waiting is in vain."""
        if self.after_return is not None and trust > self.after_return:
            return 0.0
        return self.returning_s


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


def read_live_event(kind: str, data: str) -> LiveOutput | LiveProgress | None:
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


def read_info(document: Mapping[str, Any]) -> PoolInfo:
    return PoolInfo(
        version=str(document["version"]),
        protocol_version=int(document["protocolVersion"]),
        chain_id=int(document["chainId"]),
        hub=str(document["hub"]),
        workerpool=str(document["workerpool"]),
        scheduler=str(document["scheduler"]),
        workers=int(document["workers"]),
        owners=int(document["owners"]),
        audit_share=min(1.0, max(0.0, float(document.get("auditShare", 0.0)))),
    )


def read_room(document: Mapping[str, Any]) -> PoolRoom:
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


def read_key(document: Mapping[str, Any]) -> PoolKey:
    public = str(document["publicKey"])
    if len(public) != 66 or not public.startswith("0x"):
        raise ValueError("no key")
    return PoolKey(bytes.fromhex(public[2:]), str(document["signature"]))


def read_trust(document: Mapping[str, Any]) -> TrustListing:
    owners = tuple(
        OwnerWeight(str(owner["owner"]), int(owner["weight"]), int(owner["score"])) for owner in document["owners"]
    )
    returning = document.get("returning") or {}
    after = returning.get("reachable")
    within_s = float(returning.get("withinS", 0))
    if not 0 <= within_s <= _LONGEST_RETURN_S:
        raise ValueError("nobody comes back after so long")
    return TrustListing(owners, int(document["reachable"]), within_s, None if after is None else int(after))


def read_task(document: Mapping[str, Any]) -> TaskView:
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


def read_deal(document: Mapping[str, Any]) -> DealView:
    tasks = tuple(
        TaskSummary(str(task["taskId"]), int(task["index"]), str(task["phase"])) for task in document["tasks"]
    )
    return DealView(str(document["dealId"]), int(document["taskCount"]), tasks)


def read_story(document: Mapping[str, Any]) -> list[StoryEntry]:
    return [
        StoryEntry(int(line["number"]), float(line["at"]), str(line["text"]), str(line["worker"]))
        for line in document["lines"]
    ]


def read_partial(document: Mapping[str, Any]) -> PartialView:
    return PartialView(str(document["cid"]), int(document["size"]), str(document["worker"]))
