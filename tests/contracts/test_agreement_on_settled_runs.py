"""Plays of runs that one worker settles, of proofs and of refunds, on contracts and model at once.

`test_stateful_batch` plays at random; here each play has a name, so that a mutant is killed by it.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, from_hex, keccak, to_hex32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import TaskStatus
from tests.contracts.batch_play import LANE, RESULTS, BatchPlay, answer
from tests.contracts.play import PRICE
from tests.contracts.twins import Outcome
from tests.protocol.actors import Actor

TIMEREF, STAKE, APP, DATASET = 300, 3_000, 103, 57
SOMEBODY = Actor("somebody").address
TEE = f"0x{1:064x}"
TEE_LANE = f"0x{(1 << 16) | 1:064x}"
AGREED = {0: 0, 1: 0}


@pytest.fixture
def play() -> BatchPlay:
    """Everybody funded, no deal yet."""
    return BatchPlay()


# --- settleRun --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [0, 1, 37, 10_001])
def test_one_worker_settles_a_run_without_stake_or_score(play: BatchPlay, price: int) -> None:
    terms = {"workerpool": {"workerpoolprice": price}, "request": {"trust": 1}}
    deal = play.new_deal(terms, volume=7, with_dataset=True)
    play.now += 11
    assert play.settle(deal, 7, play.people.workers[0]).happened
    gained = play.gains()
    share = price * 7 * 99 // 100
    assert gained["worker 0"] == share
    assert gained["scheduler"] == 7 * price - share
    assert gained["requester"] == -7 * (APP + DATASET + price)
    assert all(play.model.frozen_of(actor.address) == 0 for actor in play.people.all)
    assert play.model.view_score(play.people.workers[0].address) == 0
    play.settle_everything()
    play.withdraw_everything()


def test_a_run_is_settled_alone_only_at_trust_one_in_time_and_in_a_size_that_is_left(play: BatchPlay) -> None:
    worker, other = play.people.workers[:2]
    assert not play.settle(play.new_deal({"request": {"trust": 2}}), 1, worker).happened
    assert play.settle(play.new_deal({"request": {"trust": 0}}), 1, worker).happened
    deal = play.new_deal({"request": {"trust": 1}}, volume=6)
    for count in (0, 7, 2**20, MAX_UINT256):
        assert not play.settle(deal, count, worker).happened
    play.now = play.model.view_deal(deal).start_time + 7 * TIMEREF
    assert not play.settle(deal, 1, worker).happened
    play.now -= 1
    assert play.settle(deal, 4, worker).happened
    assert play.settle(deal, 2, other).happened
    assert not play.settle(deal, 1, worker).happened
    play.settle_everything()


def test_a_settled_run_needs_the_schedulers_word_and_an_enclave_where_asked_for(play: BatchPlay) -> None:
    people = play.people
    worker, enclave, broker = people.workers[0], Actor("enclave"), Actor("broker")
    deal = play.new_deal({"app": {"tag": TEE}, "workerpool": {"tag": TEE_LANE}, "request": {"trust": 1}})
    assert not play.settle(deal, 2, worker).happened
    assert not play.settle(deal, 2, worker, enclave=enclave, authority=people.stranger).happened
    assert play.settle(deal, 2, worker, enclave=enclave).happened
    assert play.set_tee_broker(people.admin.address, broker.address).happened
    assert not play.settle(deal, 2, worker, enclave=enclave).happened
    assert play.settle(deal, 2, worker, enclave=enclave, authority=broker).happened
    first = play.model.view_lane(deal).cursor
    run, root = runs.run_id(deal, first, 1), runs.tasks_root(play.digests_at(first, 1))
    challenge, signed, authorised = play.signs(worker, run, runs.run_digest(root, RESULTS), broker, enclave)

    def settle(who: Actor = worker, results: bytes = RESULTS, sign: str = signed, word: str = authorised) -> Outcome:
        return play.remember(play.settle_run(who.address, deal, 1, root, results, challenge, sign, word))

    assert settle(word="0x").revert == "invalid-signature-format"
    assert settle(sign="0x").revert == "invalid-signature-format"
    assert not settle(sign=enclave.sign_message(keccak(b"forged"))).happened
    assert not settle(results=b"other").happened
    assert not settle(people.workers[1]).happened
    assert settle().happened
    play.settle_everything()


def test_a_deal_whose_rest_was_refunded_opens_nothing(play: BatchPlay) -> None:
    deal = play.new_deal({"request": {"trust": 1}})
    play.now = play.model.view_deal(deal).start_time + 10 * TIMEREF
    assert play.refund_rest(SOMEBODY, deal).happened
    play.now = play.model.view_deal(deal).start_time
    assert not play.begin(deal, 1).happened
    assert not play.settle(deal, 1, play.people.workers[0]).happened
    assert not play.open(deal, 0).happened
    play.settle_everything()


# --- materialise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 7, 8])
def test_each_task_of_a_completed_run_is_proved_once_and_then_looks_like_a_task(play: BatchPlay, count: int) -> None:
    deal = play.new_deal(volume=9)
    task = str(play.open(deal, 0).value)
    run = play.completed_run(deal, count, {0: 1, 1: 0, 2: 0, 3: 0})
    play.now += 10**6
    for position in range(count):
        assert play.prove(run, position).happened
        assert not play.prove(run, position).happened
        proved = ids.task_id(deal, 1 + position)
        assert play.model.view_task(proved).status == TaskStatus.COMPLETED
        play.check_run(proved)
        assert not play.claim(SOMEBODY, proved).happened
        assert not play.finish(proved).happened
        assert not play.reopen(play.people.scheduler.address, proved).happened
        assert not play.contribution(play.people.workers[5], proved).happened
        assert not play.initialize(play.people.scheduler.address, deal, 1 + position).happened
    play.check_task(ids.task_id(deal, 1 + count))
    assert play.claim(SOMEBODY, task).happened
    play.settle_everything()


def test_what_is_not_proved_is_not_materialised(play: BatchPlay) -> None:
    deal = play.new_deal({"request": {"trust": 1}}, volume=7)
    assert play.begin(deal, 1).happened
    run = str(play.settle(deal, 5, play.people.workers[0]).value)
    digests = play.digests(run)
    proof = runs.task_proof(digests, 2)
    last = runs.task_proof(digests, 4)
    wrong: list[dict[str, Any]] = [
        {"index": 0},
        {"index": 4},
        {"index": 6},
        {"index": MAX_UINT256},
        {"digest": digests[1]},
        {"digest": ZERO32},
        {"proof": ()},
        {"proof": proof[:-1]},
        {"proof": (*proof, ZERO32)},
        {"proof": proof[::-1]},
        {"proof": last},
        {"root": ZERO32},
        {"results_hash": ZERO32},
        {"callback": b"unasked"},
        {"run": ZERO32},
        {"run": play.runs[0]},
    ]
    for change in wrong:
        assert not play.prove(run, 2, **change).happened, change
    assert not play.prove(run, 4, proof=(*last, ZERO32)).happened
    assert not play.prove(run, 0, proof=(*runs.task_proof(digests, 0), ZERO32)).happened
    assert not play.prove(run, 5).happened
    assert play.prove(run, 2).happened
    assert play.prove(run, 4, answer(5)).happened
    play.settle_everything()


def test_a_run_that_is_not_completed_proves_nothing(play: BatchPlay) -> None:
    run = str(play.begin(play.new_deal(), 5).value)
    assert not play.prove(run, 0).happened
    play.contribute_versions(run, AGREED)
    play.reveal_all(run, (0, 1), play.run_digest(run))
    assert not play.prove(run, 0).happened
    play.now = play.model.view_task(run).final_deadline
    assert play.claim(SOMEBODY, run).happened
    assert not play.prove(run, 0).happened


def test_a_completed_task_is_no_run_to_prove_from(play: BatchPlay) -> None:
    deal = play.new_deal({"request": {"trust": 1}})
    task = str(play.open(deal, 0).value)
    digest = play.run_digest(task)
    play.contribute_all(task, {0: digest})
    play.reveal_all(task, (0,), digest)
    assert play.finish(task, RESULTS).happened
    assert not play.prove(task, 0).happened
    run = str(play.settle(deal, 3, play.people.workers[0]).value)
    proved = str(play.prove(run, 0).value)
    assert not play.prove(proved, 0).happened
    play.settle_everything()


@pytest.mark.parametrize("size", [1, 31, 32, 33, 2_048])
def test_a_deal_with_a_callback_gets_the_bytes_of_each_digest(play: BatchPlay, size: int) -> None:
    deal = play.new_deal({"request": {"trust": 1, "callback": SOMEBODY}}, volume=3)
    answers = [bytes([number]) * size for number in range(3)]
    digests = tuple(to_hex32(keccak(each)) for each in answers)
    root = runs.tasks_root(digests)
    worker, run = play.people.workers[0], runs.run_id(deal, 0, 3)
    signs = play.signs(worker, run, runs.run_digest(root, RESULTS), None, None)
    assert play.remember(play.settle_run(worker.address, deal, 3, root, RESULTS, *signs)).happened
    for position in (2, 0):
        proof = runs.task_proof(digests, position)
        call = (SOMEBODY, run, position, digests[position], proof, root, to_hex32(keccak(RESULTS)))
        assert not play.materialise(*call, b"").happened
        assert not play.materialise(*call, answers[1]).happened
        assert play.materialise(*call, answers[position]).happened
        task = ids.task_id(deal, position)
        assert play.model.result_for(task) == answers[position]
        play.check_task(task)
    play.settle_everything()


@pytest.mark.parametrize("callback", range(4))
def test_a_callback_that_fails_burns_its_gas_or_calls_back_changes_nothing(play: BatchPlay, callback: int) -> None:
    data, worker = answer(0), play.people.workers[0]
    terms = {"request": {"trust": 1, "callback": callback}}
    run = str(play.settle(play.new_deal(terms), 3, worker).value)
    digest = play.digests(run)[0]
    proved = str(play.prove(run, 0, data).value)
    alone, finalized = play.new_task(terms), play.new_task(terms)
    called = callback in (0, 3)
    assert (play.ask_callback(callback, "task()") == from_hex(proved)) == called
    assert play.contribute_alone(worker, alone, digest, data).happened
    assert (play.ask_callback(callback, "task()") == from_hex(alone)) == called
    play.contribute_all(finalized, {1: digest})
    play.reveal_all(finalized, (1,), digest)
    assert play.finish(finalized, b"results", data).happened
    assert (play.ask_callback(callback, "task()") == from_hex(finalized)) == called
    play.settle_everything()
    play.withdraw_everything()
    play.check_callbacks_did_nothing()


def test_an_enclaves_run_shows_its_challenge_on_each_task(play: BatchPlay) -> None:
    worker, enclave = play.people.workers[0], Actor("enclave")
    deal = play.new_deal({"request": {"trust": 1}})
    run = str(play.settle(deal, 3, worker, enclave=enclave).value)
    task = str(play.prove(run, 1).value)
    assert play.model.view_contribution(task, worker.address).enclave_challenge == enclave.address
    play.check_task(task)


# --- refundRest -------------------------------------------------------------------------------------------------


def test_what_was_never_opened_is_refunded_at_once_and_once(play: BatchPlay) -> None:
    deal = play.new_deal(volume=9, with_dataset=True)
    run = str(play.begin(deal, 2).value)
    play.now = play.model.view_task(run).final_deadline - 1
    assert not play.refund_rest(SOMEBODY, deal).happened
    play.now += 1
    assert play.refund_rest(SOMEBODY, deal).value == 7
    assert not play.refund_rest(SOMEBODY, deal).happened
    assert play.model.frozen_of(play.people.requester.address) == 2 * (APP + DATASET + PRICE)
    assert play.model.frozen_of(play.people.scheduler.address) == 2 * STAKE
    assert play.model.frozen_of(KITTY_ADDRESS) == 7 * STAKE
    assert not play.open(deal, 2).happened
    assert not play.initialize_and_claim_array(SOMEBODY, [deal], [2]).happened
    play.settle_everything()
    assert {name: gain for name, gain in play.gains().items() if gain} == {"scheduler": -9 * STAKE}
    play.withdraw_everything()


def test_a_sponsor_gets_the_refund_of_runs_and_of_the_rest(play: BatchPlay) -> None:
    orders = play.orders({"workerpool": LANE, "request": {**LANE, "volume": 5}})
    deal = str(play.match(orders, play.people.stranger, sponsored=True).value)
    assert play.begin(deal, 2).happened
    play.completed_run(deal, 1, AGREED)
    play.settle_everything()
    gained = play.gains()
    assert (gained["stranger"], gained["requester"]) == (-(APP + PRICE), 0)


def test_nothing_is_left_to_refund_when_all_was_opened(play: BatchPlay) -> None:
    deal = play.new_deal(volume=4)
    assert play.begin(deal, 3).happened
    assert play.open(deal, 3).happened
    play.now += 10 * TIMEREF
    assert not play.refund_rest(SOMEBODY, deal).happened
    play.settle_everything()
