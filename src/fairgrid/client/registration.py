"""Entries of the registries on chain (apps, data sets, workerpools): their content, how one is made, what it says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from fairgrid.chain import calls
from fairgrid.chain.interface import Call, Chain
from fairgrid.errors import UsageError
from fairgrid.protocol.cid import CidBuilder
from fairgrid.protocol.hexes import hex32, is_hex32
from fairgrid.protocol.views import AppInfo, DatasetInfo, WorkerpoolInfo

if TYPE_CHECKING:
    from fairgrid.storage.client import StorageClient

__all__ = [
    "Content",
    "Registration",
    "RegistryChain",
    "content_elsewhere",
    "content_of_file",
    "plan_registration",
    "upload_content",
    "view_entry",
]

_CHUNK: Final = 1 << 20
_CREATIONS: Final[dict[str, Callable[..., Call]]] = {
    "app": calls.create_app,
    "dataset": calls.create_dataset,
    "workerpool": calls.create_workerpool,
}


class RegistryChain(Chain, Protocol):
    """A chain whose registries can be asked, as `JsonRpcChain` is."""

    async def registry(self, kind: str) -> str:
        """The address of the registry of ``app``, ``dataset`` or ``workerpool``."""
        ...

    async def read(self, contract: str, address: str, function: str, *arguments: Any) -> Any:
        """What a view function answers."""
        ...

    async def entries_of(self, kind: str, owner: str, *, from_block: int) -> tuple[str, ...]:
        """Addresses of the entries that became this account's since a block, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Content:
    """What an entry stands for: where its bytes are, and their SHA-256 (0x-hex, 64 digits)."""

    multiaddr: str
    checksum: str
    file: Path | None = None
    """The file that is still to be uploaded; None for content that lies elsewhere."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An entry that can be made: its registry, its address, and the call that makes it."""

    registry: str
    address: str
    call: Call


def content_of_file(file: Path) -> Content:
    """The content of a file on this machine, as the network's storage will have it. Reads the file; nothing is sent.

    Raises:
        UsageError: it cannot be read.
    """
    total, builder = hashlib.sha256(), CidBuilder()
    try:
        with file.open("rb") as opened:
            while data := opened.read(_CHUNK):
                total.update(data)
                builder.update(data)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error}).") from error
    return Content(f"/ipfs/{builder.finish()}", f"0x{total.hexdigest()}", file)


def content_elsewhere(multiaddr: str, checksum: str) -> Content | None:
    """Content that lies at ``multiaddr``; None if there is none, or ``checksum`` is not 0x and 64 digits."""
    return Content(multiaddr, hex32(checksum)) if multiaddr and is_hex32(checksum) else None


async def plan_registration(
    chain: RegistryChain, kind: str, what: str, owner: str, arguments: tuple[Any, ...]
) -> Registration:
    """The entry that ``owner`` gets by registering: its address follows from owner and content. Nothing is signed.

    ``arguments`` are those of the registry's creation after the owner; ``what`` names the entry in an error.

    Raises:
        UsageError: it is registered already, or there is no such kind.
        ServiceUnavailable: the chain does not answer.
    """
    registry = await chain.registry(kind)
    function = f"predict{kind.capitalize()}"
    address = str(await chain.read(f"{kind}_registry", registry, function, owner, *arguments))
    if await chain.is_registered(kind, address):
        raise UsageError(f"{what[0].upper()}{what[1:]} of {owner} is registered already: {address}.")
    return Registration(registry, address, _CREATIONS[kind](registry, owner, *arguments))


async def upload_content(storage: StorageClient, content: Content) -> None:
    """Put the file of a content into storage, if it has one.

    Raises:
        UsageError: the file cannot be read, or is another one by now.
        ServiceRefused, ServiceUnavailable: storage does not take it.
    """
    if content.file is not None and f"/ipfs/{await storage.add_file(content.file)}" != content.multiaddr:
        raise UsageError(f"{content.file} changed meanwhile: it is not {content.multiaddr} any more.")


async def view_entry(chain: Chain, kind: str, address: str) -> AppInfo | DatasetInfo | WorkerpoolInfo:
    """What the registry says of an entry. Its texts are as its owner wrote them.

    Raises:
        UsageError: there is no such entry.
        ServiceUnavailable: the chain does not answer.
    """
    if not await chain.is_registered(kind, address):
        raise UsageError(f"There is no {kind} {address} in the registry of this network.")
    if kind == "workerpool":
        return await chain.view_workerpool(address)
    return await (chain.view_dataset(address) if kind == "dataset" else chain.view_app(address))
