"""`refundRest`: what was never opened goes back in one step, once, after the final deadline."""

from __future__ import annotations

import boa
import pytest

from fairgrid.protocol.rewards import KITTY_ADDRESS
from tests.contracts.batch import BATCH_LANE, answers, batch_deal, open_run, settle_run, view_lane
from tests.contracts.registries import NO_DATA, Log, public_abi, reverts
from tests.contracts.world import RICH, Person, World, bytes32


def _refund(world: World, deal: str, sender: Person | None = None) -> tuple[int, list[Log]]:
    count, logs = world.hub.transact("refundRest", deal, sender=(sender or world.stranger).address)
    return int(count), logs


def test_events_and_money_of_a_deal_that_nobody_touched(world: World) -> None:
    deal = batch_deal(world, 10, with_dataset=True)
    world.now += 3_000
    count, logs = _refund(world, deal)
    assert count == 10
    hub, requester = world.hub.address, world.requester.address
    assert [(log.name, log.arguments) for log in logs] == [
        ("Transfer", {"from": hub, "to": requester, "value": 113_010}),
        ("Unlock", {"owner": requester, "amount": 113_010}),
        ("Seize", {"owner": world.scheduler.address, "amount": 30_000, "ref": deal}),
        ("Reward", {"owner": KITTY_ADDRESS, "amount": 30_000, "ref": deal}),
        ("Lock", {"owner": KITTY_ADDRESS, "amount": 30_000}),
        ("DealRefund", {"dealid": deal, "first": 0, "count": 10}),
    ]
    assert (world.balance(world.requester), world.frozen(world.requester)) == (RICH, 0)
    assert (world.balance(world.scheduler), world.frozen(world.scheduler)) == (RICH - 30_000, 0)
    assert world.frozen(KITTY_ADDRESS) == world.balance(hub) == 30_000
    lane = view_lane(world, deal)
    assert (lane.inBatchLane, lane.cursor, lane.refunded) == (True, 0, True)


def test_only_what_was_never_opened_is_refunded(world: World) -> None:
    deal = batch_deal(world, 10)
    settle_run(world, deal, answers(3))
    open_run(world, deal, 2)
    world.initialize(deal, 5, world.scheduler)
    world.now += 3_000
    count, logs = _refund(world, deal)
    assert (count, logs[-1].arguments) == (4, {"dealid": deal, "first": 6, "count": 4})
    assert world.frozen(world.requester) == 3 * 11_001
    assert world.frozen(KITTY_ADDRESS) == 4 * 3_000
    assert view_lane(world, deal).cursor == 6


def test_the_sponsor_gets_it(world: World) -> None:
    world.fund(world.stranger)
    world.fund(world.scheduler)
    orders = world.orders(request={"volume": 10, "tag": BATCH_LANE}, workerpool={"tag": BATCH_LANE})
    deal = str(world.hub.call("sponsorMatchOrders", *orders.arguments, sender=world.stranger.address))
    world.now += 3_000
    _refund(world, deal, world.requester)
    assert world.balance(world.stranger) == RICH


def test_not_before_the_final_deadline(world: World) -> None:
    deal = batch_deal(world, 10)
    world.now += 3_000 - 1
    for person in (world.stranger, world.requester, world.scheduler, world.owner):
        with reverts(NO_DATA):
            _refund(world, deal, person)
    world.now += 1
    _refund(world, deal)


def test_once(world: World) -> None:
    deal = batch_deal(world, 10)
    world.now += 3_000
    _refund(world, deal)
    with reverts(NO_DATA):
        _refund(world, deal)


@pytest.mark.parametrize("opened", [9, 10])
def test_only_if_something_is_left(world: World, opened: int) -> None:
    deal = batch_deal(world, 10)
    open_run(world, deal, opened)
    world.now += 3_000
    if opened == 9:
        assert _refund(world, deal)[0] == 1
        return
    with reverts(NO_DATA):
        _refund(world, deal)


def test_a_deal_of_the_classic_lane_and_an_unknown_one_are_not_refunded(world: World) -> None:
    classic = world.deal(request={"volume": 10})
    deal = batch_deal(world, 10)
    world.now += 3_000
    for other in (classic, bytes32(5), bytes32(int(deal, 16) ^ 1)):
        with reverts(NO_DATA):
            _refund(world, other)
    _refund(world, deal)


def test_no_foreign_money_is_touched(world: World) -> None:
    """Another deal of the same people keeps what it locked."""
    deal, other = batch_deal(world, 10), batch_deal(world, 3)
    world.now += 3_000
    _refund(world, deal)
    assert world.frozen(world.requester) == 3 * 11_001
    assert world.frozen(world.scheduler) == 3 * 3_000
    _refund(world, other)
    assert world.frozen(world.requester) == world.frozen(world.scheduler) == 0


def test_it_costs_the_same_whatever_the_number_of_tasks(world: World) -> None:
    deals = [batch_deal(world, volume) for volume in (2, 1, 1_000)]
    world.now += 3_000
    gas = []
    for deal in deals:
        computation = boa.env.execute_code(
            to_address=world.hub.address, data=public_abi("hub").encode_call("refundRest", (deal,))
        )
        assert not computation.is_error
        gas.append(computation.net_gas_used)
    # The first one finds the accounts cold; the others differ in nothing but numbers.
    assert gas[1] == gas[2] < gas[0]
