"""Calls of a hub measured beside so many open deals of other people: what shows that no cost grows with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairgrid.protocol import ids
from fairgrid.protocol.hexes import ZERO_ADDRESS, keccak, to_hex32, uint256_bytes
from fairgrid.protocol.orders import RequestOrder
from tests.contracts.anvil_world import AnvilContract, AnvilWorld
from tests.contracts.world import Person, as_tuple, bytes32

__all__ = ["CROWD", "cost_beside"]

CROWD = 1_000
_LANE_TAG = bytes32(1 << 16)
_DIGEST = bytes32(5)
_FINAL_DEADLINE = 3_001
_CHUNK = 50


def cost_beside(world: AnvilWorld, crowd: int) -> dict[str, int]:
    """Gas by call with ``crowd`` users, orders of each kind and open deals there, each deal with a task in which
    somebody else contributed. Everything is undone.
    """
    with world.chain.undone():
        _open_deals(world, crowd)
        return _measured(world)


def _open_deals(world: AnvilWorld, count: int) -> None:
    hub, rlc, chain = world.hub, world.rlc, world.chain
    assert isinstance(hub, AnvilContract)
    assert isinstance(rlc, AnvilContract)
    requesters = [Person(f"requester {number}") for number in range(count)]
    workers = [Person(f"worker {number} of the crowd") for number in range(count)]
    world.fund(world.scheduler)
    owner = world.owner.address
    chain.send_many("approve", [rlc.message("approve", hub.address, 10**15, sender=owner)])
    accounts = [person.address for person in (*requesters, *workers)]
    chain.send_many(
        "depositForArray",
        (
            hub.message("depositForArray", [10**6] * len(chunk), chunk, sender=owner)
            for chunk in (accounts[start : start + _CHUNK] for start in range(0, len(accounts), _CHUNK))
        ),
    )
    requests: list[RequestOrder] = []

    def matches() -> Iterator[dict[str, Any]]:
        for requester in requesters:
            orders = world.unsigned_orders(request={"requester": requester.address})
            request = world.sign(orders.request, requester)
            requests.append(request)
            arguments = (
                as_tuple(world.sign(orders.app, world.app_owner)),
                as_tuple(orders.dataset),
                as_tuple(world.sign(orders.workerpool, world.scheduler)),
                as_tuple(request),
            )
            yield hub.message("matchOrders", *arguments)

    chain.send_many("matchOrders", matches())
    deals = [ids.deal_id(world.order_hash(request), 0) for request in requests]
    chain.send_many("initialize", (hub.message("initialize", deal, 0) for deal in deals))
    tasks = [ids.task_id(deal, 0) for deal in deals]
    chain.send_many(
        "contribute",
        (
            hub.message("contribute", *world.contribution(task, worker, _DIGEST), sender=worker.address)
            for task, worker in zip(tasks, workers, strict=True)
        ),
    )


def _measured(world: AnvilWorld) -> dict[str, int]:
    worker, saver = world.worker(), Person("saver")
    for person in (world.requester, worker):
        world.fund(person)
    world.fund(saver, 10**9)
    world.hub.call("transfer", saver.address, 10**6, sender=world.requester.address)
    world.hub.call("withdraw", 10**6, sender=saver.address)
    task = world.initialize(world.match(world.orders()))
    unfinished = world.initialize(world.match(world.orders()))
    world.contribute(task, worker, _DIGEST, fund=False)
    world.reveal(task, worker, _DIGEST)
    world.finalize(task)
    if world.has("settleRun"):
        _settle_run(world, worker)
    world.wait(_FINAL_DEADLINE)
    world.hub.call("claim", unfinished)
    calls = ("depositFor", "transfer", "withdraw", "initialize", "contribute", "reveal", "finalize", "claim")
    figures = {call: world.gas[call][-1] for call in calls}
    figures["matchOrders"] = world.gas["matchOrders"][0]
    return figures | ({"settleRun": world.gas["settleRun"][-1]} if world.has("settleRun") else {})


def _settle_run(world: AnvilWorld, worker: Person) -> None:
    deal = world.match(world.orders(request={"tag": _LANE_TAG, "volume": 100}, workerpool={"tag": _LANE_TAG}))
    run = to_hex32(keccak(bytes.fromhex(deal[2:]) + uint256_bytes(0) + uint256_bytes(100)))
    authorisation = world.authorisation(run, worker)
    arguments = (deal, 100, bytes32(6), b"results", ZERO_ADDRESS, b"", authorisation)
    world.hub.call("settleRun", *arguments, sender=worker.address)
