from __future__ import annotations

from typing import Any

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.model_tasks import NO_CONTRIBUTION, NO_TASK
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from tests.protocol.actors import Actor
from tests.protocol.scenario import BAD, DEPOSIT, GOOD, TIMEREF, Scenario, refusal

AGREED = {0: GOOD, 1: GOOD}


# --- initialize -------------------------------------------------------------------------------------------------


def test_a_task_opens_with_deadlines_that_count_from_the_deal(scenario: Scenario) -> None:
    deal_id = scenario.deal()
    start = scenario.hub.now
    scenario.hub.now += 5 * TIMEREF
    task_id = scenario.hub.initialize(scenario.people.stranger.address, deal_id, 1)
    task = scenario.hub.view_task(task_id)
    assert task_id == ids.task_id(deal_id, 1)
    assert (task.status, task.deal_id, task.index, task.timeref) == (TaskStatus.ACTIVE, deal_id, 1, TIMEREF)
    assert (task.contribution_deadline, task.final_deadline) == (start + 7 * TIMEREF, start + 10 * TIMEREF)
    assert scenario.last("TaskInitialize").arguments == {"taskid": task_id, "workerpool": scenario.pool}


def test_a_task_opens_once_and_only_within_the_deal(scenario: Scenario) -> None:
    deal_id = scenario.deal()
    caller = scenario.people.stranger.address
    scenario.hub.initialize(caller, deal_id, 0)
    for index in (0, 2, -1):
        assert refusal(scenario.hub.initialize, caller, deal_id, index) is None
    assert refusal(scenario.hub.initialize, caller, ZERO32, 0) is None


# --- contribute -------------------------------------------------------------------------------------------------


def test_a_contribution_locks_the_stake_and_counts(scenario: Scenario) -> None:
    task = scenario.task()
    worker = scenario.people.workers[0]
    mark = len(scenario.hub.events)
    scenario.contribute(worker, task)
    contribution = scenario.hub.view_contribution(task, worker.address)
    assert contribution.status == ContributionStatus.CONTRIBUTED
    assert contribution.result_hash == ids.result_hash(task, GOOD)
    assert contribution.result_seal == ids.result_seal(worker.address, task, GOOD)
    assert contribution.weight == 1
    assert scenario.locked(worker) == 300
    assert scenario.names_since(mark) == ["Transfer", "Lock", "TaskContribute"]
    assert scenario.hub.view_task(task).contributors == (worker.address,)
    assert scenario.hub.view_consensus(task).group(contribution.result_hash) == 2


def test_the_last_needed_contribution_makes_the_consensus(scenario: Scenario) -> None:
    task = scenario.contributed_task({0: GOOD})
    scenario.hub.now += 7
    mark = len(scenario.hub.events)
    scenario.contribute(scenario.people.workers[1], task)
    assert scenario.names_since(mark) == ["Transfer", "Lock", "TaskContribute", "TaskConsensus"]
    state = scenario.hub.view_task(task)
    assert state.status == TaskStatus.REVEALING
    assert state.consensus_value == ids.result_hash(task, GOOD)
    assert (state.winner_counter, state.reveal_counter) == (2, 0)
    assert state.reveal_deadline == scenario.hub.now + 2 * TIMEREF


def test_a_dissenter_delays_the_consensus(scenario: Scenario) -> None:
    task = scenario.contributed_task({0: BAD, 1: GOOD, 2: GOOD})
    assert scenario.hub.view_task(task).status == TaskStatus.ACTIVE
    scenario.contribute(scenario.people.workers[3], task)
    assert scenario.hub.view_task(task).winner_counter == 3


def test_contributions_end_at_the_deadline(scenario: Scenario) -> None:
    task = scenario.task()
    scenario.hub.now = scenario.hub.view_task(task).contribution_deadline
    assert refusal(scenario.contribute, scenario.people.workers[0], task) is None
    scenario.hub.now -= 1
    scenario.contribute(scenario.people.workers[0], task)


def test_a_worker_contributes_once_and_only_to_an_active_task(scenario: Scenario) -> None:
    task = scenario.task()
    scenario.contribute(scenario.people.workers[0], task)
    assert refusal(scenario.contribute, scenario.people.workers[0], task, BAD) is None
    scenario.contribute(scenario.people.workers[1], task)
    assert refusal(scenario.contribute, scenario.people.workers[2], task) is None
    assert refusal(scenario.contribute, scenario.people.workers[0], ZERO32) is None


