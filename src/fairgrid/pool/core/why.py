"""Why a worker gets no work: each rule of the pool with its numbers, as far as a worker may know them.

No task is named and no other worker: the answer tells what is true of this worker, and how many tasks wait.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from fairgrid.pool.core.matching import Requirements, first_obstacle
from fairgrid.pool.core.phases import ENDED_REPLICA_PHASES, EXPECTED_PHASES, Phase
from fairgrid.pool.core.standing import Standing
from fairgrid.pool.core.task_state import TaskState
from fairgrid.pool.core.trust_policy import TrustPolicy
from fairgrid.pool.core.worker_state import WorkerState
from fairgrid.protocol.pool_messages import Why, WhyReason
from fairgrid.protocol.trust import needs_more_replicas

__all__ = ["why"]

_MOST_TASKS: Final = 10_000
"""So many live tasks are looked through; a worker's question must not cost a large pool its time."""


def why(
    worker: WorkerState,
    tasks: Iterable[TaskState],
    *,
    banned: bool = False,
    standing: Standing | None = None,
    policy: TrustPolicy | None = None,
    now: float = 0.0,
    behind: int = 0,
) -> Why:
    """The rules for ``worker`` at this moment, held against the live ``tasks``.

    ``behind``: so many blocks of the time before its start the pool has still to read. ``now`` is local time in
    seconds; ``standing`` is the worker's record with the pool, if it has one.
    """
    live = [task for task in itertools.islice(tasks, _MOST_TASKS) if not task.is_final]
    waiting = [task for task in live if _waits(task)]
    own = [
        (task, replica)
        for task in live
        for replica in task.replicas
        if replica.worker == worker.worker and replica.phase not in ENDED_REPLICA_PHASES
    ]
    reserved = sum(task.stake for task, replica in own if replica.phase in EXPECTED_PHASES)
    owed = sum(replica.owes_opening for _, replica in own)
    reasons = [
        WhyReason("banned", not banned, "This pool bans this worker." if banned else "This pool does not ban it."),
        WhyReason("ready", worker.ready, f"It has {'' if worker.ready else 'not '}told what it holds."),
        WhyReason("free_slots", worker.free_slots > 0, f"{worker.free_slots} of its {worker.slots} slot(s) are free."),
        WhyReason("openings", owed == 0, f"{owed} of its seals still have to be opened; work comes after that."),
        WhyReason("waiting_tasks", bool(waiting), f"{len(waiting)} task(s) wait for a worker."),
    ]
    if behind:
        text = f"The pool began anew and has still to read {behind} block(s) of the chain; work comes after that."
        reasons.insert(0, WhyReason("chain_read", False, text))
    if standing is not None and policy is not None:
        reasons += _record(standing, policy, now)
    if waiting:
        reasons.append(_machine(worker, waiting, [task.deal.requirements for task, _ in own]))
        stake = min(task.stake for task in waiting)
        free = worker.stake - reserved
        reasons.append(
            WhyReason("stake", free >= stake, f"{free} nRLC of its deposit are free; the least waiting asks {stake}.")
        )
        others = [task for task in waiting if not _has_owner(task, worker)]
        text = f"{len(waiting) - len(others)} of {len(waiting)} waiting task(s) have a replica of its owner already."
        reasons.append(WhyReason("owner", bool(others), text))
    return Why(waiting_tasks=len(waiting), reasons=tuple(reasons))


def _record(standing: Standing, policy: TrustPolicy, now: float) -> list[WhyReason]:
    left = standing.quota_left(now, policy.quota_window_s)
    quota = "No fault is held against it."
    if left is not None:
        window = f"{policy.quota_window_s:g} s"
        quota = (
            f"After {standing.faults} fault(s) {left} of {standing.quota} leases are left for {window}; each valid "
            f"result doubles them."
        )
    wait = max(standing.quarantined_until - now, 0.0)
    return [
        WhyReason(
            "quarantine",
            wait == 0,
            f"{standing.disproved} of its results were disproved; no work for another {wait:.0f} s.",
        ),
        WhyReason("quota", left is None or left > 0, quota),
    ]


def _machine(worker: WorkerState, waiting: list[TaskState], taken: list[Requirements]) -> WhyReason:
    """How many waiting tasks the machine suits, and what most of the others ask."""
    kinds = Counter(task.deal.requirements for task in waiting)
    missing: Counter[str] = Counter()
    for wanted, count in kinds.items():
        found = first_obstacle(
            wanted,
            worker.machine,
            slots=worker.slots,
            runtimes=worker.runtimes,
            taken=taken,
            opens_keys=worker.opens_keys,
        )
        if found is not None:
            missing[f"{found.rule}: {found.wanted} wanted, {found.offered}; {found.remedy}"] += count
    suited = len(waiting) - missing.total()
    text = f"Its machine suits {suited} of {len(waiting)} waiting task(s)."
    for most, count in missing.most_common(1):
        text += f" Of the others {count} ask {most}."
    return WhyReason("machine", suited > 0, text[:500])


def _waits(task: TaskState) -> bool:
    if task.phase is not Phase.SEALING or task.awaits_confirmations:
        return False
    pending = task.pending_weights()
    return not pending or needs_more_replicas(task.expected_groups(), math.prod(pending), task.deal.trust)


def _has_owner(task: TaskState, worker: WorkerState) -> bool:
    return any(replica.owner == worker.owner for replica in task.replicas) or any(
        seen.worker == worker.worker for seen in task.facts.contributions
    )
