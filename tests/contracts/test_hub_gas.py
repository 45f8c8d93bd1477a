"""What the hub's transactions cost on a real chain: anvil, hardfork prague, first use of every order (decision 20)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS
from tests.contracts.anvil_world import AnvilWorld, deploy_on_anvil
from tests.contracts.batch import BATCH_LANE, agree, answers, finalize_run, open_run, settle_run
from tests.contracts.registries import public_abi
from tests.contracts.world import Person, World, bytes32


@pytest.fixture(scope="module")
def hub_on_anvil(module_anvil: AnvilProcess) -> AnvilWorld:
    return deploy_on_anvil(module_anvil)


@pytest.fixture
def spent(hub_on_anvil: AnvilWorld) -> Iterator[dict[str, list[int]]]:
    """Gas of the transactions of a test, by function, in their order."""
    hub_on_anvil.gas.clear()
    yield hub_on_anvil.gas


PARAMS_133 = '{"iexec_args":"' + "x" * 77 + '","iexec_result_storage_provider":"ipfs"}'
RESULTS_84 = b'{"storage":"ipfs","location":"/ipfs/' + b"Q" * 46 + b'"}'
REQUEST: dict[str, Any] = {"params": PARAMS_133}


BARS = {"matchOrders": 310_000, "initialize": 53_000, "contribute": 130_000, "reveal": 43_000, "finalize": 186_000}
"""What the issue allows each transaction of one worker's task with a data set."""


def _pay_in(world: World) -> None:
    """Everybody has an account, as people who were here before; what is measured is their next deal."""
    for person in (world.requester, world.scheduler, *(world.worker(i) for i in range(3))):
        world.fund(person)
    assert world.app_owner and world.dataset_owner
    world.fund(world.app_owner, 1)
    world.fund(world.dataset_owner, 1)


WORK = ("matchOrders", "initialize", "contribute", "reveal", "finalize", "openRun", "finalizeRun", "settleRun")


def _total(spent: dict[str, list[int]]) -> int:
    """Gas of a deal with its tasks, deposits and views left out."""
    return sum(sum(spent.get(function, [])) for function in WORK)


@cache
def _committed() -> dict[str, int]:
    figures: dict[str, int] = json.loads((Path(__file__).parent / "hub_gas.json").read_text())
    return figures


def _compare(measured: dict[str, int]) -> None:
    """Within one percent of the committed figures: dearer is a regression, cheaper is to be committed."""
    for name, gas in measured.items():
        assert gas == pytest.approx(_committed()[name], rel=0.01), f"{name}: {gas} (hub_gas.json: {_committed()[name]})"


