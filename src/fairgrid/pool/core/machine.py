"""The scheduler of a workerpool as a pure state machine: events in, instructions out; no socket, database or clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from fairgrid.pool.core import (
    deals,
    due,
    operator_events,
    presence,
    restoring,
    task_events,
)
from fairgrid.pool.core.accounts import Correction
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.events import (
    ChainRead,
    DealMatched,
    DealUndone,
    Event,
    OperatorBanned,
    OperatorUnbanned,
    PolicyChanged,
    PoolDrained,
    RunOpened,
    RunSettledAtOnce,
    Tick,
    WorkerBeat,
    WorkerCached,
    WorkerDrained,
    WorkerFacts,
    WorkerJoined,
    WorkerLabelled,
    WorkerLost,
    WorkerReady,
)
from fairgrid.pool.core.identity import PoolIdentity
from fairgrid.pool.core.instructions import (
    Instruction,
    PayAuditor,
)
from fairgrid.pool.core.matcher import FirstMatcher, Matcher
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_events import ABOUT_A_TASK, AboutATask
from fairgrid.pool.core.task_state import StoryLine, TaskState
from fairgrid.pool.core.worker_state import Ban, WorkerState

__all__ = ["Outcome", "PoolMachine"]


_FROM_OPERATOR = (OperatorBanned, OperatorUnbanned, PoolDrained, WorkerDrained, WorkerLabelled, PolicyChanged)
_PRESENCE = (WorkerJoined, WorkerFacts, WorkerReady, WorkerBeat, WorkerCached, WorkerLost)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one event led to: store ``changed`` and ``lines`` in one transaction, and only then do ``instructions``."""

    instructions: tuple[Instruction, ...]
    changed: tuple[TaskState, ...] = ()
    lines: tuple[StoryLine, ...] = ()
    bags: tuple[Bag, ...] = ()
    """Deals that changed; store them as well."""
    standings: tuple[Standing, ...] = ()
    """Workers' records that changed; store them as well."""
    corrections: tuple[Correction, ...] = ()
    """What tasks that were in the accounts add no more."""