def contribute_with(
    scenario: Scenario, task: str, authorisation: str, *, challenge: str = ZERO_ADDRESS, enclave: str = "0x"
) -> None:
    worker = scenario.people.workers[0].address
    scenario.hub.contribute(
        worker,
        task,
        ids.result_hash(task, GOOD),
        ids.result_seal(worker, task, GOOD),
        challenge,
        enclave,
        authorisation,
    )


def test_only_the_schedulers_word_for_this_worker_and_task_authorises(scenario: Scenario) -> None:
    task = scenario.task()
    people = scenario.people
    worker, other = people.workers[0], people.workers[1]
    for authorisation in (
        people.stranger.authorise(worker.address, task),
        people.scheduler.authorise(other.address, task),
        people.scheduler.authorise(worker.address, ZERO32),
        people.scheduler.authorise(worker.address, task, people.stranger.address),
    ):
        assert refusal(contribute_with, scenario, task, authorisation) is None
    assert refusal(contribute_with, scenario, task, "0x") == "invalid-signature-format"
    contribute_with(scenario, task, people.scheduler.authorise(worker.address, task))


def test_an_enclave_signs_and_a_broker_authorises_when_there_is_one(scenario: Scenario) -> None:
    people, hub = scenario.people, scenario.hub
    tee = {"tag": "0x" + "00" * 31 + "01"}
    task = scenario.task(app=tee, workerpool=tee)
    worker, enclave, broker = people.workers[0], Actor("enclave"), Actor("broker")
    plain = people.scheduler.authorise(worker.address, task)
    assert refusal(contribute_with, scenario, task, plain) is None
    by_scheduler = people.scheduler.authorise(worker.address, task, enclave.address)
    message = ids.enclave_message(ids.result_hash(task, GOOD), ids.result_seal(worker.address, task, GOOD))
    signed, forged = enclave.sign_message(message), broker.sign_message(message)

    def contribute(authorisation: str, enclave_sign: str) -> None:
        contribute_with(scenario, task, authorisation, challenge=enclave.address, enclave=enclave_sign)

    assert refusal(contribute, by_scheduler, forged) is None
    assert refusal(contribute, by_scheduler, "0x") == "invalid-signature-format"
    hub.set_tee_broker(people.admin.address, broker.address)
    assert refusal(contribute, by_scheduler, signed) is None
    contribute(broker.authorise(worker.address, task, enclave.address), signed)
    assert hub.view_contribution(task, worker.address).enclave_challenge == enclave.address


def test_the_broker_has_no_say_without_an_enclave(scenario: Scenario) -> None:
    scenario.hub.set_tee_broker(scenario.people.admin.address, Actor("broker").address)
    scenario.contribute(scenario.people.workers[0], scenario.task())


def test_a_worker_without_stake_cannot_contribute(scenario: Scenario) -> None:
    task = scenario.task()
    worker = scenario.people.workers[0]
    scenario.hub.withdraw(worker.address, DEPOSIT - 299)
    assert refusal(scenario.contribute, worker, task) == "IexecEscrow: Transfer amount exceeds balance"
    assert scenario.hub.view_contribution(task, worker.address) == NO_CONTRIBUTION
    assert scenario.hub.view_task(task).contributors == ()


# --- reveal -----------------------------------------------------------------------------------------------------


def test_a_winner_reveals(scenario: Scenario) -> None:
    task = scenario.contributed_task(AGREED)
    worker = scenario.people.workers[1]
    scenario.reveal(worker, task)
    state = scenario.hub.view_task(task)
    assert (state.reveal_counter, state.result_digest) == (1, GOOD)
    assert scenario.hub.view_contribution(task, worker.address).status == ContributionStatus.PROVED
    assert scenario.last("TaskReveal").arguments == {"taskid": task, "worker": worker.address, "digest": GOOD}
    assert refusal(scenario.reveal, worker, task) is None


