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
from tests.contracts.anvil_world import AnvilWorld, deploy_on_anvil
from tests.contracts.world import World, bytes32

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


def _pay_in(world: World) -> None:
    """Everybody has an account, as people who were here before; what is measured is their next deal."""
    for person in (world.requester, world.scheduler, *(world.worker(i) for i in range(3))):
        world.fund(person)
    assert world.app_owner and world.dataset_owner
    world.fund(world.app_owner, 1)
    world.fund(world.dataset_owner, 1)


def _total(spent: dict[str, list[int]]) -> int:
    """Gas of a deal with its task, deposits left out."""
    functions = ("matchOrders", "initialize", "contribute", "reveal", "finalize")
    return sum(sum(spent.get(function, [])) for function in functions)


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
    assert spent["matchOrders"][0] <= 310_000
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


def test_sponsored_deal_without_dataset_and_claim(hub_on_anvil: AnvilWorld, spent: dict[str, list[int]]) -> None:
    world = hub_on_anvil
    _pay_in(world)
    orders = world.orders(request={"params": ""})
    deal = world.hub.call("sponsorMatchOrders", *orders.arguments, sender=world.worker(0).address)
    task = world.initialize(deal)
    world.wait(3_001)
    world.hub.call("claim", task, sender=world.stranger.address)
    _compare({"sponsorMatchOrders": spent["sponsorMatchOrders"][0], "claim": spent["claim"][0]})
