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
from collections.abc import Iterator

from fairgrid.pool.core import audits, unopened
from fairgrid.pool.core.book import Book
from fairgrid.pool.core.burdens import DealRecord, Part
from fairgrid.pool.core.instructions import SendLease
from fairgrid.pool.core.matching import NO_REQUIREMENTS, RuleResult, first_obstacle
from fairgrid.pool.core.phases import Phase, ReplicaPhase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol.needs import machine_class
from fairgrid.protocol.trust import FRESH_WEIGHT, consensus_reached, needs_more_replicas

__all__ = [
    "await_workers",
    "decides_alone",
    "fill_all",
    "find_stragglers",
    "is_late",
    "lease_arbiter",
    "lease_of",
    "needs_another",
    "note_time",
    "obstacle_of",
    "seal_window",
    "speculate",
    "unheard_at",
]

_SEALING = Phase.SEALING  # Read once: Python 3.11 looks a member up by a function of its class.
_SEEK_AGAIN_S = 5.0
_WINDOW_OF_RUN = 4
"""A run's seal is late after so many reference times, of the seven in which contributions are taken."""
_AGAIN_AFTER_S = 60.0
"""The pause before a worker that came to nothing is asked again; twice as long each time."""
_CAME_TO_NOTHING = (
    ReplicaPhase.LOST,
    ReplicaPhase.LATE,
    ReplicaPhase.DECLINED,
    ReplicaPhase.GIVEN_UP,
    ReplicaPhase.DISMISSED,
)


def await_workers(book: Book, task: TaskState, *, anew: bool = False) -> None:
    """Have a task wait for workers if it lacks some; ``anew``: also those are asked again that were in vain before."""
    if not needs_another(book, task):
        book.waiting.remove(task.task_id)
        return
    if anew or task.task_id not in book.waiting:
        book.waiting.add(task.task_id, book.matcher.task_urgency(task, now=book.now))


def fill_all(book: Book) -> None:
    """Lease idle workers to the tasks that wait for some, the most urgent task first."""
    if book.behind or not len(book.idle) or not len(book.waiting):
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
    while needs_another(book, task):
        worker = _next_worker(book, task, after)
        if worker is None:
            return False
        _lease(book, task, worker)
    return True


def needs_another(book: Book, task: TaskState) -> bool:
    if task.phase is not _SEALING:
        return False
    if task.awaits_confirmations:
        return False
    pending = task.pending_weights()
    if not pending or (task.round == 0 and len(pending) < book.policy.first_round_replicas):
        return True
    if task.round == 0 and task.extra > 0:
        # The trust must be reached without those that are there to audit: count the heaviest as such.
        pending = sorted(pending)[: len(pending) - task.extra]
        if not pending:
            return True
    if task.round == 0 and len(pending) == 1 and decides_alone(task, pending[0]):
        return True
    return needs_more_replicas(task.expected_groups(), math.prod(pending), task.deal.trust)


def decides_alone(task: TaskState, weight: int) -> bool:
    """Whether an experienced worker would reach a trust above 1 alone: another owner is asked as well (decision 8).

    The lighter one is authorised first, so that the experienced one decides only with it. A fresh worker reaches a
    trust of 2 alone; the deal asks for no more.
    """
    alone = consensus_reached(weight, 1 + weight, task.deal.trust)
    return task.deal.trust > 1 and weight > FRESH_WEIGHT and alone


def _next_worker(book: Book, task: TaskState, after: int) -> WorkerState | None:
    """The matcher's choice; above trust 1 an experienced worker leads, if there is one (decision 8)."""
    if task.deal.trust > 1 and not any(replica.weight > FRESH_WEIGHT for replica in task.replicas):
        leader = book.matcher.pick(task, _candidates(book, task, after, experienced=True), now=book.now)
        if leader is not None:
            return leader
    fresh = book.matcher.pick(task, _candidates(book, task, after), now=book.now)
    return fresh or book.matcher.pick(task, _second_tries(book, task), now=book.now)


