"""`receiveApproval`, called out of a token's `approveAndCall`: a deposit, and a match of orders if the data say so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import boa
import pytest
from eth_abi.abi import encode

from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from fairgrid.protocol.typed_data import SIGN
from tests.contracts.registries import NO_DATA, ChainContract, Reverted, deploy_contract, public_abi, reverts
from tests.contracts.world import Orders, Person, World, bytes32, mock, names

PRICE = 11_001
"""What the default orders cost for one task."""
MATCH = bytes.fromhex("156194d4")


def match_call(orders: Orders) -> bytes:
    """The calldata of `matchOrders`."""
    return public_abi("hub").encode_call("matchOrders", orders.arguments)


@pytest.fixture
def requester(world: World, holder: Person) -> Person:
    """Has RLC outside, nothing inside; the scheduler has its stake."""
    world.fund(world.scheduler)
    world.rlc.call("transfer", world.requester.address, 10 * PRICE, sender=holder.address)
    return world.requester


def send(world: World, person: Person, amount: int, data: bytes) -> Any:
    """`approveAndCall` of RLC; the events."""
    return world.rlc.transact("approveAndCall", world.hub.address, amount, data, sender=person.address)[1]


def nothing_moved(world: World, person: Person) -> bool:
    """True if no RLC went in, and no allowance stayed."""
    outside = world.rlc.call("balanceOf", person.address)
    allowance = world.rlc.call("allowance", person.address, world.hub.address)
    return (world.balance(person), world.frozen(person), outside, allowance) == (0, 0, 10 * PRICE, 0)


# --- a deposit ------------------------------------------------------------------------------------------------------


def test_one_transaction_of_the_token_approves_and_deposits(world: World, requester: Person) -> None:
    logs = send(world, requester, 9, b"")
    assert [(log.address, log.name) for log in logs] == [
        (world.rlc.address, "Approval"),
        (world.rlc.address, "Transfer"),
        (world.hub.address, "Transfer"),
    ]
    assert world.balance(requester) == 9
    assert world.rlc.call("allowance", requester.address, world.hub.address) == 0
    world.check_money()


def test_another_token_is_refused(world: World, requester: Person) -> None:
    world.rlc.call("approve", world.hub.address, 9, sender=requester.address)
    for token in (world.stranger.address, world.hub.address, ZERO_ADDRESS):
        with reverts("wrong-token"):
            world.hub.call("receiveApproval", requester.address, 9, token, b"", sender=world.rlc.address)


def test_the_escrows_own_shares_cannot_be_deposited(world: World, requester: Person) -> None:
    world.fund(requester, 9)
    with reverts("wrong-token"):
        world.hub.call("approveAndCall", world.hub.address, 9, b"", sender=requester.address)


def test_anybody_can_deposit_what_somebody_approved_and_only_into_its_account(world: World, requester: Person) -> None:
    """Weakness C10 of the protocol, kept: the caller is not checked, so an open allowance can be pushed in."""
    world.rlc.call("approve", world.hub.address, 9, sender=requester.address)
    arguments = (requester.address, 9, world.rlc.address, b"")
    assert world.hub.call("receiveApproval", *arguments, sender=world.stranger.address) is True
    assert (world.balance(requester), world.balance(world.stranger)) == (9, 0)
    with reverts(NO_DATA):
        world.hub.call("receiveApproval", *arguments, sender=world.stranger.address)


# --- a deposit and a match ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_dataset", [False, True])
def test_one_transaction_deposits_and_matches(world: World, requester: Person, with_dataset: bool) -> None:
    cost = PRICE + 300 * with_dataset
    orders = world.orders(with_dataset=with_dataset)
    logs = send(world, requester, cost + 5, match_call(orders))
    assert names(logs) == [
        *("Approval", "Transfer", "Transfer"),
        *("Transfer", "Lock", "Transfer", "Lock", "SchedulerNotice", "OrdersMatched"),
    ]
    assert {log.address for log in logs[2:]} == {world.hub.address}
    assert (world.balance(requester), world.frozen(requester)) == (5, cost)
    deal = world.view_deal(logs[-1].arguments["dealid"])
    assert (deal.requester, deal.sponsor, deal.botSize) == (requester.address, requester.address, 1)
    assert deal.dataset.price == 300 * with_dataset
    world.check_money()


def test_the_deal_is_the_one_that_match_orders_makes(world: World, requester: Person) -> None:
    orders = world.orders(request={"volume": 3, "trust": 5, "callback": world.stranger.address})
    with world.anchor():
        world.fund(requester, 3 * PRICE)
        _, plain = world.hub.transact("matchOrders", *orders.arguments, sender=world.rlc.address)
        expected = world.hub.call("viewDeal", plain[-1].arguments["dealid"])
    logs = send(world, requester, 3 * PRICE, match_call(orders))
    assert logs[3:] == plain
    assert world.hub.call("viewDeal", logs[-1].arguments["dealid"]) == expected


def test_money_that_was_in_the_escrow_before_counts(world: World, requester: Person) -> None:
    world.fund(requester, PRICE)
    send(world, requester, 0, match_call(world.orders()))
    assert (world.balance(requester), world.frozen(requester)) == (0, PRICE)


def test_anybody_can_call_for_a_requester_who_approved_and_signed(world: World, requester: Person) -> None:
    world.rlc.call("approve", world.hub.address, PRICE, sender=requester.address)
    call = (requester.address, PRICE, world.rlc.address, match_call(world.orders()))
    assert world.hub.call("receiveApproval", *call, sender=world.stranger.address) is True
    assert (world.balance(requester), world.frozen(requester)) == (0, PRICE)
    assert world.frozen(world.stranger) == 0


def test_a_presigned_request_needs_no_signature(world: World, requester: Person) -> None:
    unsigned = world.unsigned_orders()
    orders = replace(world.sign_all(unsigned), request=unsigned.request)
    with reverts("invalid-signature-format"):
        send(world, requester, PRICE, match_call(orders))
    operation = world.operation(unsigned.request, SIGN, requester)
    world.hub.call("manageRequestOrder", operation, sender=requester.address)
    send(world, requester, PRICE, match_call(orders))
    assert world.frozen(requester) == PRICE


def test_a_contract_account_deposits_and_matches(world: World, requester: Person) -> None:
    wallet = mock("wallet_contract", 0, b"open")
    address = str(wallet.address)
    unsigned = world.unsigned_orders(request={"requester": address})
    signed = world.sign_all(unsigned)
    orders = replace(signed, request=unsigned.request.signed("0x" + b"open".hex()))
    world.rlc.call("transfer", address, PRICE, sender=requester.address)
    world.rlc.call("approveAndCall", world.hub.address, PRICE, match_call(orders), sender=address)
    assert world.frozen(address) == PRICE
    world.check_money(address)


# --- what is refused, in this order ---------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\x01", b"\x15\x61", b"\x15\x61\x94"])
def test_data_too_short_for_an_operation_reverts_without_data(world: World, requester: Person, data: bytes) -> None:
    with reverts(NO_DATA):
        send(world, requester, 9, data)
    assert nothing_moved(world, requester)


@pytest.mark.parametrize("function", ["sponsorMatchOrders", "transfer", "withdraw", None])
def test_another_operation_is_not_supported(world: World, requester: Person, function: str | None) -> None:
    abi = public_abi("hub")
    selector = abi.function(function).selector if function else b"\x01\x02\x03\x04"
    for data in (selector, selector + match_call(world.orders())[4:]):
        with reverts(f"UnsupportedOperation(0x{selector.hex()})"):
            send(world, requester, 9, data)
    assert nothing_moved(world, requester)


def test_the_deposit_comes_before_the_operation_is_looked_at(world: World, requester: Person) -> None:
    with reverts(NO_DATA):
        send(world, requester, 10 * PRICE + 1, b"\x01\x02\x03\x04")


def word(number: int) -> bytes:
    """A number as ABI-encoded."""
    return number.to_bytes(32, "big")


def _malformed(world: World, which: str) -> bytes:
    good = match_call(world.orders())
    return {
        "nothing": good[:4],
        "one word": good[:36],
        "cut": good[:-33],
        "offset beyond the end": good[:4] + word(2**20) + good[36:],
        "offset that overflows": good[:4] + word(2**256 - 32) + good[36:],
        "offset of the request beyond the end": good[:100] + word(len(good)) + good[132:],
        "dirty address": good[: 4 + 128] + b"\x01" + good[4 + 129 :],
    }[which]


@pytest.mark.parametrize(
    "which",
    [
        *("nothing", "one word", "cut", "offset beyond the end", "offset that overflows"),
        *("offset of the request beyond the end", "dirty address"),
    ],
)
def test_bytes_that_are_not_four_orders_revert_without_data(world: World, requester: Person, which: str) -> None:
    with reverts(NO_DATA):
        send(world, requester, PRICE, _malformed(world, which))
    assert nothing_moved(world, requester)


def test_orders_beyond_our_bounds_are_malformed(world: World, requester: Person) -> None:
    """The order's own bounds, at them and one over; so the whole call always fits."""
    with reverts(NO_DATA):
        send(world, requester, PRICE, match_call(world.orders(request={"params": "p" * 4097})))
    long_sign = replace(world.orders(), app=world.orders().app.signed("0x" + "00" * 1025))
    with reverts(NO_DATA):
        send(world, requester, PRICE, match_call(long_sign))
    signature = "0x" + "00" * 1024
    long = world.orders(with_dataset=True, request={"params": "p" * 4096})
    largest = Orders(
        long.app.signed(signature),
        long.dataset.signed(signature),
        long.workerpool.signed(signature),
        long.request.signed(signature),
    )
    with reverts("invalid-signature-format"):
        send(world, requester, PRICE, match_call(largest))
    send(world, requester, PRICE, match_call(world.orders(request={"params": "p" * 4096})))
    assert world.frozen(requester) == PRICE


