"""One deployment that all plays of a process share, and a fresh model of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fairgrid.protocol.hexes import ZERO32
from fairgrid.protocol.model import Hub
from fairgrid.protocol.views import AppInfo, DatasetInfo
from tests.contracts.revm import Deployed, Revm, previous_score
from tests.protocol.scenario import CHAIN_ID, make_people

__all__ = ["START", "Assets", "Base"]

START = 1_800_000_000


@dataclass(frozen=True)
class Assets:
    """What can be named in orders."""

    apps: tuple[str, ...]
    datasets: tuple[str, ...]
    pools: tuple[str, ...]


class Base:
    """One deployment with assets, shared by everything in a process; each `Twins` starts from it."""

    def __init__(self) -> None:
        self.people = make_people()
        self.chain = Revm(CHAIN_ID, START)
        self.deployed: Deployed = self.chain.deploy_all(self.people.admin.address)
        self.infos: dict[str, AppInfo | DatasetInfo | tuple[str, str]] = {}
        people = self.people
        apps = tuple(
            self._app(AppInfo(people.app_owner.address, f"app {n}", "WASM", b"x", ZERO32, b"")) for n in range(2)
        )
        datasets = tuple(
            self._dataset(DatasetInfo(people.dataset_owner.address, f"dataset {n}", b"y", ZERO32)) for n in range(2)
        )
        pools = tuple(self._pool(people.scheduler.address, f"pool {n}") for n in range(2))
        self.assets = Assets(apps, datasets, pools)
        self.mark = self.chain.snapshot()

    def restore(self) -> Hub:
        """Undo what the last user did; a fresh model of the same state."""
        self.chain.revert(self.mark)
        self.mark = self.chain.snapshot()
        self.chain.now = START
        deployed = self.deployed
        model = Hub.deploy(
            chain_id=CHAIN_ID,
            owner=self.people.admin.address,
            address=deployed.hub,
            rlc=deployed.rlc,
            registries=(deployed.registries["app"], deployed.registries["dataset"], deployed.registries["workerpool"]),
            now=START,
        )
        model.old_scores = {actor.address: previous_score(actor.address) for actor in self.people.all}
        for address, info in self.infos.items():
            if isinstance(info, AppInfo):
                model.registries.apps.create(info, address=address)
            elif isinstance(info, DatasetInfo):
                model.registries.datasets.create(info, address=address)
            else:
                model.registries.workerpools.create(*info, address=address)
        return model

    def _create(self, kind: str, function: str, *arguments: Any) -> str:
        registry = self.deployed.registries[kind]
        return str(
            self.chain.transact(f"{kind}_registry", registry, self.people.admin.address, function, *arguments)[0]
        )

    def _app(self, info: AppInfo) -> str:
        arguments = (info.owner, info.name, info.type, info.multiaddr, info.checksum, info.mrenclave)
        address = self._create("app", "createApp", *arguments)
        self.infos[address] = info
        return address

    def _dataset(self, info: DatasetInfo) -> str:
        address = self._create("dataset", "createDataset", info.owner, info.name, info.multiaddr, info.checksum)
        self.infos[address] = info
        return address

    def _pool(self, owner: str, description: str) -> str:
        address = self._create("workerpool", "createWorkerpool", owner, description)
        self.infos[address] = (owner, description)
        return address
