"""What must hold when a simulation is over. Each check appends to `Simulation.violations`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fairgrid.errors import VerificationError
from fairgrid.protocol.archive import archive_digest
from fairgrid.protocol.results import cid_of_results
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.run_results import parse_run_results
from fairgrid.protocol.runs import units_of
from fairgrid.protocol.trust import consensus_reached
from fairgrid.protocol.views import ContributionStatus, Run, Task, TaskStatus
from tests.simulation.faults import Fault, Part
from tests.simulation.leases import WINDOW_OF_RUN
from tests.simulation.surroundings import fast_folder
from tests.simulation.watching import right_digest

if TYPE_CHECKING:
    from tests.simulation.world import Simulation

__all__ = ["check_end", "check_transactions"]

_FAIR_S = 200.0
"""So long after calm everybody can have done what was due."""
_AUDIT_ENDS = ("agreed", "wrong", "undecided", "unopened")


def check_end(simulation: Simulation) -> None:
    """Every check of what is left when all is over."""
    _check_money(simulation)
    for unit in simulation.unit_ids():
        _check_unit(simulation, unit)
    for deal_id in simulation.requests.lanes:
        _check_lane(simulation, deal_id)
    _check_requester(simulation)
    _check_auditors(simulation)
    if not simulation.reorganised:
        check_transactions(simulation)
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


def _check_unit(simulation: Simulation, task_id: str) -> None:
    """A task or a run ends, and ends well if it could."""
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
    elif task.status is not TaskStatus.SPLIT:
        simulation.violate(f"task {task_id[:10]} never ends: {task.status.name}")


def _check_result(simulation: Simulation, task_id: str, task: Task) -> None:
    """A completed task's result is in storage, with the digest that the chain holds; and it is right."""
    run = simulation.chain.model.view_run(task_id)
    results = _results_of(simulation, task_id, task, run)
    blob = simulation.blobs.blobs.get(cid_of_results(results) or "")
    if blob is None:
        simulation.violate(f"the result of {task_id[:10]} is lost: storage does not have {results!r}")
    elif run.count:
        _check_results_of_run(simulation, task_id, run, task, blob)
    elif _digest_of_archive(blob) != task.result_digest:
        simulation.violate(f"the result of {task_id[:10]} in storage is not what was agreed")
    if task.result_digest == right_digest(simulation, task_id):
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


def _check_results_of_run(simulation: Simulation, run_id: str, run: Run, task: Task, manifest: bytes) -> None:
    """Every task's archive of a completed run is there, and is what was agreed."""
    try:
        results = parse_run_results(manifest, first=run.first, count=run.count)
    except VerificationError as error:
        simulation.violate(f"the results of run {run_id[:10]} are no manifest: {error}")
        return
    if results.digest != task.result_digest:
        simulation.violate(f"the results of run {run_id[:10]} in storage are not what was agreed")
    for one in results.tasks:
        archive = simulation.blobs.blobs.get(one.cid)
        if archive is None or _digest_of_archive(archive) != one.digest:
            simulation.violate(f"the result of a task of run {run_id[:10]} is lost or another")


def _results_of(simulation: Simulation, task_id: str, task: Task, run: Run) -> bytes:
    """What was finalized; of a run only the event tells."""
    if not run.count:
        return task.results
    events = (event for event in simulation.chain.model.events if event.name == "RunFinalize")
    found = (event.arguments for event in events if event.arguments["runid"] == task_id)
    return bytes(next(found, {}).get("results", b""))


def _check_failure(simulation: Simulation, task_id: str, task: Task) -> None:
    """A task fails only when its deadlines or its workers did not allow more."""
    model, plan = simulation.chain.model, simulation.plan
    deal = model.view_deal(task.deal_id)
    read = simulation.requests.needs.get(task_id)
    if read is not None and read not in simulation.completed:
        return
    windows = min(units_of(model.view_run(task_id).count), WINDOW_OF_RUN)
    stalled_s = (windows - 1) * plan.timeref_s * sum(worker.lie is Fault.STALLING for worker in plan.workers)
    ready_s = stalled_s + max(plan.calm_at_s, simulation.completed.get(read, 0.0) if read is not None else 0.0)
    if deal.start_time + 7 * plan.timeref_s - simulation.epoch < ready_s + plan.enough_s:
        return
    if plan.audits and any(worker.lie is not None for worker in plan.workers):
        return  # A liar and whoever agreed with it may be in quarantine, and what was disproved is refunded.
    simulation.judged += 1
    if simulation.could_agree(max(deal.trust, 1)):
        simulation.violate(f"task {task_id[:10]} of trust {deal.trust} failed, though enough honest workers were there")


