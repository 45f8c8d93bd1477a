"""Plays of the life of a task, on contracts and model at once: they must agree on everything.

`test_stateful_hub` plays at random; here each play has a name, so that a mutant is killed by it.
"""

from __future__ import annotations

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import MAX_UINT256, ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from fairgrid.protocol.views import ContributionStatus, TaskStatus
from tests.contracts.play import BAD, ESCROWED, GOOD, Play
from tests.protocol.actors import Actor, compact, malleable

TIMEREF = 300
SOMEBODY = Actor("somebody").address


def tag(bits: int) -> dict[str, str]:
    return {"tag": f"0x{bits:064x}"}


@pytest.fixture
def play() -> Play:
    """Everybody funded, no deal yet."""
    return Play()


def stakes(play: Play) -> dict[str, int]:
    """Free money gained or lost since the start, by name."""
    return {actor.name: play.model.balance_of(actor.address) - ESCROWED for actor in play.people.all}


# --- tasks ------------------------------------------------------------------------------------------------------


def test_tasks_open_once_and_within_their_deal(play: Play) -> None:
    orders = play.orders({"app": {"volume": 2}, "request": {"volume": 4}})
    assert play.match(orders).happened
    deal = play.match((play.orders()[0], *orders[1:])).value
    assert play.model.view_deal(deal).bot_first == 2
    for index in (0, 1, 4, 5, MAX_UINT256):
        assert not play.open(deal, index).happened
    for index in (2, 3):
        assert play.open(deal, index).happened
        assert not play.open(deal, index).happened
    assert not play.open(ZERO32, 0).happened
    near = deal[:34] + ("0" if deal[34] != "0" else "1") + deal[35:]
    assert not play.open(near, 2).happened
    play.check_deal(near)


def test_the_happy_path_pays_everybody_to_the_last_nrlc(play: Play) -> None:
    play.completed({0: BAD, 1: GOOD, 2: GOOD, 3: GOOD}, with_dataset=True)
    gained = stakes(play)
    stake = 10_001 * 30 // 100
    pot = 10_001 + stake
    share = pot * 99 // 100 // 3
    assert gained["requester"] == -(103 + 57 + 10_001)
    assert (gained["app owner"], gained["dataset owner"]) == (103, 57)
    assert [gained[f"worker {index}"] for index in range(4)] == [-stake, share, share, share]
    assert gained["scheduler"] == pot - 3 * share
    assert sum(gained.values()) == 0
    play.settle_everything()
    play.withdraw_everything()


def test_free_things_are_logged_as_the_protocol_says(play: Play) -> None:
    free = {"app": {"appprice": 0}, "dataset": {"datasetprice": 0}, "workerpool": {"workerpoolprice": 0}}
    play.completed({0: GOOD, 1: GOOD}, free, with_dataset=True)
    assert set(stakes(play).values()) == {0}


def test_a_contribution_locks_the_stake(play: Play) -> None:
    task = play.new_task()
    play.contribute_all(task, {0: GOOD})
    assert play.model.frozen_of(play.people.workers[0].address) == 3_000
    play.check_accounts()


