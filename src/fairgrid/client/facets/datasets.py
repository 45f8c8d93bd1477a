"""``client.datasets``: register data sets, offer them for a price, and look at them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fairgrid.chain.decode import created_address
from fairgrid.client.facets.orders import Orders
from fairgrid.client.order_desk import identity_of
from fairgrid.client.registration import (
    Content,
    RegistryChain,
    content_elsewhere,
    content_of_file,
    plan_registration,
    upload_content,
    view_entry,
)
from fairgrid.errors import UsageError
from fairgrid.market.client import PublishedOrder
from fairgrid.protocol.hexes import checksum as checksum_address
from fairgrid.protocol.hexes import is_address
from fairgrid.protocol.orders import DatasetOrder
from fairgrid.protocol.views import DatasetInfo
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["Dataset", "DatasetOffer", "DatasetRegistered", "Datasets", "OwnDataset"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A registered data set. Its texts are as its owner wrote them."""

    address: str
    owner: str
    name: str
    """Names are not unique."""
    multiaddr: str
    """Where its bytes are: ``/ipfs/CID``, or a URL."""
    checksum: str
    """SHA-256 of its bytes, 0x-hex."""


@dataclass(frozen=True, slots=True)
class DatasetRegistered:
    """A data set that was registered."""

    dataset: Dataset
    tx_hash: str


@dataclass(frozen=True, slots=True)
class DatasetOffer:
    """An offer of uses of a data set that was published."""

    order: DatasetOrder
    order_hash: str


@dataclass(frozen=True, slots=True)
class OwnDataset:
    """A data set of the account, and its open orders on the market; none if it is not for sale."""

    dataset: Dataset
    orders: tuple[PublishedOrder[DatasetOrder], ...]


class Datasets:
    """The data sets of one account, and those of others as the registry has them."""

    def __init__(self, chain: RegistryChain, storage: StorageClient, orders: Orders, signer: Signer) -> None:
        self._chain = chain
        self._storage = storage
        self._orders = orders
        self._signer = signer

    async def register(
        self, name: str, file: Path | None = None, *, multiaddr: str = "", checksum: str = ""
    ) -> DatasetRegistered:
        """Register a data set that the account owns. Costs gas. Its content is a ``file``, which is uploaded before
        anything is signed, or lies at ``multiaddr`` (``/ipfs/CID``, or a URL) with a SHA-256 ``checksum`` (0x-hex).
        What is uploaded is public: encrypt before what must not be.

        Raises:
            UsageError: the content is not said in one of the two ways, or cannot be read; or the same data set is
                registered already. Nothing was signed.
            ServiceRefused, ServiceUnavailable: storage does not take the file, and nothing was signed; or the chain
                does not answer.
            TransactionFailed: the registration reverted.
        """
        content = await _content(file, multiaddr, checksum)
        owner, what = self._signer.address, f"the data set {name!r}"
        arguments = (name, content.multiaddr.encode(), content.checksum)
        planned = await plan_registration(self._chain, "dataset", what, owner, arguments)
        await upload_content(self._storage, content)
        receipt = await self._chain.transact(planned.call, self._signer)
        address = created_address(receipt, planned.registry)
        return DatasetRegistered(Dataset(address, owner, name, content.multiaddr, content.checksum), receipt.tx_hash)

    async def offer(
        self,
        dataset: str,
        *,
        price: int | str = 0,
        volume: int = 1,
        tag: str = "",
        for_app: str = "",
        for_workerpool: str = "",
        for_requester: str = "",
    ) -> DatasetOffer:
        """Offer ``volume`` uses of a data set of the account on the market: `Orders.dataset`, then `Orders.publish`.
        Costs no gas. ``client.orders.cancel(offer.order)`` takes it back.

        Raises:
            everything of the two.
        """
        order = await self._orders.dataset(
            dataset,
            price=price,
            volume=volume,
            tag=tag,
            for_app=for_app,
            for_workerpool=for_workerpool,
            for_requester=for_requester,
        )
        return DatasetOffer(order, await self._orders.publish(order))

    async def mine(self, *, from_block: int | None = None) -> list[OwnDataset]:
        """The account's data sets that are for sale, each with its open orders. With ``from_block`` also those that
        became the account's since that block, which come first.

        Raises:
            ServiceUnavailable: chain or market does not answer.
        """
        owner = self._signer.address
        # The market is not believed what an order's hash is.
        listed = [
            entry
            for entry in await self._orders.mine("dataset")
            if entry.order_hash == identity_of(self._chain, entry.order)
        ]
        became = () if from_block is None else await self._chain.entries_of("dataset", owner, from_block=from_block)
        addresses = dict.fromkeys([*became, *(entry.order.dataset for entry in listed)])
        found = await asyncio.gather(*(self.show(address) for address in addresses))
        return [
            OwnDataset(dataset, tuple(entry for entry in listed if entry.order.dataset == dataset.address))
            for dataset in found
            if dataset.owner == owner  # It may have been given away since.
        ]

    async def show(self, dataset: str) -> Dataset:
        """A registered data set, of anybody.

        Raises:
            UsageError: there is no data set of this address.
            ServiceUnavailable: the chain does not answer.
        """
        if not is_address(dataset):
            raise UsageError(f"{dataset!r} is no address of a data set: write 0x and 40 hexadecimal digits.")
        address = checksum_address(dataset)
        info = await view_entry(self._chain, "dataset", address)
        assert isinstance(info, DatasetInfo)
        return Dataset(address, info.owner, info.name, info.multiaddr.decode("utf-8", "replace"), info.checksum)


async def _content(file: Path | None, multiaddr: str, checksum: str) -> Content:
    if file is not None:
        if multiaddr or checksum:
            raise UsageError("Either a file, or multiaddr and checksum, say what the content is. Nothing was signed.")
        return await asyncio.to_thread(content_of_file, file)
    content = content_elsewhere(multiaddr, checksum)
    if content is None:
        raise UsageError("Name its content: a file, or multiaddr and checksum (0x and 64 digits). Nothing was signed.")
    return content