def _check_lane(simulation: Simulation, deal_id: str) -> None:
    """Each task of a deal of the batch lane is settled or refunded exactly once (decision 16)."""
    model = simulation.chain.model
    lane, plan = model.view_lane(deal_id), simulation.requests.lanes[deal_id]
    if not lane.in_batch_lane:
        simulation.violate(f"deal {deal_id[:10]} is not in the batch lane any more")
    runs = [model.view_run(run_id) for run_id in simulation.requests.runs()]
    ends = [
        index for run in runs if run.deal_id == deal_id and run.status is not TaskStatus.SPLIT for index in _of(run)
    ]
    rest = list(range(lane.cursor, plan.volume)) if lane.refunded else []
    if sorted(ends + rest) != list(range(plan.volume)):
        simulation.violate(
            f"tasks {sorted(ends)} of deal {deal_id[:10]} are settled and {rest} refunded, of {plan.volume}"
        )


def _of(run: Run) -> range:
    return range(run.first, run.first + run.count)


def _check_requester(simulation: Simulation) -> None:
    """The requester paid for the tasks that completed, and for no others."""
    from tests.simulation.world import APP_PRICE, DEPOSIT, POOL_PRICE

    model = simulation.chain.model
    done = [unit for unit in simulation.unit_ids() if model.view_task(unit).status is TaskStatus.COMPLETED]
    completed = sum(units_of(model.view_run(unit).count) for unit in done)
    paid = DEPOSIT - model.balance_of(simulation.requester.address)
    if paid != completed * (APP_PRICE + POOL_PRICE):
        simulation.violate(f"the requester paid {paid} nRLC for {completed} task(s)")


def _check_auditors(simulation: Simulation) -> None:
    """What the pool says that it paid auditors is what they got, once."""
    service = simulation.service
    if not simulation.plan.audits or service is None:
        return
    simulation.counter.counts[Part.AUDIT] += sum(service.machine.tally[f"audit/{end}"] for end in _AUDIT_ENDS)
    sent = simulation.chain.transfers_of(simulation.scheduler.address)
    for worker, standing in service.machine.standings.items():
        paid = sent.pop(worker, 0)
        if paid != standing.paid_nrlc:
            name = simulation.by_address[worker].plan.name
            simulation.violate(f"{name} got {paid} nRLC for audits, and the pool says {standing.paid_nrlc}")
    if sent:
        simulation.violate(f"the pool paid somebody whom it does not know: {sent}")


def check_transactions(simulation: Simulation) -> None:
    """As long as the chain was not reorganised no transaction of the pool is in vain: each step is mined once."""
    refused = simulation.chain.refused_of(simulation.scheduler.address)
    if refused:
        simulation.violate(f"the pool sent transactions that the hub refused: {', '.join(refused)}")


def _check_bans(simulation: Simulation) -> None:
    """Who is banned was lying; who provably lied is banned."""
    service = simulation.service
    if service is None:
        simulation.violate("the pool is not there at the end")
        return
    model = simulation.chain.model
    for worker in service.machine.bans:
        seat = simulation.by_address[worker]
        ban = service.machine.bans[worker]
        deadline = model.view_task(ban.task_id).reveal_deadline - simulation.epoch if ban.task_id else 0.0
        late = seat.away_s and deadline <= simulation.plan.calm_at_s + _FAIR_S
        if seat.plan.lie is None and not seat.gone and not late and seat.plan.name not in simulation.plan.banned:
            simulation.violate(f"{seat.plan.name} is honest and was banned: {ban.reason}")
    for task_id in simulation.unit_ids():
        task = model.view_task(task_id)
        if task.status is not TaskStatus.COMPLETED:
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
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        archive = Path(folder) / "result.zip"
        archive.write_bytes(blob)
        try:
            return archive_digest(archive)
        except VerificationError:
            return ""
