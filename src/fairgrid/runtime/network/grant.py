"""What one job is given of the network, and what its proxy's address is inside the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["PROXY_PORT", "PROXY_URL", "NetworkGrant", "grant_from_wire", "proxy_environment"]

PROXY_PORT: Final = 3128
"""Where the proxy listens, on the loopback of the job's own network."""
PROXY_URL: Final = f"http://127.0.0.1:{PROXY_PORT}"

_VARIABLES: Final = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True)
class NetworkGrant:
    """Deal and owner both allow it: connections through a proxy to these places."""

    hosts: tuple[str, ...]
    """Destinations (`fairgrid.protocol.network`), as the manifest names them and the owner's policy covers them."""
    max_bytes: int = 1 << 30
    """What the job may send and receive together; then its connections end."""
    allow_loopback: bool = False
    """True on local networks: a destination that names a host may be this machine. ``*`` never is."""

    def to_wire(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"hosts": list(self.hosts), "max_bytes": self.max_bytes, "allow_loopback": self.allow_loopback}


def grant_from_wire(wire: Mapping[str, Any]) -> NetworkGrant:
    """Read what `NetworkGrant.to_wire` wrote.

    Raises:
        KeyError, TypeError: it is something else.
    """
    return NetworkGrant(tuple(wire["hosts"]), int(wire["max_bytes"]), bool(wire["allow_loopback"]))


def proxy_environment(grant: NetworkGrant | None) -> dict[str, str]:
    """The variables by which programs find their proxy; both spellings, because libraries differ in which they read."""
    if grant is None:
        return {}
    return {name: PROXY_URL for upper in _VARIABLES for name in (upper, upper.lower())} | {
        "NO_PROXY": "",
        "no_proxy": "",
    }