def test_nobody_reveals_before_consensus_after_the_deadline_or_a_digest_that_lost(scenario: Scenario) -> None:
    task = scenario.contributed_task({0: BAD, 1: GOOD, 2: GOOD})
    workers = scenario.people.workers
    assert refusal(scenario.reveal, workers[1], task) is None
    scenario.contribute(workers[3], task)
    assert refusal(scenario.reveal, workers[0], task, BAD) is None
    assert refusal(scenario.reveal, workers[0], task, GOOD) is None
    assert refusal(scenario.reveal, workers[1], task, BAD) is None
    assert refusal(scenario.reveal, workers[4], task, GOOD) is None
    scenario.hub.now = scenario.hub.view_task(task).reveal_deadline
    assert refusal(scenario.reveal, workers[1], task) is None
    scenario.hub.now -= 1
    scenario.reveal(workers[1], task)


def test_a_copied_hash_cannot_be_revealed(scenario: Scenario) -> None:
    task = scenario.task()
    honest, copier = scenario.people.workers[:2]
    scenario.contribute(honest, task)
    seal_of_honest = ids.result_seal(honest.address, task, GOOD)
    authorisation = scenario.people.scheduler.authorise(copier.address, task)
    scenario.hub.contribute(
        copier.address, task, ids.result_hash(task, GOOD), seal_of_honest, authorisation_sign=authorisation
    )
    scenario.reveal(honest, task)
    assert refusal(scenario.reveal, copier, task) is None


# --- reopen -----------------------------------------------------------------------------------------------------


def test_a_consensus_that_nobody_revealed_is_discarded(scenario: Scenario) -> None:
    task = scenario.contributed_task(AGREED)
    scheduler = scenario.people.scheduler.address
    state = scenario.hub.view_task(task)
    scenario.hub.now = state.reveal_deadline - 1
    assert refusal(scenario.hub.reopen, scheduler, task) is None
    scenario.hub.now += 1
    assert refusal(scenario.hub.reopen, scenario.people.stranger.address, task) is None
    scenario.hub.reopen(scheduler, task)
    state = scenario.hub.view_task(task)
    assert (state.status, state.consensus_value, state.winner_counter) == (TaskStatus.ACTIVE, ZERO32, 0)
    assert scenario.last("TaskReopen").arguments == {"taskid": task}
    worker = scenario.people.workers[0]
    assert scenario.hub.view_contribution(task, worker.address).status == ContributionStatus.REJECTED
    assert refusal(scenario.contribute, worker, task) is None
    for index in (2, 3):
        scenario.contribute(scenario.people.workers[index], task)
    assert scenario.hub.view_task(task).winner_counter == 2


def test_a_revealed_or_expired_task_is_not_reopened(scenario: Scenario) -> None:
    task = scenario.contributed_task(AGREED)
    scenario.reveal(scenario.people.workers[0], task)
    scenario.hub.now = scenario.hub.view_task(task).reveal_deadline
    assert refusal(scenario.hub.reopen, scenario.people.scheduler.address, task) is None
    other = scenario.contributed_task(AGREED, request={"salt": "0x" + "03" * 32})
    scenario.hub.now = scenario.hub.view_task(other).final_deadline
    assert refusal(scenario.hub.reopen, scenario.people.scheduler.address, other) is None


# --- finalize ---------------------------------------------------------------------------------------------------


def test_everybody_is_paid_to_the_last_nrlc(scenario: Scenario) -> None:
    people = scenario.people
    task = scenario.completed_task({0: BAD, 1: GOOD, 2: GOOD, 3: GOOD}, with_dataset=True, request={"volume": 1})
    assert scenario.hub.view_task(task).status == TaskStatus.COMPLETED
    assert scenario.hub.view_task(task).results == b"results"
    change = {actor.name: scenario.stake(actor) - DEPOSIT for actor in people.all}
    assert change["requester"] == -1_150
    assert (change["app owner"], change["dataset owner"]) == (100, 50)
    assert change["worker 0"] == -300
    assert [change[f"worker {index}"] for index in (1, 2, 3)] == [429, 429, 429]
    assert change["scheduler"] == 1_300 - 3 * 429
    assert sum(change.values()) == 0
    assert all(scenario.locked(actor) == 0 for actor in people.all)
    scenario.assert_money_adds_up()


