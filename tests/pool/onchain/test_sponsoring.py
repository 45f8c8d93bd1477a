"""Newcomers are helped once, within every cap, and a pool that dies in between pays once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairgrid.chain import calls
from fairgrid.chain.interface import SignedTransaction
from fairgrid.chain.twin import ModelChain
from fairgrid.errors import ServiceUnavailable
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.sponsoring import Grant, Newcomer, SponsorTerms, decide
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.protocol import pool_messages, worker_messages
from fairgrid.protocol.machine import Benchmark, Machine
from fairgrid.protocol.sponsorship import agreement_message
from fairgrid.seams.addresses import network_of_ip
from fairgrid.seams.clock import VirtualClock
from tests.pool.grid import Grid, key
from tests.pool.scripted import Scripted, at_the_door

DAY = 86_400.0
NOW = 1_700_000_000.0
TERMS = SponsorTerms(
    stake_nrlc=100, coins_wei=1_000, day_stake_nrlc=250, day_coins_wei=10_000, per_owner=1, per_network_day=2
)


def newcomer(name: str = "a", *, owner: str = "", network: str = "10.0.0.0/24", **change: object) -> Newcomer:
    basis = Newcomer(
        worker=key(name).address,
        key=key(name).address,
        owner=owner or key(name).address,
        network=network,
        deposit_nrlc=0,
        key_wei=0,
        fuel_per_s=10**8,
        agreement="0x11",
    )
    return replace(basis, **change)  # type: ignore[arg-type]


def grant(name: str, *, at: float = NOW, network: str = "10.1.0.0/24") -> Grant:
    decision = decide(TERMS, newcomer(name, network=network), (), at)
    assert isinstance(decision, Grant)
    return decision


def test_a_newcomer_gets_what_it_lacks() -> None:
    first = decide(TERMS, newcomer(), (), NOW)
    assert isinstance(first, Grant) and (first.stake_nrlc, first.coins_wei) == (100, 1_000)
    rich = decide(TERMS, newcomer(key_wei=1_000), (), NOW)
    assert isinstance(rich, Grant) and (rich.stake_nrlc, rich.coins_wei) == (100, 0)


@pytest.mark.parametrize(
    ("asks", "given_before", "reason"),
    [
        (newcomer(deposit_nrlc=100, key_wei=1_000), [], "enough to begin"),
        (newcomer(fuel_per_s=0), [], "benchmark"),
        (newcomer(), ["a"], "before"),
        (newcomer(owner=key("b").address), ["b"], "of this owner"),
        (newcomer(network="10.1.0.0/24"), ["b", "c"], "this network"),
        (newcomer(), ["b", "c"], "used up"),
    ],
)
def test_beyond_a_cap_nothing_is_given_and_the_cap_is_named(
    asks: Newcomer, given_before: list[str], reason: str
) -> None:
    before = [grant(name) for name in given_before]
    decision = decide(TERMS, asks, before, NOW)
    assert isinstance(decision, str) and reason in decision


def test_the_next_day_has_a_budget_of_its_own_and_a_clock_set_back_has_not() -> None:
    before = [grant("b"), grant("c")]
    assert isinstance(decide(TERMS, newcomer(), before, NOW + DAY), Grant)
    assert isinstance(decide(TERMS, newcomer(), before, NOW - 10 * DAY), str)


def test_a_pool_without_terms_gives_nothing() -> None:
    assert "does not sponsor" in str(decide(SponsorTerms(), newcomer(), (), NOW))
    assert not Policy().sponsor_terms.gives_anything


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.0/24"),
        ("::ffff:10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        ("fe80::1%eth0", "fe80::/56"),
        ("testclient", ""),
    ],
)
def test_neighbours_count_as_one_network(address: str, network: str) -> None:
    assert network_of_ip(address, ipv6_bits=56) == network


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 12), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3 * 86_400), st.integers(0, 200)
        ),
        max_size=40,
    )
)
def test_whoever_asks_in_whatever_order_no_cap_is_ever_passed(asked: list[tuple[int, int, int, int, int]]) -> None:
    given_so_far: list[Grant] = []
    now = NOW
    for worker, owner, network, later, deposit in asked:
        now += later
        asks = Newcomer(
            worker=f"w{worker}",
            key=f"k{worker}",
            owner=f"o{owner}",
            network=f"n{network}",
            deposit_nrlc=deposit,
            key_wei=0,
            fuel_per_s=1,
        )
        decision = decide(TERMS, asks, given_so_far, now)
        if isinstance(decision, Grant):
            given_so_far.append(decision)
    assert len({found.worker for found in given_so_far}) == len(given_so_far)
    assert len({found.owner for found in given_so_far}) == len(given_so_far)
    for found in given_so_far:
        day = [other for other in given_so_far if found.at - DAY < other.at <= found.at]
        assert sum(other.stake_nrlc for other in day) <= TERMS.day_stake_nrlc
        assert sum(other.coins_wei for other in day) <= TERMS.day_coins_wei
        assert sum(other.network == found.network for other in day) <= TERMS.per_network_day


# --- paying -------------------------------------------------------------------------------------------------------


class Dying(ModelChain):
    """A chain whose node is gone from a chosen call on, as for a process that is killed there."""

    dies_before = ""
    dies_after = ""

    async def broadcast(self, transaction: SignedTransaction) -> None:
        if self.dies_before == transaction.function:
            raise ServiceUnavailable("chain", "twin", "killed")
        await super().broadcast(transaction)
        if self.dies_after == transaction.function:
            raise ServiceUnavailable("chain", "twin", "killed")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PoolStore]:
    opened = PoolStore.open(tmp_path / "pool.db")
    yield opened
    opened.close()


@pytest.fixture
async def chain() -> AsyncIterator[Dying]:
    made = Dying.fresh(owner=key("admin").address)
    assert isinstance(made, Dying)
    await made.transact(calls.transfer(made.rlc, key("sponsor").address, 1_000), key("admin"))
    made.set_balance(key("sponsor").address, 10**18)
    for name in ("a", "b", "c"):
        made.set_balance(key(name).address, 0)
    yield made


def sponsor(chain: ModelChain, store: PoolStore, **terms: int) -> Sponsor:
    return Sponsor(
        chain=chain,
        signer=key("sponsor"),
        rlc=chain.rlc,
        store=SponsorStore(store.engine),
        terms=replace(TERMS, **terms),  # type: ignore[arg-type]
        clock=VirtualClock(),
    )


async def paid(chain: ModelChain, name: str) -> tuple[int, int]:
    address = key(name).address
    return (await chain.view_account(address)).stake, await chain.balance_wei(address)


async def test_stake_and_coins_arrive_once_however_often_the_worker_asks(chain: Dying, store: PoolStore) -> None:
    helper = sponsor(chain, store)
    await helper.allow()
    first, _ = await helper.help(newcomer())
    again, reason = await helper.help(newcomer())
    assert first == again and "before" in reason
    assert await paid(chain, "a") == (100, 1_000)
    assert await helper.look() == 0
    assert await chain.rlc_balance(key("sponsor").address) == 900


@pytest.mark.parametrize("when", ["dies_before", "dies_after"])
@pytest.mark.parametrize("step", ["depositFor", "send"])
async def test_a_pool_killed_around_any_payment_pays_once(chain: Dying, store: PoolStore, when: str, step: str) -> None:
    helper = sponsor(chain, store)
    await helper.allow()
    setattr(chain, when, step)
    await helper.help(newcomer())
    chain.dies_before = chain.dies_after = ""
    after = sponsor(chain, store)
    known, _ = await after.help(newcomer())
    assert known is not None
    while await after.look():
        pass
    await after.help(newcomer("b", network="10.2.0.0/24"))
    while await after.look():
        pass
    assert await paid(chain, "a") == (100, 1_000)
    assert await paid(chain, "b") == (100, 1_000)
    assert await chain.rlc_balance(key("sponsor").address) == 800


async def test_what_is_given_never_exceeds_the_budget_nor_the_key(chain: Dying, store: PoolStore) -> None:
    helper = sponsor(chain, store)
    await helper.allow()
    for name in ("a", "b", "c"):
        await helper.help(newcomer(name, network=f"10.{name}"))
    while await helper.look():
        pass
    assert [(await paid(chain, name))[0] for name in ("a", "b", "c")] == [100, 100, 0]
    poor = sponsor(chain, store, stake_nrlc=5_000, day_stake_nrlc=10**9)
    nothing, reason = await poor.help(newcomer("c", network="10.9.0.0/24"))
    assert nothing is None and "used up" in reason
    assert await paid(chain, "c") == (0, 0)
    assert len(SponsorStore(store.engine).grants()) == 2


# --- over the wire ------------------------------------------------------------------------------------------------


async def test_a_worker_that_asks_over_the_wire_is_helped_if_it_signed_the_agreement(tmp_path: Path) -> None:
    grid = Grid(tmp_path, policy=Policy(sponsor_stake_nrlc=50, sponsor_day_stake_nrlc=50))
    worker = Scripted(grid, "worker")
    model = grid.chain.model
    model.token.transfer(grid.admin.address, key("sponsor").address, 1_000)
    message = agreement_message(grid.chain.chain_id, grid.chain.hub, grid.workerpool, worker.address)
    machine = Machine(benchmark=Benchmark(fuel_per_s=10**8))
    spent = await grid.chain.view_account(worker.address)
    async with grid.pool(sponsor_key=key("sponsor")), at_the_door(grid) as worker.connection:
        await worker.enrol(machine=machine)
        await worker.say(worker_messages.SponsorRequest(agreement=worker.key.sign_message(message)))
        answer = await worker.hear()
        assert isinstance(answer, pool_messages.Sponsored)
        assert answer.stake_nrlc == 0 and "enough" in answer.reason, "it has a deposit"
        await worker.say(worker_messages.SponsorRequest(agreement=key("stranger").sign_message(message)))
        refused = await worker.hear()
        assert isinstance(refused, pool_messages.Refused) and "agreement" in refused.reason
    assert (await grid.chain.view_account(worker.address)).stake == spent.stake


async def test_a_pool_without_a_sponsor_says_so(tmp_path: Path) -> None:
    grid = Grid(tmp_path)
    worker = Scripted(grid, "worker")
    message = agreement_message(grid.chain.chain_id, grid.chain.hub, grid.workerpool, worker.address)
    async with grid.pool(), at_the_door(grid) as worker.connection:
        await worker.enrol()
        await worker.say(worker_messages.SponsorRequest(agreement=worker.key.sign_message(message)))
        answer = await worker.hear()
    assert isinstance(answer, pool_messages.Sponsored) and "does not sponsor" in answer.reason


def test_after_a_restore_nothing_is_given_for_a_day_and_then_only_to_who_has_nothing() -> None:
    """Grants of the time between backup and restore are not known: nobody is paid twice, no day's budget is passed."""
    early = decide(TERMS, newcomer(), (), NOW + DAY - 3_600, restored_at=NOW)
    assert isinstance(early, str) and "in 1 h" in early
    for has in ({"deposit_nrlc": 1}, {"key_wei": 1}):
        unsure = decide(TERMS, newcomer(**has), (), NOW + DAY, restored_at=NOW)  # type: ignore[arg-type]
        assert isinstance(unsure, str) and "cannot tell" in unsure
        assert isinstance(decide(TERMS, newcomer(**has), (), NOW + DAY), Grant)  # type: ignore[arg-type]
    assert isinstance(decide(TERMS, newcomer(), (), NOW + DAY, restored_at=NOW), Grant)
