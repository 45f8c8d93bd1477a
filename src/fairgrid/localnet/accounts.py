"""The accounts of a local network: a key for each role, coins for gas, RLC in the wallet and in escrow.

Only for chain 31337: coins are made out of nothing, and the owner of all RLC is a test key that everybody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.errors import UsageError
from fairgrid.localnet.anvil import LOCAL_CHAIN_ID
from fairgrid.localnet.paths import key_folder
from fairgrid.wallet.keys import KeySigner, dev_signer
from fairgrid.wallet.keystore import open_or_create_key

__all__ = [
    "APP_OWNER",
    "DEPLOYER",
    "POOL_OWNER",
    "REQUESTER",
    "WORKER_PURSE",
    "Purse",
    "fund_accounts",
    "fund_address",
    "open_accounts",
]

DEPLOYER = "deployer"
APP_OWNER = "app-owner"
POOL_OWNER = "pool-owner"
REQUESTER = "requester"

NRLC_PER_RLC = 10**9
_GAS_MONEY_WEI = 100 * 10**18


@dataclass(frozen=True, slots=True)
class Purse:
    """What a role begins with (nRLC). It is filled up again at a start when less than half of it is left."""

    wallet: int = 0
    escrow: int = 0


PURSES: Mapping[str, Purse] = {
    APP_OWNER: Purse(),
    POOL_OWNER: Purse(escrow=10_000 * NRLC_PER_RLC),
    REQUESTER: Purse(wallet=9_000 * NRLC_PER_RLC, escrow=1_000 * NRLC_PER_RLC),
}
WORKER_PURSE = Purse(escrow=100 * NRLC_PER_RLC)


def open_accounts(directory: Path, pool_folder: Path, worker_folders: Mapping[str, Path]) -> dict[str, KeySigner]:
    """The key of each role and of each worker, by name; made where there is none.

    Pool and workers keep theirs in their own folders, as anybody's pool and worker do.

    Raises:
        UsageError: a key cannot be read.
    """
    folders = {
        APP_OWNER: key_folder(directory, APP_OWNER),
        REQUESTER: key_folder(directory, REQUESTER),
        POOL_OWNER: pool_folder,
        **worker_folders,
    }
    return {DEPLOYER: dev_signer(0), **{name: open_or_create_key(folder) for name, folder in folders.items()}}


async def fund_accounts(chain: JsonRpcChain, accounts: Mapping[str, KeySigner]) -> None:
    """Give every account its gas money and what its `Purse` says.

    Raises:
        UsageError: this is not the local chain.
        ServiceUnavailable: the chain does not answer.
    """
    if chain.chain_id != LOCAL_CHAIN_ID:
        raise UsageError(f"Accounts are filled on chain {LOCAL_CHAIN_ID} only, not on chain {chain.chain_id}.")
    deployer = accounts[DEPLOYER]
    await fund_gas(chain, accounts)
    wanted = [(signer.address, PURSES.get(name, WORKER_PURSE)) for name, signer in accounts.items() if name != DEPLOYER]
    missing = await asyncio.gather(*(_missing(chain, address, purse) for address, purse in wanted))
    deposits = [(address, escrow) for (address, _), (_, escrow) in zip(wanted, missing, strict=True) if escrow]
    if deposits:
        total = sum(amount for _, amount in deposits)
        await chain.transact(calls.approve(chain.rlc, chain.hub, total), deployer)
    payments = [
        calls.transfer(chain.rlc, address, wallet)
        for (address, _), (wallet, _) in zip(wanted, missing, strict=True)
        if wallet
    ]
    payments += [calls.deposit_for(chain.hub, amount, address) for address, amount in deposits]
    await asyncio.gather(*(chain.transact(payment, deployer) for payment in payments))


async def fund_address(chain: JsonRpcChain, address: str, purse: Purse) -> None:
    """Add coins for gas, and what the purse says, to an account that is none of the network's own.

    Raises:
        UsageError: this is not the local chain.
        ServiceUnavailable: the chain does not answer.
    """
    if chain.chain_id != LOCAL_CHAIN_ID:
        raise UsageError(f"Accounts are filled on chain {LOCAL_CHAIN_ID} only, not on chain {chain.chain_id}.")
    deployer = dev_signer(0)
    await chain.rpc.batch([("anvil_setBalance", [address, hex(_GAS_MONEY_WEI)])])
    if purse.wallet:
        await chain.transact(calls.transfer(chain.rlc, address, purse.wallet), deployer)
    if purse.escrow:
        await chain.transact(calls.approve(chain.rlc, chain.hub, purse.escrow), deployer)
        await chain.transact(calls.deposit_for(chain.hub, purse.escrow, address), deployer)


async def fund_gas(chain: JsonRpcChain, accounts: Mapping[str, KeySigner]) -> None:
    """Give every account coins for gas; the local node makes them."""
    addresses = [signer.address for signer in accounts.values()]
    balances = await chain.rpc.batch([("eth_getBalance", [address, "latest"]) for address in addresses])
    poor = [a for a, balance in zip(addresses, balances, strict=True) if int(balance, 16) < _GAS_MONEY_WEI // 2]
    await chain.rpc.batch([("anvil_setBalance", [address, hex(_GAS_MONEY_WEI)]) for address in poor])


async def _missing(chain: JsonRpcChain, address: str, purse: Purse) -> tuple[int, int]:
    """What to pay into wallet and escrow."""
    wallet, account = await asyncio.gather(chain.rlc_balance(address), chain.view_account(address))
    escrow = account.stake + account.locked
    return (
        purse.wallet - wallet if wallet < (purse.wallet + 1) // 2 else 0,
        purse.escrow - escrow if escrow < (purse.escrow + 1) // 2 else 0,
    )