def test_the_settlement_is_logged_in_the_chains_order(scenario: Scenario) -> None:
    task = scenario.contributed_task({0: BAD, 1: GOOD, 2: GOOD, 3: GOOD}, with_dataset=True)
    for index in (1, 2, 3):
        scenario.reveal(scenario.people.workers[index], task)
    mark = len(scenario.hub.events)
    scenario.hub.finalize(scenario.people.scheduler.address, task, b"r")
    sellers = ["Seize", "Transfer", "Reward", "Transfer", "Reward", "Transfer", "Unlock"]
    honest = ["Transfer", "Unlock", "Transfer", "Reward", "AccurateContribution"]
    faulty = ["Seize", "FaultyContribution"]
    assert scenario.names_since(mark) == [*sellers, *faulty, *honest * 3, "Transfer", "Reward", "TaskFinalize"]


def test_scores_grow_by_one_and_fall_by_a_third_but_not_alone(scenario: Scenario) -> None:
    workers = scenario.people.workers
    for salt in range(4):
        scenario.completed_task(
            AGREED, request={"salt": f"0x{salt:064x}"}, app={"volume": 99}, workerpool={"volume": 99}
        )
    assert [scenario.hub.view_score(worker.address) for worker in workers[:3]] == [4, 4, 0]
    scenario.completed_task({0: BAD, 2: GOOD, 3: GOOD, 4: GOOD}, request={"salt": "0x" + "04" * 32})
    assert scenario.hub.view_score(workers[0].address) == 2
    scenario.completed_task({1: GOOD}, request={"salt": "0x" + "05" * 32, "trust": 1})
    assert scenario.hub.view_score(workers[1].address) == 4


def test_only_the_pools_owner_finalizes_and_only_when_all_winners_revealed(scenario: Scenario) -> None:
    task = scenario.contributed_task(AGREED)
    scheduler = scenario.people.scheduler.address
    assert refusal(scenario.hub.finalize, scheduler, task, b"") is None
    scenario.reveal(scenario.people.workers[0], task)
    assert refusal(scenario.hub.finalize, scheduler, task, b"") is None
    scenario.reveal(scenario.people.workers[1], task)
    assert refusal(scenario.hub.finalize, scenario.people.stranger.address, task, b"") is None
    assert refusal(scenario.hub.finalize, scheduler, task, b"", b"callback") is None
    scenario.hub.finalize(scheduler, task, b"")
    assert refusal(scenario.hub.finalize, scheduler, task, b"") is None


def test_after_the_reveal_deadline_one_reveal_is_enough_and_the_silent_winner_is_slashed(scenario: Scenario) -> None:
    task = scenario.contributed_task(AGREED)
    scheduler = scenario.people.scheduler.address
    scenario.reveal(scenario.people.workers[0], task)
    scenario.hub.now = scenario.hub.view_task(task).reveal_deadline - 1
    assert refusal(scenario.hub.finalize, scheduler, task, b"") is None
    scenario.hub.now += 1
    scenario.hub.finalize(scheduler, task, b"")
    assert scenario.stake(scenario.people.workers[1]) == DEPOSIT - 300
    assert scenario.stake(scenario.people.workers[0]) == DEPOSIT + 1_300 * 99 // 100


def test_no_reveal_at_all_is_not_finalized_and_neither_is_a_task_past_its_end(scenario: Scenario) -> None:
    scheduler = scenario.people.scheduler.address
    task = scenario.contributed_task(AGREED)
    scenario.hub.now = scenario.hub.view_task(task).reveal_deadline
    assert refusal(scenario.hub.finalize, scheduler, task, b"") is None
    late = scenario.contributed_task(AGREED, request={"salt": "0x" + "06" * 32})
    for index in AGREED:
        scenario.reveal(scenario.people.workers[index], late)
    scenario.hub.now = scenario.hub.view_task(late).final_deadline
    assert refusal(scenario.hub.finalize, scheduler, late, b"") is None
    scenario.hub.now -= 1
    scenario.hub.finalize(scheduler, late, b"")


def test_a_deal_with_a_callback_needs_the_bytes_of_its_digest(scenario: Scenario) -> None:
    scheduler = scenario.people.scheduler.address
    digest = to_hex32(keccak(b"callback"))
    callback: dict[str, Any] = {"request": {"callback": scenario.people.stranger.address}}
    task = scenario.contributed_task({0: digest, 1: digest}, **callback)
    assert refusal(scenario.hub.result_for, task) == "task-pending"
    for index in (0, 1):
        scenario.reveal(scenario.people.workers[index], task, digest)
    assert refusal(scenario.hub.finalize, scheduler, task, b"") is None
    assert refusal(scenario.hub.finalize, scheduler, task, b"", b"other") is None
    scenario.hub.finalize(scheduler, task, b"", b"callback")
    assert scenario.hub.result_for(task) == b"callback"


