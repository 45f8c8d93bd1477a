"""What a worker's connection needs of its pool (`Desk`), and what the pool knows of the connection (`Session`)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from fairgrid.pool.core.events import (
    Event,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.jobs.live import LiveBoard
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.views import RoleAccount

__all__ = ["Desk", "Session"]

_OUTBOX = 1_000


class Desk(Protocol):
    """What a connection needs of its pool."""

    @property
    def identity(self) -> PoolIdentity: ...
    @property
    def policy(self) -> Policy: ...

    @property
    def live(self) -> LiveBoard: ...

    @property
    def refusals(self) -> Counter[str]:
        """How many connections were turned away or ended for what a worker sent, by kind."""
        ...

    def now(self) -> float: ...
    def feed(self, event: Event) -> None: ...
    def is_banned(self, worker: str, owner: str) -> bool: ...

    def ban_reason(self, worker: str, owner: str) -> str:
        """Why one of them is banned; empty if none is."""
        ...

    def has_room(self) -> bool: ...
    def is_busy(self, worker: str) -> bool:
        """True while a worker has something to end here."""
        ...

    def why(self, worker: str) -> pool_messages.Why: ...

    async def spot_answered(self, worker: str, check_id: str, answer: int) -> None:
        """A worker answered a test of its speed."""
        ...

    async def task_key(self, worker: str, request: worker_messages.TaskKeyRequest, *, context: bytes) -> str:
        """The keys of a task that the worker has a part in, sealed for it (0x-hex).

        Raises:
            UsageError: it has none.
            ServiceError: chain or storage does not answer.
            FairgridError: there is no such key.
        """
        ...

    async def refusal(self, worker: str, owner: str) -> str:
        """Why a private pool does not take this worker; empty if it does."""
        ...

    async def sponsor(self, session: Session, agreement: str, *, repays: bool) -> pool_messages.Sponsored:
        """Help a newcomer, within the policy's caps."""
        ...

    async def role_account(self, address: str) -> RoleAccount | None:
        """The role account at an address; None when there is none."""
        ...

    async def signed_by_contract(self, owner: str, digest: str, signature: str) -> bool:
        """True if ``owner`` is a contract that says so (ERC-1271)."""
        ...

    async def worker_facts(self, worker: str) -> tuple[int, int]:
        """Score and free deposit (nRLC) on chain."""
        ...

    async def finished_among(self, task_ids: list[str]) -> frozenset[str]:
        """Those of these tasks that are settled."""
        ...

    async def attach(self, session: Session) -> None:
        """Take a worker's connection, instead of an older one of the same worker."""
        ...

    def detach(self, session: Session) -> None: ...


@dataclass(slots=True, eq=False)
class Session:
    """An enrolled worker's connection. `send` never waits: a worker that does not read is cut off."""

    worker: str
    owner: str
    key: str
    """Whose signatures count for the worker: itself, or the operator of its role account."""
    network: str = "unknown"
    """The network that it came from, a /24 of IPv4 or a /56 of IPv6."""
    fuel_per_s: int = 0
    """What its benchmark claims."""
    slots: int = 1
    outbox: asyncio.Queue[pool_messages.PoolMessage | None] = field(default_factory=lambda: asyncio.Queue(_OUTBOX))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = ""
    why: pool_messages.Why | None = None
    why_at: float = 0.0
    unwelcome: bool = False
    """It was taken off the pool's list, and ends what it has begun."""
    heard_at: float = 0.0
    """When it spoke last, by the pool's clock."""

    def send(self, message: pool_messages.PoolMessage) -> None:
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.end("This worker does not read what it is sent.")

    def end(self, reason: str) -> None:
        """Close the connection after telling the worker why."""
        self.reason = self.reason or reason
        self.ended.set()
