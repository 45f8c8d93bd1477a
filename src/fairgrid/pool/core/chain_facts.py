"""What the chain says of a task: events, which only lead forwards, and reconciliation, whose word is the last."""

from __future__ import annotations

from fairgrid.pool.core import accounts
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import (
    ConsensusReached,
    ContributionMined,
    ContributionsAhead,
    RevealMined,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    TaskSettledAtOnce,
)
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_facts import ChainFacts, SeenContribution
from fairgrid.pool.core.task_state import TaskState, Upload
from fairgrid.protocol.trust import FRESH_WEIGHT
from fairgrid.protocol.views import ContributionStatus, TaskStatus

__all__ = ["look_ahead", "reconcile", "take"]

_PAST_REVEALING = (
    Phase.REVEALING,
    Phase.UPLOADING,
    Phase.FINALIZING,
    Phase.COMPLETED,
    Phase.FAILED,
    Phase.SPLIT,
)


def take(
    book: Book,
    task: TaskState,
    event: TaskInitialized
    | ContributionMined
    | ConsensusReached
    | RevealMined
    | TaskFinalized
    | TaskSettledAtOnce
    | TaskClaimed,
) -> None:
    """Take an event of the chain. It comes at least once, so it never takes a task back: that is reconciliation."""
    facts = task.facts
    match event:
        case TaskInitialized():
            status = TaskStatus.ACTIVE
        case ContributionMined():
            _contributed(book, task, event)
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
            if not facts.has_revealed_winner:
                # Whoever judged contributions by these facts would call the right ones wrong.
                book.tell(task, "Finalized on chain; events that led to it were missed, and the chain is asked.")
                return
            status = TaskStatus.COMPLETED
        case TaskSettledAtOnce():
            status = TaskStatus.COMPLETED
            if facts.status < status:
                _contributed(book, task, ContributionMined(task.task_id, event.worker, event.result_hash, FRESH_WEIGHT))
                proved = SeenContribution(event.worker, event.result_hash, FRESH_WEIGHT, ContributionStatus.PROVED)
                facts = ChainFacts(facts.status, event.result_hash, facts.reveal_deadline, event.digest, (proved,))
        case TaskClaimed():
            status = TaskStatus.FAILED
    facts = facts.with_status(status)
    accounts.take_back(book, task, facts)
    task.facts = facts
    book.touch(task)


def _contributed(book: Book, task: TaskState, event: ContributionMined) -> None:
    known = task.facts.contribution(event.worker)
    if known is None or known.result_hash != event.result_hash:
        task.facts = task.facts.with_contribution(SeenContribution(event.worker, event.result_hash, event.weight))
        task.last_contribution_at = book.now
        book.tell(task, "A contribution was mined.", worker=event.worker)
    replica = task.contributing_replica_of(event.worker)
    if replica is not None and replica.phase is not ReplicaPhase.BANNED:
        _end_later_lease(book, task, replica)
        book.move(task, replica, ReplicaPhase.CONTRIBUTED)
        replica.shown_phase = "contributing"
        book.forgive(event.worker)


def _end_later_lease(book: Book, task: TaskState, replica: Replica) -> None:
    """Whoever contributed under one lease and was leased the task again meanwhile is done with the later one."""
    newest = task.replica_of(replica.worker)
    if newest is not None and newest is not replica and not newest.ended:
        book.end(task, newest, ReplicaPhase.DISMISSED, "it contributed under its earlier lease")


def look_ahead(book: Book, task: TaskState, event: ContributionsAhead) -> None:
    """Note what is mined and not deep enough to be believed: who contributed is not given up, and the next may go on.

    A reorganisation may take it back; then its worker has its time to send it again.
    """
    before, task.ahead = task.unconfirmed, event.contributions
    now = {seen.worker for seen in task.unconfirmed}
    for seen in before:
        if seen.worker not in now and task.facts.contribution(seen.worker) is None:
            for replica in task.in_phase(ReplicaPhase.AUTHORISED):
                if replica.worker == seen.worker:
                    replica.authorised_at = book.now
    for worker in now - {seen.worker for seen in before}:
        book.tell(task, "A contribution was mined; it counts when it is deep enough.", worker=worker)
    book.touch(task)


def reconcile(book: Book, task: TaskState, facts: ChainFacts) -> None:
    """The chain's views win over everything believed; what was undone is undone here."""
    book.reconciling = True
    if facts == task.facts:
        return
    accounts.take_back(book, task, facts)
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
            _end_later_lease(book, task, replica)
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
