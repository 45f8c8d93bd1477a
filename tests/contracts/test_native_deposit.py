"""Native coins into the escrow: `deposit`, `depositFor`, plain coins and coins with an unknown call."""

from __future__ import annotations

from typing import Any

import boa
import pytest

from fairgrid.protocol.hexes import ZERO_ADDRESS, from_hex
from tests.contracts.native_world import WEI_PER_NRLC, NativeWorld
from tests.contracts.registries import NO_DATA, Log, Reverted, public_abi, reverts, selector
from tests.contracts.world import Person, bytes32, mock

COINS = 10**18
GWEI = WEI_PER_NRLC


@pytest.fixture
def payer(native: NativeWorld) -> Person:
    """Somebody with coins."""
    person = Person("payer")
    boa.env.set_balance(person.address, COINS)
    return person


def send(native: NativeWorld, person: Person | str, data: bytes, wei: int) -> bytes:
    """A bare call of the hub; its answer."""
    sender = person if isinstance(person, str) else person.address
    computation = boa.env.execute_code(to_address=native.hub.address, sender=sender, data=data, value=wei)
    if computation.is_error:
        raise Reverted(computation.output)
    return bytes(computation.output)


UNKNOWN = {
    "no data": b"",
    "one byte": b"\x01",
    "three bytes": b"\x00\x00\x00",
    "four zeros": bytes(4),
    "another function": bytes.fromhex("deadbeef") + bytes(64),
    "deposit of the token flavour": from_hex(selector("deposit(uint256)")) + bytes(32),
    "receiveApproval": from_hex(selector("receiveApproval(address,uint256,address,bytes)")) + bytes(160),
    "depositWithPermit": from_hex(selector("depositWithPermit(uint256,uint256,uint8,bytes32,bytes32)")) + bytes(160),
    "depositFor of the token flavour": from_hex(selector("depositFor(uint256,address)")) + bytes(64),
    "renounceOwnership": from_hex(selector("renounceOwnership()")),
    "long": bytes.fromhex("deadbeef") + b"\xff" * 12_000,
}


@pytest.mark.parametrize(
    ("wei", "credit"),
    [(0, 0), (1, 0), (GWEI - 1, 0), (GWEI, 1), (GWEI + 1, 1), (7 * GWEI + 999_999_999, 7), (COINS, 10**9)],
)
@pytest.mark.parametrize("way", ["deposit", "depositFor", "plain"])
def test_whole_nrlc_are_credited_and_the_change_comes_back(
    native: NativeWorld, payer: Person, way: str, wei: int, credit: int
) -> None:
    if way == "deposit":
        answer, logs = native.escrow.transact("deposit", sender=payer.address, value=wei)
        assert answer is True
        minted = {"from": ZERO_ADDRESS, "to": payer.address, "value": credit}
        assert logs == [Log(native.hub.address, "Transfer", minted)]
    elif way == "depositFor":
        assert native.escrow.call("depositFor", native.stranger.address, sender=payer.address, value=wei) is True
    else:
        assert send(native, payer, b"", wei) == b""
    target = native.stranger if way == "depositFor" else payer
    assert native.balance(target) == native.hub.call("totalSupply") == native.held() == credit
    assert native.coins(payer) == COINS - credit * GWEI
    assert native.coins(native.hub.address) == credit * GWEI
    native.check_money(payer)


@pytest.mark.parametrize("what", list(UNKNOWN))
def test_a_call_that_nobody_knows_is_a_deposit_of_the_caller(native: NativeWorld, payer: Person, what: str) -> None:
    assert send(native, payer, UNKNOWN[what], 5 * GWEI + 3) == b""
    assert send(native, payer, UNKNOWN[what], 0) == b""
    assert native.balance(payer) == 5
    assert native.coins(payer) == COINS - 5 * GWEI
    native.check_money(payer)


def test_a_deposit_for_nobody_is_refused(native: NativeWorld, payer: Person) -> None:
    with reverts("ERC20: mint to the zero address"):
        native.escrow.call("depositFor", ZERO_ADDRESS, sender=payer.address, value=GWEI)
    assert native.coins(payer) == COINS


@pytest.mark.parametrize(
    "signature",
    [
        *("withdraw(uint256)", "withdrawTo(uint256,address)", "recover()", "token()", "transfer(address,uint256)"),
        *("owner()", "claim(bytes32)", "computeDealVolume()", "viewDeal(bytes32)", "matchOrders()"),
    ],
)
def test_functions_that_take_no_coins_keep_none(native: NativeWorld, payer: Person, signature: str) -> None:
    """The last and `computeDealVolume()` are not functions of the hub, so they are deposits."""
    data = from_hex(selector(signature)) + bytes(64)
    if signature in ("computeDealVolume()", "matchOrders()"):
        assert send(native, payer, data, GWEI) == b""
        return
    with reverts(NO_DATA):
        send(native, payer, data, GWEI)
    assert native.coins(payer) == COINS


def test_short_arguments_of_a_known_function_are_no_deposit(native: NativeWorld, payer: Person) -> None:
    with reverts(NO_DATA):
        send(native, payer, from_hex(selector("depositFor(address)")), GWEI)
    dirty = from_hex(selector("depositFor(address)")) + b"\xff" * 32
    with reverts(NO_DATA):
        send(native, payer, dirty, GWEI)


# --- contracts that deposit -----------------------------------------------------------------------------------------


@pytest.fixture
def receiver(native: NativeWorld) -> Any:
    """A contract with coins whose behaviour can be chosen."""
    contract = mock("coin_receiver")
    boa.env.set_balance(str(contract.address), COINS)
    return contract


