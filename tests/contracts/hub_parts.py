"""The hub out of its parts, in the order in which each finds those that it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairgrid.protocol.hexes import ZERO_ADDRESS

__all__ = ["FACETS", "NATIVE_ESCROW", "create_hub"]

FACETS = ("hub_orders", "hub_batch", "hub_boost", "hub_escrow", "hub_admin", "hub_legacy", "hub_views")
"""As in `fairgrid.chain.deploy`."""

NATIVE_ESCROW = "hub_escrow_native"
"""Stands in the place of `hub_escrow` in the flavour of native coins."""


def create_hub(
    create: Callable[..., str],
    *,
    owner: str,
    base_token: str | None,
    registries: Mapping[str, str],
    v3_hub: str = ZERO_ADDRESS,
) -> dict[str, str]:
    """Create facets and hub; their addresses by name.

    ``create`` takes a contract's name and constructor arguments by name (more than it needs do no harm) and gives
    its address; ``registries`` go by kind. Without ``base_token`` the hub's escrow is of native coins.
    """
    arguments = {"hub_owner": owner, "v3_hub": v3_hub}
    if base_token is not None:
        arguments["base_token"] = base_token
    arguments |= {f"{kind}_registry": address for kind, address in registries.items()}
    for name in (*FACETS, "hub"):
        native = name == "hub_escrow" and base_token is None
        arguments[name] = create(NATIVE_ESCROW if native else name, **arguments)
    return {name: arguments[name] for name in (*FACETS, "hub")}
