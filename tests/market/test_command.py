"""`fairgrid market start` as the process that users run, over the real contracts on a real chain."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.chain.network import Network, save_network
from fairgrid.errors import ServiceUnavailable
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.market.client import MarketClient
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.wallet.keys import KeySigner, dev_signer

_Order = TypeVar("_Order", AppOrder, WorkerpoolOrder, RequestOrder)

OWNER, SCHEDULER, REQUESTER = dev_signer(0), dev_signer(1), dev_signer(2)


def start(folder: Path, network: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fairgrid", "market", "start", "--network", str(network), "--dir", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def ready_url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    assert line.startswith("ready http://127.0.0.1:"), line
    return line.split()[1]


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    _, log = await asyncio.to_thread(process.communicate, None, 10)
    return process.returncode, log


async def network_on(anvil: AnvilProcess, path: Path) -> Network:
    """Deploy the contracts and write their network file."""
    deployment = await deploy(anvil.rpc_url)
    network = Network(
        name="test",
        chain_id=31337,
        rpc=anvil.rpc_url,
        hub=deployment.hub,
        hub_code_hash=deployment.hub_code_hash,
        rlc=deployment.rlc,
        market="",
        storage="",
        pool="",
        pool_address=ZERO_ADDRESS,
    )
    save_network(network, path)
    return network


async def created(chain: JsonRpcChain, kind: str) -> str:
    """A new app of `OWNER`, or a new pool of `SCHEDULER`."""
    registry = await chain.registry(kind)
    if kind == "app":
        call, owner = calls.create_app(registry, OWNER.address, "python", "WASM", b"/ipfs/x", ZERO32), OWNER
    else:
        call, owner = calls.create_workerpool(registry, SCHEDULER.address, "pool"), SCHEDULER
    receipt = await chain.transact(call, owner)
    logs = (await chain.rpc.request("eth_getTransactionReceipt", receipt.tx_hash))["logs"]
    token_ids = [str(log["topics"][3]) for log in logs if len(log["topics"]) == 4]
    return "0x" + token_ids[-1][-40:]


async def until_remaining(market: MarketClient, app: int, workerpool: int, request: int) -> None:
    """Wait until the market shows these volumes. It looks at the orders of a deal one after the other, and at the
    requester's first, whose money moves: that one of them has changed says nothing of the others."""
    wanted = ([app], [workerpool], [request] if request else [])
    while True:
        listed = (await market.app_orders("any"), await market.workerpool_orders(), await market.request_orders())
        if tuple([entry.remaining for entry in entries] for entries in listed) == wanted:
            return
        await asyncio.sleep(0.05)


@pytest.mark.timeout(300)  # two processes are started: on a busy machine the first import takes long
async def test_signed_orders_go_from_the_market_into_a_deal_on_a_real_chain(
    anvil: AnvilProcess, tmp_path: Path
) -> None:
    network = await network_on(anvil, tmp_path / "network.json")
    domain = Domain(network.chain_id, network.hub)

    def signed(order: _Order, signer: KeySigner) -> _Order:
        return order.signed(signer.sign_typed_data(order_typed_data(order, domain)))

    async with await JsonRpcChain.connect(network) as chain:
        app, pool = await created(chain, "app"), await created(chain, "workerpool")
        for account in (SCHEDULER, REQUESTER):
            await chain.transact(calls.transfer(network.rlc, account.address, 1000), OWNER)
            await chain.transact(calls.approve_and_call(network.rlc, network.hub, 1000), account)
        process = start(tmp_path / "market", tmp_path / "network.json")
        try:
            async with MarketClient(await ready_url(process), 31337, hub=network.hub) as market:
                app_order = signed(AppOrder(app=app, appprice=1, volume=100), OWNER)
                pool_order = signed(WorkerpoolOrder(workerpool=pool, workerpoolprice=10, volume=5, trust=9), SCHEDULER)
                request = RequestOrder(
                    app=app,
                    appmaxprice=1,
                    dataset=ZERO_ADDRESS,
                    datasetmaxprice=0,
                    workerpool=pool,
                    workerpoolmaxprice=10,
                    requester=REQUESTER.address,
                    volume=2,
                    trust=9,
                )
                request_order = signed(request, REQUESTER)
                await market.publish(app_order, OWNER)
                await market.publish(pool_order, SCHEDULER)
                await market.publish(request_order, REQUESTER)
                (found_app,) = await market.app_orders("any")
                (found_pool,) = await market.workerpool_orders(workerpool=pool, category=0, min_trust=9)
                await chain.transact(
                    calls.match_orders(
                        network.hub, found_app.order, NULL_DATASET_ORDER, found_pool.order, request_order
                    ),
                    REQUESTER,
                )
                await until_remaining(market, app=98, workerpool=3, request=0)
                entry = await market.order("request", order_hash(request_order, domain))
                assert entry is not None
                assert (entry.status, entry.remaining) == ("filled", 0)
        finally:
            returncode, log = await ended(process)
        assert returncode == 0, log

        again = start(tmp_path / "market", tmp_path / "network.json")
        try:
            async with MarketClient(await ready_url(again), 31337) as market:
                assert [entry.remaining for entry in await market.workerpool_orders()] == [3]
                anvil.stop_now()
                with pytest.raises(ServiceUnavailable, match="retry later"):
                    await market.publish(signed(replace(app_order, volume=7), OWNER), OWNER)
        finally:
            returncode, log = await ended(again)
        assert returncode == 0, log


async def test_a_network_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    process = start(tmp_path / "market", tmp_path / "nothing.json")
    _, said = await asyncio.to_thread(process.communicate, None, 120)
    assert process.returncode == 2
    assert "There is no network" in said
    assert "Traceback" not in said


async def test_a_chain_that_is_down_is_a_clear_error(tmp_path: Path) -> None:
    nowhere = Network("test", 31337, "http://127.0.0.1:9", ZERO_ADDRESS, ZERO32, ZERO_ADDRESS, "", "", "", "")
    save_network(nowhere, tmp_path / "network.json")
    process = start(tmp_path / "market", tmp_path / "network.json")
    _, said = await asyncio.to_thread(process.communicate, None, 120)
    assert process.returncode == 4
    assert "does not answer" in said
    assert "Traceback" not in said


async def test_a_market_that_served_before_waits_for_its_chain_and_ends_when_asked(tmp_path: Path) -> None:
    nowhere = Network("test", 31337, "http://127.0.0.1:9", ZERO_ADDRESS, ZERO32, ZERO_ADDRESS, "", "", "", "")
    save_network(nowhere, tmp_path / "network.json")
    (tmp_path / "market.db").touch()
    process = start(tmp_path, tmp_path / "network.json")
    assert process.stderr is not None
    log = process.stderr
    said = await asyncio.to_thread(lambda: next(line for line in log if "waits until it answers" in line))
    assert "does not answer" in said
    returncode, rest = await ended(process)
    assert returncode == 0, rest
    assert "Traceback" not in rest
