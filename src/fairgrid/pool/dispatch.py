"""Who computes: how many workers a task needs, and never two of one owner.

Which of the workers that may take a task get it is the matcher's choice (`matcher.Matcher`, held as ``Book.matcher``
and given to `PoolMachine`). To match by requirements, labels, fair share, reliability, cached data or a random draw,
implement that protocol in a module of its own: ``pick`` gets the task and an iterator of candidates that already passed
the rules of this module, ``task_urgency`` and ``bag_urgency`` order tasks and deals. What a matcher needs to know of a
worker or a deal becomes a field (with a default) of `state.WorkerState` or `state.DealTerms`.
"""

from __future__ import annotations

import math
from collections import Counter

from fairgrid.pool.book import Book
from fairgrid.pool.instructions import SendLease
from fairgrid.pool.phases import EXPECTED_PHASES, Phase, ReplicaPhase
from fairgrid.pool.state import Replica, TaskState, WorkerState
from fairgrid.protocol.trust import FRESH_WEIGHT, needs_more_replicas

_TRIES = 3
_AGAIN_AFTER_S = 60.0
_CAME_TO_NOTHING = (ReplicaPhase.LOST, ReplicaPhase.LATE, ReplicaPhase.DECLINED, ReplicaPhase.DISMISSED)

__all__ = ["fill", "fill_all", "seal_window"]


def fill_all(book: Book) -> None:
    """Lease free workers to the tasks that lack some, the most urgent task first."""
    waiting = [task for task in book.tasks.values() if task.phase is Phase.SEALING]
    if not waiting or not any(worker.ready and worker.free_slots > 0 for worker in book.workers.values()):
        return
    for task in sorted(waiting, key=lambda task: book.matcher.task_urgency(task, now=book.now)):
        fill(book, task)


def fill(book: Book, task: TaskState) -> None:
    """Lease as many workers as the task still needs, or as there are.

    Needed are as many as reach the deal's trust if all agree with the best result so far; in the first round at least
    the policy's ``first_round_replicas``; and one, if nobody is expected and the chain still waits.
    """
    candidates = _candidates(book, task)
    while _needs_another(book, task):
        worker = _next_worker(book, task, candidates)
        if worker is None:
            return
        candidates = [other for other in candidates if other.owner != worker.owner]
        _lease(book, task, worker)


def _needs_another(book: Book, task: TaskState) -> bool:
    pending = task.pending_weights()
    if not pending or (task.round == 0 and len(pending) < book.policy.first_round_replicas):
        return True
    return needs_more_replicas(task.facts.groups(), math.prod(pending), task.deal.trust)


def _next_worker(book: Book, task: TaskState, candidates: list[WorkerState]) -> WorkerState | None:
    """The matcher's choice; above trust 1 an experienced worker leads, if there is one (decision 8)."""
    if task.deal.trust > 1 and not any(replica.weight > FRESH_WEIGHT for replica in task.replicas):
        experienced = (worker for worker in candidates if worker.weight > FRESH_WEIGHT)
        leader = book.matcher.pick(task, experienced, now=book.now)
        if leader is not None:
            return leader
    return book.matcher.pick(task, iter(candidates), now=book.now)


def seal_window(book: Book, task: TaskState) -> float:
    """Seconds from its lease within which a replica must send its seal (decision 42).

    min(timeref, 2 × median time from lease to seal of the round), at least the policy's minimum. A worker that has not
    sealed counts as infinitely slow in the median, so that a few very fast seals (which may be made up) do not shut the
    others out; and the time is the pool's own measure, not the worker's word.
    """
    longest = max(float(task.deal.timeref), book.policy.seal_window_min_s)
    round_replicas = [replica for replica in task.replicas if replica.round == task.round]
    durations = sorted(replica.sealed_at - replica.leased_at for replica in round_replicas if replica.sealed_at > 0)
    middle = len(round_replicas) // 2
    if middle >= len(durations):
        return longest
    return min(longest, max(2.0 * durations[middle], book.policy.seal_window_min_s))


def _candidates(book: Book, task: TaskState) -> list[WorkerState]:
    """Workers that may take it: who did not try it yet, then fewest failures and least used first."""
    tries = Counter(replica.worker for replica in task.replicas)
    taken = {name for replica in task.replicas if _holds(book, replica) for name in (replica.owner, replica.worker)}
    taken |= {worker for worker, count in tries.items() if count >= _TRIES}
    taken |= {seen.worker for seen in task.facts.contributions}
    able = [
        worker
        for worker in book.workers.values()
        if worker.ready
        and worker.free_slots > 0
        and worker.worker not in taken
        and worker.owner not in taken
        and not any(part.replica.owes_opening for part in book.parts_of(worker.worker))
        and worker.stake >= _reserved(book, worker) + task.deal.worker_stake
    ]
    able.sort(
        key=lambda worker: (
            tries[worker.worker],
            book.strikes.get(worker.worker, 0),
            worker.leases_given,
            worker.worker,
        )
    )
    return able


def _holds(book: Book, replica: Replica) -> bool:
    """True if the replica keeps its owner from getting the task again.

    One that came to nothing does not for long: where only few workers are, each of them may be away once.
    """
    return replica.phase not in _CAME_TO_NOTHING or book.now < replica.leased_at + _AGAIN_AFTER_S


def _reserved(book: Book, worker: WorkerState) -> int:
    """Deposit (nRLC) that the worker will lock for what it already took on."""
    return sum(
        part.task.deal.worker_stake for part in book.parts_of(worker.worker) if part.replica.phase in EXPECTED_PHASES
    )


def _lease(book: Book, task: TaskState, worker: WorkerState) -> None:
    task.leases += 1
    window = max(float(task.deal.timeref), book.policy.seal_window_min_s)
    replica = Replica(
        lease_id=f"{task.task_id[2:34]}-{task.leases}",
        worker=worker.worker,
        owner=worker.owner,
        round=task.round,
        weight=worker.weight,
        phase=ReplicaPhase.LEASED,
        leased_at=book.now,
        renewed_at=book.now,
    )
    book.add_replica(task, replica)
    worker.free_slots -= 1
    worker.leases_given += 1
    book.tell(task, f"Leased to a worker (round {task.round}).", worker=worker.worker)
    book.send(
        SendLease(
            task_id=task.task_id,
            worker=worker.worker,
            lease_id=replica.lease_id,
            deal_id=task.deal.deal_id,
            index=task.index,
            round=replica.round,
            seal_window_s=window,
        )
    )
