"""Who computes: how many workers a task needs, and never two of one owner.

Which of the workers that may take a task get it is the matcher's choice (`matcher.Matcher`, held as ``Book.matcher``
and given to `PoolMachine`). To match by requirements, labels, fair share, reliability, cached data or a random draw,
implement that protocol in a module of its own: ``pick`` gets the task and an iterator of candidates that already passed
the rules of this module, ``task_urgency`` and ``bag_urgency`` order tasks and deals. What a matcher needs to know of a
worker or a deal becomes a field (with a default) of `state.WorkerState` or `state.DealTerms`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fairgrid.pool.book import Book, DealRecord, Part
from fairgrid.pool.instructions import SendLease
from fairgrid.pool.phases import Phase, ReplicaPhase
from fairgrid.pool.state import Replica, TaskState, WorkerState
from fairgrid.protocol.trust import FRESH_WEIGHT, needs_more_replicas

__all__ = ["await_workers", "fill_all", "find_stragglers", "note_time", "seal_window", "speculate"]

_SEEK_AGAIN_S = 5.0


def await_workers(book: Book, task: TaskState, *, anew: bool = False) -> None:
    """Have a task wait for workers if it lacks some; ``anew``: also those are asked again that were in vain before."""
    if not _needs_another(book, task):
        book.waiting.remove(task.task_id)
        return
    if anew or task.task_id not in book.waiting:
        book.waiting.add(task.task_id, book.matcher.task_urgency(task, now=book.now))


def fill_all(book: Book) -> None:
    """Lease idle workers to the tasks that wait for some, the most urgent task first."""
    if not len(book.idle) or not len(book.waiting):
        return
    for task_id in book.waiting.to_serve(book.idle.arrival):
        task = book.tasks[task_id]
        if _fill(book, task):
            book.waiting.remove(task_id)
        elif len(book.idle):
            book.waiting.in_vain(
                task_id, task.deal.deal_id, book.idle.arrival, untouched=not task.replicas, now=book.now
            )
        if not len(book.idle):
            return


def _fill(book: Book, task: TaskState) -> bool:
    """Lease as many workers as the task still needs, or as there are; True if there were enough.

    Needed are as many as reach the deal's trust if all agree with the best result so far; in the first round at least
    the policy's ``first_round_replicas``; and one, if nobody is expected and the chain still waits.
    """
    after = book.waiting.tried(task.task_id, task.deal.deal_id, untouched=not task.replicas, now=book.now)
    while _needs_another(book, task):
        worker = _next_worker(book, task, after)
        if worker is None:
            return False
        _lease(book, task, worker)
    return True


def _needs_another(book: Book, task: TaskState) -> bool:
    if task.phase is not Phase.SEALING:
        return False
    pending = task.pending_weights()
    if not pending or (task.round == 0 and len(pending) < book.policy.first_round_replicas):
        return True
    return needs_more_replicas(task.facts.groups(), math.prod(pending), task.deal.trust)


def _next_worker(book: Book, task: TaskState, after: int) -> WorkerState | None:
    """The matcher's choice; above trust 1 an experienced worker leads, if there is one (decision 8)."""
    if task.deal.trust > 1 and not any(replica.weight > FRESH_WEIGHT for replica in task.replicas):
        leader = book.matcher.pick(task, _candidates(book, task, after, experienced=True), now=book.now)
        if leader is not None:
            return leader
    return book.matcher.pick(task, _candidates(book, task, after), now=book.now)


def _candidates(book: Book, task: TaskState, after: int, *, experienced: bool = False) -> Iterator[WorkerState]:
    """Idle workers that may take it: fewest failures and least used first."""
    taken = {seen.worker for seen in task.facts.contributions}
    for replica in task.replicas:
        taken.add(replica.owner)
        taken.add(replica.worker)
    stake = task.deal.worker_stake
    for name in book.idle.in_order(after=after, experienced=experienced):
        worker = book.workers[name]
        if name in taken or worker.owner in taken or worker.stake < book.burden(name).reserved + stake:
            continue
        yield worker


