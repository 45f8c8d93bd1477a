"""The client that a command works with: of the network that was named, with the requester's key."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from fairgrid.chain.network_names import find_network
from fairgrid.cli.shared_options import signer_of
from fairgrid.client.client import Client
from fairgrid.seams.tracing import start_tracing

__all__ = ["client_of"]


def client_of(directory: Path | None, key_folder: Path | None) -> AbstractAsyncContextManager[Client]:
    """A client of the network in ``directory``, with the requester's key."""
    start_tracing("client")
    place = find_network(directory)
    signer = signer_of(place, key_folder)
    return Client.connect(place.network, signer, journal_folder=place.folder / "deals" / signer.address)
