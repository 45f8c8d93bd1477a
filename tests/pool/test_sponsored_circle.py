"""The circle on a real node: a pool lends a newcomer its stake, the newcomer earns, repays, and the pool lends on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.cli.worker_debts import debts_of
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.policy import Policy
from fairgrid.pool.core.sponsoring import Debt, Newcomer
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.repayment_store import RepaymentStore
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.pool.service import PoolService
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.machine import Benchmark, Machine
from fairgrid.runtime.interface import SandboxJob
from fairgrid.seams.clock import SystemClock
from fairgrid.wallet.keys import KeySigner
from fairgrid.worker.records.store import WorkerStore
from tests.pool.anvil_world import AnvilWorld, anvil_world, until
from tests.worker.world import ADMIN, AgentSetting, running

STAKE, COINS, FUEL = 120, 10**17, 10**8
EARNED = 90
"""Of each task, which costs 100."""
POLICY = Policy(
    seal_window_min_s=300,
    lease_ttl_s=300,
    restart_grace_s=60,
    fill_wait_s=60,
    authorisation_timeout_s=60,
    sponsor_stake_nrlc=STAKE,
    sponsor_coins_wei=COINS,
    sponsor_day_stake_nrlc=10 * STAKE,
    sponsor_day_coins_wei=10 * COINS,
    sponsor_per_owner=2,
)


@pytest.fixture
async def world(anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[AnvilWorld]:
    async with anvil_world(anvil, tmp_path) as made:
        yield made


def number(job: SandboxJob) -> bytes:
    (job.output_folder / "number.txt").write_text("42")
    return b""


async def opened_sponsor(world: AnvilWorld, store: PoolStore, signer: KeySigner) -> Sponsor:
    """A sponsor whose key has tokens for one stake, and coins."""
    rlc = world.chain.rlc
    await world.chain.transact(calls.transfer(rlc, signer.address, STAKE), ADMIN)
    world.anvil.request("anvil_setBalance", signer.address, hex(10**19))
    terms = POLICY.sponsor_terms
    sponsor = Sponsor(
        chain=world.chain,
        signer=signer,
        rlc=rlc,
        store=SponsorStore(store.engine),
        terms=terms,
        clock=SystemClock(),
    )
    await sponsor.allow()
    return sponsor


async def free(world: AnvilWorld, address: str) -> int:
    return (await world.chain.view_account(address)).stake


@pytest.mark.timeout(200)
async def test_a_newcomer_earns_its_stake_back_over_a_restart_and_the_pool_lends_it_to_the_next(
    world: AnvilWorld,
) -> None:
    newcomer, sponsor_key = KeySigner.generate(), KeySigner.generate()
    worker = newcomer.address
    store = PoolStore.open(world.folder / "pool.db")
    sponsor = await opened_sponsor(world, store, sponsor_key)
    asks = world.agent("", number, newcomer)
    asks = replace(
        asks,
        options=replace(asks.options, sponsor=True, settled_poll_s=0.2),
        claims=lambda: Machine(benchmark=Benchmark(fuel_per_s=FUEL)),
    )

    async def works(service: PoolService, setting: AgentSetting, *, repaid: int) -> None:
        async def is_known() -> bool:
            return (await service.inquiries.debts()).get(worker) == Debt(STAKE, repaid)

        async with running(world.world, setting):
            await until(lambda: _is(free(world, worker), STAKE))
            deal = await world.world.deal(trust=1)
            await world.completed(task_id(deal, 0))
            await until(is_known)

    async with world.pool(POLICY, sponsor=sponsor, store=store) as (service, url):
        await works(service, replace(asks, url=url), repaid=EARNED)
        second = Newcomer(
            worker=KeySigner.generate().address,
            key=KeySigner.generate().address,
            owner=worker,
            network="10.0.0.0/24",
            deposit_nrlc=0,
            key_wei=COINS,
            fuel_per_s=FUEL,
            repays=True,
        )
        nothing, reason = await sponsor.help(second)
        assert nothing is None and f"owes {STAKE - EARNED} nRLC of the {STAKE}" in reason
        # Started again it is no newcomer any more, and goes on where it was.
        await works(service, replace(asks, url=url, options=replace(asks.options, sponsor=False)), repaid=STAKE)
        granted, reason = await sponsor.help(second)
        assert granted is not None, reason
        await until(lambda: _is(sponsor.look(), 0))
        debts = RepaymentStore(store.engine).debts()
    assert debts[worker] == Debt(STAKE, STAKE)
    assert await free(world, second.worker) == STAKE and await free(world, sponsor_key.address) == 0
    assert await world.chain.rlc_balance(sponsor_key.address) == 0, "one stake, lent twice"
    assert await free(world, worker) == 2 * EARNED, "what it was lent is gone, what it earned is its own"
    own = WorkerStore.open(asks.folder / "worker.sqlite")
    (shown,) = debts_of(own, worker=worker, key=worker)
    own.close()
    assert (shown["given"], shown["repaid"], shown["owed"]) == (STAKE, STAKE, 0)
    assert shown["underWay"] == [EARNED, STAKE - EARNED] and shown["command"] == ""


async def _is(found: object, wanted: int) -> bool:
    return bool(await found == wanted)  # type: ignore[misc]
