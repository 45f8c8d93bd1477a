"""What must hold while a simulation runs: each look appends to `Simulation.violations`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fairgrid.pool.app import task_document
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.records.rows import StoredTask
from fairgrid.protocol.ids import task_id as id_of_task
from fairgrid.protocol.views import TaskStatus
from tests.simulation.faults import Part
from tests.simulation.storage import result_of, run_result_of
from tests.simulation.workers import right_answer

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = [
    "right_digest",
    "watch_blocks",
    "watch_transactions",
    "watch_what_pool_says",
    "watch_what_worker_says",
]


def right_digest(simulation: Simulation, unit: str) -> str:
    """What an honest worker finds out about a task or a run."""
    if unit in simulation.requests.trusts or not simulation.requests.lanes:
        return result_of(right_answer(unit)).digest
    deal_id, first, count = simulation.requests.run_of(unit)
    contents = tuple(right_answer(id_of_task(deal_id, index)) for index in range(first, first + count))
    return run_result_of(first, contents).digest if contents else ""


# --- the pool -----------------------------------------------------------------------------------------------------


def watch_what_pool_says(simulation: Simulation, worker: str, frame: str) -> None:
    """No digest before consensus; no authorisation before the round's seals are in, and one at a time; no lease to
    whom the operator drained, and none of a task before what it reads is there."""
    message = json.loads(frame)
    task_id, kind = message.get("task_id", ""), message["kind"]
    if task_id and task_id not in simulation.consensus_since:
        digest = right_digest(simulation, task_id)
        if digest and digest in frame:
            simulation.violate(f"the pool tells {worker} the digest of {task_id[:10]} before consensus")
    if kind == "lease":
        if message.get("count"):
            simulation.requests.runs_leased[task_id] = message["deal_id"], message["index"], message["count"]
        _watch_lease(simulation, worker, task_id, message["lease_id"])
    elif kind == "authorisation" and simulation.service is not None:
        _watch_authorisation(simulation, worker, task_id, message["lease_id"])


def _watch_lease(simulation: Simulation, worker: str, task_id: str, lease_id: str) -> None:
    first_time = lease_id not in simulation.leased
    simulation.leased.add(lease_id)
    simulation.leases.lease_sent(worker, lease_id)
    if first_time and simulation.operator.is_drained(simulation.seats[worker].signer.address):
        simulation.violate(f"the pool leases {task_id[:10]} to {worker}, which is drained")
    read = simulation.requests.needs.get(task_id)
    if read is None:
        return
    simulation.counter.count(Part.DEPENDENCY)
    if read not in simulation.completed:
        simulation.violate(f"the pool leases {task_id[:10]}, which reads {read[:10]}, before that is completed")


def _watch_authorisation(simulation: Simulation, worker: str, task_id: str, lease_id: str) -> None:
    assert simulation.service is not None
    task = simulation.service.machine.tasks.get(task_id)
    if task is None:
        return
    replica = task.replica(lease_id)
    if replica is None or not replica.seal:
        simulation.violate(f"the pool authorises {worker} for {task_id[:10]} without its seal")
    first_time = (worker, lease_id) not in simulation.authorised
    simulation.authorised.add((worker, lease_id))
    me = simulation.seats[worker].signer.address
    computing = [other for other in task.in_phase(ReplicaPhase.LEASED) if other.worker != me]
    if computing and first_time:
        simulation.violate(f"the pool authorises {worker} for {task_id[:10]} while others still compute")
    # Whose contribution a reorganisation took back has its authorisation for good.
    contributed = simulation.contributed.get(task_id, set())
    awaited = {other.worker for other in task.in_phase(ReplicaPhase.AUTHORISED)} - contributed
    if len(awaited) > 1:
        simulation.violate(f"the pool authorises several workers for {task_id[:10]} at once")


# --- workers ------------------------------------------------------------------------------------------------------


def watch_what_worker_says(simulation: Simulation, worker: str, frame: str) -> None:
    """No opening, and no word of a result, before the consensus is as deep as the network's confirmations."""
    message = json.loads(frame)
    task_id = message.get("task_id", "")
    if not task_id:
        return
    if message["kind"] == "opening":
        _expect_consensus(simulation, worker, task_id, "opens its seal", lease_id=message["lease_id"])
    elif message["kind"] == "uploaded" and message.get("digest"):
        # Before consensus a worker uploads and opens its seal only where one contribution is the consensus.
        if simulation.requests.trust_of(task_id) != 1:
            simulation.violate(f"{worker} uploads {task_id[:10]} before consensus, and its trust is above 1")
    elif message["kind"] == "uploaded":
        _expect_consensus(simulation, worker, task_id, "uploads")


