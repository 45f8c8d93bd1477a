"""The scheduler of a workerpool as a pure state machine: events in, instructions out; no socket, database or clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from fairgrid.pool import bags as bags_of
from fairgrid.pool import dispatch, operator_events, presence, rounds, runs, settlement, timing
from fairgrid.pool.book import Book, DealRecord
from fairgrid.pool.events import (
    ChainReconciled,
    ConsensusReached,
    ContributionMined,
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
    SealReceived,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    Tick,
    UploadRejected,
    UploadReported,
    UploadVerified,
    WorkerBeat,
    WorkerDrained,
    WorkerFacts,
    WorkerJoined,
    WorkerLabelled,
    WorkerLost,
    WorkerReady,
)
from fairgrid.pool.instructions import (
    Initialize,
    Instruction,
    OpenRun,
    SendAbort,
)
from fairgrid.pool.matcher import FirstMatcher, Matcher
from fairgrid.pool.phases import Phase, ReplicaPhase
from fairgrid.pool.policy import Policy
from fairgrid.pool.standing import Standing
from fairgrid.pool.state import (
    Bag,
    Ban,
    ChainFacts,
    PoolIdentity,
    SeenContribution,
    StoryLine,
    TaskState,
    Upload,
    WorkerState,
)
from fairgrid.protocol.views import ContributionStatus, TaskStatus

__all__ = ["Outcome", "PoolMachine"]

_PAST_REVEALING = (
    Phase.REVEALING,
    Phase.UPLOADING,
    Phase.FINALIZING,
    Phase.COMPLETED,
    Phase.FAILED,
    Phase.SPLIT,
)


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

    def is_newcomer(self, worker: str, owner: str) -> bool:
        """Whether a worker has still to prove itself to this pool."""
        return self._book.standings.is_newcomer(worker, owner)

    def is_banned(self, worker: str, owner: str) -> bool:
        return self._book.is_banned(worker, owner)

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
        return self._outcome()

    def handle(self, event: Event, *, now: float) -> Outcome:
        """Take one event at local time ``now`` (seconds).

        Raises:
            InvalidTransition: the event does not fit the task's phase; compare the task with the chain and feed
                `ChainReconciled`.
        """
        book = self._begin(now)
        try:
            self._take(event)
            self._settle()
        finally:
            book.reconciling = False
        return self._outcome()

    # --- one event ------------------------------------------------------------------------------------------------

    def _begin(self, now: float) -> Book:
        self._book.now = now
        return self._book

    def _outcome(self) -> Outcome:
        book = self._book
        book.advanced |= book.changed
        changed = tuple(book.tasks[task_id] for task_id in book.changed)
        bags = tuple(book.changed_bags.values())
        outcome = Outcome(tuple(book.instructions), changed, tuple(book.lines), bags, book.standings.take_changed())
        book.instructions, book.lines, book.changed, book.changed_bags = [], [], {}, {}
        return outcome

    def _tick(self, chain_time: int) -> None:
        book = self._book
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
        self._advance(task)

    def _forget_finished(self) -> None:
        book = self._book
        for task_id in list(islice(book.finished, max(len(book.finished) - book.policy.keep_finished_tasks, 0))):
            task = book.tasks[task_id]
            if task.is_settled and task_id not in book.changed:
                book.drop_task(task)

    def _settle(self) -> None:
        """Look at what the event touched besides its task, begin what there is room for, and serve who waits."""
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
                    self._advance(book.tasks[task_id])
            begun = bags_of.begin_next(book)
            if begun is None:
                break
            self._advance(begun)
        dispatch.fill_all(book)
        dispatch.speculate(book)

    def _take(self, event: Event) -> None:
        book = self._book
        match event:
            case Tick():
                self._tick(event.chain_time)
            case DealMatched():
                self._deal_matched(event)
            case DealUndone():
                self._deal_undone(event)
            case RunOpened():
                self._run_opened(event)
            case WorkerJoined() | WorkerFacts() | WorkerReady() | WorkerBeat() | WorkerLost():
                presence.take(book, event)
            case (
                OperatorBanned()
                | OperatorUnbanned()
                | PoolDrained()
                | WorkerDrained()
                | WorkerLabelled()
                | PolicyChanged()
            ):
                operator_events.take(book, event)
            case _:
                task_or_none = book.tasks.get(event.task_id)
                if task_or_none is None:
                    self._about_unknown_task(event)
                    return
                match event:
                    case PhaseReported() | SealReceived() | OpeningReceived() | UploadReported() | LeaseFailed():
                        self._worker_said(task_or_none, event)
                    case UploadVerified():
                        settlement.upload_verified(book, task_or_none, event)
                    case UploadRejected():
                        settlement.upload_rejected(book, task_or_none, event)
                    case EffectFailed():
                        book.step_failed(task_or_none, event.step, event.reason)
                    case ChainReconciled():
                        self._reconcile(task_or_none, event.facts)
                    case DependenciesMet():
                        if task_or_none.waiting:
                            book.release(task_or_none)
                            book.tell(task_or_none, "The results that it reads are there.")
                    case DependencyFailed():
                        if task_or_none.waiting:
                            why = f"Task {event.dependency}, whose result it reads, was refunded."
                            settlement.abandon(book, task_or_none, why)
                    case _:
                        self._chain_said(task_or_none, event)
                self._advance(task_or_none)
                book.restless.pop(task_or_none.task_id, None)

    def _advance(self, task: TaskState) -> None:
        """Derive what to do next from the chain's facts, the time and what is known of the workers."""
        book, facts, deal = self._book, task.facts, task.deal
        book.advanced[task.task_id] = None
        settlement.check_openings(book, task)
        if facts.status is TaskStatus.COMPLETED:
            settlement.finish(book, task, Phase.COMPLETED)
        elif facts.status is TaskStatus.FAILED:
            settlement.finish(book, task, Phase.FAILED)
        elif facts.status is TaskStatus.SPLIT:
            settlement.finish(book, task, Phase.SPLIT)
        elif book.chain_time >= deal.final_deadline and deal.undone:
            settlement.finish(book, task, Phase.FAILED)
        elif book.chain_time >= deal.final_deadline:
            settlement.claim(book, task)
        elif facts.status is TaskStatus.REVEALING:
            settlement.advance(book, task)
        elif task.phase is Phase.ABANDONED:
            return
        elif deal.refusal or deal.undone:
            settlement.abandon(book, task, deal.refusal or "The chain does not know its deal any more.")
        elif book.chain_time >= deal.contribution_deadline:
            settlement.abandon(book, task, "The contribution deadline passed without consensus.")
        elif facts.status is TaskStatus.ACTIVE:
            rounds.advance(book, task)
        elif book.chain_time:
            self._initialize(task)
        if task.count and deal.deal_id in book.bags:
            bags_of.enqueue(book, book.bags[deal.deal_id])

    def _initialize(self, task: TaskState) -> None:
        book = self._book
        if task.is_rest:
            return
        if task.parent:
            settlement.abandon(book, task, "The split that made it was undone.")
            return
        if task.waiting:
            return
        if task.phase is Phase.RECEIVED:
            book.enter(task, Phase.INITIALIZING, "The pool takes the task on.")
        if task.count:
            book.issue(task, "openrun", OpenRun(task.task_id, task.deal.deal_id, task.index, task.count))
        else:
            book.issue(task, "initialize", Initialize(task.task_id, task.deal.deal_id, task.index))

    # --- facts of the chain ---------------------------------------------------------------------------------------

    def _deal_matched(self, event: DealMatched) -> None:
        """A deal may come twice, or again after a reorganisation, then with other deadlines."""
        book = self._book
        bag = book.bags.get(event.deal.deal_id)
        if bag is None:
            bag = Bag(event.deal, event.bot_first, event.bot_size, book.now)
            book.bags[event.deal.deal_id] = bag
            book.deals.setdefault(event.deal.deal_id, DealRecord())
            book.touch_bag(bag)
        else:
            bags_of.matched_again(book, bag, event)
            for task_id in list(book.deals[bag.deal.deal_id].tasks):
                self._matched_again(book.tasks[task_id], bag)
        bags_of.enqueue(book, bag)

    def _run_opened(self, event: RunOpened) -> None:
        book = self._book
        bag = book.bags.get(event.deal_id)
        task = book.tasks.get(event.task_id)
        if task is None and bag is not None:
            task = runs.opened(book, bag, event.first, event.count)
            bags_of.enqueue(book, bag)
        if task is None:
            return
        if task.parent and task.phase is Phase.ABANDONED and task.facts.status is TaskStatus.UNSET:
            book.reconciling = True
            book.enter(task, Phase.RECEIVED, "The split is back.")
        self._chain_said(task, TaskInitialized(event.task_id))
        self._advance(task)

    def _matched_again(self, task: TaskState, bag: Bag) -> None:
        book = self._book
        deal = bag.deal if task.index < bag.first + bag.size else replace(bag.deal, undone=True)
        if task.deal == deal or task.is_final:
            return
        revived = task.deal.undone and not deal.undone
        book.replace_deal(task, deal)
        book.tell(task, "Its deal was matched again after a reorganisation.")
        if revived and task.phase is Phase.ABANDONED:
            book.reconciling = True
            book.enter(task, Phase.RECEIVED, "The deal is back.")
        self._advance(task)

    def _deal_undone(self, event: DealUndone) -> None:
        book = self._book
        bag, record = book.bags.get(event.deal_id), book.deals.get(event.deal_id)
        if bag is not None:
            bags_of.undone(book, bag)
        for task_id in list(record.tasks) if record else ():
            task = book.tasks[task_id]
            if not task.is_final:
                book.replace_deal(task, replace(task.deal, undone=True))
                task.facts = ChainFacts()
                book.forget_step(task, "initialize", "openrun")
                book.tell(task, "A reorganisation took its deal back.")
                self._advance(task)

    def _chain_said(
        self,
        task: TaskState,
        event: TaskInitialized | ContributionMined | ConsensusReached | RevealMined | TaskFinalized | TaskClaimed,
    ) -> None:
        """Take an event of the chain. It comes at least once, so it never takes a task back: that is reconciliation."""
        book, facts = self._book, task.facts
        match event:
            case TaskInitialized():
                status = TaskStatus.ACTIVE
            case ContributionMined():
                self._contributed(task, event)
                return
            case ConsensusReached():
                status = TaskStatus.REVEALING
                if facts.status < status:
                    facts = ChainFacts(
                        status, event.consensus_value, event.reveal_deadline, facts.result_digest, facts.contributions
                    )
            case RevealMined():
                status = facts.status
                seen = facts.contribution(event.worker)
                if seen is not None and seen.status is not ContributionStatus.PROVED:
                    proved = SeenContribution(seen.worker, seen.result_hash, seen.weight, ContributionStatus.PROVED)
                    facts = ChainFacts(
                        status, facts.consensus_value, facts.reveal_deadline, event.digest, facts.contributions
                    ).with_contribution(proved)
                    book.tell(task, "A winner revealed.", worker=event.worker)
            case TaskFinalized():
                status = TaskStatus.COMPLETED
            case TaskClaimed():
                status = TaskStatus.FAILED
        task.facts = facts.with_status(status)
        book.touch(task)

    def _contributed(self, task: TaskState, event: ContributionMined) -> None:
        book = self._book
        known = task.facts.contribution(event.worker)
        if known is None or known.result_hash != event.result_hash:
            task.facts = task.facts.with_contribution(SeenContribution(event.worker, event.result_hash, event.weight))
            task.last_contribution_at = book.now
            book.tell(task, "A contribution was mined.", worker=event.worker)
        replica = task.contributing_replica_of(event.worker)
        if replica is not None and replica.phase is not ReplicaPhase.BANNED:
            newest = task.replica_of(event.worker)
            if newest is not None and newest is not replica and not newest.ended:
                book.end(task, newest, ReplicaPhase.DISMISSED, "it contributed under its earlier lease")
            book.move(task, replica, ReplicaPhase.CONTRIBUTED)
            replica.shown_phase = "contributing"
            book.forgive(event.worker)

    def _reconcile(self, task: TaskState, facts: ChainFacts) -> None:
        """The chain's views win over everything believed; what was undone is undone here."""
        book = self._book
        book.reconciling = True
        if facts == task.facts:
            return
        before, task.facts = task.facts, facts
        book.touch(task)
        for replica in task.replicas:
            contributed = facts.contribution(replica.worker) is not None
            if replica.phase is ReplicaPhase.CONTRIBUTED and not contributed:
                book.move(task, replica, ReplicaPhase.AUTHORISED)
                replica.authorised_at = book.now
                book.ask_opening(task, replica, 0.0)
            elif (
                contributed
                and replica.phase is not ReplicaPhase.BANNED
                and task.contributing_replica_of(replica.worker) is replica
            ):
                book.move(task, replica, ReplicaPhase.CONTRIBUTED)
        if facts.status < before.status:
            book.tell(task, f"The chain took a step back: {before.status.name} became {facts.status.name}.")
        if facts.status is TaskStatus.UNSET and task.phase not in (Phase.RECEIVED, Phase.ABANDONED, Phase.CLAIMING):
            book.forget_step(task, "initialize", "openrun")
            book.enter(task, Phase.RECEIVED, "The chain does not know the task.")
        elif facts.status is TaskStatus.ACTIVE and task.phase in _PAST_REVEALING:
            book.forget_step(task, "finalize", "finalizerun", "claim", "reopen", "splitrun")
            task.upload = Upload()
            book.enter(task, Phase.CONTRIBUTING, "The chain knows no consensus.")
        elif facts.status is TaskStatus.REVEALING and task.phase in (Phase.COMPLETED, Phase.FAILED):
            book.forget_step(task, "finalize", "finalizerun", "claim")
            book.enter(task, Phase.REVEALING, "The chain says that the task is not over.")

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
            case UploadReported():
                settlement.upload_reported(book, task, replica, event)
            case LeaseFailed():
                rounds.lease_failed(book, task, replica, event)

    def _about_unknown_task(self, event: Event) -> None:
        """A task that is not here is none of this pool's, or long over; a worker that holds it is told to stop."""
        if isinstance(event, PhaseReported | SealReceived | UploadReported | LeaseFailed):
            self._book.send(SendAbort(event.task_id, event.worker, event.lease_id, "The pool does not know this task."))
