"""A task's spans, told once nothing more is expected of it: from its own story and times, so that tracing costs a task
nothing while it lasts. Only the operator's collector sees them; before consensus there are none (decision 3)."""

from __future__ import annotations

from collections.abc import Mapping

from fairgrid.pool.core.phases import Phase
from fairgrid.pool.core.replica import Replica
from fairgrid.pool.core.task_state import TaskState
from fairgrid.seams import tracing
from fairgrid.seams.tracing import lease_place, task_place

__all__ = ["keys_of_trace", "trace_task"]

_SPANS = (
    ("initialize", (Phase.INITIALIZING,), "initialize", "openrun"),
    ("reveal", (Phase.REVEALING,), "", ""),
    ("check", (Phase.UPLOADING,), "", ""),
    ("finalize", (Phase.FINALIZING,), "finalize", "finalizerun"),
    ("reopen", (Phase.REOPENING,), "", ""),
    ("refund", (Phase.CLAIMING,), "claim", "refundrest"),
)


def keys_of_trace(task: TaskState) -> list[str]:
    """Keys of the transactions that the spans name."""
    return [f"{task.task_id}/{step}" for *_, one, other in _SPANS for step in (one, other) if step]


def trace_task(task: TaskState, transactions: Mapping[str, str]) -> None:
    """Tell a settled task's spans; ``transactions`` are hashes by the keys of `keys_of_trace`."""
    deal, entered = task.deal.deal_id, _phases(task)
    ended = task.finished_at or (entered[-1][1] if entered else task.created_at)
    tracing.record(
        "task",
        deal,
        task.created_at,
        ended,
        place=task_place(task.task_id),
        task=task.task_id,
        index=task.index,
        phase=task.phase.value,
        trust=task.deal.trust,
        tasks=task.units,
    )
    within = task_place(task.task_id)
    for name, phases, one, other in _SPANS:
        tx_hash = transactions.get(f"{task.task_id}/{one}") or transactions.get(f"{task.task_id}/{other}") or ""
        for place, (phase, began) in enumerate(entered):
            if phase in phases:
                until = entered[place + 1][1] if place + 1 < len(entered) else ended
                tracing.record(name, deal, began, until, under=within, tx_hash=tx_hash, task=task.task_id)
    for replica in task.replicas:
        tracing.record(
            "lease",
            deal,
            replica.leased_at,
            max(_end_of(task, replica), replica.leased_at),
            under=within,
            place=lease_place(replica.lease_id),
            task=task.task_id,
            lease=replica.lease_id,
            worker=replica.worker,
            owner=replica.owner,
            round=replica.round,
            phase=replica.phase.value,
        )


def _phases(task: TaskState) -> list[tuple[Phase, float]]:
    """When the task entered each phase, in order: the story's lines begin with the phase (`Book.enter`)."""
    names = {phase.value: phase for phase in Phase}
    found = ((line.text.partition(": ")[0], line.at) for line in task.story)
    return [(names[name], at) for name, at in found if name in names]


def _end_of(task: TaskState, replica: Replica) -> float:
    """The last that the story tells of a worker's part."""
    last = max((line.at for line in task.story if line.worker == replica.worker), default=0.0)
    return last or replica.sealed_at or task.finished_at or replica.leased_at
