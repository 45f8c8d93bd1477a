"""Why a worker gets no work: each rule of the pool with its numbers, as far as a worker may know them.

No task is named and no other worker: the answer tells what is true of this worker, and how many tasks wait.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Final

from fairgrid.pool.phases import ENDED_REPLICA_PHASES, EXPECTED_PHASES, Phase
from fairgrid.pool.state import TaskState, WorkerState
from fairgrid.protocol.trust import needs_more_replicas
from fairgrid.protocol.wire import Why, WhyReason

__all__ = ["why"]

_MOST_TASKS: Final = 10_000
"""So many live tasks are looked through; a worker's question must not cost a large pool its time."""


def why(worker: WorkerState, tasks: Iterable[TaskState], *, banned: bool = False) -> Why:
    """The rules for ``worker`` at this moment, held against the live ``tasks``."""
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
    if waiting:
        stake = min(task.stake for task in waiting)
        free = worker.stake - reserved
        reasons.append(
            WhyReason("stake", free >= stake, f"{free} nRLC of its deposit are free; the least waiting asks {stake}.")
        )
        others = [task for task in waiting if not _has_owner(task, worker)]
        text = f"{len(waiting) - len(others)} of {len(waiting)} waiting task(s) have a replica of its owner already."
        reasons.append(WhyReason("owner", bool(others), text))
    return Why(waiting_tasks=len(waiting), reasons=tuple(reasons))


def _waits(task: TaskState) -> bool:
    if task.phase is not Phase.SEALING:
        return False
    pending = task.pending_weights()
    return not pending or needs_more_replicas(task.facts.groups(), math.prod(pending), task.deal.trust)


def _has_owner(task: TaskState, worker: WorkerState) -> bool:
    return any(replica.owner == worker.owner for replica in task.replicas) or any(
        seen.worker == worker.worker for seen in task.facts.contributions
    )
