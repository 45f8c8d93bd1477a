from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.model_batch import NO_RUN
from fairgrid.protocol.model_tasks import NO_CONTRIBUTION, NO_TASK
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import Contribution, ContributionStatus, TaskStatus
from tests.protocol.actors import Actor
from tests.protocol.lanes import RESULTS, Batch, digests_of, gains
from tests.protocol.scenario import TIMEREF, Scenario, refusal

PRICE, STAKE, APP = 1_009, 302, 100
TEE_LANE = {"tag": f"0x{(1 << 16) | 1:064x}"}
AGREED = {0: 0, 1: 0}


@pytest.fixture
def batch(scenario: Scenario) -> Batch:
    """A deal of ten tasks in the batch lane, trust 3."""
    return Batch(scenario)


# --- finalizeRun ------------------------------------------------------------------------------------------------


def test_a_run_pays_everybody_for_all_its_tasks_to_the_last_nrlc(scenario: Scenario) -> None:
    batch = Batch(scenario, with_dataset=True, request={"volume": 7})
    run = batch.contributed(7, {0: 1, 1: 0, 2: 0, 3: 0})
    for worker in (3, 1, 2):
        scenario.reveal(batch.people.workers[worker], run, batch.digest(run))
    mark = len(batch.hub.events)
    batch.finish(run)
    gained = gains(scenario)
    pot = 7 * PRICE + 7 * STAKE
    share = pot * 99 // 100 // 3
    assert (gained["app owner"], gained["dataset owner"]) == (7 * APP, 7 * 50)
    assert gained["requester"] == -7 * (APP + 50 + PRICE)
    assert [gained[f"worker {index}"] for index in range(4)] == [-7 * STAKE, share, share, share]
    assert gained["scheduler"] == pot - 3 * share
    assert [batch.hub.view_score(worker.address) for worker in batch.people.workers[:4]] == [0, 1, 1, 1]
    assert all(scenario.locked(actor) == 0 for actor in batch.people.all)
    sellers = ["Seize", "Transfer", "Reward", "Transfer", "Reward", "Transfer", "Unlock"]
    honest = ["Transfer", "Unlock", "Transfer", "Reward", "AccurateContribution"]
    faulty = ["Seize", "FaultyContribution"]
    assert scenario.names_since(mark) == [*sellers, *faulty, *honest * 3, "Transfer", "Reward", "RunFinalize"]
    winners = tuple(worker.address for worker in batch.people.workers[1:4])
    assert scenario.last("RunFinalize").arguments == {
        "runid": run,
        "root": batch.root(run),
        "count": 7,
        "results": RESULTS,
        "workers": winners,
    }
    state = batch.hub.view_task(run)
    assert (state.status, state.results, state.result_digest) == (TaskStatus.COMPLETED, b"", batch.digest(run))
    assert batch.hub.result_for(run) == b""
    scenario.assert_money_adds_up()


