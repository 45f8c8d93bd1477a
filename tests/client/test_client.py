"""The signed match of a deal is sent until it is mined, by whoever finds it in the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from fairgrid.chain import calls
from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.client.client import Client
from fairgrid.client.journal import DealRecord, Journal
from fairgrid.client.progress import Phase, Progress
from fairgrid.errors import FundsError, TransactionFailed
from fairgrid.seams.clock import VirtualClock
from tests.client.deals import key

REQUESTER = key("requester")


class Mining(VirtualClock):
    """Pauses take no time; after ``pauses`` of them ``then`` happens."""

    def __init__(self, pauses: int = 1_000_000, then: Any = None) -> None:
        super().__init__()
        self.pauses, self.then = pauses, then

    async def sleep(self, seconds: float) -> None:
        self.pauses -= 1
        if self.pauses == 0:
            self.then()


class Counting(ModelChain):
    """A chain whose blocks are mined by hand, and that notes what was sent to it."""

    sent: list[str]
    refuses: int = 0

    async def broadcast(self, transaction: SignedTransaction) -> None:
        if self.refuses:
            self.refuses -= 1
            raise FundsError("The account cannot pay for gas.")
        self.sent.append(transaction.hash)
        await super().broadcast(transaction)


@pytest.fixture
def chain() -> Counting:
    made = Counting.fresh(owner=key("admin").address, automine=False, keep_states=4)
    assert isinstance(made, Counting)
    made.sent = []
    return made


async def signed(chain: ModelChain, journal: Journal, *, amount: int = 0, nonce: int | None = None) -> DealRecord:
    """A deal in the journal whose match was signed and never sent; any call will do for it."""
    call = calls.approve(chain.model.token.address, chain.hub, amount)
    transaction = await chain.prepare(call, REQUESTER, nonce=nonce)
    record = DealRecord(
        deal_id="0x" + "01" * 32,
        task_ids=("0x" + "02" * 32,),
        manifest_cid="bafy",
        job_name="job.py",
        trust=1,
        price=1,
        match_tx=transaction.hash,
        match_raw="0x" + transaction.raw.hex(),
        match_nonce=transaction.nonce,
    )
    journal.write(record)
    return record


def client_of(chain: ModelChain, journal: Journal, clock: VirtualClock) -> Client:
    nobody = cast(Any, None)
    return Client(
        nobody, REQUESTER, chain=chain, market=nobody, storage=nobody, pool=nobody, journal=journal, clock=clock
    )


async def test_match_that_was_never_sent_is_sent_and_noted_as_mined(chain: Counting, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    await signed(chain, journal)
    told: list[Progress] = []
    client = client_of(chain, journal, Mining(3, chain.mine))
    mined = await client.match(journal.find("last"), told.append)
    assert mined.mined and journal.find("last") == mined
    assert chain.sent == [mined.match_tx]
    assert [progress.phase for progress in told] == [Phase.MATCHING]


async def test_mined_match_is_not_sent_again(chain: Counting, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    client = client_of(chain, journal, Mining(1, chain.mine))
    mined = await client.match(await signed(chain, journal))
    assert await client.match(mined) == mined
    forgotten = await client.match(await _before_it_was_mined(journal, mined))
    assert forgotten == mined
    assert chain.sent == [mined.match_tx]


async def _before_it_was_mined(journal: Journal, record: DealRecord) -> DealRecord:
    return journal.mark_mined(record, 0)


async def test_match_that_the_node_forgets_is_sent_again_with_the_same_bytes(chain: Counting, tmp_path: Path) -> None:
    journal = Journal(tmp_path)

    def restart() -> None:
        chain._pool.clear()
        clock.pauses, clock.then = 200, chain.mine

    clock = Mining(5, restart)
    mined = await client_of(chain, journal, clock).match(await signed(chain, journal))
    assert mined.mined
    assert set(chain.sent) == {mined.match_tx} and len(chain.sent) > 1


async def test_mined_match_that_the_chain_took_back_is_sent_again_with_the_same_bytes(
    chain: Counting, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    mined = await client_of(chain, journal, Mining(1, chain.mine)).match(await signed(chain, journal))
    chain.reorganise(1, drop=True)
    told: list[Progress] = []
    again = await client_of(chain, journal, Mining(1, chain.mine)).match(mined, told.append)
    assert again.mined and journal.find("last") == again
    assert chain.sent == [mined.match_tx] * 2
    assert "took it back" in told[0].note


async def test_deal_that_is_taken_back_while_it_is_followed_is_sent_again_until_it_is_deep(
    chain: Counting, tmp_path: Path
) -> None:
    journal = Journal(tmp_path)
    mined = await client_of(chain, journal, Mining(1, chain.mine)).match(await signed(chain, journal))

    def bury() -> None:
        for _ in range(64):
            chain.mine()

    def lose_it() -> None:
        chain.reorganise(1, drop=True)
        chain.refuses = 1  # The node refuses once: whoever follows the deal does not hear of it.

    steps: list[Callable[[], object]] = [lose_it, lambda: None, chain.mine, bury]
    happens = iter(steps)

    class Following(VirtualClock):
        async def sleep(self, seconds: float) -> None:
            next(happens)()

    await client_of(chain, journal, Following())._maker.keep(mined)
    assert chain.sent == [mined.match_tx] * 2
    assert next(happens, None) is None


async def test_match_whose_place_was_taken_locks_nothing(chain: Counting, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    record = await signed(chain, journal)
    rival = await chain.prepare(
        calls.approve(chain.model.token.address, chain.hub, 7), REQUESTER, nonce=record.match_nonce
    )
    await chain.broadcast(rival)
    chain.mine()
    with pytest.raises(TransactionFailed, match="nothing was locked"):
        await client_of(chain, journal, Mining()).match(record)
    assert not journal.find("last").mined


async def test_match_that_is_not_mined_in_time_can_be_waited_for_again(chain: Counting, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    record = await signed(chain, journal)
    with pytest.raises(TransactionFailed, match=r"not mined within 30 s; `fairgrid result 0x0101010101` goes on"):
        await client_of(chain, journal, Mining()).match(record, timeout_s=30)
    assert (await client_of(chain, journal, Mining(1, chain.mine)).match(record)).mined
