"""What must hold while a simulation runs, and when it is over. Each check appends to `Simulation.violations`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fairgrid.errors import VerificationError
from fairgrid.pool.app import task_document
from fairgrid.pool.core.phases import ReplicaPhase
from fairgrid.pool.records.rows import StoredTask
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.ids import task_id as id_of_task
from fairgrid.protocol.results import cid_of_results
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.trust import consensus_reached
from fairgrid.protocol.views import ContributionStatus, Task, TaskStatus
from tests.simulation.faults import Fault
from tests.simulation.storage import result_of
from tests.simulation.workers import right_answer

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["check_end", "watch_public_pages", "watch_transactions", "watch_what_pool_says", "watch_what_worker_says"]

_MOST_TASKS = 64
_FAIR_S = 200.0
"""So long after calm everybody can have done what was due."""


# --- while it runs ------------------------------------------------------------------------------------------------


def watch_what_pool_says(simulation: Simulation, worker: str, frame: str) -> None:
    """No digest before consensus; no authorisation before the round's seals are in, and one at a time."""
    message = json.loads(frame)
    task_id = message.get("task_id", "")
    if task_id and task_id not in simulation.consensus_since and _digest(task_id) in frame:
        simulation.violate(f"the pool tells {worker} the digest of {task_id[:10]} before consensus")
    if message["kind"] != "authorisation" or simulation.service is None:
        return
    task = simulation.service.machine.tasks.get(task_id)
    seat = simulation.seats[worker]
    if task is None:
        return
    replica = task.replica(message["lease_id"])
    if replica is None or not replica.seal:
        simulation.violate(f"the pool authorises {worker} for {task_id[:10]} without its seal")
    first_time = (worker, message["lease_id"]) not in simulation.authorised
    simulation.authorised.add((worker, message["lease_id"]))
    computing = [other for other in task.in_phase(ReplicaPhase.LEASED) if other.worker != seat.signer.address]
    if computing and first_time:
        simulation.violate(f"the pool authorises {worker} for {task_id[:10]} while others still compute")
    mined = simulation.chain.model.view_task(task_id).contributors
    awaited = [other for other in task.in_phase(ReplicaPhase.AUTHORISED) if other.worker not in mined]
    if len(awaited) > 1 and not simulation.reorganised:
        simulation.violate(f"the pool authorises several workers for {task_id[:10]} at once")


def watch_what_worker_says(simulation: Simulation, worker: str, frame: str) -> None:
    """No opening, and no word of a result, before the consensus is as deep as the network's confirmations."""
    message = json.loads(frame)
    task_id = message.get("task_id", "")
    if not task_id:
        return
    if message["kind"] == "opening":
        _expect_consensus(simulation, worker, task_id, "opens its seal")
    elif message["kind"] == "uploaded" and message.get("digest"):
        _expect_trust_1(simulation, worker, task_id)
    elif message["kind"] == "uploaded":
        _expect_consensus(simulation, worker, task_id, "uploads")


def _expect_trust_1(simulation: Simulation, worker: str, task_id: str) -> None:
    """Before consensus a worker uploads and opens its seal only where one contribution is the consensus."""
    deals = (simulation.chain.model.view_deal(deal_id) for deal_id in simulation.deal_ids)
    trusts = [deal.trust for deal, deal_id in zip(deals, simulation.deal_ids, strict=True) if _is_of(task_id, deal_id)]
    if trusts == [0] and simulation.reorganised:
        return  # A reorganisation took its deal back.
    if trusts != [1]:
        simulation.violate(f"{worker} uploads {task_id[:10]} of trust {trusts} before consensus")


def _is_of(task_id: str, deal_id: str) -> bool:
    return task_id in (id_of_task(deal_id, index) for index in range(_MOST_TASKS))


def watch_transactions(simulation: Simulation, sender: str, function: str, task_id: str) -> None:
    """A reveal is sent only when the consensus is deep enough."""
    if function == "reveal":
        _expect_consensus(simulation, sender, task_id, "reveals")


def _expect_consensus(simulation: Simulation, worker: str, task_id: str, what: str) -> None:
    model = simulation.chain.model
    if model.view_task(task_id).status is TaskStatus.FAILED:
        return
    since = simulation.consensus_since.get(task_id)
    if since is None:
        if not simulation.reorganised:
            simulation.violate(f"{worker} {what} of {task_id[:10]} before consensus")
    elif simulation.chain.height - since[1] < simulation.plan.confirmations and not simulation.reorganised:
        simulation.violate(
            f"{worker} {what} of {task_id[:10]} when the consensus is {simulation.chain.height - since[1]} blocks deep"
        )


