"""Sending a deployment: nothing outlives a failure, what is not mined in time is said, another sender may be faster."""

from __future__ import annotations

import asyncio

import pytest

from fairgrid.chain.create2 import DEPLOY_SALT, DEPLOYER
from fairgrid.chain.deploy import deploy, plan_contracts
from fairgrid.chain.deploy_sender import Step, StepSender, gather_all
from fairgrid.chain.rpc import JsonRpc
from fairgrid.errors import FundsError, TransactionFailed
from fairgrid.localnet.anvil import AnvilProcess
from fairgrid.protocol.hexes import to_hex
from fairgrid.wallet.keys import dev_signer

OWNER = dev_signer(0)
STRANGER = dev_signer(1)


async def test_results_come_in_order() -> None:
    async def later(value: int) -> int:
        await asyncio.sleep(0.01 / (value + 1))
        return value

    assert await gather_all(later(value) for value in range(5)) == [0, 1, 2, 3, 4]


async def test_first_failure_is_raised_when_the_others_have_ended() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def broken() -> None:
        await asyncio.sleep(0.01)
        raise FundsError("no coins")

    with pytest.raises(FundsError, match="no coins"):
        await gather_all([forever(), broken(), forever()])
    assert ended == [True, True]


async def test_transaction_that_is_not_mined_is_named_and_the_next_run_waits_for_it(anvil: AnvilProcess) -> None:
    anvil.request("evm_setAutomine", False)
    with pytest.raises(TransactionFailed, match=r"\w+ failed in transaction 0x\w{64}: not mined within 0 s"):
        await deploy(anvil.rpc_url, timeout_s=0.2)
    all_but_the_hub = len(plan_contracts(OWNER.address)) - 1
    waiting = rf"{all_but_the_hub} earlier transaction\(s\) of 0xf39F\w+ were not mined within 0 s"
    with pytest.raises(TransactionFailed, match=waiting):
        await deploy(anvil.rpc_url, timeout_s=0.2)
    running = asyncio.ensure_future(deploy(anvil.rpc_url))
    await asyncio.sleep(0.2)
    anvil.request("evm_setAutomine", True)
    anvil.request("evm_mine")
    deployment = await running
    assert "rlc" not in deployment.gas_used
    assert "hub" in deployment.gas_used


async def test_contract_that_somebody_else_created_meanwhile_counts_as_created(anvil: AnvilProcess) -> None:
    rlc = plan_contracts(OWNER.address)["rlc"]
    anvil.request("evm_setAutomine", False)
    faster = {
        "from": STRANGER.address,
        "to": DEPLOYER,
        "data": to_hex(DEPLOY_SALT + rlc.init_code),
        "gas": hex(1_000_000),
        "maxFeePerGas": hex(100 * 10**9),
        "maxPriorityFeePerGas": hex(50 * 10**9),
    }
    anvil.request("eth_sendTransaction", faster)
    running = asyncio.ensure_future(deploy(anvil.rpc_url))
    while int(anvil.request("txpool_status")["pending"], 16) < 7:
        assert not running.done()
        await asyncio.sleep(0.02)
    anvil.request("evm_setAutomine", True)
    anvil.request("evm_mine")
    deployment = await running
    assert deployment.rlc == rlc.address
    assert (await deploy(anvil.rpc_url)).already_deployed


async def test_step_that_fails_on_chain_is_named(anvil: AnvilProcess) -> None:
    # The deployer refuses creation code that reverts; the gas is set by an estimate before the code changes.
    anvil.request("evm_setAutomine", False)
    async with JsonRpc(anvil.rpc_url) as rpc:
        sender = StepSender(rpc, OWNER, 31337, tell=lambda _line: None, timeout_s=20)
        step = Step(label="the step", message="stepping", to=DEPLOYER, data=bytes(32) + bytes.fromhex("5f5ff3"))
        running = asyncio.ensure_future(sender.send([step]))
        while int(anvil.request("txpool_status")["pending"], 16) < 1:
            assert not running.done()
            await asyncio.sleep(0.02)
        anvil.request("anvil_setCode", DEPLOYER, "0x5f5ffd")
        anvil.request("evm_mine")
        with pytest.raises(TransactionFailed, match=r"the step failed in transaction 0x\w{64}: it failed on chain"):
            await running


async def test_no_steps_ask_nothing_of_the_chain() -> None:
    async with JsonRpc("http://127.0.0.1:1") as rpc:
        assert await StepSender(rpc, OWNER, 31337, tell=lambda _line: None, timeout_s=1).send([]) == {}
