"""`client.datasets`: what is registered has its content in storage, and what is offered is on the market."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from eth_abi.abi import encode

from fairgrid.chain.twin import ModelChain
from fairgrid.client.blocking import BlockingClient
from fairgrid.client.client import Client
from fairgrid.client.facets.datasets import Dataset, Datasets, OwnDataset
from fairgrid.client.facets.orders import Orders
from fairgrid.client.journal import Journal
from fairgrid.errors import ServiceRefused, UsageError
from fairgrid.protocol.cid import cid_of
from fairgrid.protocol.hexes import checksum, from_hex, keccak, to_hex
from fairgrid.storage.app import storage_application
from fairgrid.storage.client import StorageClient
from fairgrid.storage.store import MemoryStore, StoreLimits
from fairgrid.wallet.keys import KeySigner
from tests.client.test_orders_facet import market_of
from tests.market.grid import Grid

RAIN = b"day,mm\n1,0.4\n2,11.9\n"
SUM = f"0x{hashlib.sha256(RAIN).hexdigest()}"
PLACE = f"/ipfs/{cid_of(RAIN)}"
OTHER = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


class RegistryTwin(ModelChain):
    """A model chain that answers what a node does of the data sets' registry."""

    async def read(self, contract: str, address: str, function: str, *arguments: Any) -> str:
        assert (contract, address) == ("dataset_registry", await self.registry("dataset"))
        assert function == "predictDataset"
        owner, name, place, total = arguments
        content = encode(["string", "bytes", "bytes32"], [name, place, from_hex(total)])
        salt = keccak(content + from_hex(owner))
        return checksum(to_hex(keccak(from_hex(address) + salt)[12:]))

    async def entries_of(self, kind: str, owner: str, *, from_block: int) -> tuple[str, ...]:
        registry = await self.registry(kind)
        events = [event for mined in self._blocks[from_block:] for event in mined.events if event.address == registry]
        return tuple(checksum(f"0x{e.arguments['tokenId']:040x}") for e in events if e.arguments["to"] == owner)


@pytest.fixture
async def grid() -> Grid:
    made = await Grid.made()
    made.chain.__class__ = RegistryTwin
    return made


@asynccontextmanager
async def storage_of(limits: StoreLimits | None = None) -> AsyncIterator[StorageClient]:
    store = MemoryStore() if limits is None else MemoryStore(limits)
    transport = httpx.ASGITransport(storage_application(store))
    async with StorageClient("http://storage", transport=transport) as storage:
        yield storage


@pytest.fixture
async def storage() -> AsyncIterator[StorageClient]:
    async with storage_of() as client:
        yield client


Desk = Callable[[KeySigner], Datasets]


@pytest.fixture
async def desk(grid: Grid, storage: StorageClient, tmp_path: Path) -> AsyncIterator[Desk]:
    """The data sets of whoever is named."""
    async with market_of(grid, tmp_path) as market:
        chain = cast(RegistryTwin, grid.chain)
        yield lambda signer: Datasets(chain, storage, Orders(chain, market, signer), signer)


@pytest.fixture
def rain(tmp_path: Path) -> Path:
    file = tmp_path / "rain.csv"
    file.write_bytes(RAIN)
    return file


async def test_a_file_is_uploaded_and_registered_by_its_content(
    grid: Grid, desk: Desk, storage: StorageClient, rain: Path
) -> None:
    datasets = desk(grid.dataset_owner)
    made = await datasets.register("rain 2025", rain)
    wanted = Dataset(made.dataset.address, grid.dataset_owner.address, "rain 2025", PLACE, SUM)
    assert made.dataset == wanted and made.tx_hash.startswith("0x")
    assert await storage.fetch_bytes(cid_of(RAIN), max_bytes=100) == RAIN
    stranger = desk(grid.stranger)
    assert await stranger.show(wanted.address) == await stranger.show(wanted.address.lower()) == wanted
    with pytest.raises(UsageError, match=f"'rain 2025' of {wanted.owner} is registered already: {wanted.address}"):
        await datasets.register("rain 2025", rain)
    assert (await stranger.register("rain 2025", rain)).dataset.address != wanted.address


async def test_content_that_lies_elsewhere_is_registered_without_an_upload(
    grid: Grid, desk: Desk, storage: StorageClient
) -> None:
    made = await desk(grid.stranger).register("rain", multiaddr="https://rain.example/2025", checksum=SUM)
    assert await desk(grid.requester).show(made.dataset.address) == made.dataset
    assert (made.dataset.multiaddr, made.dataset.checksum) == ("https://rain.example/2025", SUM)
    assert await storage.stat(cid_of(RAIN)) is None


