"""The published contracts that ours stand beside in tests: fetched as npm publishes them, never kept in the tree.

The package is fetched once a machine into the cache folder, by its integrity hash, and read where it lies. What it
holds is compared with or run beside our contracts; nothing of it is built into anything.
"""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eth_abi.abi import encode

from fairgrid.chain.abi import Abi
from fairgrid.localnet.download import cache_folder, exclusive, fetch_package, verify_integrity
from fairgrid.protocol.hexes import ZERO_ADDRESS, address_bytes

__all__ = ["PEER_NAME", "PEER_VERSION", "DeployedPeer", "PeerPackage", "deploy_peer", "ensure_peer"]

PEER_NAME = "@iexec/poco"
PEER_VERSION = "6.1.0"
_INTEGRITY = "sha512-BPbDtf2fgQuotr6rf74ACVdwlKqkErEZ8qLbTWM+2CIBj2EX3+6KBGWsFoudoOGjgT7vUJ3jeNX8SWvHzSHg6A=="
_PATIENCE = {"npm_config_fetch_retries": "1", "npm_config_fetch_timeout": "15000"}
"""Without a network a test is to be skipped soon."""

_LIBRARY = "IexecLibOrders_v5"
_DIAMOND_FACETS = ("DiamondCutFacet", "DiamondLoupeFacet", "OwnershipFacet")
_FACETS = (
    "IexecAccessorsABILegacyFacet",
    "IexecCategoryManagerFacet",
    "IexecConfigurationExtraFacet",
    "IexecConfigurationFacet",
    "IexecERC20Facet",
    "IexecEscrowTokenFacet",
    "IexecOrderManagementFacet",
    "IexecPoco1Facet",
    "IexecPoco2Facet",
    "IexecPocoAccessorsFacet",
    "IexecPocoBoostAccessorsFacet",
    "IexecPocoBoostFacet",
    "IexecRelayFacet",
)
_FOLDER_OF = {
    "Diamond": "contracts/Diamond.sol",
    "IexecInterfaceToken": "contracts/IexecInterfaceToken.sol",
    _LIBRARY: f"contracts/libs/{_LIBRARY}.sol",
    **{facet: f"contracts/facets/{facet}.sol" for facet in _FACETS},
    **{
        name: f"contracts/registries/{kind}s/{name}.sol"
        for kind in ("app", "dataset", "workerpool")
        for name in (kind.capitalize(), f"{kind.capitalize()}Registry")
    },
}
_RECEIVE = b"\0\0\0\0"
_FALLBACK = b"\xff\xff\xff\xff"
"""Under these selectors the diamond looks for what takes plain money and unknown calls."""

CATEGORIES = (("XS", 300), ("S", 1_200), ("M", 3_600), ("L", 10_800), ("XL", 36_000))


def ensure_peer() -> Path:
    """The package's file, fetched on first use (0.4 MB) and kept by version; two callers at once fetch it once.

    Raises:
        VerificationError: what was fetched is not the pinned package.
        HostFailure: it cannot be fetched (no network, registry refuses).
    """
    kept = cache_folder() / "peer" / f"iexec-poco-{PEER_VERSION}.tgz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(kept.parent / "lock"):
            if not kept.exists():
                with tempfile.TemporaryDirectory(dir=kept.parent) as folder, _impatient():
                    package = fetch_package(PEER_NAME, PEER_VERSION, Path(folder), lambda _sentence: None)
                    verify_integrity(package, _INTEGRITY)
                    package.replace(kept)
    verify_integrity(kept, _INTEGRITY)
    return kept


