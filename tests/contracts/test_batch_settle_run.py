"""`settleRun`: a run of trust 1 in one transaction; who may, when, who is paid, what is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import (
    BATCH_LANE,
    Answers,
    answers,
    batch_deal,
    open_run,
    settle_run,
    settlement,
    view_lane,
    view_run,
)
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import Person, World, bytes32, mock, names

RESULT = answers(7)
TEE_LANE = bytes32(1 << 16 | 1)


def _send(world: World, arguments: tuple[Any, ...], worker: Person) -> str:
    return str(world.hub.call("settleRun", *arguments, sender=worker.address))


def _tee_deal(world: World, volume: int) -> str:
    tag = {"tag": TEE_LANE}
    return batch_deal(world, volume, app={"tag": bytes32(1)}, request=tag, workerpool=tag)


# --- money and records ----------------------------------------------------------------------------------------------


def test_events_and_payments(world: World) -> None:
    deal = batch_deal(world, 10, with_dataset=True)
    run, logs = settle_run(world, deal, RESULT)
    assert run == runs.run_id(deal, 0, 7)
    hub, worker, pool_owner = world.hub.address, world.worker().address, world.scheduler.address
    # 7 · 10,001 = 70,007; W = floor(70,007 · 99 / 100) = 69,306.
    expected: list[tuple[str, dict[str, Any]]] = [
        ("Seize", {"owner": world.requester.address, "amount": 79_107, "ref": run}),
        ("Transfer", {"from": hub, "to": world.app_owner.address, "value": 7_000}),
        ("Reward", {"owner": world.app_owner.address, "amount": 7_000, "ref": run}),
        ("Transfer", {"from": hub, "to": world.dataset_owner.address, "value": 2_100}),
        ("Reward", {"owner": world.dataset_owner.address, "amount": 2_100, "ref": run}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 21_000}),
        ("Unlock", {"owner": pool_owner, "amount": 21_000}),
        ("Transfer", {"from": hub, "to": worker, "value": 69_306}),
        ("Reward", {"owner": worker, "amount": 69_306, "ref": run}),
        ("Transfer", {"from": hub, "to": pool_owner, "value": 701}),
        ("Reward", {"owner": pool_owner, "amount": 701, "ref": run}),
        ("RunOpen", {"runid": run, "dealid": deal, "first": 0, "count": 7}),
        (
            "RunFinalize",
            {"runid": run, "root": RESULT.root, "count": 7, "results": b"/ipfs/manifest", "workers": (worker,)},
        ),
    ]
    assert [(log.name, log.arguments) for log in logs] == expected
    assert (world.balance(world.worker()), world.frozen(world.worker())) == (69_306, 0)
    assert world.frozen(world.requester) == 3 * 11_301
    assert world.frozen(world.scheduler) == 3 * 3_000
    assert world.balance(hub) == 3 * 14_301


def test_what_is_recorded(world: World) -> None:
    deal = batch_deal(world, 10)
    world.set_score(world.worker(), 30)
    run, _ = settle_run(world, deal, RESULT)
    shown = view_run(world, run)
    assert (shown.dealid, shown.first, shown.count, shown.status) == (deal, 0, 7, 3)
    assert view_lane(world, deal).cursor == 7
    view = world.view_task(run)
    assert (view.status, view.idx, view.winnerCounter, view.revealCounter) == (3, 0, 1, 1)
    assert (view.consensusValue, view.resultDigest) == (ids.result_hash(run, RESULT.digest), RESULT.digest)
    assert view.revealDeadline == world.now + 2 * 300
    assert (view.contributors, view.results) == ((world.worker().address,), b"")
    contribution = world.view_contribution(run, world.worker())
    assert (contribution.status, contribution.weight, contribution.enclaveChallenge) == (2, 0, ZERO_ADDRESS)
    assert contribution.resultSeal == ids.result_seal(world.worker().address, run, RESULT.digest)
    assert world.score(world.worker()) == 30


def test_runs_follow_each_other_to_the_end_of_the_deal(world: World) -> None:
    deal = batch_deal(world, 10)
    first, _ = settle_run(world, deal, RESULT)
    second, _ = settle_run(world, deal, answers(3, seed=1), world.worker(1))
    assert (view_run(world, first).first, view_run(world, second).first) == (0, 7)
    assert world.frozen(world.requester) == world.frozen(world.scheduler) == world.balance(world.hub.address) == 0
    with reverts(NO_DATA):
        settle_run(world, deal, answers(1))


def test_the_kitty_pays_once_for_a_run(world: World) -> None:
    price = 100 * 10**9
    failed = world.task(workerpool={"workerpoolprice": price}, request={"workerpoolmaxprice": price})
    world.now = world.view_task(failed).finalDeadline
    world.hub.call("claim", failed, sender=world.stranger.address)
    _, logs = settle_run(world, batch_deal(world, 7), RESULT)
    assert [log.arguments["amount"] for log in logs if log.arguments.get("owner") == KITTY_ADDRESS] == [3 * 10**9]


def test_the_callback_is_left_to_materialise(world: World) -> None:
    receiver = mock("callback", 0)
    run, logs = settle_run(world, batch_deal(world, 7, request={"callback": str(receiver.address)}), RESULT)
    assert names(logs)[-1] == "RunFinalize"
    assert receiver.gas_seen() == 0
    assert world.view_task(run).status == 3


# --- conditions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trust", "works"), [(0, True), (1, True), (2, False), (3, False)])
def test_only_at_trust_one(world: World, trust: int, works: bool) -> None:
    deal = batch_deal(world, 7, request={"trust": trust})
    if works:
        settle_run(world, deal, RESULT)
        return
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT)


def test_a_deal_of_the_classic_lane_and_an_unknown_one_have_no_runs(world: World) -> None:
    deal = world.deal(workerpool={"tag": BATCH_LANE}, request={"volume": 7})
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT)
    deal = batch_deal(world, 7)
    arguments = settlement(world, deal, RESULT, world.worker())
    for other in (bytes32(5), bytes32(int(deal, 16) ^ 1)):
        with reverts(NO_DATA):
            _send(world, (other, *arguments[1:]), world.worker())


@pytest.mark.parametrize("count", [0, 8, 2**20, 2**256 - 1])
def test_at_least_one_task_and_no_more_than_the_deal_has(world: World, count: int) -> None:
    deal = batch_deal(world, 7)
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT, count=count)
    settle_run(world, deal, RESULT, count=7)


def test_a_run_has_less_than_two_to_the_twenty_tasks(world: World) -> None:
    many = {"volume": 2**20}
    deal = batch_deal(world, 2**20, app={**many, "appprice": 0}, workerpool={**many, "workerpoolprice": 1})
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT, count=2**20)
    run, _ = settle_run(world, deal, RESULT, count=2**20 - 1)
    assert view_run(world, run).count == 2**20 - 1
    assert world.balance(world.worker()) == (2**20 - 1) * 99 // 100


def test_contributions_end_at_their_deadline(world: World) -> None:
    deal = batch_deal(world, 7)
    world.now += 7 * 300
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT)
    world.now -= 1
    settle_run(world, deal, RESULT)


def test_an_authorisation_is_for_one_worker_and_one_run(world: World) -> None:
    deal, worker = batch_deal(world, 10), world.worker()
    good = settlement(world, deal, RESULT, worker)
    stale = settlement(world, deal, answers(2), worker)
    for bad in (
        settlement(world, deal, RESULT, worker, authority=world.stranger),
        settlement(world, deal, RESULT, world.worker(1)),
        (*stale[:1], 7, *stale[2:]),
        (deal, 6, *good[2:]),
    ):
        with reverts(NO_DATA):
            _send(world, bad, worker)
    with reverts("invalid-signature-format"):
        _send(world, (*good[:6], b"short"), worker)
    _send(world, good, worker)
    with reverts(NO_DATA):
        _send(world, stale, worker)
    with reverts(NO_DATA):
        _send(world, good, worker)


def test_an_authorisation_dies_when_the_frontier_moves(world: World) -> None:
    deal, worker = batch_deal(world, 10), world.worker()
    stale = settlement(world, deal, RESULT, worker)
    world.initialize(deal, 0, world.scheduler)
    with reverts(NO_DATA):
        _send(world, stale, worker)
    settle_run(world, deal, RESULT, worker)


def test_a_tee_deal_needs_an_enclave_that_signed_this_result(world: World) -> None:
    deal, enclave, worker = _tee_deal(world, 7), Person("enclave"), world.worker()
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT)
    good = settlement(world, deal, RESULT, worker, enclave=enclave)
    for other in (
        settlement(world, deal, answers(7, seed=1), worker, enclave=enclave),
        settlement(world, deal, Answers(RESULT.digests, b"elsewhere"), worker, enclave=enclave),
        settlement(world, deal, RESULT, worker, enclave=Person("another")),
    ):
        with reverts(NO_DATA):
            _send(world, (*good[:5], other[5], good[6]), worker)
    run = _send(world, good, worker)
    assert world.view_contribution(run, worker).enclaveChallenge == enclave.address


def test_enclaves_are_authorised_by_the_broker_if_there_is_one(world: World) -> None:
    broker, enclave, worker = Person("broker"), Person("enclave"), world.worker()
    world.hub.call("setTeeBroker", broker.address, sender=world.owner.address)
    deal = _tee_deal(world, 7)
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT, worker, enclave=enclave)
    settle_run(world, deal, RESULT, worker, enclave=enclave, authority=broker)


@pytest.mark.parametrize("size", [0, 1, 2048])
def test_results_of_every_length_are_in_the_event(world: World, size: int) -> None:
    result = Answers(RESULT.digests, b"r" * size)
    _, logs = settle_run(world, batch_deal(world, 7), result)
    assert logs[-1].arguments["results"] == result.results


def test_results_beyond_our_bound_revert(world: World) -> None:
    with reverts(NO_DATA):
        settle_run(world, batch_deal(world, 7), Answers(RESULT.digests, b"r" * 2049))


def test_a_run_that_is_open_is_not_settled_again(world: World) -> None:
    deal = batch_deal(world, 7)
    open_run(world, deal, 7)
    with reverts(NO_DATA):
        settle_run(world, deal, RESULT)
