"""Brings a published app from the network to this machine, checked against what the chain says of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fairgrid.chain.interface import Chain
from fairgrid.errors import ContractReverted, UsageError, VerificationError
from fairgrid.protocol.app_document import MAX_DOCUMENT_BYTES, AppDocument, document_cid, name_fault, parse_document
from fairgrid.protocol.cid import CHUNK_BYTES, CidBuilder
from fairgrid.protocol.manifest import FileRef
from fairgrid.runtime.catalogue import runtime_info
from fairgrid.storage.client import StorageClient

__all__ = ["FetchedApp", "fetch_app"]


@dataclass(frozen=True, slots=True)
class FetchedApp:
    """A published app on this machine."""

    address: str
    owner: str
    document: AppDocument
    program: Path
    inputs: tuple[Path, ...]


async def fetch_app(chain: Chain, storage: StorageClient, address: str, folder: Path) -> FetchedApp:
    """The app at this address, its files below ``folder``; what is there already is not fetched again.

    Raises:
        UsageError: there is no app, or it is a runtime without a program, or this version does not know its runtime.
        ManifestError: its document cannot be used.
        VerificationError: storage sent something else.
        ServiceUnavailable, ServiceRefused: chain or storage does not answer, or lacks a file.
    """
    try:
        registered = await chain.is_registered("app", address)
        info = await chain.view_app(address) if registered else None
    except ContractReverted:
        info = None
    if info is None:
        raise UsageError(
            f"There is no app at {address} on chain {chain.chain_id}. `fairgrid app publish` tells its own."
        )
    cid = document_cid(info)
    if name_fault(info.name) is not None:
        raise UsageError(
            f"The app at {address} is the runtime {info.name!r}, which brings no program: "
            f"`fairgrid run PROGRAM --runtime {info.name}`."
        )
    if cid is None:
        raise UsageError(f"The app {info.name!r} at {address} names no document of its program; it cannot be run here.")
    document = parse_document(await storage.fetch_bytes(cid, max_bytes=MAX_DOCUMENT_BYTES), info)
    runtime = runtime_info(document.runtime)
    if runtime.app_type != info.type:
        raise VerificationError(
            f"The app at {address} is of type {info.type!r} on chain, and its document asks for {document.runtime}."
        )
    place = folder / cid
    program = await _fetch(storage, document.program, place / "program")
    inputs = [await _fetch(storage, reference, place / "inputs") for reference in document.inputs]
    return FetchedApp(address, info.owner, document, program, tuple(inputs))


async def _fetch(storage: StorageClient, reference: FileRef, folder: Path) -> Path:
    path = folder / reference.name
    if _is(path, reference):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    await storage.fetch(reference.cid, path, max_bytes=reference.size)
    if not _is(path, reference):
        raise VerificationError(f"{reference.name} is not what the app names ({reference.cid}); it was not used.")
    return path


def _is(path: Path, reference: FileRef) -> bool:
    if not path.is_file() or path.stat().st_size != reference.size:
        return False
    builder = CidBuilder()
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            builder.update(data)
    return builder.finish() == reference.cid