@contextmanager
def _impatient() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _PATIENCE}
    os.environ.update(_PATIENCE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class PeerPackage:
    """ABIs and creation codes of a verified package."""

    def __init__(self, file: Path) -> None:
        with tarfile.open(file, "r:gz") as archive:
            self._documents = {
                member.name: source.read()
                for member in archive
                if member.isreg() and member.name.startswith(("package/artifacts/", "package/deployments/arbitrum/"))
                if (source := archive.extractfile(member)) is not None
            }

    def document(self, name: str) -> dict[str, Any]:
        """What the compiler said of a contract; of the diamond's own facets, what was deployed."""
        folder = _FOLDER_OF.get(name)
        path = f"artifacts/{folder}/{name}.json" if folder else f"deployments/arbitrum/{name}.json"
        document: dict[str, Any] = json.loads(self._documents[f"package/{path}"])
        return document

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The ABI of one contract; of ``hub``, all that its facets have and its interface promises, each once."""
        if name != "hub":
            return list(self.document(name)["abi"])
        parts = ("Diamond", *_DIAMOND_FACETS, *_FACETS, "IexecInterfaceToken")
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for part in parts:
            for entry in self.document(part)["abi"]:
                found.setdefault((entry["type"], _signature(entry)), entry)
        return [entry for entry in found.values() if entry["type"] != "constructor"]

    @cached_property
    def hub_abi(self) -> Abi:
        """The hub's ABI."""
        return Abi("peer hub", self.entries("hub"))

    def registry_abi(self, kind: str) -> Abi:
        """The ABI of the registry of apps, datasets or workerpools."""
        return Abi(f"peer {kind} registry", self.entries(f"{kind.capitalize()}Registry"))

    def entry_abi(self, kind: str) -> Abi:
        """The ABI of an app, dataset or workerpool."""
        return Abi(f"peer {kind}", self.entries(kind.capitalize()))

    def code(self, name: str, libraries: Mapping[str, str] | None = None) -> bytes:
        """Creation code, linked with ``libraries`` (addresses by name)."""
        document = self.document(name)
        code: str = document["bytecode"].removeprefix("0x")
        for file in document.get("linkReferences", {}).values():
            for library, places in file.items():
                address = address_bytes((libraries or {})[library]).hex()
                for place in places:
                    start = 2 * place["start"]
                    code = code[:start] + address + code[start + 40 :]
        return bytes.fromhex(code)


@dataclass(frozen=True, slots=True)
class DeployedPeer:
    """Where the peer is; registries by kind."""

    hub: str
    registries: Mapping[str, str]


def deploy_peer(
    package: PeerPackage,
    create: Callable[[str, bytes], str],
    send: Callable[[str, bytes], object],
    *,
    owner: str,
    base_token: str,
) -> DeployedPeer:
    """Diamond, facets (boost with them), registries, settings and categories, as the peer's own tests expect them.

    ``create`` takes a name and creation code and gives an address, ``send`` takes an address and a call's data; both
    act for ``owner``.
    """
    libraries = {_LIBRARY: create(_LIBRARY, package.code(_LIBRARY))}
    cuts = []
    seen: set[bytes] = set()
    for facet in (*_DIAMOND_FACETS, *_FACETS):
        address = create(facet, package.code(facet, libraries))
        selectors = _selectors(package.entries(facet)) - seen
        seen |= selectors
        cuts.append((address, 0, sorted(selectors)))
    start = create("DiamondInit", package.code("DiamondInit"))
    arguments = encode(
        ["(address,uint8,bytes4[])[]", "(address,address,bytes)"],
        [cuts, (owner, start, Abi("DiamondInit", package.entries("DiamondInit")).encode_call("init", ()))],
    )
    hub = create("Diamond", package.code("Diamond") + arguments)
    registries = {}
    for kind in ("app", "dataset", "workerpool"):
        name = f"{kind.capitalize()}Registry"
        registries[kind] = create(name, package.code(name))
        send(registries[kind], package.registry_abi(kind).encode_call("initialize", (ZERO_ADDRESS,)))
    terms = (base_token, "Staked RLC", "SRLC", 9, *registries.values(), ZERO_ADDRESS)
    send(hub, package.hub_abi.encode_call("configure", terms))
    for name, seconds in CATEGORIES:
        send(hub, package.hub_abi.encode_call("createCategory", (name, '""', seconds)))
    return DeployedPeer(hub, registries)


def _signature(entry: dict[str, Any]) -> str:
    return f"{entry.get('name', '')}({','.join(_canonical_type(parameter) for parameter in entry.get('inputs', ()))})"


def _canonical_type(parameter: dict[str, Any]) -> str:
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_canonical_type(component) for component in parameter['components'])}){kind[5:]}"


def _selectors(entries: list[dict[str, Any]]) -> set[bytes]:
    selectors = {function.selector for function in Abi("facet", entries).functions.values()}
    kinds = {entry["type"] for entry in entries}
    return selectors | ({_RECEIVE} if "receive" in kinds else set()) | ({_FALLBACK} if "fallback" in kinds else set())
