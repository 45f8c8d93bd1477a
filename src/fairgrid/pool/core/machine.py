"""The scheduler of a workerpool as a pure state machine: events in, instructions out; no socket, database or clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import cast, get_args

from fairgrid.pool.core import (
    accounts,
    chain_facts,
    deals,
    dispatch,
    operator_events,
    presence,
    progress,
    rounds,
    settlement,
    timing,
)
from fairgrid.pool.core import bags as bags_of
from fairgrid.pool.core.accounts import Correction
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import (
    ChainRead,
    ChainReconciled,
    ConsensusReached,
    ContributionMined,
    ContributionsAhead,
    DealMatched,
    DealUndone,
    DependenciesMet,
    DependencyFailed,
    EffectFailed,
    Event,
    LeaseFailed,
    OpeningReceived,
    OperatorBanned,
    OperatorUnbanned,
    PhaseReported,
    PolicyChanged,
    PoolDrained,
    RevealMined,
    RunOpened,
    RunSettledAtOnce,
    SealReceived,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    TaskSettledAtOnce,
    Tick,
    UploadRejected,
    UploadReported,
    UploadVerified,
    WorkerBeat,
    WorkerCached,
    WorkerDrained,
    WorkerFacts,
    WorkerJoined,
    WorkerLabelled,
    WorkerLost,
    WorkerReady,
)
from fairgrid.pool.core.instructions import (
    Instruction,
    PayAuditor,
    SendAbort,
)
from fairgrid.pool.core.matcher import FirstMatcher, Matcher
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.state import (
    Bag,
    Ban,
    PoolIdentity,
    StoryLine,
    TaskState,
    WorkerState,
)

__all__ = ["Outcome", "PoolMachine"]


_FROM_CHAIN = (
    TaskInitialized,
    ContributionMined,
    ConsensusReached,
    RevealMined,
    TaskFinalized,
    TaskSettledAtOnce,
    TaskClaimed,
)
_FROM_OPERATOR = (OperatorBanned, OperatorUnbanned, PoolDrained, WorkerDrained, WorkerLabelled, PolicyChanged)
_FROM_WORKERS = (PhaseReported, SealReceived, OpeningReceived, UploadReported, LeaseFailed)
_Answer = (
    UploadVerified
    | UploadRejected
    | EffectFailed
    | ChainReconciled
    | ContributionsAhead
    | DependenciesMet
    | DependencyFailed
)
_AboutATask = (
    TaskInitialized
    | ContributionMined
    | ConsensusReached
    | RevealMined
    | TaskFinalized
    | TaskSettledAtOnce
    | TaskClaimed
    | PhaseReported
    | SealReceived
    | OpeningReceived
    | UploadReported
    | LeaseFailed
    | _Answer
)
_ABOUT_A_TASK = frozenset(get_args(_AboutATask))
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
        for ban in bans:
            book.bans[ban.worker] = ban
            book.bans.setdefault(ban.owner, ban)
        book.standings.restore(standings)
        for bag in bags:
            book.bags[bag.deal.deal_id] = bag
        for task in tasks:
            grace = book.policy.restart_grace_s - book.policy.reconnect_grace_s
            for replica in task.replicas:
                replica.lost_at = now + grace
                replica.renewed_at = now
                if replica.phase is ReplicaPhase.AUTHORISED:
                    replica.authorised_at = now
                if replica.owes_opening:
                    replica.opening_asked_at = now
            for name, step in task.steps.items():
                step.issued = step.issued and settlement.key_of(task, name) in in_flight
            if task.upload.lease_id:
                task.upload.asked_at = now
            book.add_task(task)
            book.local_timers.set(task.task_id, now)
            if task.upload.verifying:
                settlement.verify_again(book, task)
        for bag in list(book.bags.values()):
            bags_of.enqueue(book, bag)
            book.settle_bag(bag.deal.deal_id)
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
        self._begin(now)
        self._settle()

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

    def _tick(self, event: Tick) -> None:
        book, chain_time = self._book, event.chain_time
        if event.silence_s:
            self._excuse(event.silence_s)
        if not book.chain_time:
            # Until the chain was first seen no task could be judged.
            book.due |= dict.fromkeys(book.tasks)
        # Only a tick asks for timers: so a task that many events touched since the last one is scheduled once.
        for task_id in book.advanced:
            if task_id in book.tasks:
                timing.schedule(book, book.tasks[task_id])
        book.advanced = {}
        book.chain_time, book.ticked_at = chain_time, book.now
        book.due |= dict.fromkeys(book.chain_timers.take(chain_time))
        book.due |= dict.fromkeys(book.local_timers.take(book.now))
        for deal_id in book.straggler_timers.take(book.now):
            dispatch.find_stragglers(book, deal_id)
        for deal_id in book.bag_timers.take(chain_time):
            if deal_id in book.bags:
                bags_of.enqueue(book, book.bags[deal_id])

    def _excuse(self, silence_s: float) -> None:
        """Nobody is given up for what the pool could not see: the authorised have so much longer."""
        for task in self._book.tasks.values():
            for replica in task.in_phase(ReplicaPhase.AUTHORISED):
                replica.authorised_at = min(replica.authorised_at + silence_s, self._book.now)

    def _look(self, task: TaskState) -> None:
        """Look at a task because its time has come."""
        book = self._book
        if timing.is_forgotten(book, task):
            if task.task_id not in book.changed:
                book.drop_task(task)
                return
        elif task.phase is Phase.SEALING and task.task_id in book.waiting:
            # A matcher may think otherwise after a while.
            dispatch.await_workers(book, task, anew=True)
        progress.advance(book, task)

    def _forget_finished(self) -> None:
        book = self._book
        for task_id in list(islice(book.finished, max(len(book.finished) - book.policy.keep_finished_tasks, 0))):
            task = book.tasks[task_id]
            if task.is_settled and task_id not in book.changed:
                book.drop_task(task)

    def _settle(self) -> None:
        book = self._book
        while book.due:
            task_id = next(iter(book.due))
            del book.due[task_id]
            if task_id in book.tasks:
                self._look(book.tasks[task_id])
        if len(book.finished) > book.policy.keep_finished_tasks:
            self._forget_finished()
        bags_of.bring_back(book)
        while True:
            while book.restless:
                task_id = next(iter(book.restless))
                del book.restless[task_id]
                if task_id in book.tasks:
                    progress.advance(book, book.tasks[task_id])
            begun = bags_of.begin_next(book)
            if begun is None:
                break
            progress.advance(book, begun)
        dispatch.fill_all(book)
        dispatch.speculate(book)

    def _take(self, event: Event) -> None:
        book = self._book
        # By far the most events are about a task: one look tells them from the others.
        if type(event) in _ABOUT_A_TASK:
            self._about(cast(_AboutATask, event))
        elif isinstance(event, Tick):
            self._tick(event)
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

    def _about(self, event: _AboutATask) -> None:
        book = self._book
        task = book.tasks.get(event.task_id)
        if task is None:
            self._about_unknown_task(event)
            return
        if isinstance(event, _FROM_CHAIN):
            chain_facts.take(book, task, event)
        elif isinstance(event, _FROM_WORKERS):
            self._worker_said(task, event)
        else:
            self._heard(task, event)
        progress.advance(book, task)
        book.restless.pop(task.task_id, None)

    def _heard(
        self,
        task: TaskState,
        event: _Answer,
    ) -> None:
        """Take the answer to something that the pool did or asked for."""
        book = self._book
        match event:
            case UploadVerified():
                settlement.upload_verified(book, task, event)
            case UploadRejected():
                settlement.upload_rejected(book, task, event)
            case EffectFailed():
                book.step_failed(task, event.step, event.reason)
            case ChainReconciled():
                chain_facts.reconcile(book, task, event.facts)
            case ContributionsAhead():
                chain_facts.look_ahead(book, task, event)
            case DependenciesMet() if task.waiting:
                book.release(task)
                book.tell(task, "The results that it reads are there.")
            case DependencyFailed() if task.waiting:
                settlement.abandon(book, task, f"Task {event.dependency}, whose result it reads, was refunded.")
            case _:
                return

    # --- words of workers --------------------------------------------------------------------------------------------

    def _worker_said(
        self,
        task: TaskState,
        event: PhaseReported | SealReceived | OpeningReceived | UploadReported | LeaseFailed,
    ) -> None:
        book = self._book
        replica = task.replica(event.lease_id)
        if replica is None or replica.worker != event.worker:
            book.send(SendAbort(task.task_id, event.worker, event.lease_id, "The pool does not know this lease."))
            return
        match event:
            case PhaseReported():
                if not replica.ended:
                    replica.shown_phase = event.phase
                    replica.renewed_at = book.now
            case SealReceived():
                rounds.seal_received(book, task, replica, event)
            case OpeningReceived():
                settlement.opening_received(book, task, replica, event)
                if replica.opened:
                    accounts.note_usage(book, task, replica, event.usage)
            case UploadReported():
                accounts.note_usage(book, task, replica, event.usage)
                settlement.upload_reported(book, task, replica, event)
            case LeaseFailed():
                rounds.lease_failed(book, task, replica, event)

    def _about_unknown_task(self, event: Event) -> None:
        """A task that is not here is none of this pool's, or long over; a worker that holds it is told to stop."""
        if isinstance(event, PhaseReported | SealReceived | UploadReported | LeaseFailed):
            self._book.send(SendAbort(event.task_id, event.worker, event.lease_id, "The pool does not know this task."))