# --- stragglers ---------------------------------------------------------------------------------------------------


def note_time(book: Book, task: TaskState, seconds: float) -> None:
    """Take in how long a replica of a deal computed; what is normal decides who straggles."""
    deal_id = task.deal.deal_id
    record = book.deals[deal_id]
    record.note_time(seconds)
    oldest = next(iter(record.leased.values()), None)
    since = _straggles_from(book, record, oldest) if oldest else math.inf
    if since < math.inf:
        book.straggler_timers.set(deal_id, since)


def find_stragglers(book: Book, deal_id: str) -> None:
    """Mark those of a deal that compute for too long, and have the deal looked at again for the next one."""
    record = book.deals.get(deal_id)
    if record is None:
        return
    again = math.inf
    for part in record.leased.values():
        since = _straggles_from(book, record, part)
        if since > book.now:
            again = min(again, since)
            break
        if not part.replica.stands_for:
            book.stragglers[part.task.task_id] = None
            again = book.now + _SEEK_AGAIN_S
    if again < math.inf:
        book.straggler_timers.set(deal_id, again)


def _straggles_from(book: Book, record: DealRecord, part: Part) -> float:
    """From when (local time) a leased replica gets a speculative copy; infinity: not as things are."""
    policy = book.policy
    if not policy.speculation_factor or len(record.times) < max(policy.speculation_samples, 1):
        return math.inf
    return part.replica.leased_at + max(policy.speculation_factor * record.median_time(), policy.speculation_min_s)


def speculate(book: Book) -> None:
    """Lease copies of replicas that compute much longer than others of their deal (decision 4: who is second is sent
    away, and nothing is paid for it). Only idle workers that no waiting task could use get one.
    """
    stragglers, book.stragglers = book.stragglers, {}
    for task_id in stragglers:
        task = book.tasks[task_id]
        record = book.deals[task.deal.deal_id]
        for straggler in task.in_phase(ReplicaPhase.LEASED) if task.phase is Phase.SEALING else ():
            part = record.leased[straggler.lease_id]
            if straggler.stands_for or book.now < _straggles_from(book, record, part):
                continue
            if any(replica.stands_for == straggler.lease_id for replica in task.replicas):
                continue
            allowed = max(int(book.policy.speculation_share * (len(record.leased) - record.spares)), 1)
            if record.spares >= allowed:
                break
            worker = book.matcher.pick(task, _candidates(book, task, 0), now=book.now)
            if worker is None:
                break
            _lease(book, task, worker, stands_for=straggler.lease_id)


# --- leases -------------------------------------------------------------------------------------------------------


def seal_window(book: Book, task: TaskState) -> float:
    """Seconds from its lease within which a replica must send its seal (decision 42).

    min(timeref, 2 × median time from lease to seal of the round), at least the policy's minimum. A worker that has not
    sealed counts as infinitely slow in the median, so that a few very fast seals (which may be made up) do not shut the
    others out; and the time is the pool's own measure, not the worker's word.
    """
    longest = max(float(task.deal.timeref), book.policy.seal_window_min_s)
    round_replicas = [
        replica for replica in task.replicas if replica.round == task.round and not task.is_spare(replica)
    ]
    durations = sorted(replica.sealed_at - replica.leased_at for replica in round_replicas if replica.sealed_at > 0)
    middle = len(round_replicas) // 2
    if middle >= len(durations):
        return longest
    return min(longest, max(2.0 * durations[middle], book.policy.seal_window_min_s))


def _lease(book: Book, task: TaskState, worker: WorkerState, *, stands_for: str = "") -> None:
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
        stands_for=stands_for,
    )
    book.add_replica(task, replica)
    worker.free_slots -= 1
    worker.leases_given += 1
    book.place(worker)
    what = "A speculative copy is leased" if stands_for else "Leased"
    book.tell(task, f"{what} to a worker (round {task.round}).", worker=worker.worker)
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
