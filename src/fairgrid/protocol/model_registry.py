"""The three registries in the reference model, as plain records: apps, datasets, workerpools (`spec/poco.md` §22).

Only what the hub asks of them is modelled: entries, their owner, the pool's policy. ERC-721 itself is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from eth_abi.abi import encode

from fairgrid.protocol.hexes import ZERO_ADDRESS, checksum, from_hex, keccak, to_hex
from fairgrid.protocol.matching import Kind
from fairgrid.protocol.model_state import Table, World, require, transaction
from fairgrid.protocol.views import AppInfo, DatasetInfo, WorkerpoolInfo

__all__ = ["AppRegistry", "DatasetRegistry", "Registries", "WorkerpoolRegistry"]

INITIAL_WORKER_STAKE_RATIO = 30
INITIAL_SCHEDULER_REWARD_RATIO = 1

Info = TypeVar("Info", AppInfo, DatasetInfo, WorkerpoolInfo)


class _Registry(Generic[Info]):
    """A registry: entries by address. The address follows from content and owner, so nothing is created twice."""

    kind: Kind

    def __init__(self, world: World, address: str) -> None:
        self.world = world
        self.address = address
        self.entries: Table[str, Info | None] = Table(world, None)

    def is_registered(self, entry: str) -> bool:
        """True if ``entry`` was created here."""
        return self.entries[entry] is not None

    def info(self, entry: str) -> Info:
        """What the entry's getters say.

        Raises:
            Revert: there is no such entry.
        """
        info = self.entries[entry]
        require(info is not None)
        assert info is not None
        return info

    @transaction
    def transfer(self, caller: str, entry: str, to: str) -> None:
        """Give an entry to another owner. (On chain it is an ERC-721 transfer, with its own errors.)"""
        info = self.info(entry)
        require(caller == info.owner and to != ZERO_ADDRESS)
        self.entries[entry] = replace(info, owner=to)
        self._emit_transfer(caller, to, entry)

    def _add(self, info: Info, content: bytes, address: str | None) -> str:
        if address is None:
            salt = keccak(content + from_hex(info.owner))
            address = checksum(to_hex(keccak(from_hex(self.address) + salt)[12:]))
        require(not self.is_registered(address), "Create2: Failed on deploy")
        self.entries[address] = info
        self._emit_transfer(ZERO_ADDRESS, info.owner, address)
        return address

    def _emit_transfer(self, sender: str, to: str, entry: str) -> None:
        self.world.emit(self.address, "Transfer", from_=sender, to=to, tokenId=int(entry, 16))


class AppRegistry(_Registry[AppInfo]):
    """All apps."""

    kind: Kind = "app"

    @transaction
    def create(self, info: AppInfo, *, address: str | None = None) -> str:
        """Create an app for ``info.owner``; ``address`` None derives one, a chain's own may be given instead."""
        checksum_ = from_hex(info.checksum)
        content = encode(
            ["string", "string", "bytes", "bytes32", "bytes"],
            [info.name, info.type, info.multiaddr, checksum_, info.mrenclave],
        )
        return self._add(info, content, address)


class DatasetRegistry(_Registry[DatasetInfo]):
    """All datasets."""

    kind: Kind = "dataset"

    @transaction
    def create(self, info: DatasetInfo, *, address: str | None = None) -> str:
        """Create a dataset for ``info.owner``; ``address`` as in `AppRegistry.create`."""
        content = encode(["string", "bytes", "bytes32"], [info.name, info.multiaddr, from_hex(info.checksum)])
        return self._add(info, content, address)


class WorkerpoolRegistry(_Registry[WorkerpoolInfo]):
    """All workerpools, with their policies."""

    kind: Kind = "workerpool"

    @transaction
    def create(self, owner: str, description: str, *, address: str | None = None) -> str:
        """Create a workerpool for ``owner`` with the first policy (stake 30 %, scheduler 1 %)."""
        info = WorkerpoolInfo(owner, description, INITIAL_WORKER_STAKE_RATIO, INITIAL_SCHEDULER_REWARD_RATIO)
        return self._add(info, encode(["string"], [description]), address)

    @transaction
    def change_policy(self, caller: str, pool: str, worker_stake_ratio: int, scheduler_reward_ratio: int) -> None:
        """Set both ratios (percent) for later matches; deals that exist keep theirs."""
        info = self.info(pool)
        require(caller == info.owner, "caller is not the owner")
        require(scheduler_reward_ratio <= 100)
        self.entries[pool] = replace(
            info, worker_stake_ratio=worker_stake_ratio, scheduler_reward_ratio=scheduler_reward_ratio
        )
        self.world.emit(
            pool,
            "PolicyUpdate",
            oldWorkerStakeRatioPolicy=info.worker_stake_ratio,
            newWorkerStakeRatioPolicy=worker_stake_ratio,
            oldSchedulerRewardRatioPolicy=info.scheduler_reward_ratio,
            newSchedulerRewardRatioPolicy=scheduler_reward_ratio,
        )


@dataclass(frozen=True, slots=True)
class Registries:
    """The three registries of one hub."""

    apps: AppRegistry
    datasets: DatasetRegistry
    workerpools: WorkerpoolRegistry

    def is_registered(self, kind: Kind, entry: str) -> bool:
        """True if ``entry`` is in the registry of its kind."""
        registries: dict[Kind, _Registry[AppInfo] | _Registry[DatasetInfo] | _Registry[WorkerpoolInfo]] = {
            "app": self.apps,
            "dataset": self.datasets,
            "workerpool": self.workerpools,
        }
        return registries[kind].is_registered(entry)

    def owner(self, entry: str) -> str | None:
        """Owner of an entry of any kind; None if it is none."""
        for registry in (self.apps, self.datasets, self.workerpools):
            info = registry.entries[entry]
            if info is not None:
                return info.owner
        return None