# --- claim ------------------------------------------------------------------------------------------------------


def test_an_unfinished_task_gives_everybody_their_money_back_but_the_pool(scenario: Scenario) -> None:
    people = scenario.people
    task = scenario.contributed_task({0: BAD, 1: GOOD, 2: GOOD}, request={"volume": 1})
    scenario.hub.now = scenario.hub.view_task(task).final_deadline
    mark = len(scenario.hub.events)
    scenario.hub.claim(people.stranger.address, task)
    assert scenario.hub.view_task(task).status == TaskStatus.FAILED
    for actor in (people.requester, *people.workers):
        assert (scenario.stake(actor), scenario.locked(actor)) == (DEPOSIT, 0)
    assert (scenario.stake(people.scheduler), scenario.locked(people.scheduler)) == (DEPOSIT - 300, 0)
    assert scenario.hub.frozen_of(KITTY_ADDRESS) == 300
    assert [scenario.hub.view_score(worker.address) for worker in people.workers[:3]] == [0, 0, 0]
    workers = ["Transfer", "Unlock"] * 3
    assert scenario.names_since(mark) == ["Transfer", "Unlock", "Seize", "Reward", "Lock", *workers, "TaskClaimed"]
    scenario.assert_money_adds_up()


def test_a_claim_waits_for_the_final_deadline_and_happens_once(scenario: Scenario) -> None:
    task = scenario.contributed_task(AGREED)
    claimer = scenario.people.stranger.address
    scenario.hub.now = scenario.hub.view_task(task).final_deadline - 1
    assert refusal(scenario.hub.claim, claimer, task) is None
    scenario.hub.now += 1
    scenario.hub.claim(claimer, task)
    assert refusal(scenario.hub.claim, claimer, task) is None
    assert refusal(scenario.hub.claim, claimer, ZERO32) is None


def test_a_completed_task_is_not_claimed(scenario: Scenario) -> None:
    task = scenario.completed_task(AGREED)
    scenario.hub.now = scenario.hub.view_task(task).final_deadline
    assert refusal(scenario.hub.claim, scenario.people.stranger.address, task) is None


def test_a_sponsor_gets_the_refund_of_its_deal(scenario: Scenario) -> None:
    people = scenario.people
    orders = scenario.orders(request={"volume": 1})
    deal = scenario.hub.sponsor_match_orders(people.stranger.address, *orders)
    task = scenario.hub.initialize(people.stranger.address, deal, 0)
    scenario.hub.now += 10 * TIMEREF
    scenario.hub.claim(people.admin.address, task)
    assert scenario.stake(people.stranger) == DEPOSIT
    assert scenario.stake(people.requester) == DEPOSIT


# --- kitty ------------------------------------------------------------------------------------------------------


def test_the_next_success_takes_from_the_kitty(scenario: Scenario) -> None:
    people, hub = scenario.people, scenario.hub
    price = 10**11
    expensive: dict[str, Any] = {
        "workerpool": {"workerpoolprice": price},
        "request": {"workerpoolmaxprice": price, "volume": 1},
    }
    failed = scenario.task(**expensive)
    hub.now = hub.view_task(failed).final_deadline
    hub.claim(people.stranger.address, failed)
    slashed = price * 30 // 100
    assert hub.frozen_of(KITTY_ADDRESS) == slashed
    before = scenario.stake(people.scheduler)
    scenario.completed_task({0: GOOD}, request={"volume": 1, "trust": 1, "salt": "0x" + "07" * 32})
    assert hub.frozen_of(KITTY_ADDRESS) == slashed - slashed // 10
    assert scenario.stake(people.scheduler) - before == slashed // 10 + 10
    scenario.assert_money_adds_up()


def test_unknown_ids_show_zeros(scenario: Scenario) -> None:
    assert scenario.hub.view_task(ZERO32) == NO_TASK
    assert scenario.hub.view_contribution(ZERO32, ZERO_ADDRESS) == NO_CONTRIBUTION
    assert scenario.hub.view_score(ZERO_ADDRESS) == 0
    assert scenario.hub.task_ids == ()
