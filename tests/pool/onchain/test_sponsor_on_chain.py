"""Sponsoring on a real node: the deposit and the coins arrive, once, also when the first sending was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.pool.core.sponsoring import Newcomer, SponsorTerms
from fairgrid.pool.onchain.sponsor import Sponsor
from fairgrid.pool.records.sponsor_store import SponsorStore
from fairgrid.pool.records.store import PoolStore
from fairgrid.seams.clock import SystemClock
from fairgrid.wallet.keys import KeySigner, dev_signer

COINS = 10**15
STAKE = 5_000


async def test_a_newcomer_gets_deposit_and_coins_on_a_real_chain_exactly_once(
    module_anvil: AnvilProcess, tmp_path: Path
) -> None:
    there = await deploy(module_anvil.rpc_url)
    sponsor_key, worker = KeySigner.generate(), KeySigner.generate().address
    store = PoolStore.open(tmp_path / "pool.db")
    chain = JsonRpcChain(module_anvil.rpc_url, chain_id=there.chain_id, hub=there.hub, rlc=there.rlc)
    async with chain:
        await chain.transact(calls.transfer(there.rlc, sponsor_key.address, 3 * STAKE), dev_signer(0))
        module_anvil.request("anvil_setBalance", sponsor_key.address, hex(10**18))

        def sponsor() -> Sponsor:
            return Sponsor(
                chain=chain,
                signer=sponsor_key,
                rlc=there.rlc,
                store=SponsorStore(store.engine),
                terms=SponsorTerms(
                    stake_nrlc=STAKE, coins_wei=COINS, day_stake_nrlc=10 * STAKE, day_coins_wei=10 * COINS
                ),
                clock=SystemClock(),
            )

        newcomer = Newcomer(
            worker=worker, key=worker, owner=worker, network="10.0.0.0/24", deposit_nrlc=0, key_wei=0, fuel_per_s=10**8
        )
        first = sponsor()
        await first.allow()
        grant, _ = await first.help(newcomer)
        assert grant is not None
        restarted = sponsor()
        await restarted.allow()
        for _ in range(3):
            await restarted.help(newcomer)
        for _ in range(300):
            if not await restarted.look():
                break
            await asyncio.sleep(0.1)
        assert (await chain.view_account(worker)).stake == STAKE
        assert await chain.balance_wei(worker) == COINS
        assert await chain.rlc_balance(sponsor_key.address) == 2 * STAKE
    store.close()
