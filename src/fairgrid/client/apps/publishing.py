"""Puts an app on a network: its files in storage, its entry on chain, its order on the market.

`plan_publication` looks at what is done already and signs nothing; `publish` does the rest. Both go by content: one
project gives the same document, the same address and the same order, so after a kill at any moment, also on another
machine, the next run finds what was done and goes on.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fairgrid.chain import calls
from fairgrid.chain.client import JsonRpcChain
from fairgrid.chain.interface import Call
from fairgrid.client.apps.project import AppProject
from fairgrid.client.apps.trial import project_inputs
from fairgrid.client.job import Job
from fairgrid.client.prepared_job import manifest_of
from fairgrid.errors import FundsError, TransactionFailed, UsageError
from fairgrid.market.client import MarketClient
from fairgrid.protocol.app_document import AppDocument
from fairgrid.protocol.hexes import ZERO32, ZERO_ADDRESS, keccak, to_hex32
from fairgrid.protocol.manifest import FileRef
from fairgrid.protocol.orders import AppOrder
from fairgrid.protocol.typed_data import Domain, order_hash, order_typed_data
from fairgrid.storage.client import StorageClient
from fairgrid.wallet.signer import Signer

__all__ = ["Publication", "Shop", "document_of", "plan_publication", "publish"]

_CLOSE: Final = 1


@dataclass(frozen=True, slots=True)
class Shop:
    """Where an app is put, and who puts it there."""

    chain: JsonRpcChain
    market: MarketClient
    storage: StorageClient
    owner: Signer


@dataclass(frozen=True, slots=True)
class Publication:
    """An app as it will be on the network, and what of that is there already."""

    document: AppDocument
    files: tuple[tuple[Path, FileRef], ...]
    """The program and the files of the app, on this machine and by content."""
    missing: tuple[FileRef, ...]
    """Those that storage does not have yet."""
    has_document: bool
    creation: Call
    address: str
    is_registered: bool
    order: AppOrder
    """The wanted listing, not signed."""
    is_listed: bool
    outdated: tuple[AppOrder, ...] = ()
    """Open listings of the owner with other terms, which would go on selling."""
    gas: int = 0
    """Of all transactions that are still to be sent; estimated."""

    @property
    def is_done(self) -> bool:
        """True if nothing is left to do."""
        return not self.missing and self.has_document and self.is_registered and self.is_listed and not self.outdated


def document_of(project: AppProject) -> tuple[AppDocument, tuple[tuple[Path, FileRef], ...]]:
    """The document of a built project, and its files. Reads the files.

    Raises:
        UsageError: a file is missing or unreadable, or every machine would refuse the program.
        ManifestError: the document breaks a limit.
    """
    inputs = project_inputs(project)
    job = Job.from_files(
        project.program, inputs, (), runtime_id=project.runtime.runtime_id, memory_bytes=project.memory_bytes
    )
    manifest = manifest_of(job, timeref=1)
    document = AppDocument(
        name=project.name,
        runtime=project.runtime.runtime_id,
        program=manifest.script,
        inputs=manifest.inputs,
        description=project.description,
        memory_bytes=project.memory_bytes,
        reach=project.reach,
    )
    document.to_bytes()
    paths = {path.name: path for path in inputs}
    return document, (
        (project.program, manifest.script),
        *((paths[reference.name], reference) for reference in manifest.inputs),
    )


async def plan_publication(shop: Shop, project: AppProject, *, price: int, volume: int) -> Publication:
    """What is there of the project on the network, and what is missing. Signs and sends nothing.

    Raises:
        UsageError, ManifestError: as `document_of`.
        FundsError: the owner cannot pay the gas.
        ServiceUnavailable: chain, market or storage does not answer.
    """
    document, files = await asyncio.to_thread(document_of, project)
    chain, owner = shop.chain, shop.owner.address
    registry = await chain.registry("app")
    multiaddr, checksum = f"/ipfs/{document.cid()}".encode(), document.checksum()
    creation = calls.create_app(registry, owner, document.name, project.runtime.app_type, multiaddr, checksum)
    address = str(await chain.read("app_registry", registry, "predictApp", *creation.arguments))
    registered = await chain.is_registered("app", address)
    stored = [await shop.storage.stat(reference.cid) == reference.size for _, reference in files]
    order = await _unused(chain, address, price, volume)
    listed, outdated = await _listings(shop, order) if registered else (False, ())
    pending = [] if registered else [creation]
    pending += [calls.manage_order(chain.hub, old, _CLOSE) for old in outdated]
    return Publication(
        document=document,
        files=files,
        missing=tuple(reference for (_, reference), there in zip(files, stored, strict=True) if not there),
        has_document=await shop.storage.stat(document.cid()) is not None,
        creation=creation,
        address=address,
        is_registered=registered,
        order=order,
        is_listed=listed,
        outdated=outdated,
        gas=await _gas(chain, pending, owner),
    )


async def publish(shop: Shop, plan: Publication, tell: Callable[[str], None]) -> str:
    """Do what the plan says is missing; the hash of the listing.

    Raises:
        UsageError: a file changed since the plan was made.
        ContractReverted, TransactionFailed: the chain does not take it.
        ServiceRefused, ServiceUnavailable: market or storage does not.
    """
    for path, reference in plan.files:
        if reference in plan.missing:
            tell(f"Uploading {reference.name} ({reference.size} bytes)")
            if await shop.storage.add_file(path) != reference.cid:
                raise UsageError(f"{path} changed meanwhile. Nothing was signed; publish it again.")
        else:
            # It may be there for a while only, as a file of somebody's run.
            await shop.storage.kept(reference.cid)
    if not plan.has_document:
        await shop.storage.add_bytes(plan.document.to_bytes())
    if not plan.is_registered:
        tell(f"Registering {plan.document.name} on chain {shop.chain.chain_id}")
        await _register(shop, plan)
    for old in plan.outdated:
        tell(f"Closing the listing at {old.appprice} nRLC")
        await _close(shop, old)
    domain = Domain(shop.chain.chain_id, shop.chain.hub)
    identity = order_hash(plan.order, domain)
    if not plan.is_listed:
        tell(f"Listing {plan.order.volume} tasks at {plan.order.appprice} nRLC each")
        signature = await asyncio.to_thread(shop.owner.sign_typed_data, order_typed_data(plan.order, domain))
        await shop.market.publish(plan.order.signed(signature), shop.owner)
    return identity


async def _register(shop: Shop, plan: Publication) -> None:
    try:
        await shop.chain.transact(plan.creation, shop.owner)
    except TransactionFailed:
        # A transaction of an earlier run that was killed may have been mined meanwhile: the address is the content's.
        if not await shop.chain.is_registered("app", plan.address):
            raise


async def _close(shop: Shop, order: AppOrder) -> None:
    identity = order_hash(order, Domain(shop.chain.chain_id, shop.chain.hub))
    try:
        await shop.chain.transact(calls.manage_order(shop.chain.hub, order, _CLOSE), shop.owner)
    except TransactionFailed:
        if await shop.chain.view_consumed(identity) < order.volume:
            raise


async def _unused(chain: JsonRpcChain, app: str, price: int, volume: int) -> AppOrder:
    """The order with the first salt that has something left: made again, it is the same order."""
    domain = Domain(chain.chain_id, chain.hub)
    for number in itertools.count(1):
        order = AppOrder(
            app=app,
            appprice=price,
            volume=volume,
            tag=ZERO32,
            datasetrestrict=ZERO_ADDRESS,
            workerpoolrestrict=ZERO_ADDRESS,
            requesterrestrict=ZERO_ADDRESS,
            salt=to_hex32(keccak(f"fairgrid/listing/{number}".encode())),
        )
        if await chain.view_consumed(order_hash(order, domain)) < volume:
            return order
    raise AssertionError("numbers do not end")


async def _listings(shop: Shop, wanted: AppOrder) -> tuple[bool, tuple[AppOrder, ...]]:
    """Whether the wanted order is on the market, and the open ones of the app that have other terms."""
    domain = Domain(shop.chain.chain_id, shop.chain.hub)
    identity = order_hash(wanted, domain)
    listed, others = False, list[AppOrder]()
    for entry in await shop.market.app_orders(wanted.app):
        if entry.order_hash != order_hash(entry.order, domain) or entry.order.app != wanted.app:
            continue
        if entry.order_hash == identity:
            listed = True
        elif replace(entry.order, sign="0x", salt=ZERO32, volume=1) != replace(
            wanted, sign="0x", salt=ZERO32, volume=1
        ):
            others.append(entry.order)
    return listed, tuple(others)


async def _gas(chain: JsonRpcChain, pending: list[Call], sender: str) -> int:
    if not pending:
        return 0
    if await chain.balance_wei(sender) == 0:
        raise FundsError(
            f"{sender} has no coin of chain {chain.chain_id} to pay gas with. Nothing was signed. Send it some; "
            f"registering an app takes about 400,000 gas."
        )
    total = 0
    for estimate in await chain.estimate(pending, sender):
        if isinstance(estimate, TransactionFailed):
            raise estimate
        total += estimate
    return total
