"""`finalize`: when, by whom, who is paid and slashed to the last nRLC, scores, kitty, results and callback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import keccak, to_hex
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.registries import NO_DATA, public_abi, reverts
from tests.contracts.world import RICH, Person, World, bytes32, mock, names

DIGEST, LIE = bytes32(1), bytes32(666)


@pytest.fixture
def task(world: World) -> str:
    """One worker's result is revealed."""
    opened = world.task(with_dataset=True)
    world.contribute(opened, world.worker(), DIGEST)
    world.reveal(opened, world.worker(), DIGEST)
    return opened


def _finalize(world: World, task: str, sender: Person, results: bytes = b"results", callback: bytes = b"") -> list[Any]:
    return list(world.hub.transact("finalize", task, results, callback, sender=sender.address)[1])


# --- when and by whom -----------------------------------------------------------------------------------------------


def test_only_the_scheduler_finalizes(world: World, task: str) -> None:
    for somebody in (world.stranger, world.requester, world.worker(), world.owner):
        with reverts(NO_DATA):
            _finalize(world, task, somebody)
    _finalize(world, task, world.scheduler)
    assert world.view_task(task).status == 3


def test_a_task_is_finalized_once(world: World, task: str) -> None:
    _finalize(world, task, world.scheduler)
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler)


def test_not_from_the_final_deadline_on(world: World, task: str) -> None:
    world.now = world.view_task(task).finalDeadline
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler)
    world.now -= 1
    _finalize(world, task, world.scheduler)


def test_not_before_consensus_nor_without_a_reveal(world: World) -> None:
    task = world.task()
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler)
    world.contribute(task, world.worker(), DIGEST)
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler)
    world.now = world.view_task(task).revealDeadline
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler)


def test_not_all_revealed_has_to_wait_for_the_reveal_deadline(world: World) -> None:
    task = world.task(request={"trust": 4})
    for number in (0, 1):
        world.contribute(task, world.worker(number), DIGEST)
    world.reveal(task, world.worker(0), DIGEST)
    world.now = world.view_task(task).revealDeadline - 1
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler)
    world.now += 1
    _finalize(world, task, world.scheduler)
    assert world.score(world.worker(0)) == 1
    assert (world.frozen(world.worker(1)), world.balance(world.worker(1))) == (0, RICH - 3_000)


def test_the_last_reveal_allows_it_at_once(world: World) -> None:
    task = world.task(request={"trust": 4})
    for number in (0, 1):
        world.contribute(task, world.worker(number), DIGEST)
    world.reveal(task, world.worker(0), DIGEST)
    world.reveal(task, world.worker(1), DIGEST)
    _finalize(world, task, world.scheduler)


# --- money ----------------------------------------------------------------------------------------------------------


def test_events_and_payments_of_one_worker_alone(world: World, task: str) -> None:
    logs = _finalize(world, task, world.scheduler)
    hub, worker, pool_owner = world.hub.address, world.worker().address, world.scheduler.address
    # R = 10,001; W = floor(10,001 · 99 / 100) = 9,900; the scheduler keeps 101.
    expected: list[tuple[str, dict[str, Any]]] = [
        ("Seize", {"owner": world.requester.address, "amount": 11_301, "ref": task}),
        ("Transfer", {"from": hub, "to": world.app_owner.address, "value": 1_000}),
        ("Reward", {"owner": world.app_owner.address, "amount": 1_000, "ref": task}),
        ("Transfer", {"from": hub, "to": world.dataset_owner.address, "value": 300}),
        ("Reward", {"owner": world.dataset_owner.address, "amount": 300, "ref": task}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 3_000}),
        ("Unlock", {"owner": pool_owner, "amount": 3_000}),
        ("Transfer", {"from": hub, "to": worker, "value": 3_000}),
        ("Unlock", {"owner": worker, "amount": 3_000}),
        ("Transfer", {"from": hub, "to": worker, "value": 9_900}),
        ("Reward", {"owner": worker, "amount": 9_900, "ref": task}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 101}),
        ("Reward", {"owner": pool_owner, "amount": 101, "ref": task}),
        ("TaskFinalize", {"taskid": task, "results": b"results"}),
    ]
    assert [(log.name, log.arguments) for log in logs] == expected
    assert world.score(world.worker()) == 0
    assert world.balance(hub) == 0


