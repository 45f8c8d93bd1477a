"""Callbacks that call the hub back, burn their gas or fail, at each of the three calls that push a result.

The greedy one is the worst that can be: it is the deal's callback, its scheduler and its worker at once, so that all it
asks for inside would be granted outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import boa
import pytest

from fairgrid.protocol import ids, runs
from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, keccak, to_hex32
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.registries import public_abi
from tests.contracts.world import RICH, World, mock

ANSWER = b"answer"
DIGEST = to_hex32(keccak(ANSWER))
RESULTS = b"/ipfs/manifest"
LANE = {"tag": f"0x{1 << 16:064x}"}
COMPLETED, ACTIVE = 3, 1
POOL_PRICE, PRICE, STAKE = 10_001, 11_001, 3_000
KEEPS, FAILS, BURNS = 0, 1, 2


def encoded(function: str, *arguments: Any) -> bytes:
    return public_abi("hub").encode_call(function, arguments)


@dataclass
class Push:
    """A task whose completion pushes a result: ``call`` is what completes it."""

    task: str
    call: bytes
    other_calls: tuple[bytes, ...]
    """What must not happen once it is complete."""


class Greed:
    """A deal of three tasks whose callback, scheduler and worker is one contract."""

    def __init__(self, world: World, callback: str | None = None) -> None:
        self.world = world
        self.contract = mock("greedy", world.hub.address)
        self.address = checksum(str(self.contract.address))
        self.pool = str(world.registries["workerpool"].call("createWorkerpool", self.address, "greedy"))
        self.callback = callback or self.address
        world.fund(self.address)
        world.hub.call("setCallbackGas", 5_000_000, sender=world.owner.address)

    def deal(self, **changes: dict[str, Any]) -> str:
        """Another deal."""
        return self.world.deal(
            workerpool={"workerpool": self.pool, **changes.get("workerpool", {})},
            request={"callback": self.callback, "volume": 3, **changes.get("request", {})},
        )

    def act(self, data: bytes) -> None:
        """Call the hub as the contract."""
        self.contract.act(data)

    def free(self) -> int:
        """The contract's free money."""
        return self.world.balance(self.address)

    def revealed(self, deal: str, index: int) -> str:
        """A task that waits for its finalize; the contract was its worker."""
        task = self.world.initialize(deal, index)
        seal = ids.result_seal(self.address, task, DIGEST)
        sign = b"\x01" * 65
        self.act(encoded("contribute", task, ids.result_hash(task, DIGEST), seal, ZERO_ADDRESS, b"", sign))
        self.act(encoded("reveal", task, DIGEST))
        return task


def alone(task: str) -> bytes:
    return encoded("contributeAndFinalize", task, DIGEST, b"", ANSWER, ZERO_ADDRESS, b"", b"\x01" * 65)


def by_finalize(greed: Greed) -> Push:
    task = greed.revealed(greed.deal(), 0)
    call = encoded("finalize", task, b"", ANSWER)
    return Push(task, call, (call, encoded("reopen", task), encoded("claim", task), alone(task)))


def by_contribute_and_finalize(greed: Greed) -> Push:
    task = greed.world.initialize(greed.deal(), 0)
    call = alone(task)
    return Push(task, call, (call, encoded("finalize", task, b"", ANSWER), encoded("claim", task)))


def by_materialise(greed: Greed) -> Push:
    deal = greed.deal(workerpool=LANE, request=LANE)
    digests = (DIGEST, to_hex32(keccak(b"other")))
    root = runs.tasks_root(digests)
    settle = encoded("settleRun", deal, 2, root, RESULTS, ZERO_ADDRESS, b"", b"\x01" * 65)
    greed.act(settle)
    run, task = runs.run_id(deal, 0, 2), ids.task_id(deal, 0)
    proof = runs.task_proof(digests, 0)
    call = encoded("materialise", run, 0, DIGEST, proof, root, to_hex32(keccak(RESULTS)), ANSWER)
    refused = (
        call,
        encoded("finalizeRun", run, root, RESULTS),
        encoded("claim", run),
        encoded("claim", task),
        encoded("splitRun", run, 1),
        encoded("initialize", deal, 0),
        encoded("finalize", task, b"", ANSWER),
        encoded("refundRest", deal),
    )
    return Push(task, call, refused)


