"""Where a job may connect to, as text: in a manifest what it asks for, in a worker's claims what its owner allows.

``example.org`` means that host at the ports 80 and 443, ``example.org:8443`` that port only, ``*.example.org`` every
host below it, and ``*`` every host. What such a text can never mean (the worker's own machine, private networks) is
refused by the worker, address by address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fairgrid.errors import UsageError
from fairgrid.protocol.app_types import Level

__all__ = ["ANYWHERE", "NETWORK_LEVELS", "USUAL_PORTS", "Destination", "destination", "uncovered"]

ANYWHERE: Final = "*"
"""Every host, at the usual ports."""
USUAL_PORTS: Final = frozenset({80, 443})
"""Ports of a destination that names none."""
NETWORK_LEVELS: Final = frozenset({Level.PROCESS, Level.CONTAINER})
"""Isolation levels that can give a job the network at all; whether one does is the machine's and its owner's affair."""

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DESTINATION: Final = re.compile(
    rf"(?=.{{1,100}}\Z)(\*|(?:\*\.)?{_LABEL}(?:\.{_LABEL})+)(?::([1-9][0-9]{{0,4}}))?", re.ASCII
)
_LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Destination:
    """Hosts and ports."""

    host: str
    """A name, an IPv4 address, ``*.`` and a name, or ``*``."""
    ports: frozenset[int]

    @property
    def is_exact(self) -> bool:
        """True if it names one host."""
        return "*" not in self.host

    def meets(self, host: str, port: int) -> bool:
        """Whether a connection to ``host``, in lower case and without a last dot, at ``port`` is meant."""
        return port in self.ports and self._means(host)

    def covers(self, other: Destination) -> bool:
        """Whether it means everything that ``other`` means."""
        return other.ports <= self.ports and (self.host == other.host or self._means(other.host))

    def _means(self, host: str) -> bool:
        if self.host == ANYWHERE:
            return True
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


@lru_cache(maxsize=1024)
def destination(text: str) -> Destination:
    """Read a destination.

    Raises:
        UsageError: it is none.
    """
    found = _DESTINATION.fullmatch(text)
    port = int(found[2]) if found is not None and found[2] else 0
    if found is None or port > _LAST_PORT:
        raise UsageError(
            f"{text!r} is no place that a job could connect to. Give a host in lower case (example.org), with a port "
            f"if it is neither 80 nor 443 (example.org:8443), all hosts below a name (*.example.org), or * for any."
        )
    return Destination(found[1], frozenset({port}) if port else USUAL_PORTS)


def uncovered(wanted: Iterable[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """Those of ``wanted`` that no single one of ``allowed`` covers. What cannot be read is not covered, and covers
    nothing."""
    known = [read for text in allowed if (read := _read(text)) is not None]
    return tuple(text for text in wanted if (read := _read(text)) is None or not any(one.covers(read) for one in known))


def _read(text: str) -> Destination | None:
    try:
        return destination(text)
    except UsageError:
        return None
