from __future__ import annotations

from pathlib import Path

import pytest

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.deploy import deploy
from fairgrid.errors import UsageError
from fairgrid.localnet.accounts import (
    APP_OWNER,
    DEPLOYER,
    NRLC_PER_RLC,
    POOL_OWNER,
    REQUESTER,
    fund_accounts,
    open_accounts,
)
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID, AnvilProcess
from fairgrid.protocol.views import Account
from fairgrid.wallet.keys import dev_signer
from fairgrid.wallet.keystore import open_or_create_key


def test_every_role_has_a_key_of_its_own_that_stays_and_services_keep_theirs(tmp_path: Path) -> None:
    folders = {"worker-1": tmp_path / "workers" / "worker-1", "worker-2": tmp_path / "workers" / "worker-2"}
    accounts = open_accounts(tmp_path, tmp_path / "pool", folders)
    assert sorted(accounts) == sorted([DEPLOYER, APP_OWNER, POOL_OWNER, REQUESTER, "worker-1", "worker-2"])
    assert len({signer.address for signer in accounts.values()}) == 6
    assert accounts[DEPLOYER].address == dev_signer(0).address
    again = open_accounts(tmp_path, tmp_path / "pool", folders)
    assert {name: s.address for name, s in again.items()} == {name: s.address for name, s in accounts.items()}
    assert open_or_create_key(tmp_path / "pool").address == accounts[POOL_OWNER].address
    assert open_or_create_key(folders["worker-1"]).address == accounts["worker-1"].address


async def test_purses_are_filled_once_and_again_when_they_are_less_than_half_full(
    anvil: AnvilProcess, tmp_path: Path
) -> None:
    deployment = await deploy(anvil.rpc_url)
    accounts = open_accounts(tmp_path, tmp_path / "pool", {"worker-1": tmp_path / "w"})
    requester, worker = accounts[REQUESTER], accounts["worker-1"]
    async with JsonRpcChain(anvil.rpc_url, chain_id=LOCAL_CHAIN_ID, hub=deployment.hub, rlc=deployment.rlc) as chain:
        await fund_accounts(chain, accounts)
        assert await chain.rlc_balance(requester.address) == 9_000 * NRLC_PER_RLC
        assert await chain.view_account(requester.address) == Account(1_000 * NRLC_PER_RLC, 0)
        assert await chain.view_account(worker.address) == Account(100 * NRLC_PER_RLC, 0)
        assert await chain.balance_wei(worker.address) == 100 * 10**18
        head = await chain.head()
        await fund_accounts(chain, accounts)
        assert await chain.head() == head

        await chain.transact(calls.withdraw(chain.hub, 51 * NRLC_PER_RLC), worker)
        await chain.transact(calls.withdraw(chain.hub, 1 * NRLC_PER_RLC), requester)
        await fund_accounts(chain, accounts)
        assert await chain.view_account(worker.address) == Account(100 * NRLC_PER_RLC, 0)
        assert await chain.view_account(requester.address) == Account(999 * NRLC_PER_RLC, 0)


async def test_no_account_is_filled_on_another_chain() -> None:
    nowhere = "http://127.0.0.1:1"
    async with JsonRpcChain(nowhere, chain_id=1, hub=dev_signer(0).address, rlc=dev_signer(0).address) as chain:
        with pytest.raises(UsageError, match="on chain 31337 only, not on chain 1"):
            await fund_accounts(chain, {})