def test_deadlines_hold_to_the_second(play: Play) -> None:
    first, second, third = play.people.workers[:3]
    task = play.new_task()
    state = play.model.view_task(task)
    play.now = state.contribution_deadline
    assert not play.contribution(first, task).happened
    play.now -= 1
    assert play.contribution(first, task).happened
    assert play.contribution(second, task).happened
    reveal_deadline = play.model.view_task(task).reveal_deadline
    assert reveal_deadline == play.now + 2 * TIMEREF
    play.now = reveal_deadline
    assert not play.reveal(first.address, task, GOOD).happened
    play.now -= 1
    assert play.reveal(first.address, task, GOOD).happened
    assert not play.finish(task).happened
    play.now = reveal_deadline
    assert not play.reopen(play.people.scheduler.address, task).happened
    play.now = state.final_deadline
    assert not play.finish(task).happened
    play.now -= 1
    assert not play.claim(third.address, task).happened
    assert play.finish(task).happened
    assert stakes(play)["worker 1"] == -(10_001 * 30 // 100)
    play.settle_everything()


def test_a_sponsor_pays_and_gets_the_refund(play: Play) -> None:
    outcome = play.match(play.orders({"request": {"volume": 2}}), play.people.stranger, sponsored=True)
    assert play.model.view_deal(outcome.value).sponsor == play.people.stranger.address
    assert play.model.frozen_of(play.people.stranger.address) == 2 * 10_104
    assert play.model.frozen_of(play.people.requester.address) == 0
    task = play.open(outcome.value, 0).value
    play.contribute_all(task, {0: GOOD, 1: GOOD})
    play.reveal_all(task, (0, 1))
    assert play.finish(task).happened
    play.settle_everything()
    gained = stakes(play)
    assert gained["stranger"] == -10_104
    assert gained["requester"] == 0


def test_claims_start_at_the_final_deadline(play: Play) -> None:
    task = play.new_task(with_dataset=True)
    play.contribute_all(task, {0: BAD, 1: GOOD})
    play.now = play.model.view_task(task).final_deadline - 1
    assert not play.claim(play.people.stranger.address, task).happened
    play.now += 1
    assert play.claim(play.people.stranger.address, task).happened
    assert not play.claim(play.people.stranger.address, task).happened
    assert not play.claim(play.people.stranger.address, ZERO32).happened
    gained = stakes(play)
    assert gained.pop("scheduler") == -3_000
    assert set(gained.values()) == {0}
    assert play.model.frozen_of(KITTY_ADDRESS) == 3_000
    play.settle_everything()


def test_contributions_need_authorisation_and_happen_once(play: Play) -> None:
    people = play.people
    worker, other = people.workers[:2]
    task, second = play.new_task(), play.new_task()
    assert not play.contribution(worker, task, authority=people.stranger).happened
    assert not play.contribution(worker, ZERO32).happened
    good = people.scheduler.authorise(worker.address, task)
    for wrong in (
        people.scheduler.authorise(worker.address, second),
        people.scheduler.authorise(other.address, task),
        people.scheduler.authorise(worker.address, task, SOMEBODY),
        malleable(good),
    ):
        assert not play.contribute(worker.address, task, GOOD, GOOD, ZERO_ADDRESS, "0x", wrong).happened
    for length in ("0x", good[:-4], good + "00"):
        outcome = play.contribute(worker.address, task, GOOD, GOOD, ZERO_ADDRESS, "0x", length)
        assert outcome.revert == "invalid-signature-format"
    assert play.contribute(worker.address, task, GOOD, GOOD, ZERO_ADDRESS, "0x", compact(good)).happened
    assert not play.contribution(worker, task).happened
    assert play.withdraw(other.address, ESCROWED - 2_999).happened
    assert play.contribution(other, task).revert == "IexecEscrow: Transfer amount exceeds balance"
    assert play.deposit(other.address, 1).happened
    assert play.contribution(other, task).happened
    play.settle_everything()


def test_enclaves_sign_and_the_broker_authorises_them(play: Play) -> None:
    people = play.people
    worker, enclave, broker = people.workers[0], Actor("enclave"), Actor("broker")
    task = play.new_task({"app": tag(3), "workerpool": tag(3), "request": tag(3)})
    assert not play.contribution(worker, task).happened
    by_scheduler = people.scheduler.authorise(worker.address, task, enclave.address)
    forged = broker.sign_message(keccak(b"forged"))
    assert not play.contribute(worker.address, task, GOOD, GOOD, enclave.address, forged, by_scheduler).happened
    assert play.set_tee_broker(people.admin.address, broker.address).happened
    assert not play.contribution(worker, task, enclave=enclave).happened
    assert play.contribution(worker, task, enclave=enclave, authority=broker).happened
    plain = play.new_task()
    assert not play.contribution(worker, plain, authority=broker).happened
    assert play.contribution(worker, plain).happened
    assert play.contribution(people.workers[1], plain, enclave=enclave, authority=broker).happened
    play.reveal_all(plain, (0, 1))
    assert play.finish(plain).happened
    play.settle_everything()


@pytest.mark.parametrize(("trust", "needed"), [(0, 1), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (33, 6)])
def test_consensus_needs_as_many_as_the_trust_says(play: Play, trust: int, needed: int) -> None:
    task = play.new_task({"request": {"trust": trust}})
    for index in range(needed):
        assert play.model.view_task(task).status == TaskStatus.ACTIVE
        play.contribute_all(task, {index: GOOD})
    assert play.model.view_task(task).status == TaskStatus.REVEALING
    if needed < 6:
        assert not play.contribution(play.people.workers[needed], task).happened


@pytest.mark.parametrize(("trust", "needed"), [(1, 1), (2, 2), (3, 3), (4, 4), (6, 4), (7, 5)])
def test_a_liar_raises_what_is_needed(play: Play, trust: int, needed: int) -> None:
    task = play.new_task({"request": {"trust": max(trust, 3)}})
    play.contribute_all(task, {5: BAD})
    for index in range(max(needed, 3)):
        assert play.model.view_task(task).status == TaskStatus.ACTIVE
        play.contribute_all(task, {index: GOOD})
    assert play.model.view_task(task).status == TaskStatus.REVEALING
    assert play.model.view_task(task).winner_counter == max(needed, 3)


def test_veterans_weigh_more_earn_more_and_fall_by_a_third(play: Play) -> None:
    play.make_veterans((0, 1), 13)
    assert [play.model.view_score(worker.address) for worker in play.people.workers[:3]] == [13, 13, 0]
    task = play.new_task({"request": {"trust": 6}})
    play.contribute_all(task, {0: GOOD})
    assert play.model.view_task(task).status == TaskStatus.ACTIVE
    play.contribute_all(task, {2: GOOD})
    assert play.model.view_task(task).status == TaskStatus.REVEALING
    play.reveal_all(task, (0, 2))
    assert play.finish(task).happened
    play.make_veterans((0, 1), 8)
    assert play.model.view_score(play.people.workers[0].address) == 22
    before = stakes(play)
    play.completed({0: GOOD, 3: GOOD}, {"request": {"trust": 12}})
    gained = stakes(play)
    pot = 10_001 * 99 // 100
    assert gained["worker 0"] - before["worker 0"] == pot * 2 // 3
    assert gained["worker 3"] - before["worker 3"] == pot * 1 // 3
    losing = play.new_task({"request": {"trust": 7}})
    play.contribute_all(losing, {1: BAD, 0: GOOD, 2: GOOD, 3: GOOD, 4: GOOD})
    play.reveal_all(losing, (0, 2, 3, 4))
    assert play.finish(losing).happened
    assert play.model.view_score(play.people.workers[1].address) == 21 * 2 // 3
    play.settle_everything()


def test_alone_a_worker_earns_but_no_score(play: Play) -> None:
    play.completed({0: GOOD}, {"request": {"trust": 1}})
    assert play.model.view_score(play.people.workers[0].address) == 0
    assert stakes(play)["worker 0"] == 10_001 * 99 // 100


def test_only_winners_reveal_what_they_committed_to(play: Play) -> None:
    workers = play.people.workers
    task = play.new_task()
    play.contribute_all(task, {0: BAD, 1: GOOD, 2: GOOD})
    assert not play.reveal(workers[1].address, task, GOOD).happened
    assert play.contribution(workers[3], task, seal_of=workers[1]).happened
    assert not play.reveal(workers[0].address, task, BAD).happened
    assert not play.reveal(workers[0].address, task, GOOD).happened
    assert not play.reveal(workers[1].address, task, BAD).happened
    assert not play.reveal(workers[4].address, task, GOOD).happened
    assert not play.reveal(workers[3].address, task, GOOD).happened
    play.reveal_all(task, (2,))
    assert not play.reveal(workers[2].address, task, GOOD).happened
    assert not play.reveal(workers[1].address, task, BAD).happened
    assert not play.reveal(workers[3].address, task, GOOD).happened
    play.reveal_all(task, (1,))
    assert not play.finish(task).happened
    play.now = play.model.view_task(task).reveal_deadline
    assert play.finish(task).happened
    gained = stakes(play)
    assert gained["worker 0"] == gained["worker 3"] == -3_000
    assert gained["worker 1"] == gained["worker 2"] == 16_001 * 99 // 100 // 2
    play.settle_everything()


def test_a_good_seal_beside_another_hash_is_not_revealed(play: Play) -> None:
    hedger = play.people.workers[0].address
    task = play.new_task()
    authorisation = play.people.scheduler.authorise(hedger, task)
    seal = ids.result_seal(hedger, task, GOOD)
    hash_ = ids.result_hash(task, BAD)
    assert play.contribute(hedger, task, hash_, seal, ZERO_ADDRESS, "0x", authorisation).happened
    play.contribute_all(task, {1: GOOD, 2: GOOD, 3: GOOD})
    for winner in (1, 2):
        assert not play.reveal(hedger, task, GOOD).happened
        assert not play.reveal(hedger, task, BAD).happened
        play.reveal_all(task, (winner,))
    play.settle_everything()


def test_a_silent_consensus_is_reopened(play: Play) -> None:
    scheduler, workers = play.people.scheduler.address, play.people.workers
    task = play.new_task()
    play.contribute_all(task, {0: BAD, 1: GOOD, 2: GOOD, 3: GOOD})
    assert not play.reopen(scheduler, task).happened
    play.now = play.model.view_task(task).reveal_deadline - 1
    assert not play.reopen(scheduler, task).happened
    play.now += 1
    assert not play.reopen(play.people.stranger.address, task).happened
    assert not play.finish(task).happened
    assert play.reopen(scheduler, task).happened
    assert not play.reopen(scheduler, task).happened
    assert play.model.view_contribution(task, workers[1].address).status == ContributionStatus.REJECTED
    assert play.model.view_contribution(task, workers[0].address).status == ContributionStatus.CONTRIBUTED
    assert not play.contribution(workers[1], task).happened
    play.contribute_all(task, {4: BAD})
    assert play.model.view_task(task).status == TaskStatus.REVEALING
    assert play.model.view_task(task).winner_counter == 2
    play.reveal_all(task, (0, 4), BAD)
    assert play.finish(task).happened
    gained = stakes(play)
    assert [gained[f"worker {index}"] for index in (1, 2, 3)] == [-3_000] * 3
    assert gained["worker 0"] == gained["worker 4"] == 19_001 * 99 // 100 // 2
    play.settle_everything()


def test_a_rejected_result_may_win_later_with_new_workers(play: Play) -> None:
    task = play.new_task()
    play.contribute_all(task, {0: GOOD, 1: GOOD})
    play.now = play.model.view_task(task).reveal_deadline
    assert play.reopen(play.people.scheduler.address, task).happened
    play.contribute_all(task, {2: GOOD})
    assert play.model.view_task(task).status == TaskStatus.ACTIVE
    play.contribute_all(task, {3: GOOD})
    assert play.model.view_task(task).winner_counter == 2
    assert not play.reveal(play.people.workers[0].address, task, GOOD).happened
    play.reveal_all(task, (2, 3))
    assert play.finish(task).happened
    play.settle_everything()


def test_a_reopened_task_that_ends_gives_all_stakes_back(play: Play) -> None:
    task = play.new_task()
    play.contribute_all(task, {0: BAD, 1: GOOD, 2: GOOD, 3: GOOD})
    play.now = play.model.view_task(task).reveal_deadline
    assert play.reopen(play.people.scheduler.address, task).happened
    play.now = play.model.view_task(task).final_deadline
    assert not play.reopen(play.people.scheduler.address, task).happened
    assert play.claim(play.people.stranger.address, task).happened
    gained = stakes(play)
    assert all(gained[f"worker {index}"] == 0 for index in range(4))


def test_only_the_scheduler_finalizes_and_only_once(play: Play) -> None:
    task = play.new_task()
    assert not play.finish(task).happened
    play.contribute_all(task, {0: GOOD, 1: GOOD})
    assert not play.finish(task).happened
    play.reveal_all(task, (0, 1))
    assert not play.finalize(play.people.stranger.address, task, b"", b"").happened
    assert not play.finish(task, b"", b"callback").happened
    assert play.finish(task, b"x" * 100).happened
    assert not play.finish(task).happened
    play.now = play.model.view_task(task).final_deadline
    assert not play.claim(play.people.stranger.address, task).happened


def test_a_callback_needs_the_bytes_that_were_agreed_on(play: Play) -> None:
    digest = to_hex32(keccak(b"callback"))
    task = play.new_task({"request": {"callback": SOMEBODY, "trust": 1}})
    play.contribute_all(task, {0: digest})
    play.reveal_all(task, (0,), digest)
    assert not play.finish(task, b"").happened
    assert not play.finish(task, b"", b"other").happened
    assert play.finish(task, b"", b"callback").happened
    unasked = play.new_task({"request": {"trust": 1}})
    play.contribute_all(unasked, {0: digest})
    play.reveal_all(unasked, (0,), digest)
    assert play.finish(unasked, b"r", b"callback").happened


@pytest.mark.parametrize("price", [1, 3 * 10**9, 7 * 10**10])
def test_the_kitty_keeps_stakes_of_failed_pools_and_rewards_the_next(play: Play, price: int) -> None:
    expensive = {"workerpool": {"workerpoolprice": price}, "request": {"workerpoolmaxprice": price}}
    task = play.new_task(expensive)
    play.now = play.model.view_task(task).final_deadline
    assert play.claim(play.people.stranger.address, task).happened
    slashed = price * 30 // 100
    assert play.model.frozen_of(KITTY_ADDRESS) == slashed
    for _ in range(2):
        kitty = play.model.frozen_of(KITTY_ADDRESS)
        before = stakes(play)["scheduler"]
        play.completed({0: GOOD, 1: GOOD})
        part = min(max(kitty // 10, 10**9), kitty)
        assert play.model.frozen_of(KITTY_ADDRESS) == kitty - part
        assert stakes(play)["scheduler"] - before == part + 10_001 - 2 * (10_001 * 99 // 100 // 2)
    play.settle_everything()
    play.withdraw_everything()


def test_unknown_things_look_alike(play: Play) -> None:
    play.check_deal(ZERO32)
    play.check_task(ZERO32)
    play.check_order(ZERO32)
