"""Takes up what a store holds after the pool was away."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fairgrid.pool.core import bags as bags_of
from fairgrid.pool.core import settlement
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.burdens import DealRecord
from fairgrid.pool.core.deal_terms import Bag
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import Ban

__all__ = ["restore"]


def restore(
    book: Book,
    tasks: Iterable[TaskState],
    bans: Iterable[Ban],
    *,
    bags: Iterable[Bag],
    standings: Iterable[Standing],
    in_flight: Collection[str],
) -> None:
    """`PoolMachine.restore`, upon an empty book."""
    now = book.now
    for ban in bans:
        book.bans[ban.worker] = ban
        book.bans.setdefault(ban.owner, ban)
    book.standings.restore(standings)
    for bag in bags:
        book.bags[bag.deal.deal_id] = bag
        # Also of a deal none of whose tasks is loaded: its event may come again.
        book.deals.setdefault(bag.deal.deal_id, DealRecord())
    for task in tasks:
        grace = book.policy.restart_grace_s - book.policy.reconnect_grace_s
        for replica in task.replicas:
            replica.lost_at = replica.renewed_at = now + grace
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
