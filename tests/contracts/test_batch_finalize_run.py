"""`finalizeRun`: by whom and when, that the results are those that were agreed on, and the money times the tasks."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import (
    Answers,
    agree,
    answers,
    batch_deal,
    finalize_run,
    open_run,
    split_run,
    view_run,
)
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import RICH, World, bytes32, names

RESULT = answers(7)
LIE = bytes32(666)


def _run(world: World, trust: int = 1, **changes: Any) -> str:
    return open_run(world, batch_deal(world, 7, request={"trust": trust}, **changes), 7)


@pytest.fixture
def run(world: World) -> str:
    """One worker's result of seven tasks is revealed."""
    opened = _run(world, with_dataset=True)
    agree(world, opened, RESULT)
    return opened


# --- by whom and when -----------------------------------------------------------------------------------------------


def test_only_the_scheduler_finalizes(world: World, run: str) -> None:
    for person in (world.stranger, world.requester, world.worker(), world.owner):
        with reverts(NO_DATA):
            finalize_run(world, run, RESULT, person)
    finalize_run(world, run, RESULT)
    assert (world.view_task(run).status, view_run(world, run).status) == (3, 3)


def test_a_run_is_finalized_once(world: World, run: str) -> None:
    finalize_run(world, run, RESULT)
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)
    world.now = world.view_task(run).finalDeadline
    with reverts(NO_DATA):
        world.hub.call("claim", run, sender=world.stranger.address)


def test_not_from_the_final_deadline_on(world: World, run: str) -> None:
    world.now = world.view_task(run).finalDeadline
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)
    world.now -= 1
    finalize_run(world, run, RESULT)


def test_not_before_consensus_nor_without_a_reveal(world: World) -> None:
    run = _run(world)
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)
    world.contribute(run, world.worker(), RESULT.digest)
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)
    world.now = world.view_task(run).revealDeadline
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)


def test_not_all_revealed_has_to_wait_for_the_reveal_deadline(world: World) -> None:
    run = _run(world, trust=4)
    for number in (0, 1):
        world.contribute(run, world.worker(number), RESULT.digest)
    world.reveal(run, world.worker(0), RESULT.digest)
    world.now = world.view_task(run).revealDeadline - 1
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)
    world.now += 1
    finalize_run(world, run, RESULT)
    assert (world.frozen(world.worker(1)), world.balance(world.worker(1))) == (0, RICH - 21_000)


def test_a_task_is_not_finalized_as_a_run_nor_a_run_as_a_task(world: World, run: str) -> None:
    task = world.initialize(batch_deal(world, 1), 0, world.scheduler)
    single = answers(1)
    agree(world, task, single)
    with reverts(NO_DATA):
        finalize_run(world, task, single)
    with reverts(NO_DATA):
        world.finalize(run, RESULT.results)
    world.finalize(task)
    finalize_run(world, run, RESULT)


def test_a_split_run_is_not_finalized(world: World) -> None:
    run = _run(world)
    split_run(world, run, 3)
    with reverts(NO_DATA):
        finalize_run(world, run, RESULT)


# --- the digest -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "results"),
    [
        (RESULT.root, b"/ipfs/elsewhere"),
        (RESULT.root, b""),
        (answers(7, seed=1).root, RESULT.results),
        (RESULT.digest, RESULT.results),
        (ZERO32, RESULT.results),
    ],
)
def test_nothing_but_what_was_agreed_on_is_finalized(world: World, run: str, root: str, results: bytes) -> None:
    with reverts(NO_DATA):
        world.hub.call("finalizeRun", run, root, results, sender=world.scheduler.address)
    finalize_run(world, run, RESULT)


@pytest.mark.parametrize("size", [0, 1, 2048])
def test_results_of_every_length_are_in_the_event(world: World, size: int) -> None:
    result = Answers(RESULT.digests, b"r" * size)
    run = _run(world)
    agree(world, run, result)
    assert finalize_run(world, run, result)[-1].arguments["results"] == result.results
    assert (world.view_task(run).results, world.view_task(run).resultsCallback) == (b"", b"")
    assert world.hub.call("resultFor", run) == b""


def test_results_beyond_our_bound_revert(world: World) -> None:
    result = Answers(RESULT.digests, b"r" * 2049)
    run = _run(world)
    agree(world, run, result)
    with reverts(NO_DATA):
        finalize_run(world, run, result)


# --- money ----------------------------------------------------------------------------------------------------------


