"""What the hub's events and deals mean to the scheduler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fairgrid.chain.interface import ChainEvent
from fairgrid.pool.core.deal_terms import DealTerms
from fairgrid.pool.core.events import (
    ConsensusReached,
    ContributionMined,
    Event,
    RevealMined,
    RunSettledAtOnce,
    TaskClaimed,
    TaskFinalized,
    TaskInitialized,
    TaskSettledAtOnce,
)
from fairgrid.pool.core.matching import NO_REQUIREMENTS, Requirements
from fairgrid.pool.onchain.event_reads import EventReads
from fairgrid.protocol.ids import result_hash
from fairgrid.protocol.runs import run_digest
from fairgrid.protocol.tags import requires_tee
from fairgrid.protocol.views import Deal

__all__ = ["AT_ONCE", "RUN_AT_ONCE", "event_of", "is_readable", "joined", "run_settled", "terms_of", "unit_of"]

AT_ONCE = "TaskSettledAtOnce"
"""Stands for the four events of a transaction that contributed and finalized."""

RUN_AT_ONCE = "RunSettledAtOnce"
"""Stands for the two events of a transaction that opened and ended a run."""

_OF_ONE_TRANSACTION = ["TaskContribute", "TaskConsensus", "TaskReveal", "TaskFinalize"]
_OF_ONE_RUN = ["RunOpen", "RunFinalize"]


def terms_of(
    deal_id: str,
    deal: Deal,
    timeref: int,
    *,
    waits: bool = False,
    requirements: Requirements = NO_REQUIREMENTS,
    in_batch_lane: bool = False,
    refusal: str = "",
) -> DealTerms:
    """What the scheduler needs of a deal, and whether this pool can serve it; ``refusal``: why it does not want to."""
    if requires_tee(deal.tag):
        refusal = "It asks for a trusted execution environment, which this pool's workers do not have."
    elif timeref == 0:
        refusal = "Its category gives no time to compute."
    return DealTerms(
        deal_id=deal_id,
        trust=max(deal.trust, 1),
        timeref=timeref,
        start_time=deal.start_time,
        worker_stake=deal.worker_stake,
        requester=deal.requester,
        callback=deal.callback,
        refusal=refusal,
        waits=waits,
        price=deal.workerpool.price,
        app=deal.app.pointer,
        pool_percent=deal.scheduler_reward_ratio,
        requirements=requirements,
        in_batch_lane=in_batch_lane,
    )


def unit_of(event: ChainEvent) -> str | None:
    """The id under which the scheduler knows what an event is about: a task, a run, or the rest of a deal."""
    given = event.arguments
    name = {
        "DealRefund": "dealid",
        "RunOpen": "runid",
        "RunSplit": "runid",
        "RunFinalize": "runid",
        RUN_AT_ONCE: "runid",
    }.get(event.name)
    found = given.get(name or "taskid")
    return None if found is None else str(found)


def joined(events: Sequence[ChainEvent]) -> list[ChainEvent]:
    """The events in order, those of a transaction that began and ended a task or run as one, in the place of the last.

    So nobody is asked to reveal or to upload what is over.
    """
    of_unit: dict[tuple[str, str], list[ChainEvent]] = {}
    for event in events:
        unit = unit_of(event)
        if event.name in (*_OF_ONE_TRANSACTION, *_OF_ONE_RUN) and not event.removed and unit is not None:
            of_unit.setdefault((event.tx_hash, unit), []).append(event)
    replaced: dict[tuple[str, int], ChainEvent | None] = {}
    for (_, unit), parts in of_unit.items():
        names = [part.name for part in parts]
        if names == _OF_ONE_RUN:
            opened, ended = parts
            replaced[opened.block_hash, opened.log_index] = None
            whole = replace(ended, name=RUN_AT_ONCE, arguments={**opened.arguments, **ended.arguments})
            replaced[ended.block_hash, ended.log_index] = whole
        if names != _OF_ONE_TRANSACTION:
            continue
        contributed, _, revealed, finalized = parts
        given = {
            "taskid": unit,
            "worker": contributed.arguments["worker"],
            "hash": contributed.arguments["hash"],
            "digest": revealed.arguments["digest"],
        }
        replaced |= {(part.block_hash, part.log_index): None for part in parts}
        replaced[finalized.block_hash, finalized.log_index] = replace(finalized, name=AT_ONCE, arguments=given)
    found = (replaced.get((event.block_hash, event.log_index), event) for event in events)
    return [event for event in found if event is not None]


def run_settled(event: ChainEvent) -> RunSettledAtOnce:
    """What the scheduler is told of a run that was opened and ended in one transaction."""
    given = event.arguments
    digest = run_digest(given["root"], given["results"])
    run, (worker, *_) = str(given["runid"]), given["workers"]
    return RunSettledAtOnce(
        run, given["dealid"], given["first"], given["count"], worker, result_hash(run, digest), digest
    )


def is_readable(event: ChainEvent, task_id: str, reads: EventReads) -> bool:
    """True if ``reads`` has what the event leaves out."""
    if event.name == "TaskContribute":
        return (task_id, event.arguments["worker"]) in reads.weights
    return event.name != "TaskConsensus" or task_id in reads.agreed


def event_of(event: ChainEvent, task_id: str, reads: EventReads) -> Event | None:
    """What the scheduler is told of an event about a task or run; None: nothing."""
    given = event.arguments
    match event.name:
        case "TaskInitialize":
            return TaskInitialized(task_id)
        case "TaskContribute":
            worker = given["worker"]
            return ContributionMined(task_id, worker, given["hash"], reads.weights[task_id, worker])
        case "TaskConsensus":
            view = reads.agreed[task_id]
            if view.consensus_value != given["consensus"]:
                return None  # Read again after a restart: it was reopened, as a later event says.
            return ConsensusReached(task_id, given["consensus"], view.reveal_deadline)
        case "TaskReveal":
            return RevealMined(task_id, given["worker"], given["digest"])
        case "TaskFinalize" | "RunFinalize":
            return TaskFinalized(task_id)
        case "TaskSettledAtOnce":
            return TaskSettledAtOnce(task_id, given["worker"], given["hash"], given["digest"])
        case "TaskClaimed" | "DealRefund":
            return TaskClaimed(task_id)
        case _:
            return None