async def test_content_that_is_not_said_or_cannot_be_had_registers_nothing(
    grid: Grid, desk: Desk, rain: Path, tmp_path: Path
) -> None:
    datasets = desk(grid.stranger)
    before = await grid.chain.count_transactions(grid.stranger.address)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, r"a file, or multiaddr and checksum .* Nothing was signed"),
        ({"multiaddr": PLACE}, "64 digits"),
        ({"multiaddr": PLACE, "checksum": "0x12"}, "64 digits"),
        ({"file": rain, "checksum": SUM}, "Either a file, or multiaddr and checksum"),
        ({"file": tmp_path / "none.csv"}, "none.csv cannot be read"),
    ]
    for said, reason in wrong:
        with pytest.raises(UsageError, match=reason):
            await datasets.register("rain", **said)
    assert await grid.chain.count_transactions(grid.stranger.address) == before


async def test_a_file_that_storage_does_not_take_is_not_registered(grid: Grid, rain: Path) -> None:
    async with storage_of(StoreLimits(max_blob_bytes=5, quota_bytes=4096)) as full:
        datasets = Datasets(cast(RegistryTwin, grid.chain), full, cast(Any, None), grid.stranger)
        with pytest.raises(ServiceRefused):
            await datasets.register("rain", rain)
    assert await grid.chain.count_transactions(grid.stranger.address) == 0


async def test_a_file_that_changes_while_it_is_uploaded_is_not_registered(grid: Grid, rain: Path) -> None:
    class Changing(StorageClient):
        async def add_file(self, path: Path, *, ticket: Path | None = None, keep_s: int | None = None) -> str:
            path.write_bytes(RAIN + b"3,0\n")
            return cid_of(path.read_bytes())

    datasets = Datasets(cast(RegistryTwin, grid.chain), Changing("http://storage"), cast(Any, None), grid.stranger)
    with pytest.raises(UsageError, match=f"changed meanwhile: it is not {PLACE} any more"):
        await datasets.register("rain", rain)
    assert await grid.chain.count_transactions(grid.stranger.address) == 0


async def test_an_offer_is_on_the_market_with_its_terms_and_listed_with_its_data_set(grid: Grid, desk: Desk) -> None:
    datasets = desk(grid.dataset_owner)
    offer = await datasets.offer(grid.dataset, price="20 nRLC", volume=7, for_app=grid.app, for_requester=OTHER)
    order = offer.order
    assert (order.datasetprice, order.volume, order.apprestrict, order.requesterrestrict) == (20, 7, grid.app, OTHER)
    assert offer.order_hash == grid.hash(order)
    (own,) = await datasets.mine()
    assert own.dataset == await datasets.show(grid.dataset)
    assert [(entry.order, entry.remaining) for entry in own.orders] == [(order, 7)]
    assert await desk(grid.stranger).mine() == []
    with pytest.raises(UsageError, match=f"belongs to {grid.dataset_owner.address}"):
        await desk(grid.stranger).offer(grid.dataset)


async def test_data_sets_that_are_not_for_sale_are_listed_from_a_block_on(grid: Grid, desk: Desk) -> None:
    datasets = desk(grid.dataset_owner)
    await datasets.offer(grid.dataset)
    made = (await datasets.register("rain", multiaddr=PLACE, checksum=SUM)).dataset
    given = (await datasets.register("snow", multiaddr=PLACE, checksum=SUM)).dataset
    grid.chain.model.registries.datasets.transfer(grid.dataset_owner.address, given.address, grid.stranger.address)
    listed = await datasets.mine(from_block=0)
    assert OwnDataset(made, ()) in listed
    assert {own.dataset.address: len(own.orders) for own in listed} == {grid.dataset: 1, made.address: 0}
    assert [own.dataset.address for own in await datasets.mine()] == [grid.dataset]


async def test_what_is_no_data_set_is_not_shown(grid: Grid, desk: Desk) -> None:
    for address, reason in (
        (OTHER, f"There is no dataset {OTHER}"),
        (grid.app, "There is no dataset"),
        ("rain", "'rain' is no address"),
    ):
        with pytest.raises(UsageError, match=reason):
            await desk(grid.stranger).show(address)


async def test_data_sets_without_an_event_loop_come_from_the_same_core(grid: Grid, tmp_path: Path, rain: Path) -> None:
    @asynccontextmanager
    async def connecting() -> AsyncIterator[Client]:
        async with market_of(grid, tmp_path) as market, storage_of() as storage:
            yield Client(
                cast(Any, None),
                grid.stranger,
                chain=grid.chain,
                market=market,
                storage=storage,
                pool=cast(Any, None),
                journal=Journal(tmp_path),
            )

    with BlockingClient(connecting()) as client:
        made = client.datasets.register("rain", rain).dataset
        offer = client.datasets.offer(made.address, price="5 nRLC")
        (own,) = client.datasets.mine()
        assert own.dataset == made == client.datasets.show(made.address)
        assert own.orders[0].order_hash == offer.order_hash
        assert client.datasets.core is client.core.datasets
        assert client.orders.cancel(offer.order).left == 1