def test_the_request_of_somebody_else_is_refused(world: World, requester: Person, holder: Person) -> None:
    world.fund(requester)
    with reverts("CallerIsNotTheRequester()"):
        send(world, holder, PRICE, match_call(world.orders()))
    # Before the match is looked at at all.
    with reverts("CallerIsNotTheRequester()"):
        send(world, holder, PRICE, match_call(world.unsigned_orders(request={"category": 99})))
    assert world.frozen(requester) == world.balance(holder) == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request": {"category": 1}}, "iExecV5-matchOrders-0x00"),
        ({"request": {"appmaxprice": 1}}, "iExecV5-matchOrders-0x03"),
        ({"app": {"requesterrestrict": "0x" + "12" * 20}}, "iExecV5-matchOrders-0x15"),
        ({"request": {"volume": 0}}, "iExecV5-matchOrders-0x60"),
    ],
)
def test_a_match_that_fails_says_why_and_undoes_the_deposit(
    world: World, requester: Person, changes: dict[str, Any], reason: str
) -> None:
    with reverts(reason):
        send(world, requester, PRICE, match_call(world.orders(**changes)))
    assert nothing_moved(world, requester)


def test_a_deposit_that_is_too_small_for_the_deal_is_refused(world: World, requester: Person) -> None:
    orders = match_call(world.orders())
    with reverts("IexecEscrow: Transfer amount exceeds balance"):
        send(world, requester, PRICE - 1, orders)
    assert nothing_moved(world, requester)
    send(world, requester, PRICE, orders)
    with reverts("iExecV5-matchOrders-0x60"):
        send(world, requester, PRICE, orders)


