"""When a task is to be looked at next, by local time and by chain time: each moment at which something is due."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fairgrid.pool.core import dispatch
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.queues import RETRY_S
from fairgrid.pool.core.rounds import CONSENSUS_WAIT_S
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.unopened import LINE_WAIT_S
from fairgrid.protocol.views import TaskStatus

__all__ = ["is_forgotten", "schedule"]

# Read once: Python 3.11 looks a member up by a function of its class, which takes longer than the comparison.
_SEALING, _CONTRIBUTING, _UPLOADING = Phase.SEALING, Phase.CONTRIBUTING, Phase.UPLOADING
_LEASED, _SEALED, _AUTHORISED = ReplicaPhase.LEASED, ReplicaPhase.SEALED, ReplicaPhase.AUTHORISED


def is_forgotten(book: Book, task: TaskState) -> bool:
    """True when a task has been over for so long that it leaves the memory."""
    return task.is_settled and book.now >= task.finished_at + book.policy.keep_finished_s


def schedule(book: Book, task: TaskState) -> None:
    """Have the task looked at when something is due. Done at the tick after the events that touched the task, and for
    it: what fell due since the tick before counts.
    """
    moment = min(_local_moments(book, task))
    book.local_timers.set(task.task_id, moment)
    if not task.is_final:
        deadline = _next_deadline(book, task)
        if deadline:
            book.chain_timers.set(task.task_id, deadline)
    elif task.facts.reveal_deadline > book.chain_time and not task.is_settled:
        book.chain_timers.set(task.task_id, task.facts.reveal_deadline)


def _local_moments(book: Book, task: TaskState) -> Iterator[float]:
    now, since, policy = book.now, book.ticked_at, book.policy
    if task.is_final:
        # One that is not settled yet is looked at when an opening is due; what is due in the past is due at once.
        yield max(task.finished_at + policy.keep_finished_s, now) if task.is_settled else since + RETRY_S
    else:
        yield since + RETRY_S
        for step in task.steps.values():
            if not step.issued and step.retry_at > since:
                yield step.retry_at
        if task.phase is _SEALING and task.round_opened_at + policy.fill_wait_s > since:
            yield task.round_opened_at + policy.fill_wait_s
        elif task.phase is _CONTRIBUTING and task.last_contribution_at + CONSENSUS_WAIT_S > since:
            yield task.last_contribution_at + CONSENSUS_WAIT_S
        elif task.phase is _UPLOADING:
            yield from _upload_moments(book, task)
        if task.in_line_since:
            yield max(task.in_line_since + LINE_WAIT_S, since)
        if task.phase is _CONTRIBUTING and task.upload.lease_id and not task.upload.verifying:
            yield max(task.upload.asked_at + policy.upload_timeout_s, since)
    window = math.nan
    for replica in task.replicas:
        if replica.opening_asked_at and replica.owes_opening:
            # After its minute only the chain's time counts, and whether its worker is here.
            timeout = replica.opening_asked_at + policy.opening_timeout_s
            yield timeout if timeout > since else since + RETRY_S
        phase = replica.phase
        if phase is _LEASED:
            if window != window:
                window = dispatch.seal_window(book, task)
            yield replica.leased_at + window
            yield dispatch.unheard_at(book, replica)
        elif phase is _SEALED:
            if replica.lost_at:
                yield replica.lost_at + policy.reconnect_grace_s
        elif phase is _AUTHORISED and not task.is_mined(replica.worker):
            yield replica.authorised_at + policy.authorisation_timeout_s


def _upload_moments(book: Book, task: TaskState) -> Iterator[float]:
    upload = task.upload
    if upload.lease_id and not upload.verifying and not upload.verified:
        yield upload.asked_at + book.policy.upload_timeout_s
        replica = task.replica(upload.lease_id)
        if replica is not None and replica.lost_at:
            yield replica.lost_at + book.policy.reconnect_grace_s
    elif upload.not_before > book.ticked_at:
        yield upload.not_before


def _next_deadline(book: Book, task: TaskState) -> int:
    """The next chain deadline of a task that is not over; 0 if all have passed."""
    deal, now = task.deal, book.chain_time
    if task.facts.status is TaskStatus.REVEALING:
        if task.facts.reveal_deadline > now:
            return min(task.facts.reveal_deadline, deal.final_deadline)
    elif deal.contribution_deadline > now:
        return deal.contribution_deadline
    return deal.final_deadline if deal.final_deadline > now else 0