def test_a_liar_pays_the_honest_ones(world: World) -> None:
    task = world.task(request={"trust": 3})
    for number, digest in ((0, LIE), (1, DIGEST), (2, DIGEST), (3, DIGEST)):
        world.contribute(task, world.worker(number), digest)
    for number in (1, 2, 3):
        world.reveal(task, world.worker(number), DIGEST)
    before = world.balance(world.scheduler)
    logs = _finalize(world, task, world.scheduler)
    # R = 10,001 + 3,000; W = floor(13,001 · 99 / 100) = 12,870; 4,290 each; the scheduler gets the rest, 131.
    assert [world.balance(world.worker(n)) - RICH for n in range(4)] == [-3_000, 4_290, 4_290, 4_290]
    assert world.balance(world.scheduler) - before == 3_000 + 131
    assert [world.frozen(world.worker(n)) for n in range(4)] == [0, 0, 0, 0]
    assert names(logs) == (
        ["Seize", "Transfer", "Reward", "Transfer", "Unlock"]
        + ["Seize", "FaultyContribution"]
        + ["Transfer", "Unlock", "Transfer", "Reward", "AccurateContribution"] * 3
        + ["Transfer", "Reward", "TaskFinalize"]
    )
    assert [log.arguments for log in logs if log.name == "FaultyContribution"] == [
        {"worker": world.worker(0).address, "taskid": task}
    ]
    assert [log.arguments["worker"] for log in logs if log.name == "AccurateContribution"] == [
        world.worker(n).address for n in (1, 2, 3)
    ]
    assert world.balance(world.hub.address) == 0


def test_rounding_goes_to_the_scheduler(world: World) -> None:
    world.set_policy(world.pool, 30, 0)
    task = world.task(request={"trust": 8})
    for number in range(3):
        world.contribute(task, world.worker(number), DIGEST)
    for number in range(3):
        world.reveal(task, world.worker(number), DIGEST)
    before = world.balance(world.scheduler)
    _finalize(world, task, world.scheduler)
    assert [world.balance(world.worker(n)) - RICH for n in range(3)] == [3_333, 3_333, 3_333]
    assert world.balance(world.scheduler) - before == 3_000 + 2


@pytest.mark.parametrize(("ratio", "worker_share"), [(0, 10_001), (50, 5_000), (100, 0)])
def test_the_scheduler_keeps_its_ratio(world: World, ratio: int, worker_share: int) -> None:
    world.set_policy(world.pool, 30, ratio)
    task = world.task()
    world.complete(task, digest=DIGEST)
    assert world.balance(world.worker()) == RICH + worker_share


def test_reward_is_shared_by_the_logarithm_of_the_weights(world: World) -> None:
    veteran, newcomer = world.worker(0), world.worker(1)
    world.fund(veteran)
    world.set_score(veteran, 3 * 17)  # weight 16, log2 4
    task = world.task(request={"trust": 30})
    world.contribute(task, veteran, DIGEST, fund=False)
    world.contribute(task, newcomer, DIGEST)
    world.reveal(task, veteran, DIGEST)
    world.reveal(task, newcomer, DIGEST)
    _finalize(world, task, world.scheduler)
    # W = 9,900, weights 4 and 1.
    assert world.balance(veteran) - RICH == 7_920
    assert world.balance(newcomer) - RICH == 1_980


def test_prices_of_zero_are_not_announced_but_workers_are(world: World) -> None:
    free: dict[str, Any] = {"app": {"appprice": 0}, "workerpool": {"workerpoolprice": 0}}
    task = world.task(**free)
    logs = world.complete(task, digest=DIGEST)
    assert names(logs) == [
        *("Seize", "Transfer", "Unlock", "Transfer", "Unlock", "Transfer", "Reward", "Transfer", "Reward"),
        "TaskFinalize",
    ]
    assert {log.arguments["amount"] for log in logs if "amount" in log.arguments} == {0}


def test_owners_of_the_deal_are_paid_even_after_a_sale(world: World, task: str) -> None:
    world.registries["app"].call(
        "transferFrom",
        world.app_owner.address,
        world.stranger.address,
        int(world.app, 16),
        sender=world.app_owner.address,
    )
    _finalize(world, task, world.scheduler)
    assert world.balance(world.app_owner) == 1_000
    assert world.balance(world.stranger) == 0