def through(native: NativeWorld, receiver: Any, data: bytes, wei: int) -> None:
    """The contract calls the hub."""
    call = receiver.do.prepare_calldata(native.hub.address, data)
    computation = boa.env.execute_code(to_address=str(receiver.address), data=call, value=wei, sender=rich(native))
    if computation.is_error:
        raise Reverted(computation.output)


def rich(native: NativeWorld) -> str:
    """Somebody to pay for it."""
    native.give_coins(native.stranger, COINS)
    return native.stranger.address


def test_a_contract_deposits_and_is_given_its_change(native: NativeWorld, receiver: Any) -> None:
    address = str(receiver.address)
    through(native, receiver, public_abi("hub_escrow_native").encode_call("deposit", ()), 3 * GWEI + 1)
    assert (native.balance(address), receiver.calls()) == (3, 1)
    assert native.coins(address) == COINS + 1
    native.check_money(address)


@pytest.mark.parametrize("wei", [3 * GWEI + 1, 3 * GWEI, 0])
def test_a_contract_that_takes_no_coins_cannot_deposit(native: NativeWorld, receiver: Any, wei: int) -> None:
    """Not even when there is no change: the protocol calls it all the same. Somebody else can deposit for it."""
    receiver.set_mode(1)
    for data in (b"", public_abi("hub_escrow_native").encode_call("deposit", ())):
        with reverts("native-transfer-failed"):
            through(native, receiver, data, wei)
    assert native.hub.call("totalSupply") == 0
    native.fund(str(receiver.address), 3)
    assert native.balance(str(receiver.address)) == 3


INNER: dict[str, tuple[str, tuple[Any, ...]]] = {
    "deposit": ("deposit", ()),
    "depositFor": ("depositFor", (ZERO_ADDRESS,)),
    "depositForArray": ("depositForArray", ([], [])),
    "withdraw": ("withdraw", (0,)),
    "withdrawTo": ("withdrawTo", (0, ZERO_ADDRESS)),
    "recover": ("recover", ()),
}


@pytest.mark.parametrize("inner", [*INNER, "plain", "unknown"])
@pytest.mark.parametrize("outer", ["deposit", "plain", "depositFor", "depositForArray"])
def test_who_is_given_change_finds_the_doors_closed(native: NativeWorld, receiver: Any, outer: str, inner: str) -> None:
    abi, address = public_abi("hub_escrow_native"), str(receiver.address)
    inside = {"plain": b"", "unknown": b"\xde\xad\xbe\xef"}
    data = inside[inner] if inner in inside else abi.encode_call(*INNER[inner])
    native.hub.call("transferOwnership", address, sender=native.owner.address)
    calls = {
        "deposit": abi.encode_call("deposit", ()),
        "depositFor": abi.encode_call("depositFor", (native.requester.address,)),
        "depositForArray": abi.encode_call("depositForArray", ([3], [native.requester.address])),
        "plain": b"",
    }
    receiver.call_back(data, 0, False)
    with reverts("native-transfer-failed"):
        through(native, receiver, calls[outer], 3 * GWEI + 1)
    assert (native.hub.call("totalSupply"), native.coins(native.hub.address)) == (0, 0)

    receiver.call_back(data, 0, True)
    through(native, receiver, calls[outer], 3 * GWEI + 1)
    assert (receiver.calls(), receiver.succeeded(), receiver.answer()) == (1, False, b"")
    assert native.hub.call("totalSupply") == native.held() == 3
    native.check_money(address)


def test_who_is_given_change_may_spend_what_it_just_got(native: NativeWorld, receiver: Any) -> None:
    """Transfers inside take no lock, and the credit stands before the change is sent."""
    address = str(receiver.address)
    transfer = public_abi("hub").encode_call("transfer", (native.requester.address, 3))
    receiver.call_back(transfer, 0, False)
    through(native, receiver, b"", 3 * GWEI)
    assert (native.balance(address), native.balance(native.requester)) == (0, 3)
    native.check_money(address)


def test_the_lock_is_open_again_after_a_deposit(native: NativeWorld, payer: Person) -> None:
    send(native, payer, b"", GWEI)
    send(native, payer, bytes.fromhex("deadbeef"), GWEI)
    assert native.escrow.call("withdraw", 2, sender=payer.address) is True
    assert native.coins(payer) == COINS


def test_called_by_itself_the_facet_gives_back_what_it_is_sent(native: NativeWorld, payer: Person) -> None:
    """It keeps books of its own then, that are no part of any hub."""
    facet = native.facets["hub_escrow_native"]
    boa.env.execute_code(to_address=facet.address, sender=payer.address, data=b"", value=5 * GWEI)
    assert facet.call("balanceOf", payer.address) == 5
    assert native.balance(payer) == 0
    facet.call("withdraw", 5, sender=payer.address)
    assert native.coins(payer) == COINS


def test_a_deal_is_paid_in_coins(native: NativeWorld) -> None:
    """The rest of the hub knows nothing of flavours: one task, from deposits to withdrawals."""
    deal = native.deal(with_dataset=True)
    worker = native.worker()
    task = native.initialize(deal)
    native.complete(task, worker, bytes32(5))
    native.check_money(worker)
    assert native.frozen(native.requester) == native.frozen(worker) == 0
    for person in (native.requester, native.scheduler, native.app_owner, native.dataset_owner, worker):
        before, stake = native.coins(person), native.balance(person)
        native.escrow.call("withdraw", stake, sender=person.address)
        assert native.coins(person) - before == stake * GWEI
    native.check_money(worker)
    assert native.coins(native.hub.address) == native.hub.call("totalSupply") * GWEI == 0