def test_a_match_that_fails_without_a_reason_gets_one(world: World, requester: Person) -> None:
    no_app = world.orders(app={"app": world.stranger.address}, request={"app": world.stranger.address})
    with reverts(NO_DATA):
        world.match(no_app)
    with reverts("OperationFailed()"):
        send(world, requester, PRICE, match_call(no_app))
    assert nothing_moved(world, requester)


def test_a_match_that_overflows_fails_without_a_reason_of_its_own(world: World, requester: Person) -> None:
    """Deviation: the published contracts pass a panic on; here arithmetic reverts without data."""
    dear: dict[str, Any] = {"app": {"appprice": 2**255}, "request": {"appmaxprice": 2**255, "volume": 2}}
    with reverts(NO_DATA):
        world.match(world.orders(**dear))
    with reverts("OperationFailed()"):
        send(world, requester, PRICE, match_call(world.orders(**dear)))
    assert nothing_moved(world, requester)


def test_a_long_reason_is_passed_on_up_to_1024_bytes(world: World, requester: Person) -> None:
    """An entry that nobody registered, asked for its owner, reverts as it likes."""
    for length in (1024, 1025):
        # The whole code: revert with so many bytes 0x00.
        talker, _ = boa.env.deploy(bytecode=from_hex(f"0x6461{length:04x}5ffd5f526005601bf3"))
        orders = world.orders(app={"app": str(talker)}, request={"app": str(talker)})
        with pytest.raises(Reverted) as plain:
            world.match(orders)
        with pytest.raises(Reverted) as embedded:
            send(world, requester, PRICE, match_call(orders))
        assert len(plain.value.data) == length
        assert embedded.value.data == plain.value.data[:1024]


def test_a_match_that_cannot_happen_because_its_facet_is_not_there_is_refused(world: World, requester: Person) -> None:
    """Called by itself, and created with nobody in the place of the facet of orders."""
    facet = deploy_contract("hub_escrow", base_token=world.rlc.address, hub_orders=world.stranger.address)
    with reverts("OperationFailed()"):
        world.rlc.call("approveAndCall", facet.address, PRICE, match_call(world.orders()), sender=requester.address)


