"""Does what the owner says: closes and opens the worker to new tasks, suspends and resumes jobs, drains, hands back."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, Protocol

import structlog

from fairgrid.protocol.pool_messages import Lease
from fairgrid.seams.clock import Clock
from fairgrid.worker.owner.owner_watch import OwnerWatch

__all__ = ["Hands", "Heed"]

_log = structlog.get_logger(__name__)
_DRAINING: Final = "The worker finishes what it holds and takes nothing new: its owner drains it."


class Hands(Protocol):
    """What is done with a worker; `fairgrid.worker.agent.WorkerAgent` does it."""

    def owner_said(self, *, takes_work: bool, reason: str, slots: int | None) -> None:
        """Take new tasks or none, and so many at once (None: as at the start)."""

    def suspend_jobs(self) -> bool:
        """Let running jobs stand still; False where that cannot be done."""
        ...

    def resume_jobs(self) -> None:
        """Let them go on."""

    def working(self) -> tuple[str, ...]:
        """Ids of the tasks that may still be handed back."""
        ...

    def holds_anything(self) -> bool: ...

    def hand_back(self, task_id: str, reason: str) -> None:
        """Give a lease back to the pool."""

    def stop(self) -> None:
        """End the process."""


class Heed:
    """Looks at the owner's verdict for ever, and follows it."""

    def __init__(self, owner: OwnerWatch, hands: Hands, *, clock: Clock, tally: Counter[str] | None = None) -> None:
        """``tally`` counts, as ``paused/RULE``, how often jobs were suspended because of a rule."""
        self._owner = owner
        self._hands = hands
        self._clock = clock
        self._windows: dict[str, float] = {}
        self._suspended_at: float | None = None
        self._can_suspend = True
        self._draining = False
        self._tally = tally if tally is not None else Counter()

    @property
    def is_draining(self) -> bool:
        return self._draining

    @property
    def is_suspended(self) -> bool:
        return self._suspended_at is not None

    @property
    def can_suspend(self) -> bool:
        """False once a sandbox said that it cannot."""
        return self._can_suspend

    def drain(self) -> None:
        """Take nothing new, finish what is held, then end."""
        self._draining = True
        self._owner.poke()

    def leased(self, lease: Lease) -> None:
        """Remember how long the pool waits for a lease's seal."""
        self._windows[lease.task_id] = lease.seal_window_s

    async def run(self) -> None:
        """Look, follow, rest; ends only by cancellation."""
        while True:
            await self.follow()
            await self._owner.rest()

    async def follow(self) -> None:
        """One look and what follows from it."""
        verdict = await self._owner.look()
        policy = self._owner.policy
        # Asked before the worker is told anything: what it is told counts as something that it still has to take in.
        is_done = self._draining and not self._hands.holds_anything()
        takes_work = verdict.takes_work and not self._draining
        reason = _DRAINING if self._draining else verdict.reason
        self._hands.owner_said(takes_work=takes_work, reason=reason, slots=policy.slots)
        if verdict.may_run:
            self._resume()
        else:
            self._suspend(verdict.reason)
            self._hand_back_overdue(policy.max_suspend_minutes * 60.0, verdict.reason)
        if is_done:
            self._hands.stop()

    def _suspend(self, reason: str) -> None:
        if self._suspended_at is None:
            self._suspended_at = self._clock.now()
            self._can_suspend = self._hands.suspend_jobs()
            broken = (rule.name for rule in self._owner.verdict.rules if rule.suspends and not rule.allowed)
            self._tally.update(f"paused/{name}" for name in broken)
            _log.info("jobs suspended" if self._can_suspend else "jobs cannot be suspended here", reason=reason)

    def _resume(self) -> None:
        if self._suspended_at is not None:
            self._suspended_at = None
            self._hands.resume_jobs()
            _log.info("jobs resumed")

    def _hand_back_overdue(self, longest_s: float, reason: str) -> None:
        """Give back what stands still for longer than owner or lease allow; at once what cannot stand still."""
        assert self._suspended_at is not None
        stood_s = self._clock.now() - self._suspended_at
        working = self._hands.working()
        for gone in self._windows.keys() - set(working):
            del self._windows[gone]
        for task_id in working:
            allowed_s = min(longest_s, self._windows.get(task_id, math.inf))
            if stood_s >= allowed_s or not self._can_suspend:
                self._hands.hand_back(task_id, f"Suspended for {stood_s:.0f} s: {reason}")