WAYS: tuple[Callable[[Greed], Push], ...] = (by_finalize, by_contribute_and_finalize, by_materialise)
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def money_adds_up(greed: Greed) -> bool:
    """Σ balances = supply ≤ tokens held, and Σ frozen = what the hub holds for others."""
    world = greed.world
    people = [world.requester, world.scheduler, world.owner, world.app_owner, world.stranger]
    addresses = [*(person.address for person in people), greed.address, KITTY_ADDRESS, world.hub.address]
    free, frozen = zip(*(world.stored_account(address) for address in addresses), strict=True)
    supply = int(world.hub.call("totalSupply"))
    held = int(world.rlc.call("balanceOf", world.hub.address))
    return bool(sum(free) == supply <= held and sum(frozen) == world.balance(world.hub.address))


@ways
def test_what_was_just_settled_is_not_settled_again_from_inside(world: World, way: Callable[[Greed], Push]) -> None:
    greed = Greed(world)
    push = way(greed)
    for call in push.other_calls:
        greed.contract.plan(call)
    before = greed.free() + world.frozen(greed.address)
    with world.anchor():
        outside = Greed(world)
        expected = way(outside)
        start = outside.free() + world.frozen(outside.address)
        outside.act(expected.call)
        honest = outside.free() + world.frozen(outside.address) - start
    greed.act(push.call)
    assert greed.contract.outcomes() == [False] * len(push.other_calls)
    assert greed.contract.pushes() == 1
    assert greed.free() + world.frozen(greed.address) - before == honest
    assert world.view_task(push.task).status == COMPLETED
    assert money_adds_up(greed)


@ways
def test_money_withdrawn_from_inside_is_withdrawn_once(world: World, way: Callable[[Greed], Push]) -> None:
    greed = Greed(world)
    push = way(greed)
    part = RICH // 2 - PRICE
    for _ in range(3):
        greed.contract.plan(encoded("withdraw", part))
    greed.act(push.call)
    assert greed.contract.outcomes() == [True, True, False]
    assert int(world.rlc.call("balanceOf", greed.address)) == 2 * part
    assert greed.free() + world.frozen(greed.address) < RICH - 2 * part + 3 * PRICE
    assert money_adds_up(greed)


@ways
def test_another_task_is_settled_from_inside_as_it_would_be_outside(world: World, way: Callable[[Greed], Push]) -> None:
    greed = Greed(world)
    push, second = way(greed), by_finalize(greed)
    greed.contract.plan(second.call)
    greed.contract.plan(second.call)
    greed.act(push.call)
    assert greed.contract.outcomes() == [True, False]
    assert greed.contract.pushes() == 2
    assert world.view_task(push.task).status == world.view_task(second.task).status == COMPLETED
    assert money_adds_up(greed)


@ways
@pytest.mark.parametrize("mode", [KEEPS, FAILS, BURNS])
def test_a_callback_that_fails_or_burns_its_gas_stops_nothing(
    world: World, way: Callable[[Greed], Push], mode: int
) -> None:
    receiver = mock("callback", mode)
    greed = Greed(world, str(receiver.address))
    world.hub.call("setCallbackGas", 200_000, sender=world.owner.address)
    push = way(greed)
    greed.act(push.call)
    assert world.view_task(push.task).status == COMPLETED
    assert world.hub.call("resultFor", push.task) == ANSWER
    assert (receiver.digest() == keccak(ANSWER)) == (mode == KEEPS)
    assert money_adds_up(greed)


@ways
def test_a_callback_gets_its_gas_or_nothing_happens(world: World, way: Callable[[Greed], Push]) -> None:
    receiver = mock("callback", KEEPS)
    greed = Greed(world, str(receiver.address))
    world.hub.call("setCallbackGas", 200_000, sender=world.owner.address)
    push = way(greed)
    data = greed.contract.act.prepare_calldata(push.call)
    outcomes = set()
    for gas in range(60_000, 700_000, 16_000):
        with world.anchor():
            boa.env.execute_code(to_address=greed.address, sender=world.stranger.address, data=data, gas=gas)
            finished = world.view_task(push.task).status == COMPLETED
            assert finished == (receiver.digest() == keccak(ANSWER))
            outcomes.add(finished)
    assert outcomes == {False, True}
