"""What a component holds by handles: streams, folders that are being listed, moments to wait for, open descriptors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from wasmtime.component import ResourceHost

from fairgrid.runtime.log_sink import LogSink
from fairgrid.runtime.wasm.guest_faults import GuestTrapped

__all__ = [
    "MAX_RESOURCES",
    "RESOURCE_TYPES",
    "Descriptor",
    "InputStream",
    "Listing",
    "OutputStream",
    "Pollable",
    "ResourceTable",
]

MAX_RESOURCES: Final = 65_536
"""Handles that a component may hold at once."""

RESOURCE_TYPES: Final = {
    name: number
    for number, name in enumerate(
        (
            *("pollable", "error", "input-stream", "output-stream", "terminal-input", "terminal-output"),
            *("descriptor", "directory-entry-stream", "network", "tcp-socket", "udp-socket"),
            *("incoming-datagram-stream", "outgoing-datagram-stream", "resolve-address-stream"),
        ),
        start=1,
    )
}
"""The resources of WASI preview 2 by their names, which no two interfaces share, and the engine's numbers for them."""


@dataclass(frozen=True, slots=True)
class Pollable:
    """Ready from a time of the logical clock on; None: at any time."""

    when_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An open file or folder by its number in the table of handles."""

    number: int


@dataclass(slots=True)
class InputStream:
    """Reads a descriptor from an offset on; None: standard input, which is at its end."""

    descriptor: int | None = None
    offset: int = 0


@dataclass(slots=True)
class OutputStream:
    """Writes to a log, or to a descriptor from ``offset`` on; with None at its end."""

    sink: LogSink | None = None
    descriptor: int | None = None
    offset: int | None = 0


@dataclass(slots=True)
class Listing:
    """Entries of a folder that are still to be told: names and types."""

    entries: list[tuple[str, str]] = field(default_factory=list)


Resource: TypeAlias = Pollable | Descriptor | InputStream | OutputStream | Listing


class ResourceTable:
    """Resources by number; numbers are not used twice."""

    def __init__(self) -> None:
        self._held: dict[int, Resource | None] = {}
        self._next = 1

    def own(self, kind: str, held: Resource | None = None) -> ResourceHost:
        """A new handle, which becomes the component's.

        Raises:
            GuestTrapped: it holds too many.
        """
        if len(self._held) >= MAX_RESOURCES:
            raise GuestTrapped(f"it holds more than {MAX_RESOURCES} handles")
        number = self._next
        self._next += 1
        self._held[number] = held
        return ResourceHost.own(number, RESOURCE_TYPES[kind])

    def find(self, number: int) -> Resource | None:
        """What a number stands for; None if that is gone."""
        return self._held.get(number)

    def of(self, number: int) -> Any:
        """The resource that an argument of a call stands for; its kind is the engine's to check."""
        return self._held[number]

    def drop(self, number: int) -> Resource | None:
        """Forget one; what it was."""
        return self._held.pop(number, None)