def test_deal_with_dataset_and_one_task(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    world = hub_on_anvil
    _pay_in(world)
    orders = world.orders(with_dataset=True, request=REQUEST)
    worker = world.worker()
    task = world.initialize(world.match(orders))
    world.contribute(task, worker, bytes32(1), fund=False)
    world.reveal(task, worker, bytes32(1))
    world.finalize(task, RESULTS_84)
    for function, bar in BARS.items():
        assert spent[function][0] <= bar, function
    assert _total(spent) <= 720_000
    names = ("matchOrders", "initialize", "contribute", "reveal", "finalize")
    _compare({f"one worker: {name}": spent[name][0] for name in names})
    _compare({"one worker: deal and task": _total(spent)})
    # The same offers used again by the next request.
    request = world.sign(replace(orders.request, salt=bytes32(2**210)), world.requester)
    world.match(replace(orders, request=request))
    _compare({"matchOrders, offers used before": spent["matchOrders"][1]})


def test_deal_with_dataset_and_three_workers(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    world = hub_on_anvil
    _pay_in(world)
    offer: dict[str, Any] = {"workerpool": {"trust": 5}, "request": {"trust": 5, **REQUEST}}
    task = world.initialize(world.match(world.orders(**offer, with_dataset=True)))
    for number in range(3):
        world.contribute(task, world.worker(number), bytes32(1), fund=False)
    for number in range(3):
        world.reveal(task, world.worker(number), bytes32(1))
    world.finalize(task, RESULTS_84)
    assert _total(spent) <= 1_120_000
    _compare({"three workers: finalize": spent["finalize"][0], "three workers: deal and task": _total(spent)})


PUBLISHED_ESCROW = {
    "RLC: transfer to a fresh account": 51_842,
    "RLC: approve": 46_075,
    "deposit, first of the account": 82_646,
    "deposit, next": 65_179,
    "depositFor a fresh account": 82_646,
    "depositForArray, two fresh accounts": 111_973,
    "withdraw": 59_413,
    "transfer": 41_937,
    "approveAndCall, first deposit of the account": 84_917,
    "approveAndCall, next deposit": 70_174,
    "approveAndCall, deposit and match": 830_261,
}
"""What the published contracts take for the same, on the same chain; the first deposit as that for a fresh account."""


def test_money_costs_less_than_in_the_published_escrow(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    world = hub_on_anvil
    _pay_in(world)
    rlc, hub, owner = world.rlc, world.hub, world.owner.address
    one, two = (Person(name).address for name in ("first saver", "second saver"))
    fresh = [Person(f"fresh account {number}").address for number in range(3)]
    for person in (one, two, world.requester.address):
        rlc.call("transfer", person, 10**12, sender=owner)
    rlc.call("approve", hub.address, 10**11, sender=one)
    spent.pop("deposit", None)
    spent.pop("depositFor", None)
    for _ in range(2):
        hub.call("deposit", 1_000, sender=one)
    hub.call("depositFor", 1_000, fresh[0], sender=one)
    hub.call("depositForArray", [1_000, 1_000], fresh[1:], sender=one)
    hub.call("withdraw", 10, sender=one)
    hub_only = len(spent.get("transfer", []))
    hub.call("transfer", fresh[0], 10, sender=one)
    for _ in range(2):
        rlc.call("approveAndCall", hub.address, 1_000, b"", sender=two)
    orders = world.orders(request=REQUEST)
    match = public_abi("hub").encode_call("matchOrders", orders.arguments)
    rlc.call("approveAndCall", hub.address, 11_001, match, sender=world.requester.address)
    measured = {
        "RLC: transfer to a fresh account": spent["transfer"][0],
        "RLC: approve": spent["approve"][-1],
        "deposit, first of the account": spent["deposit"][0],
        "deposit, next": spent["deposit"][1],
        "depositFor a fresh account": spent["depositFor"][0],
        "depositForArray, two fresh accounts": spent["depositForArray"][0],
        "withdraw": spent["withdraw"][0],
        "transfer": spent["transfer"][hub_only],
        "approveAndCall, first deposit of the account": spent["approveAndCall"][0],
        "approveAndCall, next deposit": spent["approveAndCall"][1],
        "approveAndCall, deposit and match": spent["approveAndCall"][2],
    }
    for name, gas in measured.items():
        assert gas <= PUBLISHED_ESCROW[name], f"{name}: {gas}"
    _compare(measured)


def test_boost_match_and_push(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    """The published contracts: match 452,069 without and 539,820 with dataset, push 174,226."""
    world = hub_on_anvil
    _pay_in(world)
    for with_dataset in (False, True):
        orders = world.orders(with_dataset=with_dataset, request={"trust": 1, **REQUEST})
        deal = world.hub.call("matchOrdersBoost", *orders.arguments, sender=world.stranger.address)
        worker = world.worker(int(with_dataset))
        sign = world.authorisation(ids.task_id(deal, 0), worker)
        push = (deal, 0, RESULTS_84, b"", sign, ZERO_ADDRESS, b"")
        world.hub.call("pushResultBoost", *push, sender=worker.address)
    plain, with_data = spent["matchOrdersBoost"]
    assert plain <= 452_069 * 2 // 3
    assert with_data <= 539_820 * 2 // 3
    pushed = spent["pushResultBoost"]
    assert max(pushed) <= 174_226
    _compare(
        {
            "boost: match": plain,
            "boost: match with dataset": with_data,
            "boost: push": pushed[0],
            "boost: push with dataset": pushed[1],
            "boost: match and push": plain + pushed[0],
        }
    )


BAG = 1_000


def _match_bag(world: World, *, trust: int, with_dataset: bool) -> str:
    """A thousand tasks in the batch lane, first use of all orders; the deal."""
    return world.match(
        world.orders(
            with_dataset=with_dataset,
            workerpool={"trust": trust, "tag": BATCH_LANE},
            request={"trust": trust, "volume": BAG, "tag": BATCH_LANE, **REQUEST},
        )
    )


@pytest.mark.parametrize(("with_dataset", "bar"), [(False, 450), (True, 510)])
def test_a_thousand_tasks_settled_in_one_transaction(
    hub_on_anvil: AnvilWorld, spent: dict[str, list[int]], with_dataset: bool, bar: int
) -> None:
    world = hub_on_anvil
    _pay_in(world)
    settle_run(world, _match_bag(world, trust=1, with_dataset=with_dataset), answers(BAG, results=RESULTS_84))
    assert _total(spent) <= bar * BAG
    name = "1,000 tasks with data set, one transaction" if with_dataset else "1,000 tasks, one transaction"
    _compare({f"{name}: settleRun": spent["settleRun"][0], f"{name}: gas per task": _total(spent) // BAG})


def test_a_thousand_tasks_computed_by_three_workers(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    world = hub_on_anvil
    _pay_in(world)
    result = answers(BAG, results=RESULTS_84)
    run = open_run(world, _match_bag(world, trust=8, with_dataset=True), BAG)
    agree(world, run, result, *(world.worker(number) for number in range(3)))
    finalize_run(world, run, result)
    assert _total(spent) <= 1_100 * BAG
    _compare(
        {
            "1,000 tasks, three workers: openRun": spent["openRun"][0],
            "1,000 tasks, three workers: finalizeRun": spent["finalizeRun"][0],
            "1,000 tasks, three workers: gas per task": _total(spent) // BAG,
        }
    )


def test_sponsored_deal_without_dataset_and_claim(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    """The last one: from here on there is a kitty, and who settles pays for drawing from it."""
    world = hub_on_anvil
    _pay_in(world)
    orders = world.orders(request={"params": ""})
    deal = world.hub.call("sponsorMatchOrders", *orders.arguments, sender=world.worker(0).address)
    task = world.initialize(deal)
    world.wait(3_001)
    world.hub.call("claim", task, sender=world.stranger.address)
    _compare({"sponsorMatchOrders": spent["sponsorMatchOrders"][0], "claim": spent["claim"][0]})


def test_boost_sponsored_and_claimed(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    """After the others, for the same reason."""
    world = hub_on_anvil
    _pay_in(world)
    deal = world.hub.call(
        "sponsorMatchOrdersBoost",
        *world.orders(request={"trust": 1, "params": ""}).arguments,
        sender=world.worker(0).address,
    )
    world.wait(2_101)
    world.hub.call("claimBoost", deal, 0, sender=world.stranger.address)
    _compare({"boost: sponsored match": spent["sponsorMatchOrdersBoost"][0], "boost: claim": spent["claimBoost"][0]})