def _second_tries(book: Book, task: TaskState) -> Iterator[WorkerState]:
    """Idle workers whose parts in the task came to nothing a while ago, fewest tries first: where only few workers are,
    each of them may be away once."""
    tries = Counter(replica.worker for replica in task.replicas)
    taken = task.contributors()
    for replica in task.replicas:
        pause = _AGAIN_AFTER_S * 2.0 ** min(tries[replica.worker] - 1, 16)
        # One that was authorised may have its contribution under way: it is asked again only when that had its time.
        since = max(replica.leased_at, replica.authorised_at)
        if replica.phase not in _CAME_TO_NOTHING or book.now < since + pause:
            taken.add(replica.owner)
            taken.add(replica.worker)
    stake = task.deal.worker_stake
    for name in sorted(tries, key=lambda name: (tries[name], name)):
        if name not in book.idle or name in taken:
            continue
        worker = book.workers[name]
        if unopened.is_unopened(task) and not worker.settles:
            continue
        if worker.owner not in taken and worker.stake >= book.burden(name).reserved + stake:
            yield worker


def _candidates(book: Book, task: TaskState, after: int, *, experienced: bool = False) -> Iterator[WorkerState]:
    """Idle workers that may take it: fewest failures and least used first."""
    taken = task.contributors()
    for replica in task.replicas:
        taken.add(replica.owner)
        taken.add(replica.worker)
    stake = task.stake
    for name in book.idle.in_order(after=after, experienced=experienced):
        worker = book.workers[name]
        if not book.standings.may_lease(name, worker.owner, book.now) or not _suits(book, task, worker):
            continue
        if name in taken or worker.owner in taken or worker.stake < book.burden(name).reserved + stake:
            continue
        yield worker


def _suits(book: Book, task: TaskState, worker: WorkerState) -> bool:
    """Whether the machine has what the job needs, and its network has room for another replica of the task."""
    if not worker.settles and unopened.is_unopened(task):
        return False
    limit = book.policy.max_replicas_per_network
    if limit and worker.network:
        same = sum(replica.network == worker.network and not replica.ended for replica in task.replicas)
        if same >= limit:
            return False
    wanted = task.deal.requirements
    if wanted == NO_REQUIREMENTS:
        return True
    return obstacle_of(book, task, worker) is None


def obstacle_of(book: Book, task: TaskState, worker: WorkerState) -> RuleResult | None:
    """The first rule of matching that speaks against the worker for this task; None if none does."""
    taken = [part.task.deal.requirements for part in book.burden(worker.worker).leased.values()]
    chosen = next((replica.machine_class for replica in task.replicas if not replica.ended), None)
    return first_obstacle(
        task.deal.requirements,
        worker.machine,
        slots=worker.slots,
        runtimes=worker.runtimes,
        taken=taken,
        task_class=chosen or None,
        opens_keys=worker.opens_keys,
    )


def lease_arbiter(book: Book, task: TaskState) -> bool:
    """Lease a task that has its consensus to one worker more, a proven one if there is one; False if nobody is idle."""
    proven = (
        worker for worker in _candidates(book, task, 0) if not book.standings.is_newcomer(worker.worker, worker.owner)
    )
    worker = book.matcher.pick(task, proven, now=book.now)
    worker = worker or book.matcher.pick(task, _candidates(book, task, 0), now=book.now)
    if worker is None:
        return False
    _lease(book, task, worker, arbiter=True)
    return True


def is_late(book: Book, task: TaskState, replica: Replica) -> bool:
    """Whether a leased replica is over its time, or its worker is gone."""
    if replica.lost_at:
        return book.now >= unheard_at(book, replica)
    window = _longest_window(book, task)
    return book.now >= min(replica.leased_at + window, unheard_at(book, replica))


