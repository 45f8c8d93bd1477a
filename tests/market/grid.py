"""A small grid for the tests of the market: a model chain, owners named by role, their orders."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from fairgrid.chain import calls
from fairgrid.chain.twin import ModelChain
from fairgrid.market.client import MarketClient
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS
from fairgrid.protocol.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.protocol.views import AppInfo, DatasetInfo
from fairgrid.wallet.keys import KeySigner, dev_signer

__all__ = ["TEE", "Grid", "HandClock"]

TEE = "0x" + "00" * 31 + "03"

DEPLOYER = dev_signer(0)
SALTS = count(1)


class HandClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time_s = 1_700_000_000.0

    def now(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.01)


@dataclass
class Grid:
    """Chain, owners and assets."""

    chain: ModelChain = field(default_factory=lambda: ModelChain.fresh(owner=DEPLOYER.address, keep_states=8))
    app_owner: KeySigner = field(default_factory=lambda: dev_signer(1))
    dataset_owner: KeySigner = field(default_factory=lambda: dev_signer(2))
    scheduler: KeySigner = field(default_factory=lambda: dev_signer(3))
    requester: KeySigner = field(default_factory=lambda: dev_signer(4))
    stranger: KeySigner = field(default_factory=lambda: dev_signer(5))
    app: str = ""
    dataset: str = ""
    workerpool: str = ""

    @classmethod
    async def made(cls) -> Grid:
        """A grid with an app, a dataset, a pool and money in the accounts of scheduler and requester."""
        grid = cls()
        registries = grid.chain.model.registries
        grid.app = registries.apps.create(
            AppInfo(grid.app_owner.address, "python", "WASM", b"/ipfs/x", "0x" + "11" * 32, b"")
        )
        grid.dataset = registries.datasets.create(
            DatasetInfo(grid.dataset_owner.address, "weather", b"/ipfs/y", "0x" + "22" * 32)
        )
        grid.workerpool = registries.workerpools.create(grid.scheduler.address, "pool")
        await grid.deposit(grid.scheduler, 1_000_000)
        await grid.deposit(grid.requester, 1_000_000)
        return grid

    @property
    def domain(self) -> Domain:
        return Domain(self.chain.chain_id, self.chain.hub)

    async def deposit(self, owner: KeySigner, amount: int) -> None:
        await self.chain.transact(calls.transfer(self.chain.rlc, owner.address, amount), DEPLOYER)
        await self.chain.transact(calls.approve_and_call(self.chain.rlc, self.chain.hub, amount), owner)

    def signed(self, order: Order, signer: KeySigner) -> Any:
        """The order with a salt of its own (unless it has one) and the signature of ``signer``."""
        if order.salt == ZERO32:
            order = replace(order, salt=f"0x{next(SALTS):064x}")
        return order.signed(signer.sign_typed_data(order_typed_data(order, self.domain)))

    def hash(self, order: Order) -> str:
        return order_hash(order, self.domain)

    def app_order(self, price: int = 5, **fields: Any) -> AppOrder:
        values: dict[str, Any] = {"app": self.app, "appprice": price, "volume": 10}
        return self.signed(AppOrder(**(values | fields)), self.app_owner)  # type: ignore[no-any-return]

    def dataset_order(self, price: int = 3, **fields: Any) -> DatasetOrder:
        values: dict[str, Any] = {"dataset": self.dataset, "datasetprice": price, "volume": 10}
        return self.signed(DatasetOrder(**(values | fields)), self.dataset_owner)  # type: ignore[no-any-return]

    def workerpool_order(self, price: int = 7, **fields: Any) -> WorkerpoolOrder:
        values: dict[str, Any] = {
            "workerpool": self.workerpool,
            "workerpoolprice": price,
            "volume": 10,
            "trust": 10,
        }
        return self.signed(WorkerpoolOrder(**(values | fields)), self.scheduler)  # type: ignore[no-any-return]

    def request_order(self, price: int = 7, **fields: Any) -> RequestOrder:
        values: dict[str, Any] = {
            "app": self.app,
            "appmaxprice": 5,
            "dataset": ZERO_ADDRESS,
            "datasetmaxprice": 0,
            "workerpool": ZERO_ADDRESS,
            "workerpoolmaxprice": price,
            "requester": self.requester.address,
            "volume": 4,
            "beneficiary": self.requester.address,
            "params": '{"iexec_args":"hello"}',
        }
        return self.signed(RequestOrder(**(values | fields)), self.requester)  # type: ignore[no-any-return]

    async def match(
        self, app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> None:
        receipt = await self.chain.transact(
            calls.match_orders(self.chain.hub, app, dataset, workerpool, request), self.requester
        )
        assert receipt.succeeded

    async def seen(self, market: MarketClient, order: Order, status: str, *, remaining: int | None = None) -> None:
        """Wait until the market's watcher has seen that an order has this status."""
        async with asyncio.timeout(10):
            while True:
                entry = await market.order(order.KIND, self.hash(order))
                assert entry is not None
                if entry.status == status and remaining in (None, entry.remaining):
                    return
                await asyncio.sleep(0.01)