def test_the_share_of_a_run_is_rounded_once_and_stakes_task_by_task(scenario: Scenario) -> None:
    cheap = {"workerpoolprice": 37}
    batch = Batch(scenario, workerpool=cheap, request={"trust": 1})
    batch.completed(10, {0: 0})
    gained = gains(scenario)
    assert 37 * 30 // 100 == 11
    assert gained["worker 0"] == 370 * 99 // 100 == 366
    assert gained["scheduler"] == 4
    assert 10 * (37 * 99 // 100) == 360


def test_the_kitty_pays_its_part_once_for_a_run(scenario: Scenario) -> None:
    price = 10**11
    dear: dict[str, Any] = {
        "workerpool": {"workerpoolprice": price},
        "request": {"workerpoolmaxprice": price, "volume": 1},
    }
    failed = scenario.task(**dear)
    scenario.hub.now = scenario.hub.view_task(failed).final_deadline
    scenario.hub.claim(scenario.people.stranger.address, failed)
    slashed = price * 30 // 100
    batch = Batch(scenario)
    batch.completed(10, AGREED)
    assert scenario.hub.frozen_of(KITTY_ADDRESS) == slashed - slashed // 10
    scenario.assert_money_adds_up()


def test_a_run_is_finalized_by_the_pools_owner_once_revealed_in_time_and_with_what_was_agreed_on(batch: Batch) -> None:
    hub, scheduler = batch.hub, batch.scheduler
    run = batch.contributed(4, AGREED)
    root = batch.root(run)
    assert refusal(hub.finalize_run, scheduler, run, root, RESULTS) is None
    batch.scenario.reveal(batch.people.workers[0], run, batch.digest(run))
    assert refusal(hub.finalize_run, scheduler, run, root, RESULTS) is None
    batch.scenario.reveal(batch.people.workers[1], run, batch.digest(run))
    assert refusal(hub.finalize_run, batch.people.stranger.address, run, root, RESULTS) is None
    assert refusal(hub.finalize_run, scheduler, run, root, b"other") is None
    assert refusal(hub.finalize_run, scheduler, run, batch.root(run, 1), RESULTS) is None
    assert refusal(hub.finalize_run, scheduler, ZERO32, root, RESULTS) is None
    hub.now = hub.view_task(run).final_deadline
    assert refusal(hub.finalize_run, scheduler, run, root, RESULTS) is None
    hub.now -= 1
    hub.finalize_run(scheduler, run, root, RESULTS)
    assert refusal(hub.finalize_run, scheduler, run, root, RESULTS) is None


def test_one_reveal_is_enough_after_the_reveal_deadline(batch: Batch) -> None:
    run = batch.contributed(4, AGREED)
    batch.hub.now = batch.hub.view_task(run).reveal_deadline - 1
    batch.scenario.reveal(batch.people.workers[1], run, batch.digest(run))
    assert refusal(batch.finish, run) is None
    batch.hub.now += 1
    batch.finish(run)
    assert batch.scenario.last("RunFinalize").arguments["workers"] == (batch.people.workers[1].address,)
    assert gains(batch.scenario)["worker 0"] == -4 * STAKE


def test_a_task_is_not_finalized_like_a_run(batch: Batch) -> None:
    task = batch.hub.initialize(batch.scheduler, batch.deal, 0)
    digest = runs.run_digest(ZERO32, RESULTS)
    for worker in batch.people.workers[:2]:
        batch.scenario.contribute(worker, task, digest)
    for worker in batch.people.workers[:2]:
        batch.scenario.reveal(worker, task, digest)
    assert refusal(batch.hub.finalize_run, batch.scheduler, task, ZERO32, RESULTS) is None
    batch.hub.finalize(batch.scheduler, task, RESULTS)


# --- settleRun --------------------------------------------------------------------------------------------------


def test_one_worker_settles_a_run_without_stake_or_score(scenario: Scenario) -> None:
    batch = Batch(scenario, with_dataset=True, request={"trust": 1, "volume": 7})
    mark = len(batch.hub.events)
    run = batch.settle(7)
    worker = batch.people.workers[0].address
    gained = gains(scenario)
    assert gained["worker 0"] == 7 * PRICE * 99 // 100 == 6_992
    assert gained["scheduler"] == 7 * PRICE - 6_992
    assert gained["requester"] == -7 * (APP + 50 + PRICE)
    assert all(scenario.locked(actor) == 0 for actor in batch.people.all)
    assert batch.hub.view_score(worker) == 0
    sellers = ["Seize", "Transfer", "Reward", "Transfer", "Reward", "Transfer", "Unlock"]
    paid = ["Transfer", "Reward"] * 2
    assert scenario.names_since(mark) == [*sellers, *paid, "RunOpen", "RunFinalize"]
    assert scenario.last("RunFinalize").arguments["workers"] == (worker,)
    digest = batch.digest(run)
    state = batch.hub.view_task(run)
    assert (state.status, state.result_digest, state.results) == (TaskStatus.COMPLETED, digest, b"")
    assert (state.consensus_value, state.contributors) == (ids.result_hash(run, digest), (worker,))
    assert (state.reveal_counter, state.winner_counter) == (1, 1)
    assert state.reveal_deadline == batch.hub.now + 2 * TIMEREF
    seal = ids.result_seal(worker, run, digest)
    proved = Contribution(ContributionStatus.PROVED, state.consensus_value, seal, ZERO_ADDRESS, 0)
    assert batch.hub.view_contribution(run, worker) == proved
    assert batch.hub.view_lane(batch.deal).cursor == 7
    scenario.assert_money_adds_up()


def test_a_run_is_settled_alone_only_at_trust_one_in_time_and_in_a_size_that_is_left(scenario: Scenario) -> None:
    doubtful = Batch(scenario, request={"trust": 2})
    assert refusal(doubtful.settle, 1) is None
    batch = Batch(
        scenario,
        request={"trust": 1, "salt": "0x" + "01" * 32},
        app={"salt": "0x" + "01" * 32},
        workerpool={"salt": "0x" + "01" * 32},
    )
    for count in (0, 11):
        assert refusal(batch.settle, count) is None
    batch.hub.now += 7 * TIMEREF
    assert refusal(batch.settle, 1) is None
    batch.hub.now -= 1
    batch.settle(4)
    assert batch.hub.view_run(batch.settle(6, worker=1)).first == 4
    assert refusal(batch.settle, 1) is None


def test_a_deal_of_the_classic_lane_has_no_settled_runs(scenario: Scenario) -> None:
    batch = Batch(scenario, request={"trust": 1, "tag": ZERO32})
    assert refusal(batch.settle, 1) is None


def test_a_settled_run_needs_the_schedulers_word_and_an_enclave_where_asked_for(scenario: Scenario) -> None:
    enclave, broker = Actor("enclave"), Actor("broker")
    batch = Batch(scenario, app={"tag": f"0x{1:064x}"}, workerpool=TEE_LANE, request={"trust": 1})
    assert refusal(batch.settle, 2) is None
    assert refusal(batch.settle, 2, enclave=enclave, enclave_signer=broker) is None
    assert refusal(batch.settle, 2, enclave=enclave, authority=batch.people.stranger) is None
    batch.settle(2, enclave=enclave)
    batch.hub.set_tee_broker(batch.people.admin.address, broker.address)
    assert refusal(batch.settle, 2, enclave=enclave) is None
    run = batch.settle(2, enclave=enclave, authority=broker)
    worker = batch.people.workers[0].address
    assert batch.hub.view_contribution(run, worker).enclave_challenge == enclave.address
    unsigned = (worker, batch.deal, 1, ZERO32, b"", enclave.address)
    assert refusal(batch.hub.settle_run, *unsigned) == "invalid-signature-format"


# --- materialise ------------------------------------------------------------------------------------------------


def test_a_task_of_a_completed_run_is_proved_once_and_then_looks_like_a_task(batch: Batch) -> None:
    hub, scenario = batch.hub, batch.scenario
    hub.initialize(batch.scheduler, batch.deal, 0)
    run = batch.completed(5, {0: 1, 1: 0, 2: 0, 3: 0})
    hub.now += 10**6
    mark = len(hub.events)
    task = batch.materialise(run, 4)
    digest = digests_of(5)[4]
    assert task == ids.task_id(batch.deal, 5)
    assert scenario.names_since(mark) == ["TaskMaterialise"]
    assert scenario.last("TaskMaterialise").arguments == {"taskid": task, "runid": run, "idx": 5, "digest": digest}
    of_run = hub.view_task(run)
    assert hub.view_task(task) == replace(
        of_run, index=5, result_digest=digest, consensus_value=ids.result_hash(task, digest)
    )
    assert hub.result_for(task) == b""
    liar, honest = (batch.people.workers[index].address for index in (0, 1))
    assert hub.view_contribution(task, liar) == hub.view_contribution(run, liar)
    assert hub.view_contribution(task, honest) == Contribution(
        ContributionStatus.PROVED,
        ids.result_hash(task, digest),
        ids.result_seal(honest, task, digest),
        ZERO_ADDRESS,
        hub.view_contribution(run, honest).weight,
    )
    assert hub.view_contribution(task, batch.people.stranger.address) == NO_CONTRIBUTION
    assert hub.view_task(ids.task_id(batch.deal, 4)) == NO_TASK
    assert hub.view_run(task) == NO_RUN
    assert refusal(batch.materialise, run, 4) is None
    batch.materialise(run, 0)
    for call in (hub.claim, hub.reopen):
        assert refusal(call, batch.scheduler, task) is None
    assert refusal(hub.initialize, batch.scheduler, batch.deal, 5) is None


@pytest.mark.parametrize(
    "change",
    [
        {"index": 3},
        {"index": -1},
        {"index": 5},
        {"result_digest": digests_of(5)[1]},
        {"proof": ()},
        {"proof": (*runs.task_proof(digests_of(5), 2), ZERO32)},
        {"root": ZERO32},
        {"results_hash": ZERO32},
        {"results_callback": b"unasked"},
        {"run_id": ZERO32},
    ],
    ids=str,
)
def test_what_is_not_proved_is_not_materialised(scenario: Scenario, change: dict[str, Any]) -> None:
    batch = Batch(scenario, request={"trust": 1})
    run = batch.settle(5)
    assert refusal(batch.materialise, run, 2, **change) is None
    batch.materialise(run, 2)


def test_a_run_that_is_not_completed_proves_nothing(batch: Batch) -> None:
    run = batch.contributed(5, AGREED)
    assert refusal(batch.materialise, run, 0) is None
    batch.scenario.reveal(batch.people.workers[0], run, batch.digest(run))
    assert refusal(batch.materialise, run, 0) is None
    batch.hub.now = batch.hub.view_task(run).final_deadline
    batch.hub.claim(batch.scheduler, run)
    assert refusal(batch.materialise, run, 0) is None


def test_a_completed_task_is_no_run_to_materialise_from(scenario: Scenario) -> None:
    batch = Batch(scenario, request={"trust": 1})
    task = batch.hub.initialize(batch.scheduler, batch.deal, 0)
    digests = digests_of(1)
    digest = runs.run_digest(runs.tasks_root(digests), RESULTS)
    scenario.contribute(batch.people.workers[0], task, digest)
    scenario.reveal(batch.people.workers[0], task, digest)
    batch.hub.finalize(batch.scheduler, task, RESULTS)
    assert refusal(batch.materialise, task, 0, digests=digests) is None


def test_a_deal_with_a_callback_gets_the_bytes_of_each_digest(scenario: Scenario) -> None:
    batch = Batch(scenario, request={"trust": 1, "callback": scenario.people.stranger.address})
    answers = [b"answer %d" % number for number in range(3)]
    digests = tuple(to_hex32(keccak(answer)) for answer in answers)
    run = batch.settle(3, digests=digests)
    assert refusal(batch.materialise, run, 1, digests=digests) is None
    assert refusal(batch.materialise, run, 1, answers[2], digests=digests) is None
    task = batch.materialise(run, 1, answers[1], digests=digests)
    assert batch.hub.result_for(task) == answers[1]
    assert batch.hub.view_task(task).results_callback == answers[1]
