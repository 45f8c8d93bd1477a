"""Compiled contracts that ship with the package (decision 35); written by ``scripts/compile_contracts.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

__all__ = ["NAMES", "Artifact", "artifact"]

NAMES = (
    "rlc",
    "hub",
    "hub_orders",
    "hub_batch",
    "hub_boost",
    "hub_escrow",
    "hub_escrow_native",
    "hub_admin",
    "hub_legacy",
    "hub_views",
    "app_registry",
    "dataset_registry",
    "workerpool_registry",
    "app",
    "dataset",
    "workerpool",
    "role_account",
    "role_accounts",
    "deposit_address",
    "deposit_addresses",
    "group",
    "groups",
)
"""Every contract of the package. ``app``, ``dataset`` and ``workerpool`` are the entries of their registries;
``role_account``, ``deposit_address`` and ``group`` are what the clones of their factories delegate to."""


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """A compiled contract. ``hub`` carries the whole public interface of the hub's address.

    ``bytecode`` is the creation code, without constructor arguments; do not change ``abi``, which is shared.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes


@cache
def artifact(name: str) -> Artifact:
    """The contract of that name, one of `NAMES`; read once.

    Raises:
        KeyError: there is no contract of that name.
    """
    if name not in NAMES:
        raise KeyError(f"There is no contract {name!r}; there are {', '.join(NAMES)}.")
    document = json.loads((resources.files(__package__) / f"{name}.json").read_text())
    return Artifact(name=name, abi=document["abi"], bytecode=bytes.fromhex(document["bytecode"].removeprefix("0x")))
