"""What sponsored workers pay back counts once, no more when the chain takes it back, and opens the door again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairgrid.chain import calls
from fairgrid.chain.interface import ChainEvent
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import UsageError
from fairgrid.pool.core.policy import Policy, changed_policy
from fairgrid.pool.core.sponsoring import Debt, DebtSums, Grant, Newcomer, SponsorTerms, debts_of, decide
from fairgrid.pool.onchain.repayments import SETTLED_BLOCKS, Repayments
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.repayment_store import RepaymentStore
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.machine import Benchmark, Machine
from fairgrid.protocol.sponsorship import agreement_message
from fairgrid.seams.clock import VirtualClock
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted, at_the_door

NOW = 1_700_000_000.0
STAKE = 100
TERMS = SponsorTerms(stake_nrlc=STAKE, day_stake_nrlc=1_000, per_owner=3, per_network_day=9)
OWNER = key("owner").address


def newcomer(name: str = "a", *, owner: str = OWNER, **change: object) -> Newcomer:
    basis = Newcomer(
        worker=key(name).address,
        key=key(name).address,
        owner=owner,
        network="10.0.0.0/24",
        deposit_nrlc=0,
        key_wei=10**18,
        fuel_per_s=10**8,
        agreement="0x11",
        repays=True,
    )
    return replace(basis, **change)  # type: ignore[arg-type]


def granted(name: str, **change: object) -> Grant:
    decision = decide(TERMS, replace(newcomer(name), **change), (), NOW)  # type: ignore[arg-type]
    assert isinstance(decision, Grant)
    return decision


# --- the decision -------------------------------------------------------------------------------------------------


def test_an_owner_that_owes_gets_nothing_more_and_one_that_repaid_does() -> None:
    first = granted("a")
    refused = decide(TERMS, newcomer("b"), [first], NOW, received={first.worker: STAKE - 1})
    assert isinstance(refused, str) and "owes 1 nRLC of the 100" in refused and first.worker in refused
    assert isinstance(decide(TERMS, newcomer("b"), [first], NOW, received={first.worker: STAKE}), Grant)


def test_the_same_key_under_another_owner_is_still_the_one_that_owes() -> None:
    first = granted("a")
    again = newcomer("b", owner=key("other").address, key=first.key)
    assert "owes" in str(decide(TERMS, again, [first], NOW))
    stranger = newcomer("b", owner=key("other").address)
    assert isinstance(decide(TERMS, stranger, [first], NOW), Grant)


def test_who_never_agreed_to_repay_or_got_nothing_owes_nothing() -> None:
    gift = granted("a", repays=False)
    assert debts_of([gift], {}) == {}
    assert isinstance(decide(TERMS, newcomer("b"), [gift], NOW), Grant)
    refused = granted("a")
    assert debts_of([refused], {}, undelivered=[refused.worker]) == {}
    assert isinstance(decide(TERMS, newcomer("b"), [refused], NOW, undelivered=[refused.worker]), Grant)


def test_a_pool_that_wants_its_stakes_back_gives_none_to_workers_that_do_not_repay() -> None:
    terms = Policy(sponsor_stake_nrlc=STAKE, sponsor_day_stake_nrlc=STAKE, sponsor_only_repaying=True).sponsor_terms
    assert "only to workers that repay" in str(decide(terms, newcomer(repays=False), (), NOW))
    assert isinstance(decide(terms, newcomer(), (), NOW), Grant)
    with pytest.raises(UsageError, match="sponsor_only_repaying must be true or false"):
        changed_policy(Policy(), {"sponsor_only_repaying": 1}, source="the policy")
    assert changed_policy(Policy(), {"sponsor_only_repaying": True}, source="the policy").sponsor_only_repaying


def test_coins_alone_are_not_owed() -> None:
    terms = replace(TERMS, coins_wei=10**19, day_coins_wei=10**20)
    grant = decide(terms, newcomer(deposit_nrlc=STAKE), (), NOW)
    assert isinstance(grant, Grant) and grant.coins_wei and not grant.repays


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300), st.integers(0, 400)), max_size=8))
def test_whatever_is_paid_nobody_owes_more_than_it_got_nor_less_than_nothing(
    lines: list[tuple[bool, int, int]],
) -> None:
    grants = [
        Grant(f"w{place}", f"k{place}", "o", "n", stake, 0, "", NOW, repays)
        for place, (repays, stake, _) in enumerate(lines)
    ]
    received = {f"w{place}": paid for place, (_, _, paid) in enumerate(lines)}
    for worker, debt in debts_of(grants, received).items():
        place = int(worker[1:])
        assert 0 <= debt.owed_nrlc <= debt.given_nrlc == lines[place][1]
        assert debt.repaid_nrlc == min(lines[place][2], lines[place][1])


# --- counting -----------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PoolStore]:
    opened = PoolStore.open(tmp_path / "pool.db")
    yield opened
    opened.close()


@pytest.fixture
async def chain() -> AsyncIterator[ModelChain]:
    made = ModelChain.fresh(owner=key("admin").address, keep_states=80)
    await made.transact(calls.transfer(made.rlc, key("sponsor").address, 1_000), key("admin"))
    yield made


class Books:
    """A sponsor, what it counts, and its newcomer a."""

    def __init__(self, chain: ModelChain, store: PoolStore) -> None:
        self.chain = chain
        self.sponsor = Sponsor(
            chain=chain,
            signer=key("sponsor"),
            rlc=chain.rlc,
            store=SponsorStore(store.engine),
            terms=TERMS,
            clock=VirtualClock(),
        )
        self.store = RepaymentStore(store.engine)
        self.counting = Repayments(chain=chain, store=self.store, clock=VirtualClock(), sponsor=self.sponsor.address)

    async def give(self, name: str = "a") -> None:
        await self.sponsor.allow()
        grant, reason = await self.sponsor.help(newcomer(name))
        assert grant is not None, reason
        while await self.sponsor.look():
            pass

    async def pay(self, nrlc: int, name: str = "a", to: str = "sponsor") -> tuple[ChainEvent, ...]:
        call = calls.transfer_deposit(self.chain.hub, key(to).address, nrlc)
        receipt = await self.chain.transact(call, key(name))
        return tuple(event for event in receipt.events if event.name == "Transfer")

    @property
    def debt(self) -> Debt:
        return self.store.debts()[key("a").address]


@pytest.fixture
async def books(chain: ModelChain, store: PoolStore) -> Books:
    made = Books(chain, store)
    await made.give()
    await made.counting.begin()
    return made


async def test_a_payment_counts_once_however_often_the_chain_tells_of_it(books: Books) -> None:
    assert books.debt == Debt(STAKE, 0)
    (event,) = await books.pay(40)
    for _ in range(3):
        await books.counting.take(event)
    assert books.debt == Debt(STAKE, 40)
    await books.counting.take(replace(event, removed=True))
    await books.counting.take(replace(event, removed=True))
    assert books.debt == Debt(STAKE, 0)


async def test_what_all_owe_is_added_up_with_every_payment_and_after_one_was_taken_back(books: Books) -> None:
    assert books.counting.sums == DebtSums(debtors=1, owed_nrlc=STAKE, repaid_nrlc=0)
    (event,) = await books.pay(40)
    await books.counting.take(event)
    assert books.counting.sums == DebtSums(debtors=1, owed_nrlc=STAKE - 40, repaid_nrlc=40)
    await books.counting.take(replace(event, removed=True))
    assert books.counting.sums.repaid_nrlc == 0
    await books.counting.take(event)
    (rest,) = await books.pay(STAKE - 40)
    await books.counting.take(rest)
    assert books.counting.sums == DebtSums(debtors=0, owed_nrlc=0, repaid_nrlc=STAKE)


async def test_payments_of_strangers_and_to_strangers_do_not_count(books: Books, store: PoolStore) -> None:
    await books.pay(5, to="stranger")
    (event,) = await books.pay(5, "stranger")
    await books.counting.take(event)
    (event,) = await books.pay(7, to="b")
    await books.counting.take(event)
    assert books.debt.repaid_nrlc == 0 and books.store.unsettled() == ()


async def test_a_payment_that_moves_to_another_block_counts_once_in_whatever_order_it_is_told(books: Books) -> None:
    (event,) = await books.pay(40)
    await books.counting.take(event)
    moved = replace(event, block_hash="0x" + "ab" * 32, block_number=event.block_number + 1)
    await books.counting.take(moved)
    await books.counting.take(replace(event, removed=True))
    assert books.debt.repaid_nrlc == 40
    await books.counting.take(replace(moved, removed=True))
    assert books.debt.repaid_nrlc == 0


async def test_what_was_taken_back_while_the_pool_was_away_is_found_by_its_block(
    books: Books, chain: ModelChain
) -> None:
    (event,) = await books.pay(40)
    await books.counting.take(event)
    await books.counting.look()
    assert books.debt.repaid_nrlc == 40
    chain.reorganise(2, drop=True)
    await books.counting.look()
    assert books.debt.repaid_nrlc == 0


async def test_what_lies_deep_is_not_looked_at_any_more(books: Books, chain: ModelChain) -> None:
    (event,) = await books.pay(40)
    await books.counting.take(event)
    for _ in range(SETTLED_BLOCKS):
        chain.mine()
    await books.counting.look()
    assert books.store.unsettled() == () and books.debt.repaid_nrlc == 40


async def test_what_came_back_is_what_the_next_newcomer_is_given_and_no_money_is_made(
    books: Books, chain: ModelChain
) -> None:
    for event in await books.pay(STAKE):
        await books.counting.take(event)
    await books.give("b")
    assert (await chain.view_account(key("b").address)).stake == STAKE
    assert (await chain.view_account(key("sponsor").address)).stake == 0
    assert await chain.rlc_balance(key("sponsor").address) == 1_000 - STAKE, "the first stake, lent twice"


async def test_a_newcomer_is_told_whom_it_owes_how_much_and_by_which_transaction(books: Books) -> None:
    owes = await books.sponsor.to_repay(key("a").address)
    assert owes is not None
    receipt = await books.chain.receipt(owes.deposit_tx)
    assert receipt is not None and receipt.succeeded
    assert (owes.sponsor, owes.debt) == (key("sponsor").address, Debt(STAKE, 0))
    assert await books.sponsor.to_repay(key("stranger").address) is None


# --- a whole pool -------------------------------------------------------------------------------------------------


async def test_a_pool_tells_only_workers_that_repay_what_they_owe_and_sees_it_come_back(tmp_path: Path) -> None:
    policy = Policy(sponsor_stake_nrlc=10**13, sponsor_day_stake_nrlc=10**14, sponsor_per_owner=2)
    grid = Grid(tmp_path, policy=policy, keep_states=20)
    old, new = Scripted(grid, "old"), Scripted(grid, "new")
    grid.chain.model.token.transfer(grid.admin.address, key("sponsor").address, 10**14)
    machine = Machine(benchmark=Benchmark(fuel_per_s=10**8))
    answers: dict[str, pool_messages.Sponsored] = {}
    async with grid.pool(sponsor_key=key("sponsor")):
        for worker, repays in ((old, None), (new, True)):
            message = agreement_message(grid.chain.chain_id, grid.chain.hub, grid.workerpool, worker.address)
            async with at_the_door(grid) as worker.connection:
                await worker.enrol(machine=machine)
                await worker.say(worker_messages.SponsorRequest(worker.key.sign_message(message), repays=repays))
                answer = await worker.hear()
                assert isinstance(answer, pool_messages.Sponsored)
                answers[worker.name] = answer
        assert answers["old"].stake_nrlc == answers["new"].stake_nrlc == 10**13
        told = (answers["old"].sponsor, answers["old"].owed_nrlc, answers["old"].repaid_nrlc, answers["old"].deposit_tx)
        assert told == (None, None, None, None)
        assert (answers["new"].sponsor, answers["new"].owed_nrlc) == (key("sponsor").address, 10**13)
        pay = calls.transfer_deposit(grid.chain.hub, key("sponsor").address, 10**12)
        await grid.chain.transact(pay, new.key)

        async def repaid(nrlc: int) -> bool:
            return (await grid.service.inquiries.debts())[new.address].repaid_nrlc == nrlc

        await grid.until(lambda: repaid(10**12), what="counting the payment")
        grid.chain.reorganise(1, drop=True)
        await grid.until(lambda: repaid(0), what="counting it no more")
        assert old.address not in await grid.service.inquiries.debts()
