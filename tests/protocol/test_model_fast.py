from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.views import Contribution, ContributionStatus, TaskStatus
from tests.protocol.actors import Actor
from tests.protocol.scenario import BAD, DEPOSIT, GOOD, TIMEREF, Scenario, refusal

ALONE: dict[str, Any] = {"request": {"trust": 1, "volume": 1}}
TEE = {"tag": "0x" + "00" * 31 + "01"}
PRICE = 1_009


def settle(
    scenario: Scenario,
    task: str,
    digest: str = GOOD,
    callback: bytes = b"",
    *,
    worker: int = 0,
    authority: Actor | None = None,
    enclave: Actor | None = None,
    enclave_signer: Actor | None = None,
) -> None:
    """A worker contributes and finalizes, authorised by the scheduler unless somebody else is named."""
    who = scenario.people.workers[worker].address
    challenge = enclave.address if enclave else ZERO_ADDRESS
    message = ids.enclave_message(ids.result_hash(task, digest), ids.result_seal(who, task, digest))
    signer = enclave_signer or enclave
    scenario.hub.contribute_and_finalize(
        who,
        task,
        digest,
        b"results",
        callback,
        challenge,
        signer.sign_message(message) if signer else "0x",
        (authority or scenario.people.scheduler).authorise(who, task, challenge),
    )


# --- contributeAndFinalize --------------------------------------------------------------------------------------


def test_a_lone_worker_is_paid_to_the_last_nrlc_without_stake_or_score(scenario: Scenario) -> None:
    people, hub = scenario.people, scenario.hub
    priced = {"workerpool": {"workerpoolprice": PRICE}, "request": {**ALONE["request"], "workerpoolmaxprice": PRICE}}
    task = scenario.task(with_dataset=True, **priced)
    mark = len(hub.events)
    settle(scenario, task)
    sellers = ["Seize", "Transfer", "Reward", "Transfer", "Reward", "Transfer", "Unlock"]
    paid = ["Transfer", "Reward"] * 2
    ended = ["TaskContribute", "TaskConsensus", "TaskReveal", "TaskFinalize"]
    assert scenario.names_since(mark) == [*sellers, *paid, *ended]
    change = {actor.name: scenario.stake(actor) - DEPOSIT for actor in people.all}
    assert (change["worker 0"], change["scheduler"]) == (998, 11)
    assert (change["app owner"], change["dataset owner"], change["requester"]) == (100, 50, -1_159)
    assert all(scenario.locked(actor) == 0 for actor in people.all)
    assert hub.view_score(people.workers[0].address) == 0
    scenario.assert_money_adds_up()


def test_the_task_looks_as_if_it_had_been_contributed_revealed_and_finalized(scenario: Scenario) -> None:
    task = scenario.task(**ALONE)
    scenario.hub.now += 5
    settle(scenario, task)
    worker = scenario.people.workers[0].address
    state = scenario.hub.view_task(task)
    hash_, seal = ids.result_hash(task, GOOD), ids.result_seal(worker, task, GOOD)
    assert (state.status, state.consensus_value, state.result_digest) == (TaskStatus.COMPLETED, hash_, GOOD)
    assert (state.reveal_counter, state.winner_counter, state.contributors) == (1, 1, (worker,))
    assert (state.results, state.results_callback) == (b"results", b"")
    assert state.reveal_deadline == scenario.hub.now + 2 * TIMEREF
    proved = Contribution(ContributionStatus.PROVED, hash_, seal, ZERO_ADDRESS, 0)
    assert scenario.hub.view_contribution(task, worker) == proved
    assert scenario.last("TaskContribute").arguments == {"taskid": task, "worker": worker, "hash": hash_}
    assert scenario.last("TaskConsensus").arguments == {"taskid": task, "consensus": hash_}
    assert scenario.last("TaskReveal").arguments == {"taskid": task, "worker": worker, "digest": GOOD}


def test_a_task_is_settled_alone_only_once_and_only_if_nobody_contributed(scenario: Scenario) -> None:
    task = scenario.task(**ALONE)
    settle(scenario, task)
    assert refusal(settle, scenario, task, worker=1) is None
    assert refusal(settle, scenario, ZERO32) is None
    begun = scenario.contributed_task({0: GOOD}, request={"trust": 1, "salt": "0x" + "01" * 32})
    assert refusal(settle, scenario, begun, worker=1) is None
    scenario.hub.now = scenario.hub.view_task(begun).reveal_deadline
    scenario.hub.reopen(scenario.people.scheduler.address, begun)
    assert scenario.hub.view_task(begun).status == TaskStatus.ACTIVE
    assert refusal(settle, scenario, begun, worker=1) is None