class PoolMachine:
    """Takes events, answers with instructions. The same events at the same times give the same instructions."""

    def __init__(
        self, identity: PoolIdentity, policy: Policy, matcher: Matcher | None = None, *, secret: bytes = b""
    ) -> None:
        """``secret`` decides which tasks are audited: random bytes that nobody outside the pool knows."""
        self._book = Book(identity=identity, policy=policy, matcher=matcher or FirstMatcher(), secret=secret)

    @property
    def tasks(self) -> dict[str, TaskState]:
        """Live tasks by id; read only."""
        return self._book.tasks

    @property
    def bags(self) -> dict[str, Bag]:
        """Deals of which something is still expected, by id; read only."""
        return self._book.bags

    @property
    def workers(self) -> dict[str, WorkerState]:
        """Connected workers by address; read only."""
        return self._book.workers

    @property
    def bans(self) -> dict[str, Ban]:
        """Bans by the address of the worker and of its owner; read only."""
        return self._book.bans

    @property
    def standings(self) -> Mapping[str, Standing]:
        """What the pool knows of workers from its own experience, by address; read only."""
        return self._book.standings.standings

    @property
    def book(self) -> Book:
        """All that it knows, for whoever explains it; read only."""
        return self._book

    def forget_standing(self, worker: str) -> None:
        """Forget the record of a worker that is gone; the store has forgotten it already."""
        if worker not in self._book.workers:
            self._book.standings.forget(worker)

    def is_newcomer(self, worker: str, owner: str) -> bool:
        """Whether a worker has still to prove itself to this pool."""
        return self._book.standings.is_newcomer(worker, owner)

    def is_banned(self, worker: str, owner: str) -> bool:
        return self._book.is_banned(worker, owner)

    @property
    def waiting(self) -> Iterable[str]:
        """Ids of the tasks that lack workers; read only."""
        return self._book.waiting

    @property
    def tally(self) -> Counter[str]:
        """How often what happened since this machine was made (`Book.tally`); read only."""
        return self._book.tally

    def is_busy(self, worker: str) -> bool:
        """True while a worker has something to do in a task that is not over: compute, reveal, open or upload."""
        return any(
            not part.replica.ended and not part.task.is_final for part in self._book.burden(worker).parts.values()
        )

    def leases_of(self, worker: str) -> int:
        """How many leases a worker computes now."""
        return len(self._book.burden(worker).leased)

    def strikes_of(self, worker: str) -> int:
        """How often in a row a worker failed since it last contributed."""
        return self._book.strikes.get(worker, 0)

    def story(self, task_id: str) -> tuple[StoryLine, ...]:
        """Everything that happened to a live task, in order; empty for one that is not here."""
        task = self._book.tasks.get(task_id)
        return tuple(task.story) if task else ()

    def restore(
        self,
        tasks: Iterable[TaskState],
        bans: Iterable[Ban],
        *,
        bags: Iterable[Bag] = (),
        standings: Iterable[Standing] = (),
        in_flight: Collection[str],
        now: float,
    ) -> Outcome:
        """Take up what the store holds after the pool was away.

        Nobody is connected; timers start anew, so that no worker pays for the pool's absence. ``in_flight`` are the
        keys of transactions that the rim still has under way.
        """
        book = self._begin(now)
        restoring.restore(book, tasks, bans, bags=bags, standings=standings, in_flight=in_flight)
        return self.outcome()

    def handle(self, event: Event, *, now: float) -> Outcome:
        """Take one event at local time ``now`` (seconds).

        Raises:
            InvalidTransition: the event does not fit the task's phase; compare the task with the chain and feed
                `ChainReconciled`.
        """
        self.take(event, now=now)
        self.settle(now=now)
        return self.outcome()

    def take(self, event: Event, *, now: float) -> bool:
        """Take one event of a group; True if it led to something by itself. `settle` when the last was taken.

        Raises:
            InvalidTransition: as `handle`. What it led to before stands.
        """
        book = self._begin(now)
        before = book.stirred
        try:
            self._take(event)
        finally:
            book.reconciling = False
        return book.stirred != before

    def settle(self, *, now: float) -> None:
        """Look at what the events touched besides their tasks, begin what there is room for, and serve who waits.

        Raises:
            InvalidTransition: as `handle`; settle again, for the rest.
        """
        due.settle(self._begin(now))

    def outcome(self) -> Outcome:
        """What came of all events since this was last asked: of each task and deal the last word."""
        book = self._book
        for owed in book.standings.due_payments():
            book.do(PayAuditor(owed.worker, owed.payments, owed.owed_nrlc))
        book.advanced |= book.changed
        changed = tuple(book.tasks[task_id] for task_id in book.changed)
        bags = tuple(book.changed_bags.values())
        corrections, standings = tuple(book.corrections.values()), book.standings.take_changed()
        outcome = Outcome(tuple(book.instructions), changed, tuple(book.lines), bags, standings, corrections)
        book.instructions, book.lines, book.changed, book.changed_bags, book.corrections = [], [], {}, {}, {}
        return outcome

    # --- one event ------------------------------------------------------------------------------------------------

    def _begin(self, now: float) -> Book:
        self._book.now = now
        return self._book

    def _take(self, event: Event) -> None:
        book = self._book
        # By far the most events are about a task: one look tells them from the others.
        if type(event) in ABOUT_A_TASK:
            task_events.take(book, cast(AboutATask, event))
        elif isinstance(event, Tick):
            due.tick(book, event)
        elif isinstance(event, _PRESENCE):
            presence.take(book, event)
        elif isinstance(event, DealMatched):
            deals.matched(book, event)
        elif isinstance(event, DealUndone):
            deals.undone(book, event)
        elif isinstance(event, RunOpened):
            deals.run_opened(book, event)
        elif isinstance(event, ChainRead):
            presence.chain_read(book, event)
        elif isinstance(event, RunSettledAtOnce):
            deals.run_settled(book, event)
        elif isinstance(event, _FROM_OPERATOR):
            operator_events.take(book, event)
