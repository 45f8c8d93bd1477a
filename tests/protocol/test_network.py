"""Where a job may connect to, as text: read strictly, and one place covers another only if it means all of it."""

from __future__ import annotations

import pytest

from fairgrid.errors import UsageError
from fairgrid.protocol.network import ANYWHERE, destination, uncovered


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("example.org", "example.org", {80, 443}),
        ("example.org:8443", "example.org", {8443}),
        ("*.example.org:22", "*.example.org", {22}),
        ("*", "*", {80, 443}),
        ("*:65535", "*", {65535}),
        ("93.184.216.34:9000", "93.184.216.34", {9000}),
    ],
)
def test_a_destination_names_a_host_and_the_usual_ports_or_its_own(text: str, host: str, ports: set[int]) -> None:
    read = destination(text)
    assert read.host == host and set(read.ports) == ports


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "Example.org", "example.org.", "example..org", "-a.org", "a-.org", "http://example.org"),
        *("example.org:0", "example.org:65536", "example.org:080", "example.org:", "exa mple.org", "*example.org"),
        *("a.*.org", "**", "user@example.org", "[::1]:80", "example.org/path", "example.org\n", "ex\u00e4mple.org"),
        *("a." * 60 + "org",),
    ],
)
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no place that a job could connect to"):
        destination(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "meant"),
    [
        ("example.org", "example.org", 443, True),
        ("example.org", "example.org", 22, False),
        ("example.org", "www.example.org", 443, False),
        ("*.example.org", "www.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "evilexample.org", 443, False),
        ("*", "anything.at.all", 80, True),
        ("*", "anything.at.all", 25, False),
        ("*:25", "anything.at.all", 25, True),
    ],
)
def test_a_connection_is_meant_by_host_and_port(text: str, host: str, port: int, meant: bool) -> None:
    assert destination(text).meets(host, port) is meant


@pytest.mark.parametrize(
    ("wanted", "allowed", "missing"),
    [
        (("example.org",), (ANYWHERE,), ()),
        (("*",), ("example.org",), ("*",)),
        (("*",), ("*",), ()),
        (("example.org:8443",), (ANYWHERE,), ("example.org:8443",)),
        (("example.org:443",), ("example.org",), ()),
        (("example.org",), ("example.org:443",), ("example.org",)),
        (("*.a.example.org", "b.org"), ("*.example.org", "c.org"), ("b.org",)),
        (("*.example.org",), ("www.example.org",), ("*.example.org",)),
        (("not a host",), (ANYWHERE,), ("not a host",)),
        (("example.org",), ("not a host",), ("example.org",)),
        ((), (), ()),
    ],
)
def test_what_is_wanted_and_not_covered_is_named(
    wanted: tuple[str, ...], allowed: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    assert uncovered(wanted, allowed) == missing
