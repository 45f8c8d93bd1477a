"""Both lanes on one deal: each task is settled or refunded exactly once, and no money stays behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import permutations

import pytest

from fairgrid.protocol import ids
from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import (
    agree,
    answers,
    batch_deal,
    finalize_run,
    open_run,
    settle_run,
    split_run,
    view_lane,
)
from tests.contracts.registries import NO_DATA, reverts
from tests.contracts.world import RICH, World, bytes32

TASK_PRICE, POOL_STAKE = 11_001, 3_000


@dataclass
class Ledger:
    """What a deal's tasks came to."""

    deal: str
    cursor: int = 0
    paid: int = 0
    refunded: int = 0
    open: list[str] = field(default_factory=list)


Step = Callable[[World, Ledger], None]


def _task(world: World, ledger: Ledger) -> None:
    task = world.initialize(ledger.deal, ledger.cursor, world.scheduler)
    ledger.cursor += 1
    ledger.open.append(task)


def _finished_task(world: World, ledger: Ledger) -> None:
    _task(world, ledger)
    world.complete(ledger.open.pop())
    ledger.paid += 1


def _run(world: World, ledger: Ledger) -> None:
    ledger.open.append(open_run(world, ledger.deal, 3))
    ledger.cursor += 3


def _finished_run(world: World, ledger: Ledger) -> None:
    _run(world, ledger)
    run, result = ledger.open.pop(), answers(3)
    agree(world, run, result)
    finalize_run(world, run, result)
    ledger.paid += 3


def _settled_run(world: World, ledger: Ledger) -> None:
    settle_run(world, ledger.deal, answers(2))
    ledger.cursor += 2
    ledger.paid += 2


def _split_run(world: World, ledger: Ledger) -> None:
    """One half is finalized, the other stays open."""
    _run(world, ledger)
    left, right = split_run(world, ledger.open.pop(), 2)
    agree(world, left, answers(2))
    finalize_run(world, left, answers(2))
    ledger.paid += 2
    ledger.open.append(right)


STEPS: tuple[Step, ...] = (_task, _finished_task, _run, _finished_run, _settled_run, _split_run)
VOLUME = 20


@pytest.mark.parametrize("order", range(0, 720, 48))
def test_whatever_the_order_each_task_is_settled_or_refunded_once(world: World, order: int) -> None:
    ledger = Ledger(batch_deal(world, VOLUME))
    for step in list(permutations(STEPS))[order]:
        step(world, ledger)
        assert view_lane(world, ledger.deal).cursor == ledger.cursor
        assert world.frozen(world.requester) == (VOLUME - ledger.paid) * TASK_PRICE
        assert world.frozen(world.scheduler) == (VOLUME - ledger.paid) * POOL_STAKE
        for index in {0, ledger.cursor - 1, ledger.cursor + 1, VOLUME}:
            with reverts(NO_DATA):
                world.initialize(ledger.deal, index, world.scheduler)
        with reverts(NO_DATA):
            open_run(world, ledger.deal, VOLUME - ledger.cursor + 1)
    world.now += 3_000
    for claimed in ledger.open:
        world.hub.call("claim", claimed, sender=world.stranger.address)
    rest = world.hub.call("refundRest", ledger.deal, sender=world.stranger.address)
    assert rest == VOLUME - ledger.cursor
    assert world.balance(world.requester) == RICH - ledger.paid * TASK_PRICE
    assert world.frozen(world.requester) == world.frozen(world.scheduler) == 0
    assert world.balance(world.hub.address) == world.frozen(KITTY_ADDRESS) == (VOLUME - ledger.paid) * POOL_STAKE
    _nothing_is_left(world, ledger)


def _nothing_is_left(world: World, ledger: Ledger) -> None:
    """No call of either lane finds a task to settle or to refund."""
    scheduler = world.scheduler.address
    for index in range(VOLUME + 1):
        with reverts(NO_DATA):
            world.hub.call("initialize", ledger.deal, index, sender=scheduler)
    for known in (*ledger.open, ids.task_id(ledger.deal, 0), bytes32(5)):
        with reverts(NO_DATA):
            world.hub.call("claim", known, sender=scheduler)
    with reverts(NO_DATA):
        world.hub.call("refundRest", ledger.deal, sender=scheduler)
    with reverts(NO_DATA):
        open_run(world, ledger.deal, 1)
    with reverts(NO_DATA):
        settle_run(world, ledger.deal, answers(1))


def test_after_the_final_deadline_either_way_refunds_but_not_both(world: World) -> None:
    deal = batch_deal(world, 4)
    world.now += 3_000
    world.hub.call("initializeAndClaimArray", (deal, deal), (0, 1), sender=world.requester.address)
    assert world.hub.call("refundRest", deal, sender=world.requester.address) == 2
    for index in range(4):
        with reverts(NO_DATA):
            world.hub.call("initializeAndClaimArray", (deal,), (index,), sender=world.requester.address)
    assert (world.balance(world.requester), world.frozen(world.requester)) == (RICH, 0)


def test_a_refund_does_not_touch_what_is_open(world: World) -> None:
    """A run whose workers wait for the scheduler keeps its money until it is claimed or finalized."""
    deal = batch_deal(world, 10)
    run = open_run(world, deal, 4)
    agree(world, run, answers(4))
    world.now += 3_000
    world.hub.call("refundRest", deal, sender=world.stranger.address)
    assert world.frozen(world.requester) == 4 * TASK_PRICE
    assert world.frozen(world.worker()) == 4 * 3_000
    world.hub.call("claim", run, sender=world.stranger.address)
    assert world.frozen(world.requester) == world.frozen(world.worker()) == 0


def test_two_deals_have_two_frontiers(world: World) -> None:
    first, second = batch_deal(world, 4), batch_deal(world, 4)
    open_run(world, first, 3)
    assert (view_lane(world, first).cursor, view_lane(world, second).cursor) == (3, 0)
    assert open_run(world, first, 1) != open_run(world, second, 4)


def test_strangers_cannot_move_the_frontier_before_the_final_deadline(world: World) -> None:
    """Otherwise anybody could make a bag of a thousand tasks settle one by one."""
    deal = batch_deal(world, 4)
    authorised = answers(4)
    for person in (world.stranger, world.requester, world.worker()):
        with reverts(NO_DATA):
            world.initialize(deal, 0, person)
        with reverts(NO_DATA):
            open_run(world, deal, 1, person)
    with reverts(NO_DATA):
        settle_run(world, deal, authorised, authority=world.stranger)
    settle_run(world, deal, authorised)