def watch_transactions(simulation: Simulation, sender: str, function: str, task_id: str) -> None:
    """A reveal is sent only when the consensus is deep enough; what audits disproved is not finalized."""
    if function == "reveal":
        _expect_consensus(simulation, sender, task_id, "reveals")
    elif function in ("finalize", "finalizeRun") and simulation.service is not None:
        task = simulation.service.machine.tasks.get(task_id)
        if task is not None and task.disproved:
            simulation.violate(f"the pool finalizes {task_id[:10]}, whose consensus was disproved")


def _expect_consensus(simulation: Simulation, worker: str, task_id: str, what: str, *, lease_id: str = "") -> None:
    """Its task has, or had once, a consensus so deep; what was published then may be said again later."""
    if task_id in simulation.deep or simulation.chain.model.view_task(task_id).status is TaskStatus.FAILED:
        return
    since = simulation.consensus_since.get(task_id)
    if since is None:
        simulation.violate(f"{worker} {what} of {task_id[:10]} before consensus")
    else:
        depth = simulation.chain.height - since[1]
        simulation.violate(f"{worker} {what} of {task_id[:10]} when the consensus is {depth} blocks deep")


# --- each block ---------------------------------------------------------------------------------------------------


def watch_blocks(simulation: Simulation) -> None:
    """Look at the chain and at what the pool shows, after each block and each reorganisation."""
    model, height = simulation.chain.model, simulation.chain.height
    for unit in simulation.unit_ids():
        task = model.view_task(unit)
        if unit not in simulation.requests.trusts and unit not in simulation.runs_seen:
            simulation.runs_seen.add(unit)
            simulation.counter.count(Part.LANE)
        if task.contributors:
            simulation.contributed.setdefault(unit, set()).update(task.contributors)
        if task.status not in (TaskStatus.REVEALING, TaskStatus.COMPLETED):
            simulation.consensus_since.pop(unit, None)
            continue
        if task.status is TaskStatus.COMPLETED:
            simulation.completed.setdefault(unit, simulation.elapsed_s)
        fact = (task.consensus_value, task.reveal_deadline)
        if simulation.consensus_since.get(unit, (None, 0))[0] != fact:
            simulation.consensus_since[unit] = (fact, height)
            simulation.note("chain", f"consensus on {unit[:10]}")
        if height - simulation.consensus_since[unit][1] >= simulation.plan.confirmations:
            simulation.deep.add(unit)
    if simulation.service is not None:
        _watch_pages(simulation)
        _watch_bans(simulation)
        simulation.leases.look(simulation.service)
    for task_id in sorted(simulation.operator.begun_while_drained()):
        simulation.violate(f"the pool begins {task_id[:10]} though it is drained")


def _watch_pages(simulation: Simulation) -> None:
    """What everybody may read of a task names no digest and no worker before consensus."""
    assert simulation.service is not None
    for task_id, task in simulation.service.machine.tasks.items():
        if task.facts.status >= TaskStatus.REVEALING or task.is_rest:
            continue
        shown = json.dumps(task_document(StoredTask(task, 0.0))) + "".join(line.text for line in task.story)
        digest = right_digest(simulation, task_id)
        if digest and digest in shown:
            simulation.violate(f"the pool's pages show the digest of {task_id[:10]} before consensus")


def _watch_bans(simulation: Simulation) -> None:
    """A ban that was there for a block is stored: no process that comes later may have forgotten it."""
    assert simulation.service is not None
    process = simulation.pool_node
    if process is None or not process.alive or process is not simulation.service_node:
        return
    bans = set(simulation.service.machine.bans)
    if process is simulation.bans_seen[0]:
        simulation.banned |= bans & simulation.bans_seen[1]
        forgotten = simulation.banned - bans
        if forgotten:
            names = ", ".join(simulation.by_address[worker].plan.name for worker in sorted(forgotten))
            simulation.violate(f"the pool forgot that it banned {names}")
            simulation.banned -= forgotten
    simulation.bans_seen = process, bans
