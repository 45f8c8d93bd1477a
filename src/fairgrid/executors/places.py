"""Which network an executor works on, by one argument."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from fairgrid.chain.network import load_network
from fairgrid.client.client import TrustWish
from fairgrid.errors import UsageError
from fairgrid.executors.backend import Backend
from fairgrid.executors.grid import GridBackend
from fairgrid.executors.here import HereBackend
from fairgrid.executors.runtimes import packages_of, runtime_of
from fairgrid.localnet.paths import default_directory, requester_folder
from fairgrid.wallet.keystore import open_or_create_key

__all__ = ["Place", "Trust", "find_place"]

Trust = float | str | Decimal
"""How sure a result must be, at least 0 and below 1: ``0.99``."""


@dataclass(frozen=True, slots=True)
class Place:
    """A backend, and the folder in which its runs are kept."""

    backend: Backend
    runs: Path
    packages: Set[str] = frozenset()
    """Top names of those that calls find there besides the standard library."""


def find_place(
    network: str | Path | Place,
    *,
    trust: Trust = "0.9",
    workers_at_least: int = 1,
    key_folder: Path | None = None,
    patience_s: float = 600.0,
    runtime: str = "python",
) -> Place:
    """The place that ``network`` names: ``"local"``, ``"here"``, or the folder of a network.

    Raises:
        UsageError: there is no such network or runtime, or the trust is none.
    """
    if isinstance(network, Place):
        return network
    runtime_id = runtime_of(runtime)
    if network == "here":
        base = Path(os.environ.get("FAIRGRID_DIR") or Path.home() / ".fairgrid") / "here"
        return Place(HereBackend(base / "deals", runtime_id=runtime_id), base / "runs", packages_of(runtime_id))
    folder = default_directory() if network == "local" else Path(network)
    if network != "local" and isinstance(network, str) and not folder.exists():
        raise UsageError(
            f"There is no network {network!r}. Name one: 'local' (start it with `fairgrid up --detach`), 'here' (this "
            f"machine alone, without money), or the folder of a network."
        )
    found = load_network(folder)
    signer = open_or_create_key(key_folder or requester_folder(folder))
    backend = GridBackend(
        found,
        signer,
        journal_folder=folder / "deals" / signer.address,
        wish=TrustWish(str(trust), workers_at_least),
        patience_s=patience_s,
        runtime_id=runtime_id,
    )
    return Place(backend, folder / "runs" / signer.address, packages_of(runtime_id))
