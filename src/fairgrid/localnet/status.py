"""How a local network fares: processes, chain, owners at the pool, money of the accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Block
from fairgrid.chain.network import Network, load_network
from fairgrid.errors import FairgridError
from fairgrid.localnet.accounts import APP_OWNER, DEPLOYER, POOL_OWNER, REQUESTER
from fairgrid.localnet.folder import NetworkFolder, ProcessBook
from fairgrid.localnet.paths import key_folder
from fairgrid.pool.client import PoolClient
from fairgrid.wallet.keys import dev_signer
from fairgrid.wallet.keystore import KEYSTORE_NAME, open_or_create_key

__all__ = ["AccountStatus", "NetworkStatus", "ProcessStatus", "network_status"]

_SERVICES = ("market", "storage", "pool")
_HEALTH_S = 3.0


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process. ``answers`` is None for those that are not asked (workers)."""

    name: str
    pid: int
    running: bool
    answers: bool | None
    log: Path


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """What an account has: coins (wei), RLC in its wallet, free and locked in escrow (nRLC), the worker's score."""

    name: str
    address: str
    wei: int
    wallet: int
    stake: int
    locked: int
    score: int


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """The whole network. ``head`` is None when the chain does not answer, ``owners`` when the pool does not."""

    directory: Path
    network: Network
    processes: tuple[ProcessStatus, ...]
    head: Block | None
    owners: int | None
    reachable_trust: int | None
    accounts: tuple[AccountStatus, ...]

    @property
    def healthy(self) -> bool:
        """True if everything that was started runs and answers, and there is something."""
        return (
            bool(self.processes)
            and self.head is not None
            and all(process.running and process.answers is not False for process in self.processes)
        )

    def environment(self) -> dict[str, str]:
        """Variables that point other tools at it: foundry's `cast`, scripts, this program."""
        return {
            "FAIRGRID_DIR": str(self.directory),
            "ETH_RPC_URL": self.network.rpc,
            "FAIRGRID_HUB": self.network.hub,
            "FAIRGRID_RLC": self.network.rlc,
        }

    def to_json(self) -> dict[str, Any]:
        """The object of ``fairgrid status --json``."""
        network = self.network
        return {
            "status": "up" if self.healthy else ("partly up" if any(p.running for p in self.processes) else "down"),
            "dir": str(self.directory),
            "networkFile": str(self.directory / "network.json"),
            "chainId": network.chain_id,
            "rpc": network.rpc,
            "hub": network.hub,
            "rlc": network.rlc,
            "market": network.market,
            "storage": network.storage,
            "pool": network.pool,
            "poolAddress": network.pool_address,
            "block": None if self.head is None else self.head.number,
            "owners": self.owners,
            "reachableTrust": self.reachable_trust,
            "processes": [
                {"name": p.name, "pid": p.pid, "running": p.running, "answers": p.answers, "log": str(p.log)}
                for p in self.processes
            ],
            "accounts": [
                {
                    "name": a.name,
                    "address": a.address,
                    "wei": a.wei,
                    "wallet": a.wallet,
                    "stake": a.stake,
                    "locked": a.locked,
                    "score": a.score,
                }
                for a in self.accounts
            ],
            "environment": self.environment(),
        }


async def network_status(directory: Path) -> NetworkStatus:
    """Look at the network of ``directory``.

    Raises:
        UsageError: there was never one in it.
    """
    folder = NetworkFolder(directory.absolute())
    network = load_network(folder.network)
    records = sorted(ProcessBook(folder.processes).records(), key=lambda record: _in_order(record.name))
    answering = dict(
        zip(_SERVICES, await asyncio.gather(*(_answers(getattr(network, name)) for name in _SERVICES)), strict=True)
    )
    head, accounts = await _chain_facts(folder, network)
    owners, trust = await _pool_facts(network)
    processes = tuple(
        ProcessStatus(
            name=record.name,
            pid=record.pid,
            running=record.running(),
            answers=head is not None if record.name == "anvil" else answering.get(record.name),
            log=folder.log(record.name),
        )
        for record in records
    )
    return NetworkStatus(folder.path, network, processes, head, owners, trust, accounts)


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=_HEALTH_S, trust_env=False) as client:
            return (await client.get(f"{url}/health")).is_success
    except httpx.HTTPError:
        return False


async def _chain_facts(folder: NetworkFolder, network: Network) -> tuple[Block | None, tuple[AccountStatus, ...]]:
    try:
        async with await JsonRpcChain.connect(network) as chain:
            head = await chain.head()
            addresses = await asyncio.to_thread(_addresses, folder)
            found = [_account(chain, name, address) for name, address in addresses.items()]
            return head, tuple(await asyncio.gather(*found))
    except FairgridError:
        return None, ()


async def _account(chain: JsonRpcChain, name: str, address: str) -> AccountStatus:
    wei, wallet, account, score = await asyncio.gather(
        chain.balance_wei(address), chain.rlc_balance(address), chain.view_account(address), chain.view_score(address)
    )
    return AccountStatus(name, address, wei, wallet, account.stake, account.locked, score)


async def _pool_facts(network: Network) -> tuple[int | None, int | None]:
    try:
        async with PoolClient(network.pool) as pool:
            listing = await pool.trust()
    except FairgridError:
        return None, None
    return len(listing.owners), listing.reachable


def _addresses(folder: NetworkFolder) -> Mapping[str, str]:
    """Accounts whose keys exist; none is made."""
    workers = folder.path / "workers"
    folders = {
        REQUESTER: key_folder(folder.path, REQUESTER),
        APP_OWNER: key_folder(folder.path, APP_OWNER),
        POOL_OWNER: folder.service("pool"),
        **{path.name: path for path in sorted(workers.iterdir() if workers.is_dir() else [], key=_path_in_order)},
    }
    found = {name: open_or_create_key(f).address for name, f in folders.items() if (f / KEYSTORE_NAME).exists()}
    return {DEPLOYER: dev_signer(0).address, **found}


def _path_in_order(path: Path) -> tuple[int, str, int]:
    return _in_order(path.name)


def _in_order(name: str) -> tuple[int, str, int]:
    """The chain, the services, then workers by number: worker-10 after worker-9."""
    first = ("anvil", *_SERVICES)
    if name in first:
        return (first.index(name), "", 0)
    stem, _, number = name.rpartition("-")
    return (len(first), stem, int(number)) if number.isdigit() else (len(first), name, 0)