# --- re-entry -------------------------------------------------------------------------------------------------------


def odd_orders(world: World, hub: ChainContract) -> Orders:
    """Free orders for another hub, of the world's owner."""
    free = world.unsigned_orders(
        app={"appprice": 0},
        workerpool={"workerpoolprice": 0},
        request={"requester": world.owner.address},
    )
    here, world.hub = world.hub, hub
    try:
        return Orders(
            world.sign(free.app, world.app_owner),
            free.dataset,
            world.sign(free.workerpool, world.scheduler),
            world.sign(free.request, world.owner),
        )
    finally:
        world.hub = here


def test_a_token_that_makes_the_same_match_meanwhile_makes_ours_fail(
    world: World, odd: tuple[ChainContract, Any]
) -> None:
    """`matchOrders` takes no lock. The orders are used once, whoever comes first, and the books stay right."""
    hub, token = odd
    orders = odd_orders(world, hub)
    token.call_back(match_call(orders), False)
    call = (world.owner.address, 10, str(token.address), match_call(orders))
    with reverts("iExecV5-matchOrders-0x60"):
        hub.call("receiveApproval", *call, sender=world.stranger.address)
    assert hub.call("totalSupply") == token.balanceOf(hub.address) == 0
    token.set_mode(0)
    assert hub.call("receiveApproval", *call, sender=world.stranger.address) is True
    assert hub.call("totalSupply") == token.balanceOf(hub.address) == 10


def test_a_token_that_matches_other_orders_meanwhile_changes_nothing_for_ours(
    world: World, odd: tuple[ChainContract, Any]
) -> None:
    hub, token = odd
    token.call_back(match_call(odd_orders(world, hub)), False)
    call = (world.owner.address, 10, str(token.address), match_call(odd_orders(world, hub)))
    _, logs = hub.transact("receiveApproval", *call, sender=world.stranger.address)
    assert names(logs).count("OrdersMatched") == 2
    assert hub.call("balanceOf", world.owner.address) == hub.call("totalSupply") == token.balanceOf(hub.address) == 10


def test_a_token_that_refuses_or_fails_matches_nothing(world: World, odd: tuple[ChainContract, Any]) -> None:
    hub, token = odd
    call = (world.owner.address, 10, str(token.address), match_call(odd_orders(world, hub)))
    for mode, reason in ((1, "failed-transferFrom"), (2, "odd")):
        token.set_mode(mode)
        with reverts(reason):
            hub.call("receiveApproval", *call, sender=str(token.address))
    assert hub.call("totalSupply") == token.balanceOf(hub.address) == 0


def test_the_lock_is_open_again_after_a_match(world: World, requester: Person) -> None:
    send(world, requester, PRICE + 1, match_call(world.orders()))
    assert world.hub.call("withdraw", 1, sender=requester.address) is True


def test_trailing_bytes_are_ignored_within_the_bound(world: World, requester: Person) -> None:
    call = match_call(world.orders())
    send(world, requester, PRICE, call + bytes(64))
    assert world.frozen(requester) == PRICE
    with reverts(NO_DATA):
        send(world, requester, PRICE, match_call(world.orders()) + bytes(12_288 - len(call)))


def test_orders_in_another_order_in_the_bytes_are_the_same_orders(world: World, requester: Person) -> None:
    """An encoding is its offsets: the parts may stand in any sequence, with gaps."""
    call = match_call(world.orders())[4:]
    offsets = [int.from_bytes(call[32 * i : 32 * i + 32], "big") for i in range(4)]
    parts = [call[start:end] for start, end in zip(offsets, [*offsets[1:], len(call)], strict=True)]
    moved, body = [0, 0, 0, 0], b""
    for index in (3, 1, 0, 2):
        moved[index] = 128 + len(body)
        body += parts[index] + bytes(32)
    send(world, requester, PRICE, MATCH + encode(["uint256"] * 4, moved) + body)
    assert world.frozen(requester) == PRICE


def test_a_request_is_filled_by_two_deposits(world: World, requester: Person) -> None:
    request = {"volume": 2, "salt": bytes32(77)}
    first = world.orders(app={"volume": 1}, request=request)
    second = world.orders(request=request)
    for orders in (first, second):
        send(world, requester, PRICE, match_call(orders))
    assert world.frozen(requester) == 2 * PRICE
    world.check_money()
