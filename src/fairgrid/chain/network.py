"""The network file: which chain, which hub, which services. A worker trusts this file, not its pool (decision 31)."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fairgrid.errors import UsageError

__all__ = ["Network", "document_of", "load_network", "network_of", "save_network"]


@dataclass(frozen=True, slots=True)
class Network:
    """One network (decision 54). URLs have no trailing slash; ``hub_code_hash`` is keccak256 of the hub's code."""

    name: str
    chain_id: int
    rpc: str
    hub: str
    hub_code_hash: str
    rlc: str
    market: str
    storage: str
    pool: str
    pool_address: str
    storage_mirrors: tuple[str, ...] = ()
    """More storages or IPFS gateways that have the network's content."""


_JSON_KEYS = {
    "chain_id": "chainId",
    "hub_code_hash": "hubCodeHash",
    "pool_address": "poolAddress",
    "storage_mirrors": "storageMirrors",
}


def document_of(network: Network) -> dict[str, Any]:
    """The network as the JSON object of a network file."""
    return {_JSON_KEYS.get(name, name): value for name, value in asdict(network).items()}


def network_of(document: Any) -> Network:
    """The network that such an object describes; values are not checked but for their presence.

    Raises:
        KeyError, TypeError: it lacks a key, or is no object.
        ValueError: its mirrors are no list of addresses.
    """
    values = {
        field.name: document[_JSON_KEYS.get(field.name, field.name)]
        for field in fields(Network)
        if field.default is MISSING or _JSON_KEYS.get(field.name, field.name) in document
    }
    mirrors = values.get("storage_mirrors", ())
    if not isinstance(mirrors, list | tuple) or not all(isinstance(url, str) for url in mirrors):
        raise ValueError("storageMirrors must be a list of addresses")
    values["storage_mirrors"] = tuple(url.rstrip("/") for url in mirrors)
    return Network(**values)


def save_network(network: Network, path: Path) -> None:
    """Write the file in one step, so that a reader never sees half of it."""
    document = document_of(network)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=2) + "\n")
    partial.replace(path)


def load_network(path: Path) -> Network:
    """Read a network file, or the ``network.json`` of a state folder.

    Raises:
        UsageError: there is no such file, it cannot be read, or it is not a network file.
    """
    file = path
    try:
        file = path / "network.json" if path.is_dir() else path
        document = json.loads(file.read_text())
    except FileNotFoundError:
        raise UsageError(f"There is no network at {file}. Start one with `fairgrid up`, or name its --dir.") from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The network file {file} cannot be read ({error}). Write it anew with `fairgrid up`."
        ) from error
    try:
        return network_of(document)
    except (KeyError, TypeError):
        raise UsageError(f"The network file {file} lacks a key. Write it anew with `fairgrid up`.") from None
    except ValueError as error:
        raise UsageError(f"In the network file {file}, {error}.") from None
