"""The first words of a connection to the job's proxy: pure. What is not understood is refused, never guessed."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

__all__ = ["BadRequest", "ProxyRequest", "parse_request", "refusal"]

_LINE: Final = re.compile(rb"([A-Z]{1,20}) (\S{1,8000}) HTTP/1\.[01]", re.ASCII)
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}):[ \t]*([^\r\n\0]*)", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?", re.ASCII)
_PLACE: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\[\]:@/?#\s]{1,255}))(?::([0-9]{1,5}))?", re.ASCII)
_LAST_PORT: Final = 65_535
_BETWEEN_HOPS: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer", b"upgrade"}
)
_REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


class BadRequest(ValueError):
    """These are no words that a proxy understands."""


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """Where a connection is to lead. ``head`` is what is sent there first; empty for a tunnel."""

    host: str
    """In lower case, without a last dot; an IPv6 address without brackets."""
    port: int
    head: bytes = b""

    @property
    def is_tunnel(self) -> bool:
        return not self.head


def parse_request(head: bytes) -> ProxyRequest:
    """Read ``CONNECT host:port`` or ``GET http://host/path`` with its headers, the empty line at the end included.

    Raises:
        BadRequest: it is neither.
    """
    line, *headers = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadRequest("the first line is no request of HTTP/1.1")
    if not found[2].isascii():
        raise BadRequest("the address holds a character that is not ASCII")
    method, target = found[1], found[2].decode("ascii")
    named = [_HEADER.fullmatch(header) for header in headers]
    if not all(named):
        raise BadRequest("a header cannot be read")
    if method == b"CONNECT":
        return ProxyRequest(*_place(target, 0))
    parts = _split(target)
    if parts.scheme != "http" or parts.username is not None or not parts.netloc:
        raise BadRequest("a proxy is asked for http://host/path, or with CONNECT")
    host, port = _place(parts.netloc, 80)
    # One request a connection: the next one might be for another host, and would not be looked at.
    kept = [match[0] for match in named if match and match[1].lower() not in {*_BETWEEN_HOPS, b"host"}]
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    first = [method + b" " + path.encode() + b" HTTP/1.1", b"Host: " + parts.netloc.encode(), b"Connection: close"]
    return ProxyRequest(host, port, b"\r\n".join([*first, *kept, b"", b""]))


def refusal(status: int, reason: str) -> bytes:
    """An answer that says why not, for whoever reads the job's logs."""
    body = f"fairgrid: {reason}\n".encode()
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _split(target: str) -> SplitResult:
    try:
        return urlsplit(target)
    except ValueError:
        raise BadRequest("the address cannot be read") from None


def _place(text: str, usual_port: int) -> tuple[str, int]:
    """Host and port of ``host:port``; ``usual_port`` 0: the port must be there."""
    found = _PLACE.fullmatch(text)
    port = int(found[3] or usual_port) if found is not None else 0
    if found is None or not 1 <= port <= _LAST_PORT:
        raise BadRequest("the address is no host and port")
    if found[1]:
        try:
            return str(ipaddress.IPv6Address(found[1])), port
        except ValueError:
            raise BadRequest("the address in brackets is none") from None
    host = found[2].lower().removesuffix(".")
    if not _HOST.fullmatch(host):
        raise BadRequest("the host's name cannot be one")
    return host, port
