"""Which addresses are near: this machine's own, and those of the networks that it is directly in.

A public address is no proof of distance: a server has one itself, and so have its neighbours.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

import psutil

__all__ = ["IpNetwork", "NearbyNetworks", "nearby_networks"]

IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
NearbyNetworks: TypeAlias = Callable[[], tuple[IpNetwork, ...]]

_WIDEST: Final = 8
"""A wider mask describes no neighbourhood (some tunnels claim the whole Internet); the address itself counts."""


def nearby_networks() -> tuple[IpNetwork, ...]:
    """Of every interface, as it is configured now."""
    found: set[IpNetwork] = set()
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family in (socket.AF_INET, socket.AF_INET6):
                found.update(_networks(one.address.partition("%")[0], one.netmask))
    return tuple(found)


def _networks(address: str, mask: str | None) -> list[IpNetwork]:
    try:
        own = ipaddress.ip_network(address)
        bits = _bits(mask) if mask else own.prefixlen
        around = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    except ValueError:
        return []
    return [own, around] if around.prefixlen >= _WIDEST else [own]


def _bits(mask: str) -> int:
    """255.255.255.0 and ffff:ffff:: as a number of bits; systems write both."""
    return bin(int(ipaddress.ip_address(mask.partition("/")[0]))).count("1")
