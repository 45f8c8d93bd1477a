"""What workers claim of their speed is tested: by puzzles while they are idle, and by how long others took."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from fairgrid.pool.core.events import Event, SealReceived, WorkerFacts
from fairgrid.pool.core.machine import PoolMachine
from fairgrid.pool.core.spot_checks import SpotChecks, Timing, Verdict, implausible
from fairgrid.pool.workers.interface import Session
from fairgrid.protocol import pool_messages
from fairgrid.seams.clock import Clock

__all__ = ["SpeedTests"]

_log = structlog.get_logger(__name__)

_PAUSE_S = 2.0
_TIMINGS = 50


class SpeedTests:
    """Asks connected workers, judges their answers, and takes back what the pool believed of those that fail."""

    def __init__(
        self,
        *,
        every_s: float,
        machine: PoolMachine,
        sessions: Mapping[str, Session],
        clock: Clock,
        feed: Callable[[Event], None],
    ) -> None:
        """Each worker is asked about ``every_s`` seconds after it was last; 0: nobody is."""
        self._every_s = every_s
        self._checks = SpotChecks(every_s)
        self._machine = machine
        self._sessions = sessions
        self._clock = clock
        self._feed = feed
        self._timings: dict[str, deque[Timing]] = {}
        self.verdicts: dict[str, Verdict] = {}
        """How the last test of each worker ended."""

    def forget(self, worker: str) -> None:
        """The worker went away."""
        self._checks.forget(worker)
        self._timings.pop(worker, None)

    async def answered(self, worker: str, check_id: str, answer: int) -> None:
        """A worker answered a puzzle."""
        verdict = await asyncio.to_thread(self._checks.judge, worker, check_id, answer, self._clock.now())
        if verdict is not None:
            self._judged(verdict)

    def timed(self, event: SealReceived) -> None:
        """Compare how long the worker took with how long others took for the same task, if all claim a speed."""
        task = self._machine.tasks.get(event.task_id)
        own = task.replica(event.lease_id) if task is not None else None
        if task is None or own is None or own.worker != event.worker or not own.sealed_at:
            return
        timings = self._timings.setdefault(event.worker, deque(maxlen=_TIMINGS))
        for other in task.replicas:
            if other.worker != own.worker and other.sealed_at:
                timings.append(
                    Timing(
                        own_s=own.sealed_at - own.leased_at,
                        other_s=other.sealed_at - other.leased_at,
                        own_claim=self._claim_of(own.worker),
                        other_claim=self._claim_of(other.worker),
                    )
                )
        text = implausible(list(timings))
        if text and self._claim_of(own.worker):
            self._judged(Verdict(own.worker, passed=False, text=text))

    def _claim_of(self, worker: str) -> int:
        session = self._sessions.get(worker)
        return session.fuel_per_s if session is not None else 0

    def _judged(self, verdict: Verdict) -> None:
        self.verdicts[verdict.worker] = verdict
        state = self._machine.workers.get(verdict.worker)
        if verdict.passed or state is None:
            return
        _log.warning("a worker's benchmark fell", worker=verdict.worker, reason=verdict.text)
        session = self._sessions.get(verdict.worker)
        if session is not None:
            session.fuel_per_s = 0
        self._feed(WorkerFacts(verdict.worker, state.score, state.stake, benchmark_fell=True))

    async def keep(self) -> None:
        """Test what idle workers claim of their speed, one after the other, for ever."""
        while self._every_s > 0:
            await self._clock.sleep(_PAUSE_S)
            now = self._clock.now()
            for verdict in self._checks.overdue(now):
                self._judged(verdict)
            for worker, session in list(self._sessions.items()):
                state = self._machine.workers.get(worker)
                idle = state is not None and state.ready and state.free_slots == state.slots
                if idle and session.fuel_per_s > 0 and self._checks.due(worker, now):
                    check = self._checks.ask(worker, session.fuel_per_s, now)
                    session.send(pool_messages.SpotCheck(check_id=check.check_id, seed=check.seed, rounds=check.rounds))
                    break