def watch_public_pages(simulation: Simulation) -> None:
    """What everybody may read of a task names no digest and no worker before consensus."""
    if simulation.service is None:
        return
    for task_id, task in simulation.service.machine.tasks.items():
        if task.facts.status >= TaskStatus.REVEALING:
            continue
        shown = json.dumps(task_document(StoredTask(task, 0.0))) + "".join(line.text for line in task.story)
        if _digest(task_id) in shown:
            simulation.violate(f"the pool's pages show the digest of {task_id[:10]} before consensus")


def _digest(task_id: str) -> str:
    return result_of(right_answer(task_id)).digest


# --- at the end ---------------------------------------------------------------------------------------------------


def check_end(simulation: Simulation) -> None:
    """Every check of what is left when all is over."""
    _check_money(simulation)
    for task_id in simulation.task_ids:
        _check_task(simulation, task_id)
    _check_requester(simulation)
    _check_transactions(simulation)
    _check_bans(simulation)
    _check_what_is_held(simulation)


def _check_money(simulation: Simulation) -> None:
    model = simulation.chain.model
    balances = {account: model.balance_of(account) for account in model.accounts}
    frozen = {account: model.frozen_of(account) for account in model.accounts}
    if sum(balances.values()) != model.total_supply:
        simulation.violate(f"balances add up to {sum(balances.values())}, the supply is {model.total_supply}")
    if model.balance_of(model.address) != sum(frozen.values()):
        simulation.violate(f"the hub holds {model.balance_of(model.address)}, locked are {sum(frozen.values())}")
    if model.token.balance_of(model.address) < model.total_supply:
        simulation.violate("the hub holds less of the token than the escrow's supply")
    for account, locked in frozen.items():
        if locked and account != KITTY_ADDRESS:
            seat = simulation.by_address.get(account)
            who = seat.plan.name if seat else account
            simulation.violate(f"{locked} nRLC of {who} are still locked after every deadline")


def _check_task(simulation: Simulation, task_id: str) -> None:
    model = simulation.chain.model
    task = model.view_task(task_id)
    for worker in task.contributors:
        hidden = model.view_contribution(task_id, worker)
        won = hidden.result_hash == task.consensus_value and hidden.status is not ContributionStatus.PROVED
        if won and simulation.by_address[worker].plan.lie is Fault.NO_REVEAL:
            simulation.counter.count(Fault.NO_REVEAL)
    if task.status is TaskStatus.COMPLETED:
        _check_result(simulation, task_id, task)
        _check_honest_were_paid(simulation, task_id, task)
    elif task.status is TaskStatus.FAILED:
        _check_failure(simulation, task_id, task)
    else:
        simulation.violate(f"task {task_id[:10]} never ends: {task.status.name}")


def _check_result(simulation: Simulation, task_id: str, task: Task) -> None:
    """A completed task's result is in storage, with the digest that the chain holds; and it is right."""
    blob = simulation.blobs.blobs.get(cid_of_results(task.results) or "")
    if blob is None:
        simulation.violate(f"the result of {task_id[:10]} is lost: storage does not have {task.results!r}")
    elif _digest_of_archive(blob) != task.result_digest:
        simulation.violate(f"the result of {task_id[:10]} in storage is not what was agreed")
    if task.result_digest == _digest(task_id):
        return
    model = simulation.chain.model
    trust = max(model.view_deal(task.deal_id).trust, 1)
    winners = [
        worker
        for worker in task.contributors
        if model.view_contribution(task_id, worker).result_hash == task.consensus_value
    ]
    if any(simulation.by_address[worker].plan.lie in (None, Fault.NO_REVEAL) for worker in winners):
        simulation.violate(f"an honest worker is behind the wrong result of {task_id[:10]}")
    weight = 2 ** len(winners)
    if not consensus_reached(weight, 1 + weight, trust):
        simulation.violate(f"{len(winners)} liar(s) won {task_id[:10]}, whose trust is {trust}")
    if len(winners) > 1 and any(simulation.by_address[worker].plan.lie is not Fault.COLLUSION for worker in winners):
        simulation.violate(f"liars that do not collude won {task_id[:10]} together")


