"""What the chain's events leave out and the scheduler needs: read together for all events that came together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairgrid.chain.interface import Chain, ChainEvent
from fairgrid.pool.core.task_state import TaskState
from fairgrid.protocol.trust import FRESH_WEIGHT, exact_weight, worker_weight
from fairgrid.protocol.views import Contribution, Task

__all__ = ["EventReads", "read_for"]


@dataclass(frozen=True, slots=True)
class EventReads:
    """Weights of contributions by task and worker, and the views of tasks that reached consensus."""

    weights: Mapping[tuple[str, str], int] = field(default_factory=dict)
    agreed: Mapping[str, Task] = field(default_factory=dict)


async def read_for(chain: Chain, events: Sequence[ChainEvent], tasks: Mapping[str, TaskState]) -> EventReads:
    """Read for those events that are about ``tasks``.

    A contribution is weighed by the score before its block, as the hub did. At trust 1 its weight decides nothing, and
    is not read.

    Raises:
        ServiceUnavailable: the chain does not answer.
    """
    ours = [event for event in events if not event.removed and event.arguments.get("taskid") in tasks]
    contributed = {
        (str(event.arguments["taskid"]), str(event.arguments["worker"])): event.block_number
        for event in ours
        if event.name == "TaskContribute"
    }
    weights: dict[tuple[str, str], int] = {}
    for task_id, worker in contributed:
        if tasks[task_id].deal.trust <= 1:
            replica = tasks[task_id].replica_of(worker)
            weights[task_id, worker] = replica.weight if replica is not None else FRESH_WEIGHT
    weighed = [pair for pair in contributed if pair not in weights]
    agreed = [str(event.arguments["taskid"]) for event in ours if event.name == "TaskConsensus"]
    contributions: list[Contribution] = await chain.view_contributions(weighed) if weighed else []
    scores = await asyncio.gather(*(chain.view_score(pair[1], block_number=contributed[pair] - 1) for pair in weighed))
    for pair, contribution, score in zip(weighed, contributions, scores, strict=True):
        weights[pair] = exact_weight(score, contribution.weight) if contribution.weight else worker_weight(score)
    views = await chain.view_tasks(agreed) if agreed else []
    return EventReads(weights, dict(zip(agreed, views, strict=True)))