@pytest.mark.parametrize(("trust", "allowed"), [(0, True), (1, True), (2, False)])
def test_only_a_deal_of_trust_one_is_settled_alone(scenario: Scenario, trust: int, allowed: bool) -> None:
    task = scenario.task(request={"trust": trust})
    if allowed:
        settle(scenario, task)
    else:
        assert refusal(settle, scenario, task) is None


def test_settling_alone_ends_at_the_contribution_deadline(scenario: Scenario) -> None:
    task = scenario.task(**ALONE)
    scenario.hub.now = scenario.hub.view_task(task).contribution_deadline
    assert refusal(settle, scenario, task) is None
    scenario.hub.now -= 1
    settle(scenario, task)


def test_a_lone_worker_needs_the_schedulers_word_and_an_enclave_where_the_deal_asks_for_one(scenario: Scenario) -> None:
    enclave, broker = Actor("enclave"), Actor("broker")
    plain = scenario.task(**ALONE)
    assert refusal(settle, scenario, plain, authority=scenario.people.stranger) is None
    worker = scenario.people.workers[0].address
    unsigned = (worker, plain, GOOD, b"")
    assert refusal(scenario.hub.contribute_and_finalize, *unsigned) == "invalid-signature-format"
    attested = scenario.task(app=TEE, workerpool=TEE, request={**ALONE["request"], "salt": "0x" + "01" * 32})
    assert refusal(settle, scenario, attested) is None
    assert refusal(settle, scenario, attested, enclave=enclave, enclave_signer=broker) is None
    scenario.hub.set_tee_broker(scenario.people.admin.address, broker.address)
    assert refusal(settle, scenario, attested, enclave=enclave) is None
    settle(scenario, attested, enclave=enclave, authority=broker)
    assert scenario.hub.view_contribution(attested, worker).enclave_challenge == enclave.address
    settle(scenario, plain)


def test_a_callback_gets_the_bytes_of_the_digest_or_the_task_is_not_settled(scenario: Scenario) -> None:
    digest = to_hex32(keccak(b"callback"))
    task = scenario.task(request={"trust": 1, "callback": scenario.people.stranger.address})
    assert refusal(settle, scenario, task, digest) is None
    assert refusal(settle, scenario, task, digest, b"other") is None
    assert refusal(settle, scenario, task, BAD, b"callback") is None
    settle(scenario, task, digest, b"callback")
    assert scenario.hub.result_for(task) == b"callback"


# --- arrays -----------------------------------------------------------------------------------------------------


def test_an_array_opens_all_or_none(scenario: Scenario) -> None:
    hub, caller = scenario.hub, scenario.people.stranger.address
    deal = scenario.deal(request={"volume": 3})
    assert refusal(hub.initialize_array, caller, [deal, deal], [0, 3]) is None
    assert refusal(hub.initialize_array, caller, [deal], [0, 1]) is None
    assert refusal(hub.initialize_array, caller, [deal, deal], [0, 0]) is None
    assert not hub.view_task(ids.task_id(deal, 0)).status
    assert hub.initialize_array(caller, [deal, deal], [0, 2])
    assert hub.task_ids == (ids.task_id(deal, 0), ids.task_id(deal, 2))
    assert hub.initialize_array(caller, [], [])


def test_an_array_claims_all_or_none(scenario: Scenario) -> None:
    hub, caller = scenario.hub, scenario.people.stranger.address
    deal = scenario.deal(request={"volume": 2})
    tasks = [hub.initialize(caller, deal, index) for index in (0, 1)]
    assert refusal(hub.claim_array, caller, tasks) is None
    hub.now += 10 * TIMEREF
    assert refusal(hub.claim_array, caller, [*tasks, ZERO32]) is None
    assert refusal(hub.claim_array, caller, [tasks[0], tasks[0]]) is None
    assert hub.claim_array(caller, tasks)
    assert scenario.stake(scenario.people.requester) == DEPOSIT
    assert hub.claim_array(caller, [])


def test_tasks_that_were_never_opened_are_refunded_at_once(scenario: Scenario) -> None:
    hub, caller = scenario.hub, scenario.people.stranger.address
    deal = scenario.deal(request={"volume": 2})
    assert refusal(hub.initialize_and_claim_array, caller, [deal, deal], [0, 1]) is None
    hub.now += 10 * TIMEREF
    assert refusal(hub.initialize_and_claim_array, caller, [deal], [0, 1]) is None
    assert refusal(hub.initialize_and_claim_array, caller, [deal, deal], [0, 0]) is None
    mark = len(hub.events)
    assert hub.initialize_and_claim_array(caller, [deal, deal], [1, 0])
    one = ["TaskInitialize", "Transfer", "Unlock", "Seize", "Reward", "Lock", "TaskClaimed"]
    assert scenario.names_since(mark) == one * 2
    assert scenario.stake(scenario.people.requester) == DEPOSIT
    assert scenario.stake(scenario.people.scheduler) == DEPOSIT - 600
    scenario.assert_money_adds_up()
