"""To which addresses this machine connects for a stranger (decision 15), and an HTTP transport that keeps to it.

A name is looked up once; every address it has is judged, and the connection goes to an address that was judged, so a
name that means something else a moment later gains nothing. Every redirect passes the same gate.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import httpx

from fairgrid.errors import UsageError

__all__ = ["AddressRefused", "AddressRule", "GuardedTransport", "look_up", "network_of_ip"]

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
LookUp: TypeAlias = Callable[[str, int], Awaitable[list[str]]]

_METADATA: Final = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "168.63.129.16", "fd00:ec2::254")
)
"""Where clouds hand out credentials to whoever asks from inside; one of them is a public address."""
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_MAX_ORIGINS: Final = 16
_LOOK_UP_S: Final = 10.0


class AddressRefused(UsageError):
    """A connection was not made, because of where it would have led. ``host`` is what was asked for."""

    def __init__(self, host: str, reason: str) -> None:
        self.host = host
        self.reason = reason
        super().__init__(
            f"{host} is not connected to: {reason}. Name a public address, or let the owner of this machine allow it."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRule:
    """Which addresses may be connected to: public ones, and what the two fields add."""

    allow_loopback: bool = False
    """This machine itself: for local networks."""
    allowed_networks: tuple[IpNetwork, ...] = ()
    """Private networks that the owner of the machine named."""

    @classmethod
    def of(cls, networks: tuple[str, ...], *, allow_loopback: bool = False) -> AddressRule:
        """A rule from networks as text, for example ``10.1.0.0/16``.

        Raises:
            UsageError: one is no network.
        """
        try:
            parsed = tuple(ipaddress.ip_network(text) for text in networks)
        except ValueError as error:
            raise UsageError(f"Not a network of addresses ({error}). Give one like 10.1.0.0/16 or fd00::/8.") from error
        return cls(allow_loopback=allow_loopback, allowed_networks=parsed)

    def fault(self, text: str) -> str | None:
        """Why an address may not be connected to; None when it may."""
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return f"{text} is no address"
        return next((fault for meant in _meant(address) if (fault := self._fault(meant)) is not None), None)

    def _fault(self, address: IpAddress) -> str | None:
        if address in _METADATA:
            return f"{address} is a metadata service"
        if any(address in network for network in self.allowed_networks):
            return None
        if address.is_loopback:
            return None if self.allow_loopback else f"{address} is this machine itself"
        if address.is_multicast:
            return f"{address} is a multicast address"
        if address.is_link_local:
            return f"{address} is a link-local address"
        if address.is_unspecified:
            return f"{address} means every address of this machine"
        if not address.is_global:
            return f"{address} is a private or reserved address"
        return None


def _meant(address: IpAddress) -> list[IpAddress]:
    """The address, and the older ones that are written inside of it: both count."""
    meant: list[IpAddress] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            # Its own class (loopback, private, …) is that of the address inside.
            return [address.ipv4_mapped]
        if address.sixtofour is not None:
            meant.append(address.sixtofour)
        if address.teredo is not None:
            meant.extend(address.teredo)
        if address in _NAT64:
            meant.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return meant


async def look_up(host: str, port: int) -> list[str]:
    """Every address of a name, as the operating system gives them; also of ``2130706433``, ``0x7f.1`` and the like."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_LOOK_UP_S):
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedTransport(httpx.AsyncBaseTransport):
    """Connects where ``rule`` allows and nowhere else; certificates are still checked against the name.

    ``look_up`` replaces name resolution in tests.
    """

    def __init__(self, rule: AddressRule, *, look_up: LookUp = look_up) -> None:
        self._rule = rule
        self._look_up = look_up
        self._inner: dict[tuple[str, int], httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Look up, judge, connect.

        Raises:
            AddressRefused: no address of the host may be connected to.
            httpx.ConnectError: the name has no address, or nobody answers there.
        """
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = await self._look_up(host, port)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError(f"the name {host} has no address ({error})", request=request) from error
        judged = [(address, self._rule.fault(address)) for address in addresses]
        allowed = [address for address, fault in judged if fault is None]
        if not allowed:
            reasons = "; ".join(fault for _, fault in judged if fault is not None)
            raise AddressRefused(host, reasons or "the name has no address")
        # One pool of connections per name: two names at one address never share a connection.
        inner = self._inner_of((host, port))
        request.extensions = {**request.extensions, "sni_hostname": host}
        name = request.url
        for left, address in zip(reversed(range(len(allowed))), allowed, strict=True):
            request.url = name.copy_with(host=address)
            try:
                return await inner.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not left:
                    raise
            finally:
                # Redirects and messages must speak of the name.
                request.url = name
        raise AssertionError("the last address returns or raises")

    async def aclose(self) -> None:
        """Close every connection."""
        for inner in self._inner.values():
            await inner.aclose()
        self._inner.clear()

    def _inner_of(self, origin: tuple[str, int]) -> httpx.AsyncHTTPTransport:
        if origin not in self._inner:
            if len(self._inner) >= _MAX_ORIGINS:
                raise AddressRefused(origin[0], f"more than {_MAX_ORIGINS} different hosts were asked for")
            self._inner[origin] = httpx.AsyncHTTPTransport(trust_env=False)
        return self._inner[origin]


def network_of_ip(address: str, *, ipv6_bits: int) -> str:
    """The network of an IP address: a /24 of IPv4 (also in IPv6 form), ``ipv6_bits`` of IPv6; empty if none."""
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else ipv6_bits), strict=False))
