"""Rounds: lease, seal, then authorise one at a time (decision 2)."""

from __future__ import annotations

import re

from fairgrid.pool.core import audits, dispatch, fast_path, runs, settlement, unopened
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.events import LeaseFailed, SealReceived
from fairgrid.pool.core.instructions import SendAbort, SendAuthorisation, SplitRun
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.trust import consensus_reached, needs_more_replicas

__all__ = ["CONSENSUS_WAIT_S", "advance", "lease_failed", "seal_received"]

CONSENSUS_WAIT_S = 15.0
"""Contributions that should be a consensus wait so long for the chain's word, in seconds of local time."""

# Read once: Python 3.11 looks a member up by a function of its class, which takes longer than the comparison.
_BEFORE_ROUNDS = (Phase.RECEIVED, Phase.INITIALIZING)
_SEALING, _CONTRIBUTING, _REOPENING = Phase.SEALING, Phase.CONTRIBUTING, Phase.REOPENING
_LEASED, _SEALED, _AUTHORISED = ReplicaPhase.LEASED, ReplicaPhase.SEALED, ReplicaPhase.AUTHORISED
_HEXADECIMAL = re.compile(r"(0x)?[0-9a-fA-F]{16,}")


def advance(book: Book, task: TaskState) -> None:
    """Take a task that is ACTIVE on chain, or a run that is to be settled at once, before its contribution deadline, as
    far as it goes now."""
    if task.phase in _BEFORE_ROUNDS:
        _open_round(book, task, "It is to be settled at once" if task.planned else "The task is active on chain")
    elif task.phase is _REOPENING:
        task.steps.pop("reopen", None)
        _open_round(book, task, "The chain took the consensus back that nobody revealed")
    _expire(book, task)
    unopened.review(book, task)
    if task.count and not _consensus_expected(book, task) and runs.should_split(book, task):
        book.issue(task, "splitrun", SplitRun(task.task_id, task.count // 2))
        return
    if task.phase is _SEALING:
        if _seals_are_in(book, task):
            sealed = len(task.in_phase(_SEALED))
            book.enter(task, Phase.CONTRIBUTING, f"All {sealed} seal(s) of round {task.round} are in.")
        elif not _given_up(book, task):
            dispatch.await_workers(book, task)
    if task.phase is _CONTRIBUTING:
        _authorise(book, task)


def seal_received(book: Book, task: TaskState, replica: Replica, event: SealReceived) -> None:
    """Take a seal; a repeated one changes nothing, a second different one is refused."""
    if replica.seal:
        if replica.seal != event.seal and replica.phase is ReplicaPhase.SEALED:
            book.end(task, replica, ReplicaPhase.DECLINED, "it sent a second, different seal")
        return
    # A worker that was cut off may have gone on computing; its seal is as good as before if its round is still open.
    returned = replica.phase is ReplicaPhase.LOST and task.phase is Phase.SEALING and replica.round == task.round
    returned = returned and not task.is_held_by(replica.owner)
    if event.round != replica.round or not (replica.phase is ReplicaPhase.LEASED or returned):
        book.send(SendAbort(task.task_id, event.worker, replica.lease_id, "This lease takes no seal any more."))
        return
    if not returned:
        dispatch.note_time(book, task, book.now - replica.leased_at)
    book.move(task, replica, ReplicaPhase.SEALED)
    replica.sealed_at = book.now
    replica.seal = event.seal
    replica.seal_signature = event.signature
    replica.shown_phase = "sealed"
    book.tell(task, f"A seal of round {replica.round} came in.", worker=replica.worker)
    if replica.arbiter:
        audits.sealed_by_arbiter(book, task, replica)
    for other in task.in_phase(ReplicaPhase.LEASED):
        if other.stands_for == replica.lease_id or replica.stands_for == other.lease_id:
            book.end(task, other, ReplicaPhase.DISMISSED, "the other copy was faster")


def lease_failed(book: Book, task: TaskState, replica: Replica, event: LeaseFailed) -> None:
    """A worker gives a lease back; what it contributed already stands."""
    if replica.phase in (ReplicaPhase.LEASED, ReplicaPhase.SEALED, ReplicaPhase.AUTHORISED):
        book.end(task, replica, ReplicaPhase.DECLINED, _told(event.reason) or "its worker gave it back")


def _told(reason: str) -> str:
    """A stranger's words for the story, which is public: printable, and nothing that could be a digest."""
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(_HEXADECIMAL.sub("…", printable).split())


def _open_round(book: Book, task: TaskState, why: str) -> None:
    audits.drop(book, task, "The task is computed anew.")
    task.judged, task.disproved, task.dispute_since = False, False, 0.0
    task.round += 1
    task.round_opened_at = book.now
    book.enter(task, Phase.SEALING, f"{why}; round {task.round} opens.")
    dispatch.await_workers(book, task)


def _expire(book: Book, task: TaskState) -> None:
    waited_for = task.in_phase(_LEASED, _SEALED)
    window = dispatch.seal_window(book, task) if waited_for else 0.0
    for replica in waited_for:
        if replica.phase is _SEALED:
            if replica.lost_at and book.now >= replica.lost_at + book.policy.reconnect_grace_s:
                book.end(task, replica, ReplicaPhase.LOST, "its worker is gone")
        elif replica.lost_at and book.now >= dispatch.unheard_at(book, replica):
            book.end(task, replica, ReplicaPhase.LOST, "its worker is gone")
        elif book.now >= replica.leased_at + window:
            book.end(task, replica, ReplicaPhase.LATE, f"no seal within {window:.0f} s")
        elif book.now >= dispatch.unheard_at(book, replica):
            book.end(task, replica, ReplicaPhase.LOST, "its worker no longer names the lease")
    for replica in task.in_phase(_AUTHORISED):
        if (
            not task.is_mined(replica.worker)
            and book.now >= replica.authorised_at + book.policy.authorisation_timeout_s
        ):
            book.end(task, replica, ReplicaPhase.GIVEN_UP, "authorised, but no contribution was mined in time")


def _given_up(book: Book, task: TaskState) -> bool:
    """Give a task up on which too many replicas failed, unless somebody's stake depends on it or is still at work."""
    failures = task.failures()
    if failures < book.policy.max_replicas_per_task or task.expected_groups() or task.pending_weights():
        return False
    if unopened.is_unopened(task):
        return False  # It is opened first: those behind it cannot be before.
    ends = (line.text for line in reversed(task.story) if line.text.startswith("A worker's part ends"))
    reason = next(ends, "").partition("): ")[2]
    settlement.abandon(book, task, f"{failures} replicas failed; the last one: {reason}.")
    return True


def _seals_are_in(book: Book, task: TaskState) -> bool:
    if task.has(_LEASED) or task.awaits_confirmations:
        return False
    sealed = task.in_phase(_SEALED)
    if not sealed:
        return False
    wanted = book.policy.first_round_replicas if task.round == 0 else 1
    alone = len(sealed) == 1 and dispatch.decides_alone(task, sealed[0].weight)
    short = len(sealed) < wanted or (
        task.round == 0 and (alone or (task.extra > 0 and dispatch.needs_another(book, task)))
    )
    if short and book.now < task.round_opened_at + book.policy.fill_wait_s:
        return False
    return not needs_more_replicas(task.expected_groups(), task.pending_product(), task.deal.trust)


def _authorise(book: Book, task: TaskState) -> None:
    if _consensus_expected(book, task):
        return
    if any(not task.is_mined(replica.worker) for replica in task.in_phase(_AUTHORISED)):
        return
    sealed = [replica for replica in task.in_phase(_SEALED) if not task.is_mined(replica.worker)]
    if not sealed:
        _open_round(book, task, "The contributions do not agree enough")
        return
    present = [replica for replica in sealed if replica.worker in book.workers]
    if not present:
        return
    chosen = present[0] if len(present) == 1 else _first_of(book, task, present)
    if fast_path.prepares(book, task, chosen):
        return
    fast = fast_path.is_fast(task, chosen)
    if unopened.is_unopened(task):
        if not fast:
            unopened.to_be_opened(book, task, "it is not to be, or its result could not be had")
            return
        if not unopened.has_turn(book, task):
            return
    book.move(task, chosen, ReplicaPhase.AUTHORISED)
    chosen.authorised_at = book.now
    book.tell(task, f"A worker is authorised to contribute{' and finalize' if fast else ''}.", worker=chosen.worker)
    book.send(SendAuthorisation(task.task_id, chosen.worker, chosen.lease_id, fast))


def _first_of(book: Book, task: TaskState, present: list[Replica]) -> Replica:
    order = {worker: place for place, worker in enumerate(book.policy.authorisation_order)}
    return min(
        present,
        key=lambda replica: (
            order.get(replica.worker, len(order)),
            audits.standing_order(book, task, replica),
            replica.weight,
            replica.sealed_at,
            replica.lease_id,
        ),
    )


def _consensus_expected(book: Book, task: TaskState) -> bool:
    """True while the contributions should be a consensus, of which the chain's word is still on its way."""
    if task.awaits_confirmations:
        return True
    if not task.facts.contributions:
        return False
    groups = task.facts.groups()
    total = 1 + sum(groups.values())
    reached = any(consensus_reached(group, total, task.deal.trust) for group in groups.values())
    return reached and book.now < task.last_contribution_at + CONSENSUS_WAIT_S
