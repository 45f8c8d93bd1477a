"""Many transactions under way: nonces without gaps, replacements, orphaned blocks, strangers with the same key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from fairgrid.chain import calls
from fairgrid.chain.envelope import read_envelope
from fairgrid.chain.fees import FeeCaps, Fees
from fairgrid.chain.interface import Call
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import TransactionFailed
from fairgrid.pool.onchain.outbox import Ended, Outbox, SendingRules
from fairgrid.pool.records.ledger import Ledger, Superseded
from fairgrid.pool.records.ledger_entries import LedgerTransaction, TransactionStatus
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol.hexes import checksum
from fairgrid.seams.clock import VirtualClock
from fairgrid.wallet.keys import KeySigner

KEY = KeySigner(b"\x07" * 32)
FEES = Fees(10**9, 0)
GWEI = 10**9


def _address(number: int) -> str:
    return checksum(f"0x{number:040x}")


class Desk:
    """An outbox on the twin, with virtual time; `again` is the same after a crash."""

    def __init__(
        self, folder: Path, *, chain: Any = None, rules: SendingRules | None = None, database: str = "", **twin: Any
    ) -> None:
        self.twin = ModelChain.fresh(owner=KEY.address, **twin)
        self.chain = chain(self.twin) if chain else self.twin
        self.store = PoolStore.open(database or folder / "pool.db")
        self.clock = VirtualClock()
        self.rules = rules or SendingRules()
        self.again()

    def again(self) -> None:
        self.ledger = Ledger(self.store.engine)
        self.ledger.begin(KEY.address)
        self.outbox = Outbox(chain=self.chain, signer=KEY, ledger=self.ledger, clock=self.clock, rules=self.rules)

    def pay(self, number: int) -> Call:
        return calls.transfer(self.twin.rlc, _address(number), 1)

    async def put(self, *numbers: int, fees: Fees = FEES) -> list[int]:
        prepared = [(self.pay(number), (f"pay/{number}",), 100_000) for number in numbers]
        return [transaction.nonce for transaction in await self.outbox.put(prepared, fees)]

    async def paid(self, number: int) -> int:
        return await self.twin.rlc_balance(_address(number))

    async def look(self, seconds: float = 0.25) -> list[Ended]:
        await self.clock.advance(seconds)
        return await self.outbox.look()

    def statuses(self) -> list[tuple[int, str]]:
        found = self.ledger.from_nonce(KEY.address, 0)
        return [(item.transaction.nonce, item.status.value) for item in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_many_are_signed_stored_and_sent_at_once_with_nonces_in_a_row(folder: Path) -> None:
    desk = Desk(folder)
    assert await desk.put(*range(1, 41)) == list(range(40))
    assert await desk.put(41) == [40]
    ended = await desk.look()
    assert sorted(key for end in ended for key in end.keys) == sorted(f"pay/{number}" for number in range(1, 42))
    assert not any(end.reason for end in ended)
    assert desk.outbox.count == 0
    assert [await desk.paid(number) for number in range(1, 42)] == [1] * 41


class CountingAccounts:
    """The twin, which counts how often somebody asks for the count of an account."""

    def __init__(self, twin: ModelChain) -> None:
        self._twin = twin
        self.counts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._twin, name)

    async def count_transactions(self, address: str, *, pending: bool = False) -> int:
        self.counts += not pending
        return await self._twin.count_transactions(address, pending=pending)


async def test_what_is_under_way_is_counted_once_a_block(folder: Path) -> None:
    desk = Desk(folder, chain=CountingAccounts)
    desk.twin.base_fee_wei = 4 * GWEI  # What is offered is too little: it waits.
    await desk.put(1)
    for _ in range(20):
        assert await desk.look() == []
    counting = cast(CountingAccounts, desk.chain)
    assert counting.counts == 1
    desk.twin.mine()
    for _ in range(20):
        await desk.look()
    assert counting.counts == 2
    desk.twin.base_fee_wei = 0
    desk.twin.mine()
    assert await desk.look(60) == [Ended(("pay/1",))]


async def test_what_was_stored_and_not_sent_is_sent_by_the_next_process_and_mined_once(folder: Path) -> None:
    desk = Desk(folder)
    signed = desk.twin.sign(desk.pay(1), KEY, nonce=0, gas=100_000, fees=FEES)
    desk.ledger.record([LedgerTransaction(signed, ("pay/1",))], at=0)
    desk.again()
    assert await desk.put(2) == [1]
    desk.outbox.adopt(desk.ledger.from_nonce(KEY.address, 0))
    await desk.look()
    assert {key for end in await desk.look() for key in end.keys} == {"pay/1", "pay/2"}
    assert (await desk.paid(1), await desk.paid(2)) == (1, 1)


async def test_a_stuck_transaction_is_replaced_and_every_version_is_stored_before_it_is_sent(folder: Path) -> None:
    desk = Desk(folder)
    desk.twin.base_fee_wei = 4 * GWEI
    await desk.put(1)
    await desk.look(59)
    assert desk.statuses() == [(0, "sent")]
    await desk.look(2)
    first, second = (read_envelope(item.transaction.raw) for item in desk.ledger.from_nonce(KEY.address, 0))
    assert (first.nonce, first.to, first.data, first.gas) == (second.nonce, second.to, second.data, second.gas)
    assert second.fees.max_fee_wei * 8 >= first.fees.max_fee_wei * 9
    assert second.fees.max_fee_wei >= 4 * GWEI
    (ended,) = await desk.look()
    assert ended == Ended(("pay/1",))
    assert desk.statuses() == [(0, "mined")]
    assert await desk.paid(1) == 1


async def test_the_first_version_counts_when_it_is_mined_instead_of_its_replacement(folder: Path) -> None:
    desk = Desk(folder, automine=False)
    await desk.put(1)
    old = desk.ledger.from_nonce(KEY.address, 0)[0].transaction
    await desk.look(61)
    assert len(desk.statuses()) == 2
    desk.twin._pool[:] = [old]
    desk.twin.mine()
    assert await desk.look() == [Ended(("pay/1",))]
    assert [item.transaction for item in desk.ledger.from_nonce(KEY.address, 0)] == [old]


async def test_a_replacement_never_offers_more_than_the_cap(folder: Path) -> None:
    desk = Desk(folder, rules=SendingRules(caps=FeeCaps(max_fee_wei=GWEI + 1, max_tip_wei=GWEI)))
    desk.twin.base_fee_wei = 4 * GWEI
    await desk.put(1)
    for _ in range(3):
        await desk.look(61)
    assert desk.statuses() == [(0, "sent")]
    desk.twin.base_fee_wei = GWEI
    desk.twin.mine()
    assert await desk.look() == [Ended(("pay/1",))]


async def test_mined_transactions_of_orphaned_blocks_that_the_node_forgets_are_sent_again_as_the_same_bytes(
    folder: Path,
) -> None:
    desk = Desk(folder, keep_states=12)
    await desk.put(*range(1, 11))
    assert len(await desk.look()) == 10
    before = [item.transaction for item in desk.ledger.from_nonce(KEY.address, 0)]
    desk.twin.reorganise(10, drop=True)
    assert await desk.paid(1) == 0
    await desk.look(3)
    await desk.look()
    assert [await desk.paid(number) for number in range(1, 11)] == [1] * 10
    assert [item.transaction for item in desk.ledger.from_nonce(KEY.address, 0)] == before
    assert desk.outbox.count == 0


async def test_after_a_restart_orphaned_transactions_are_noticed_too(folder: Path) -> None:
    desk = Desk(folder, keep_states=5)
    await desk.put(1, 2)
    await desk.look()
    desk.twin.reorganise(2, drop=True)
    desk.again()
    await desk.look(3)
    assert await desk.put(3) == [2]
    await desk.look()
    assert [await desk.paid(number) for number in (1, 2, 3)] == [1, 1, 1]


async def test_after_a_restart_what_was_mined_is_brought_back_below_what_is_still_under_way(folder: Path) -> None:
    desk = Desk(folder, keep_states=5)
    await desk.put(1, 2)
    await desk.look()
    desk.twin.reorganise(2, drop=True)
    under_way = desk.twin.sign(desk.pay(3), KEY, nonce=2, gas=100_000, fees=FEES)
    desk.ledger.record([LedgerTransaction(under_way, ("pay/3",))], at=0)
    desk.again()
    desk.outbox.adopt(desk.ledger.from_nonce(KEY.address, 2))
    await desk.look(3)
    await desk.look(3)
    assert [await desk.paid(number) for number in (1, 2, 3)] == [1, 1, 1]
    assert desk.outbox.count == 0


async def test_a_strangers_transaction_that_was_undone_leaves_no_gap_before_later_ones(folder: Path) -> None:
    desk = Desk(folder, automine=False, keep_states=5)
    await desk.put(1)
    desk.twin._pool.clear()
    await desk.twin.broadcast(desk.twin.sign(desk.pay(9), KEY, nonce=0, gas=100_000, fees=Fees(2 * GWEI, 0)))
    desk.twin.mine()
    for _ in range(6):
        await desk.look(2)
    assert await desk.put(2) == [1]
    desk.twin.reorganise(1, drop=True)
    await desk.look(20)
    await desk.look(20)
    desk.twin.mine()
    await desk.look(2)
    assert await desk.paid(2) == 1
    assert desk.outbox.count == 0


async def test_a_nonce_taken_by_a_stranger_ends_with_a_reason_and_the_next_one_is_fresh(folder: Path) -> None:
    desk = Desk(folder, automine=False)
    await desk.put(1)
    desk.twin._pool.clear()
    stranger = desk.twin.sign(desk.pay(9), KEY, nonce=0, gas=100_000, fees=Fees(2 * GWEI, 0))
    await desk.twin.broadcast(stranger)
    desk.twin.mine()
    ended: list[Ended] = []
    for _ in range(6):
        ended += await desk.look(2)
    (end,) = ended
    assert end.keys == ("pay/1",)
    assert "took its nonce" in end.reason
    assert desk.statuses() == []
    assert await desk.put(2) == [1]


async def test_a_refused_transaction_is_given_up_and_its_nonce_filled_so_that_later_ones_go_on(folder: Path) -> None:
    class Picky:
        """Never takes a payment to 0xbad."""

        def __init__(self, twin: ModelChain) -> None:
            self._twin = twin

        def __getattr__(self, name: str) -> Any:
            return getattr(self._twin, name)

        async def broadcast_all(self, transactions: Any) -> Any:
            good = [item for item in transactions if "00000bad" not in item.raw.hex()]
            await self._twin.broadcast_all(good)
            return [None if item in good else TransactionFailed("transfer", "no") for item in transactions]

    desk = Desk(folder, chain=Picky)
    await desk.put(0xBAD, 2, 3)
    ended: list[Ended] = []
    for _ in range(8):
        ended += await desk.look(2.5)
    assert Ended((f"pay/{0xBAD}",), "no node takes its transaction") in ended
    assert {key for end in ended if not end.reason for key in end.keys} == {"pay/2", "pay/3"}
    assert [await desk.paid(number) for number in (0xBAD, 2, 3)] == [0, 1, 1]


async def test_a_reverted_transaction_ends_with_a_reason(folder: Path) -> None:
    desk = Desk(folder)
    await desk.outbox.put([(calls.claim(desk.twin.hub, "0x" + "11" * 32), ("claim",), 100_000)], FEES)
    (end,) = await desk.look()
    assert (end.keys, end.reason) == (("claim",), "it was mined, but the hub refused it")
    assert desk.statuses() == [(0, "reverted")]


async def test_on_postgresql_versions_are_stored_settled_and_fenced_as_on_sqlite(postgres_url: str) -> None:
    desk = Desk(Path(), database=postgres_url)
    desk.twin.base_fee_wei = 4 * GWEI
    await desk.put(1, 2)
    await desk.look(61)
    assert [nonce for nonce, _ in desk.statuses()] == [0, 0, 1, 1]
    old = desk.outbox
    assert {key for end in await desk.look() for key in end.keys} == {"pay/1", "pay/2"}
    assert desk.statuses() == [(0, "mined"), (1, "mined")]
    desk.again()
    with pytest.raises(Superseded):
        await old.put([(desk.pay(3), ("pay/3",), 100_000)], FEES)
    assert await desk.put(3, fees=Fees(4 * GWEI, 0)) == [2]
    desk.store.close()


async def test_a_process_of_an_older_epoch_signs_and_sends_nothing_more(folder: Path) -> None:
    desk = Desk(folder)
    await desk.put(1)
    old = desk.outbox
    desk.again()
    with pytest.raises(Superseded, match="Another process took over"):
        await old.put([(desk.pay(2), ("pay/2",), 100_000)], FEES)
    assert await desk.paid(2) == 0
    assert await desk.put(2) == [1]
    assert await desk.paid(2) == 1


async def test_an_outage_between_storing_and_sending_delays_and_loses_nothing(folder: Path) -> None:
    desk = Desk(folder)
    counted = asyncio.Event()
    original = desk.twin.sign

    def sign(*arguments: Any, **options: Any) -> Any:
        desk.twin.down = True
        counted.set()
        return original(*arguments, **options)

    desk.twin.sign = sign  # type: ignore[method-assign]
    assert await desk.put(1) == [0]
    assert desk.statuses() == [(0, TransactionStatus.SENT.value)]
    desk.twin.down = False
    await desk.look()
    assert await desk.look() == [Ended(("pay/1",))]