# --- scores ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"), [(0, 0), (1, 0), (2, 1), (3, 2), (100, 66), (2**64 - 1, (2**65 - 2) // 3)]
)
def test_a_fault_costs_a_third_of_the_score(world: World, before: int, after: int) -> None:
    liar = world.worker(0)
    world.fund(liar)
    task = world.task(request={"trust": 3})
    world.contribute(task, liar, LIE, fund=False)
    for number in (1, 2, 3):
        world.contribute(task, world.worker(number), DIGEST)
    for number in (1, 2, 3):
        world.reveal(task, world.worker(number), DIGEST)
    world.set_score(liar, before)
    _finalize(world, task, world.scheduler)
    assert world.score(liar) == after
    assert world.balance(liar) == RICH - 3_000


def test_a_worker_with_history_is_weighed_by_it_and_cut(world: World) -> None:
    """A history of accurate work, earned task by task, and what one lie costs of it."""
    team = [world.worker(number) for number in range(3)]
    for _ in range(15):
        task = world.task(request={"trust": 8})
        for worker in team:
            world.contribute(task, worker, DIGEST)
        if world.view_task(task).winnerCounter == 2:
            raise AssertionError("newcomers together reach 8 only as three")
        for worker in team:
            world.reveal(task, worker, DIGEST)
        world.finalize(task)
        if world.score(team[0]) == 12:
            break
    assert [world.score(worker) for worker in team] == [12, 12, 12]
    assert [world.view_contribution(task, worker).weight for worker in team] == [1, 1, 1]
    task = world.task(request={"trust": 3})
    liar, honest = team[0], team[1:]
    world.contribute(task, liar, LIE)
    assert world.view_task(task).status == 2, "weight 3 alone reaches trust 3"
    world.now = world.view_task(task).revealDeadline
    world.hub.call("reopen", task, sender=world.scheduler.address)
    world.contribute(task, honest[0], DIGEST)
    world.reveal(task, honest[0], DIGEST)
    world.finalize(task)
    assert [world.score(worker) for worker in team] == [8, 13, 12]


def test_a_worker_alone_earns_no_score(world: World) -> None:
    logs = world.complete(world.task(), digest=DIGEST)
    assert "AccurateContribution" not in names(logs)
    assert world.score(world.worker()) == 0


# --- kitty ----------------------------------------------------------------------------------------------------------

RLC = 10**9


@dataclass(frozen=True)
class KittyCase:
    stake: int
    part: int


def _fill_kitty(world: World, price: int) -> None:
    """Let a task of this pool price fail."""
    order: dict[str, Any] = {
        "workerpool": {"workerpoolprice": price},
        "request": {"workerpoolmaxprice": price},
    }
    task = world.task(**order)
    world.now = world.view_task(task).finalDeadline
    world.hub.call("claim", task, sender=world.stranger.address)


@pytest.mark.parametrize(
    "case",
    [
        KittyCase(stake=3, part=3),  # all, when it is less than 1 RLC
        KittyCase(stake=RLC - 1, part=RLC - 1),
        KittyCase(stake=RLC, part=RLC),
        KittyCase(stake=10 * RLC - 1, part=RLC),  # at least 1 RLC
        KittyCase(stake=10 * RLC, part=RLC),
        KittyCase(stake=10 * RLC + 10, part=RLC + 1),  # 10 %
        KittyCase(stake=300 * RLC, part=30 * RLC),
    ],
)
def test_a_successful_task_draws_from_the_kitty(world: World, case: KittyCase) -> None:
    price = -(-case.stake * 100 // 30)
    _fill_kitty(world, price)
    assert world.frozen(KITTY_ADDRESS) == case.stake
    task = world.task()
    world.contribute(task, world.worker(), DIGEST)
    world.reveal(task, world.worker(), DIGEST)
    before = world.balance(world.scheduler)
    logs = _finalize(world, task, world.scheduler)
    assert world.balance(world.scheduler) - before == 3_000 + case.part + 101
    assert world.frozen(KITTY_ADDRESS) == case.stake - case.part
    assert names(logs)[3:8] == ["Transfer", "Unlock", "Seize", "Transfer", "Reward"]
    assert logs[5].arguments == {"owner": KITTY_ADDRESS, "amount": case.part, "ref": task}
    assert logs[7].arguments == {"owner": world.scheduler.address, "amount": case.part, "ref": task}


# --- results and callback -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 29, 31, 32, 33, 255, 256, 257, 2047, 2048])
def test_results_are_kept_byte_for_byte(world: World, task: str, size: int) -> None:
    results = bytes(number % 251 for number in range(size))
    _finalize(world, task, world.scheduler, results)
    view = world.view_task(task)
    assert (view.results, view.resultsCallback, view.resultDigest) == (results, b"", DIGEST)


def test_results_beyond_our_bound_revert(world: World, task: str) -> None:
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler, b"x" * 2049)


