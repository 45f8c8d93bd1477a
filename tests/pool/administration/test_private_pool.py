"""A lab's private pool on a real chain: a group, an order for it alone, members who work and buy, strangers who not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fairgrid.chain import calls
from fairgrid.chain.network import save_network
from fairgrid.client.orders import find_workerpool_order
from fairgrid.errors import ContractReverted, OrderError
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.market.app import open_market
from fairgrid.market.client import MarketClient
from fairgrid.pool.core.policy import Policy
from fairgrid.protocol import pool_messages
from fairgrid.protocol.hexes import ZERO_ADDRESS
from fairgrid.protocol.ids import task_id
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.views import TaskStatus
from fairgrid.seams.database import open_engine
from fairgrid.seams.service import serving
from fairgrid.wallet.keys import KeySigner
from fairgrid.wallet.keystore import open_or_create_key
from tests.pool.anvil_grid import AnvilGrid, anvil_grid
from tests.pool.grid import key
from tests.pool.scripted import Scripted, at_the_door


async def _fairgrid(*words: object, code: int = 0) -> dict[str, Any]:
    """One command of the program; gives its JSON object."""

    def call() -> dict[str, Any]:
        command = [sys.executable, "-m", "fairgrid", *(str(word) for word in words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    return await asyncio.to_thread(call)


async def _match(grid: AnvilGrid, order: WorkerpoolOrder, requester: KeySigner) -> str:
    """A deal of one task by this requester with the private order; gives its id."""
    app = AppOrder(grid.app, 0, 100, salt="0x" + requester.address[2:].lower().rjust(64, "0"))
    request = RequestOrder(
        grid.app,
        0,
        ZERO_ADDRESS,
        0,
        ZERO_ADDRESS,
        order.workerpoolprice,
        requester.address,
        1,
        trust=1,
        beneficiary=requester.address,
        params="{}",
        salt=app.salt,
    )
    call = calls.match_orders(
        grid.chain.hub, grid._signed(app, grid.admin), NULL_DATASET_ORDER, order, grid._signed(request, requester)
    )
    receipt = await grid.chain.transact(call, requester)
    return str(next(event.arguments["dealid"] for event in receipt.events if event.name == "SchedulerNotice"))


@pytest.mark.timeout(240)
async def test_a_member_works_and_buys_and_a_stranger_is_refused_in_both_roles(
    module_anvil: AnvilProcess, tmp_path: Path
) -> None:
    folder = tmp_path / "pool"
    scheduler = open_or_create_key(folder)
    assert isinstance(scheduler, KeySigner)
    async with anvil_grid(module_anvil, tmp_path, policy=Policy(), scheduler=scheduler) as grid:
        grid.folder = folder
        async with (
            open_market(open_engine("sqlite://"), grid.chain) as market_app,
            serving(market_app) as market_url,
            MarketClient(market_url, grid.chain.chain_id, hub=grid.chain.hub) as market,
        ):
            net = tmp_path / "net.json"
            save_network(replace(grid.network(), market=market_url), net)
            buyer, stranger, worker = key("buyer"), key("stranger"), Scripted(grid, "member")
            for person in (buyer, stranger):
                grid.deposit(person.address)

            owner = ("--network", net, "--key-folder", folder, "--yes")
            group = (await _fairgrid("group", "create", "lab", *owner))["group"]
            shown = await _fairgrid("group", "add", group, buyer.address, worker.address, *owner)
            assert shown["members"] == [buyer.address, worker.address] and shown["name"] == "lab"
            listed = await _fairgrid("pool", "access", "group", group, "--dir", folder)
            assert listed["doors"] == {"worker": "closed", "requester": "closed"}
            offer = await _fairgrid(
                "pool",
                "offer",
                "--network",
                net,
                "--dir",
                folder,
                "--price",
                "0 RLC",
                "--trust",
                10,
                "--only",
                group,
                "--yes",
            )
            assert offer["onlyFor"] == group

            async def order_for(requester: str) -> WorkerpoolOrder:
                return await find_workerpool_order(
                    market,
                    grid.chain,
                    workerpool=grid.workerpool,
                    category=0,
                    trust=1,
                    app=grid.app,
                    requester=requester,
                )

            order = await order_for(buyer.address)
            assert order.workerpoolprice == 0 and order.requesterrestrict == group
            with pytest.raises(OrderError, match="is private"):
                await order_for(stranger.address)

            async with grid.pool():
                outsider = Scripted(grid, "outsider")
                async with at_the_door(grid) as outsider.connection:
                    refused = await outsider.enrol()
                assert isinstance(refused, pool_messages.Refused) and "This pool is private" in refused.reason
                async with worker.connected():
                    deal = await _match(grid, order, buyer)
                    await grid.until_status(task_id(deal, 0), TaskStatus.COMPLETED, seconds=60)
                    with pytest.raises(ContractReverted):
                        await _match(grid, order, stranger)
            # Who leaves the group is in no later deal; the order itself is still the same.
            left = await _fairgrid("group", "remove", group, buyer.address, *owner)
            assert left["members"] == [worker.address]
            with pytest.raises(OrderError, match="is private"):
                await order_for(buyer.address)