def test_events_and_payments_of_one_worker_alone(world: World, run: str) -> None:
    logs = finalize_run(world, run, RESULT)
    hub, worker, pool_owner = world.hub.address, world.worker().address, world.scheduler.address
    # R = 7 · 10,001 = 70,007; W = floor(70,007 · 99 / 100) = 69,306, six more than seven times 9,900.
    expected: list[tuple[str, dict[str, Any]]] = [
        ("Seize", {"owner": world.requester.address, "amount": 79_107, "ref": run}),
        ("Transfer", {"from": hub, "to": world.app_owner.address, "value": 7_000}),
        ("Reward", {"owner": world.app_owner.address, "amount": 7_000, "ref": run}),
        ("Transfer", {"from": hub, "to": world.dataset_owner.address, "value": 2_100}),
        ("Reward", {"owner": world.dataset_owner.address, "amount": 2_100, "ref": run}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 21_000}),
        ("Unlock", {"owner": pool_owner, "amount": 21_000}),
        ("Transfer", {"from": hub, "to": worker, "value": 21_000}),
        ("Unlock", {"owner": worker, "amount": 21_000}),
        ("Transfer", {"from": hub, "to": worker, "value": 69_306}),
        ("Reward", {"owner": worker, "amount": 69_306, "ref": run}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 701}),
        ("Reward", {"owner": pool_owner, "amount": 701, "ref": run}),
        (
            "RunFinalize",
            {"runid": run, "root": RESULT.root, "count": 7, "results": b"/ipfs/manifest", "workers": (worker,)},
        ),
    ]
    assert [(log.name, log.arguments) for log in logs] == expected
    assert world.balance(world.requester) == RICH - 79_107
    assert world.balance(world.worker()) == RICH + 69_306
    assert world.balance(world.scheduler) == RICH + 701
    assert (world.balance(hub), world.frozen(world.requester), world.frozen(world.scheduler)) == (0, 0, 0)


def test_who_proved_shares_what_others_lose_and_scores_move_one_step(world: World) -> None:
    run = _run(world, trust=5)
    liar, silent, honest = world.worker(0), world.worker(1), [world.worker(n) for n in (2, 3, 4)]
    for worker in (liar, silent, *honest):
        world.set_score(worker, 9)
    world.contribute(run, liar, LIE)
    for worker in (silent, *honest):
        world.contribute(run, worker, RESULT.digest)
    for worker in honest:
        world.reveal(run, worker, RESULT.digest)
    world.now = world.view_task(run).revealDeadline
    logs = finalize_run(world, run, RESULT)
    # R = 70,007 + 2 · 21,000 = 112,007; W = 110,886; a third of it each.
    assert [world.balance(worker) for worker in honest] == [RICH + 36_962] * 3
    assert world.balance(world.scheduler) == RICH + 112_007 - 3 * 36_962
    assert [world.balance(worker) for worker in (liar, silent)] == [RICH - 21_000] * 2
    assert [world.score(worker) for worker in (liar, silent, *honest)] == [6, 6, 10, 10, 10]
    assert names(logs).count("AccurateContribution") == 3
    assert names(logs).count("FaultyContribution") == 2
    assert logs[-1].arguments["workers"] == tuple(worker.address for worker in honest)
    assert world.balance(world.hub.address) == 0


def test_a_worker_alone_earns_no_score(world: World, run: str) -> None:
    logs = finalize_run(world, run, RESULT)
    assert "AccurateContribution" not in names(logs)
    assert world.score(world.worker()) == 0


def test_the_kitty_pays_once_for_a_run(world: World) -> None:
    price = 100 * 10**9
    failed = world.task(workerpool={"workerpoolprice": price}, request={"workerpoolmaxprice": price})
    world.now = world.view_task(failed).finalDeadline
    world.hub.call("claim", failed, sender=world.stranger.address)
    assert world.frozen(KITTY_ADDRESS) == 30 * 10**9
    run = _run(world)
    agree(world, run, RESULT)
    logs = finalize_run(world, run, RESULT)
    assert [log.arguments["amount"] for log in logs if log.arguments.get("owner") == KITTY_ADDRESS] == [3 * 10**9]
    assert world.frozen(KITTY_ADDRESS) == 27 * 10**9


def test_stakes_are_rounded_for_one_task_and_then_multiplied(world: World) -> None:
    price: dict[str, Any] = {"workerpool": {"workerpoolprice": 9}, "request": {"workerpoolmaxprice": 9}}
    run = open_run(world, batch_deal(world, 7, **price), 7)
    agree(world, run, RESULT)
    logs = finalize_run(world, run, RESULT)
    # floor(9 · 30 / 100) = 2, times 7; floor(63 · 30 / 100) would be 18.
    assert [log.arguments["amount"] for log in logs if log.name == "Unlock"] == [14, 14]


def test_the_largest_run_of_the_dearest_deal(world: World) -> None:
    """Prices near what all money allows: nothing overflows."""
    count, price = 2**20 - 1, 10**9
    volume = {"volume": count}
    for person in (world.requester, world.scheduler, world.worker()):
        world.fund(person, 3 * count * price)
    deal = batch_deal(
        world,
        count,
        app={**volume, "appprice": price},
        workerpool={**volume, "workerpoolprice": price},
        request={"appmaxprice": price, "workerpoolmaxprice": price},
    )
    run = open_run(world, deal, count)
    result = answers(2)
    before = world.balance(world.requester)
    agree(world, run, result)
    finalize_run(world, run, result)
    assert world.balance(world.requester) == before
    assert world.balance(world.app_owner) == count * price
    assert world.frozen(world.requester) == 0