def unheard_at(book: Book, replica: Replica) -> float:
    """From when (local time) a leased replica is for others, unless its worker names it before.

    A connection that ends gives a worker that had been silent no more time: both count from the last word.
    """
    policy = book.policy
    if not replica.lost_at:
        return replica.renewed_at + policy.lease_ttl_s
    longest_s = max(policy.lease_ttl_s, policy.reconnect_grace_s)
    return min(replica.lost_at + policy.reconnect_grace_s, replica.renewed_at + longest_s)


# --- stragglers ---------------------------------------------------------------------------------------------------


def note_time(book: Book, task: TaskState, seconds: float) -> None:
    """Take in how long a replica of a deal computed; what is normal decides who straggles."""
    deal_id = task.deal.deal_id
    record = book.deals[deal_id]
    record.note_time(seconds / task.units)
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
    normal = policy.speculation_factor * record.median_time() * part.task.units
    return part.replica.leased_at + max(normal, policy.speculation_min_s)


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


def lease_of(task: TaskState, replica: Replica, seal_window_s: float) -> SendLease:
    """What tells a replica's worker of its lease, for the first time or again."""
    return SendLease(
        task_id=task.task_id,
        worker=replica.worker,
        lease_id=replica.lease_id,
        deal_id=task.deal.deal_id,
        index=task.index,
        round=replica.round,
        seal_window_s=seal_window_s,
        count=task.count,
        unopened=unopened.is_unopened(task),
    )


def seal_window(book: Book, task: TaskState) -> float:
    """Seconds from its lease within which a replica must send its seal (decision 42).

    min(timeref, 2 × median time from lease to seal of the round), at least the policy's minimum. A worker that has not
    sealed counts as infinitely slow in the median, so that a few very fast seals (which may be made up) do not shut the
    others out; and the time is the pool's own measure, not the worker's word.
    """
    longest = _longest_window(book, task)
    round_replicas = [
        replica for replica in task.replicas if replica.round == task.round and not task.is_spare(replica)
    ]
    durations = sorted(replica.sealed_at - replica.leased_at for replica in round_replicas if replica.sealed_at > 0)
    middle = len(round_replicas) // 2
    if middle >= len(durations):
        return longest
    return min(longest, max(2.0 * durations[middle], book.policy.seal_window_min_s))


def _longest_window(book: Book, task: TaskState) -> float:
    """A run may take several times a task's reference time; it is planned to take less than one."""
    return max(float(task.deal.timeref * min(task.units, _WINDOW_OF_RUN)), book.policy.seal_window_min_s)


def _lease(book: Book, task: TaskState, worker: WorkerState, *, stands_for: str = "", arbiter: bool = False) -> None:
    task.leases += 1
    if task.extra < 0:
        task.extra = audits.draw(book, task, worker.worker, worker.owner)
    book.standings.leased(worker.worker, worker.owner, book.now)
    window = _longest_window(book, task)
    replica = Replica(
        # Named after its worker, too: a pool that lost its database counts anew, while others hold the old numbers.
        lease_id=f"{task.task_id[2:34]}-{task.leases}-{worker.worker[2:10].lower()}",
        worker=worker.worker,
        owner=worker.owner,
        round=task.round,
        weight=worker.weight,
        phase=ReplicaPhase.LEASED,
        leased_at=book.now,
        renewed_at=book.now,
        network=worker.network,
        machine_class=machine_class(worker.machine, task.deal.requirements.needs.alike) or "",
        arbiter=arbiter,
        stands_for=stands_for,
    )
    book.add_replica(task, replica)
    worker.free_slots -= 1
    worker.leases_given += 1
    book.place(worker)
    what = "A speculative copy is leased" if stands_for else "An arbiter is asked:" if arbiter else "Leased"
    book.tell(task, f"{what} to a worker (round {task.round}).", worker=worker.worker)
    book.send(lease_of(task, replica, window))