def _callback_task(world: World, callback: str, data: bytes) -> str:
    digest = to_hex(keccak(data))
    task = world.task(request={"callback": callback})
    world.contribute(task, world.worker(), digest)
    world.reveal(task, world.worker(), digest)
    return task


@pytest.mark.parametrize("size", [0, 1, 100, 2048])
def test_a_callback_gets_the_bytes_that_were_agreed_on(world: World, size: int) -> None:
    receiver = mock("callback", 0)
    data = b"\xab" * size
    task = _callback_task(world, str(receiver.address), data)
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler, b"r", data + b"!")
    if size:
        with reverts(NO_DATA):
            _finalize(world, task, world.scheduler, b"r", b"")
    logs = _finalize(world, task, world.scheduler, b"r", data)
    assert logs[-1].name == "TaskFinalize"
    assert (to_hex(receiver.task()), receiver.digest()) == (task, keccak(data))
    assert 150_000 < receiver.gas_seen() <= 200_000
    view = world.view_task(task)
    assert (view.results, view.resultsCallback) == (b"r", data)
    assert world.hub.call("resultFor", task) == data


def test_a_callback_cannot_make_the_task_fail(world: World) -> None:
    receivers = [str(mock("callback", 1).address), str(mock("callback", 2).address)]
    receivers += [Person("somebody without code").address, world.rlc.address]
    for receiver in receivers:
        task = _callback_task(world, receiver, b"data")
        _finalize(world, task, world.scheduler, b"r", b"data")
        assert world.view_task(task).status == 3


def test_the_gas_of_callbacks_is_the_owners_choice(world: World) -> None:
    world.hub.call("setCallbackGas", 120_000, sender=world.owner.address)
    receiver = mock("callback", 0)
    _finalize(world, _callback_task(world, str(receiver.address), b"d"), world.scheduler, b"", b"d")
    assert 100_000 < receiver.gas_seen() <= 120_000


def test_a_callback_cannot_be_starved(world: World) -> None:
    """Whatever gas the scheduler sends: either the callback had what it needs, or nothing happened."""
    receiver = mock("callback", 0)
    task = _callback_task(world, str(receiver.address), b"d")
    data = public_abi("hub").encode_call("finalize", (task, b"", b"d"))
    outcomes = set()
    for gas in range(100_000, 520_000, 12_000):
        with world.anchor():
            computation = boa.env.execute_code(
                to_address=world.hub.address, sender=world.scheduler.address, data=data, gas=gas
            )
            finished = world.view_task(task).status == 3
            assert finished == (not computation.is_error)
            assert finished == (receiver.digest() == keccak(b"d"))
            outcomes.add(finished)
    assert outcomes == {False, True}


def test_without_a_callback_data_must_match_the_digest_or_be_empty(world: World) -> None:
    data = b"pull me"
    task = world.task()
    digest = to_hex(keccak(data))
    world.contribute(task, world.worker(), digest)
    world.reveal(task, world.worker(), digest)
    with reverts(NO_DATA):
        _finalize(world, task, world.scheduler, b"", b"something else")
    _finalize(world, task, world.scheduler, b"", data)
    assert world.hub.call("resultFor", task) == data


def test_no_result_is_pulled_before_the_end(world: World, task: str) -> None:
    with reverts("task-pending"):
        world.hub.call("resultFor", task)
    _finalize(world, task, world.scheduler)
    assert world.hub.call("resultFor", task) == b""
