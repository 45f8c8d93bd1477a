"""Silent audits (decision 4): replicas that seal while a task is ACTIVE, are never authorised, and are compared later.

A task with ``extra`` replicas leases so many more than its trust needs. Nobody is told which of them will contribute:
when consensus is there, those that sealed and were not authorised are the auditors. They open their seals, and who
differs from the consensus is in dispute with it, until others compute the task as arbiters.
"""

from __future__ import annotations

import hashlib

from fairgrid.pool.core.book import Book
from fairgrid.pool.core.instructions import RequestOpening
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.trust_policy import Verdict, judge
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.views import ContributionStatus

__all__ = [
    "begin",
    "credit",
    "draw",
    "drop",
    "is_over",
    "lost_opening",
    "review",
    "sealed_by_arbiter",
    "standing_order",
]


def draw(book: Book, task: TaskState, worker: str, owner: str) -> int:
    """How many silent replicas a task gets whose first worker this is; nobody outside can guess it."""
    if not book.policy.audits:
        return 0
    secret = hashlib.sha256(book.secret + task.task_id.encode()).digest()
    chance = int.from_bytes(secret[:8], "big") / (1 << 64)
    return book.policy.extra_replicas(book.standings.of(worker, owner), chance)


def standing_order(book: Book, task: TaskState, replica: Replica) -> int:
    """Where one contribution decides, the worker of best standing contributes and the others audit it."""
    if task.extra < 1 or task.deal.trust > 1:
        return 0
    return -book.standings.of(replica.worker, replica.owner).valid_in_a_row


def begin(book: Book, task: TaskState) -> None:
    """Consensus is there: who sealed and was not authorised is an auditor from now on, and is asked to open."""
    if task.extra < 1:
        return
    for replica in task.in_phase(ReplicaPhase.SEALED):
        _ask(book, task, replica)


def sealed_by_arbiter(book: Book, task: TaskState, replica: Replica) -> None:
    """An arbiter's seal is opened at once: the task has its consensus, and nothing is left to leak."""
    _ask(book, task, replica)


def lost_opening(book: Book, task: TaskState, replica: Replica) -> None:
    """An auditor did not open its seal in time: that counts as differing (decision 2)."""
    book.tally["audit/unopened"] += 1
    book.standings.disproved(replica.worker, replica.owner, book.now)
    book.ask_opening(task, replica, 0.0)
    book.end(task, replica, ReplicaPhase.DISMISSED, "it sealed a result and did not open the seal")


def drop(book: Book, task: TaskState, why: str) -> None:
    """The task is over or begins anew: nothing is compared any more."""
    if not task.has(ReplicaPhase.AUDITING):
        return
    for replica in task.in_phase(ReplicaPhase.AUDITING):
        if replica.owes_opening:
            book.ask_opening(task, replica, 0.0)
        book.end(task, replica, ReplicaPhase.DISMISSED, why)


def is_over(task: TaskState) -> bool:
    """True when nothing is left to be compared before the task may be finalized."""
    return task.judged or not any(_takes_part(replica) for replica in task.replicas)


def review(book: Book, task: TaskState) -> bool:
    """Compare what was opened; True if an arbiter is wanted.

    Nothing is decided while an opening or an arbiter's seal is still to come.
    """
    parts = [replica for replica in task.replicas if _takes_part(replica)]
    if task.judged or not parts or any(not replica.opened for replica in parts):
        return False
    consensus = task.facts.consensus_value
    said = {replica.lease_id: result_hash(task.task_id, replica.digest) for replica in parts}
    winners = len(task.facts.winners())
    verdict, right = judge(consensus, list(said.values()), winners=max(winners, 1))
    if verdict is Verdict.UNDECIDED:
        if not task.dispute_since:
            task.dispute_since = book.now
            book.tell(task, "A silent replica differs from the consensus; others decide.")
        asked = sum(replica.arbiter for replica in task.replicas)
        if asked < book.policy.max_arbiters and book.now < task.dispute_since + book.policy.dispute_wait_s:
            return True
        book.tell(task, "Nobody could decide between the results; the consensus on chain counts.")
    for replica in parts:
        if verdict is Verdict.UNDECIDED:
            book.tally["audit/undecided"] += 1
            why = "its result was compared, without a decision"
        elif said[replica.lease_id] == right:
            book.tally["audit/agreed"] += 1
            book.standings.audited(replica.worker, replica.owner, price_nrlc=task.deal.price)
            why = "its result was compared, and agrees"
        else:
            book.tally["audit/wrong"] += 1
            book.standings.disproved(replica.worker, replica.owner, book.now)
            why = "its result was compared, and is wrong"
        book.end(task, replica, ReplicaPhase.DISMISSED, why)
    task.judged = True
    if verdict is Verdict.DISPROVED:
        task.disproved = True
        book.tally["audit/consensus_disproved"] += 1
        for seen in task.facts.winners():
            winner = task.replica_of(seen.worker)
            book.standings.disproved(seen.worker, winner.owner if winner else "", book.now)
            book.tell(task, "More machines agree on another result than on the consensus.", worker=seen.worker)
    return False


def credit(book: Book, task: TaskState) -> None:
    """The task is finalized: right contributions count for their workers, wrong ones against them; once only."""
    if task.credited:
        return
    task.credited = True
    for seen in task.facts.contributions:
        replica = task.replica_of(seen.worker)
        owner = replica.owner if replica else ""
        right = seen.result_hash == task.facts.consensus_value and seen.status is not ContributionStatus.REJECTED
        if not right:
            book.standings.disproved(seen.worker, owner, book.now)
        elif not task.disproved:
            book.standings.valid(seen.worker, owner, requester=task.deal.requester, price_nrlc=task.deal.price)


def _takes_part(replica: Replica) -> bool:
    computes = replica.arbiter and replica.phase in (ReplicaPhase.LEASED, ReplicaPhase.SEALED)
    return computes or replica.phase is ReplicaPhase.AUDITING


def _ask(book: Book, task: TaskState, replica: Replica) -> None:
    book.move(task, replica, ReplicaPhase.AUDITING)
    book.ask_opening(task, replica, book.now)
    book.send(RequestOpening(task.task_id, replica.worker, replica.lease_id))