def _check_honest_were_paid(simulation: Simulation, task_id: str, task: Task) -> None:
    """No honest contribution is unpaid when pool and worker are back before its deadline (decision 28)."""
    model, plan = simulation.chain.model, simulation.plan
    for worker in task.contributors:
        seat = simulation.by_address[worker]
        mine = model.view_contribution(task_id, worker)
        if seat.plan.lie is not None or mine.result_hash != task.consensus_value:
            continue
        if mine.status is ContributionStatus.PROVED or seat.gone:
            continue
        if task.reveal_deadline - simulation.epoch > plan.calm_at_s + _FAIR_S:
            simulation.violate(f"{seat.plan.name} agreed on {task_id[:10]}, was back in time, and is not paid")


def _check_failure(simulation: Simulation, task_id: str, task: Task) -> None:
    """A task fails only when its deadlines or its workers did not allow more."""
    model, plan = simulation.chain.model, simulation.plan
    deal = model.view_deal(task.deal_id)
    deadline = deal.start_time + 7 * plan.timeref_s - simulation.epoch
    if deadline < plan.patience_s:
        return
    if simulation.could_agree(max(deal.trust, 1)):
        simulation.violate(f"task {task_id[:10]} of trust {deal.trust} failed, though enough honest workers were there")


def _check_requester(simulation: Simulation) -> None:
    """The requester paid for the tasks that completed, and for no others."""
    from tests.simulation.world import APP_PRICE, DEPOSIT, POOL_PRICE

    model = simulation.chain.model
    completed = sum(model.view_task(task).status is TaskStatus.COMPLETED for task in simulation.task_ids)
    paid = DEPOSIT - model.balance_of(simulation.requester.address)
    if paid != completed * (APP_PRICE + POOL_PRICE):
        simulation.violate(f"the requester paid {paid} nRLC for {completed} task(s)")


def _check_transactions(simulation: Simulation) -> None:
    """Without a reorganisation no transaction of the pool is in vain: each step of a task is mined once."""
    if simulation.reorganised:
        return
    refused = simulation.chain.refused_of(simulation.scheduler.address)
    if refused:
        simulation.violate(f"the pool sent transactions that the hub refused: {', '.join(refused)}")


def _check_bans(simulation: Simulation) -> None:
    """Who is banned was lying; who provably lied is banned."""
    service = simulation.service
    if service is None:
        simulation.violate("the pool is not there at the end")
        return
    for worker in service.machine.bans:
        seat = simulation.by_address[worker]
        ban = service.machine.bans[worker]
        deadline = simulation.chain.model.view_task(ban.task_id).reveal_deadline - simulation.epoch
        late = seat.away_s and deadline <= simulation.plan.calm_at_s + _FAIR_S
        if seat.plan.lie is None and not seat.gone and not late:
            simulation.violate(f"{seat.plan.name} is honest and was banned: {ban.reason}")
    model = simulation.chain.model
    for task_id in simulation.task_ids:
        task = model.view_task(task_id)
        if task.status is not TaskStatus.COMPLETED or simulation.reorganised:
            continue
        for worker in task.contributors:
            seat = simulation.by_address[worker]
            lie, banned = seat.plan.lie, worker in service.machine.bans
            if lie in (Fault.OTHER_SEAL, Fault.SILENCE) and not banned and not seat.gone:
                simulation.violate(f"{seat.plan.name} ({lie}) contributed to {task_id[:10]} and is not banned")
    for seat in simulation.seats.values():
        if seat.signer.address in service.machine.bans:
            continue
        if seat.plan.lie is None and not seat.gone and seat.signer.address not in service.machine.workers:
            simulation.violate(f"{seat.plan.name} is not connected at the end")


def _check_what_is_held(simulation: Simulation) -> None:
    """When all is over, slots are free and nobody holds on to anything."""
    service = simulation.service
    if service is None:
        return
    for seat in simulation.seats.values():
        if seat.plan.lie is not None or seat.gone or seat.agent is None:
            continue
        if seat.signer.address in service.machine.bans:
            continue
        state = service.machine.workers.get(seat.signer.address)
        if state is not None and state.free_slots != seat.plan.slots:
            simulation.violate(f"the pool knows {state.free_slots} of {seat.plan.slots} slots of {seat.plan.name}")
        held = seat.agent._machine.held
        if held:
            phases = ", ".join(f"{record.task_id[:10]} {record.phase}" for record in held)
            simulation.violate(f"{seat.plan.name} still holds {phases}")


def _digest_of_archive(blob: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "result.zip"
        archive.write_bytes(blob)
        try:
            return archive_digest(archive)
        except VerificationError:
            return ""
