"""The network file: which chain, which hub, which services. A worker trusts this file, not its pool (decision 31)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import httpx

from fairgrid.errors import UsageError
from fairgrid.protocol.hexes import checksum, is_hex32
from fairgrid.seams.config_file import is_name, local_directory, read_config

__all__ = ["LOCAL", "Network", "check_network", "document_of", "load_network", "network_of", "save_network"]

LOCAL = "local"
"""The name of the network that `fairgrid up` starts on this machine."""
_LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Network:
    """One network. URLs have no trailing slash; ``hub_code_hash`` is keccak256 of the hub's code."""

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


def check_network(network: Network) -> None:
    """Whether its values can be those of a network; nobody is asked.

    Raises:
        UsageError: one cannot be, and which.
    """
    for field in fields(Network):
        value = getattr(network, field.name)
        if field.type == "str" and not isinstance(value, str):
            raise UsageError(f"{field.name} is no text")
        if isinstance(value, str) and (len(value) > _LONGEST_TEXT or not value.isprintable()):
            raise UsageError(f"{field.name} is too long or not printable")
    if type(network.chain_id) is not int or network.chain_id < 1:
        raise UsageError("the chain id is no whole number above 0")
    if not is_hex32(network.hub_code_hash):
        raise UsageError("the hub's code hash is no hash")
    for address in (network.hub, network.rlc, network.pool_address):
        checksum(address)
    for service in (network.rpc, network.storage):
        if httpx.URL(service).scheme not in ("http", "https"):
            raise UsageError(f"{service!r} is no http address")


def load_network(path: Path) -> Network:
    """Read a network file, or the ``network.json`` of a state folder, or a network of the config file by its name.

    A name that the config file has counts before a folder of that name: write ``NAME/network.json`` for that.

    Raises:
        UsageError: there is no such network or file, it cannot be read, or it is not a network file.
    """
    named = str(path)
    if named == LOCAL:
        path = local_directory()
    elif is_name(named):
        table = read_config().networks.get(named)
        if table is not None:
            return _configured(named, table)
    file = path
    try:
        file = path / "network.json" if path.is_dir() else path
        document = json.loads(file.read_text())
    except FileNotFoundError:
        if is_name(named) and named != LOCAL and not path.exists():
            raise UsageError(
                f"There is no network {named!r}, and no file or folder of that name. `fairgrid network list` lists "
                f"networks by name, `fairgrid network add` adds one."
            ) from None
        raise UsageError(
            f"There is no network at {file}. Start one with `fairgrid up`, or name another with --network "
            f"(`fairgrid network list`)."
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The network file {file} cannot be read ({error}). Write it anew with `fairgrid up`."
        ) from error
    try:
        return network_of(document)
    except KeyError as error:
        raise UsageError(f"The network file {file} lacks the key {error}. Write it anew with `fairgrid up`.") from None
    except TypeError:
        raise UsageError(f"The network file {file} is no JSON object. Write it anew with `fairgrid up`.") from None
    except ValueError as error:
        raise UsageError(f"In the network file {file}, {error}.") from None


def _configured(name: str, table: Mapping[str, Any]) -> Network:
    try:
        network = network_of(table)
        check_network(network)
    except KeyError as error:
        raise UsageError(f"The network {name} of the config file lacks {error}. Add it anew with --replace.") from None
    except Exception as error:
        raise UsageError(f"The network {name} of the config file cannot be: {error}.") from None
    return network
