"""Plays of tasks that one worker settles in one transaction, and of array forms, on contracts and model at once.

`test_stateful_batch` plays at random; here each play has a name, so that a mutant is killed by it.
"""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO32, keccak, to_hex32
from tests.contracts.batch_play import BatchPlay
from tests.contracts.play import GOOD
from tests.protocol.actors import Actor

TIMEREF, APP, DATASET = 300, 103, 57
SOMEBODY = Actor("somebody").address
TEE = f"0x{1:064x}"


@pytest.fixture
def play() -> BatchPlay:
    """Everybody funded, no deal yet."""
    return BatchPlay()


# --- contributeAndFinalize --------------------------------------------------------------------------------------


@pytest.mark.parametrize("price", [0, 1, 1_009, 10_001])
def test_a_lone_worker_is_paid_to_the_last_nrlc_without_stake_or_score(play: BatchPlay, price: int) -> None:
    task = play.new_task({"workerpool": {"workerpoolprice": price}, "request": {"trust": 1}}, with_dataset=True)
    play.now += 17
    assert play.contribute_alone(play.people.workers[0], task, GOOD, results=b"r" * 70).happened
    gained = play.gains()
    share = price * 99 // 100
    assert (gained["worker 0"], gained["scheduler"]) == (share, price - share)
    assert (gained["app owner"], gained["dataset owner"]) == (APP, DATASET)
    assert play.model.view_score(play.people.workers[0].address) == 0
    assert not play.contribute_alone(play.people.workers[1], task, GOOD).happened
    play.settle_everything()


def test_only_an_untouched_task_of_trust_one_is_settled_alone_and_in_time(play: BatchPlay) -> None:
    first, second = play.people.workers[:2]
    doubtful = play.new_task({"request": {"trust": 2}})
    assert not play.contribute_alone(first, doubtful, GOOD).happened
    assert play.contribute_alone(first, play.new_task({"request": {"trust": 0}}), GOOD).happened
    begun = play.new_task({"request": {"trust": 1}})
    play.contribute_all(begun, {0: GOOD})
    assert not play.contribute_alone(second, begun, GOOD).happened
    play.now = play.model.view_task(begun).reveal_deadline
    assert play.reopen(play.people.scheduler.address, begun).happened
    assert not play.contribute_alone(second, begun, GOOD).happened
    late = play.new_task({"request": {"trust": 1}})
    play.now = play.model.view_task(late).contribution_deadline
    assert not play.contribute_alone(first, late, GOOD).happened
    play.now -= 1
    assert play.contribute_alone(first, late, GOOD).happened
    assert not play.contribute_alone(first, ZERO32, GOOD).happened
    play.settle_everything()


def test_a_lone_worker_needs_the_schedulers_word_and_an_enclave_where_asked_for(play: BatchPlay) -> None:
    people = play.people
    worker, enclave, broker = people.workers[0], Actor("enclave"), Actor("broker")
    trust: dict[str, Any] = {"trust": 1}
    plain = play.new_task({"request": trust})
    attested = play.new_task({"app": {"tag": TEE}, "workerpool": {"tag": TEE}, "request": trust})
    assert not play.contribute_alone(worker, plain, GOOD, authority=people.stranger).happened
    assert not play.contribute_alone(worker, attested, GOOD).happened
    challenge, signed, authorised = play.signs(worker, attested, GOOD, None, enclave)
    call = (worker.address, attested, GOOD, b"", b"", challenge)
    assert not play.contribute_and_finalize(*call, enclave.sign_message(keccak(b"")), authorised).happened
    assert play.contribute_and_finalize(*call, signed, "0x").revert == "invalid-signature-format"
    assert play.contribute_and_finalize(*call, "0x", authorised).revert == "invalid-signature-format"
    assert not play.contribute_and_finalize(people.workers[1].address, *call[1:], signed, authorised).happened
    assert play.set_tee_broker(people.admin.address, broker.address).happened
    assert not play.contribute_and_finalize(*call, signed, authorised).happened
    assert play.contribute_alone(worker, attested, GOOD, enclave=enclave, authority=broker).happened
    assert not play.contribute_alone(worker, plain, GOOD, authority=broker).happened
    assert play.contribute_alone(worker, plain, GOOD).happened
    play.settle_everything()


def test_a_lone_result_for_a_callback_needs_the_bytes_of_its_digest(play: BatchPlay) -> None:
    digest, worker = to_hex32(keccak(b"callback")), play.people.workers[0]
    task = play.new_task({"request": {"trust": 1, "callback": SOMEBODY}})
    assert not play.contribute_alone(worker, task, digest).happened
    assert not play.contribute_alone(worker, task, digest, b"other").happened
    assert not play.contribute_alone(worker, task, GOOD, b"callback").happened
    assert play.contribute_alone(worker, task, digest, b"callback").happened
    unasked = play.new_task({"request": {"trust": 1}})
    assert not play.contribute_alone(worker, unasked, GOOD, b"callback").happened
    assert play.contribute_alone(worker, unasked, digest, b"callback", results=b"").happened
    play.settle_everything()


# --- arrays -----------------------------------------------------------------------------------------------------


def test_arrays_open_and_claim_all_or_nothing(play: BatchPlay) -> None:
    first = str(play.match(play.orders({"request": {"volume": 3}})).value)
    second = str(play.match(play.orders({"request": {"volume": 2}})).value)
    for deals, indexes in (([first, first], [0, 3]), ([first], [0, 1]), ([first, second], [0]), ([first] * 2, [0, 0])):
        assert not play.initialize_array(SOMEBODY, deals, indexes).happened
    assert play.initialize_array(SOMEBODY, [first, second], [2, 1]).value is True
    tasks = [ids.task_id(first, 2), ids.task_id(second, 1)]
    play.tasks += tasks
    assert play.initialize_array(SOMEBODY, [], []).happened
    assert not play.claim_array(SOMEBODY, tasks).happened
    assert not play.initialize_and_claim_array(SOMEBODY, [first], [0]).happened
    play.now += 10 * TIMEREF
    assert not play.claim_array(SOMEBODY, [*tasks, ZERO32]).happened
    assert not play.claim_array(SOMEBODY, [tasks[0], tasks[0]]).happened
    assert play.claim_array(SOMEBODY, tasks).value is True
    assert play.claim_array(SOMEBODY, []).happened
    for deals, indexes in (([first], [0, 1]), ([first, first], [0, 0]), ([first, first], [0, 2])):
        assert not play.initialize_and_claim_array(SOMEBODY, deals, indexes).happened
    assert play.initialize_and_claim_array(SOMEBODY, [first, second, first], [1, 0, 0]).value is True
    for index in (0, 1):
        play.check_task(ids.task_id(first, index))
    play.settle_everything()
