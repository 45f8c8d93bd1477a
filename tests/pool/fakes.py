"""Workers for the scheduler that do as they are told, and the addresses and digests of names."""

from __future__ import annotations

from dataclasses import dataclass, field

from fairgrid.pool.core.instructions import (
    SendLease,
)
from fairgrid.protocol.hexes import checksum, keccak, to_hex, to_hex32
from fairgrid.protocol.machine import Machine


def address(name: str) -> str:
    return checksum(to_hex(keccak(name.encode())[:20]))


def digest_of(text: str) -> str:
    return to_hex32(keccak(b"digest of " + text.encode()))


@dataclass
class Fake:
    """A worker: honest unless told otherwise."""

    name: str
    owner: str
    score: int = 0
    stake: int = 1_000
    slots: int = 1
    answer: str = "right"
    contributes: str = ""
    """What it contributes, if not what it sealed."""
    seals: bool = True
    obeys_authorisation: bool = True
    reveals: bool = True
    opens: bool = True
    opens_as: str = ""
    uploads: bool = True
    uploads_as: str = ""
    lies_at: int = -1
    """Answers wrongly whenever this index is among the tasks."""
    connected: bool = True
    machine: Machine | None = None
    network: str = ""
    fast: bool = False
    """Can contribute and finalize in one transaction."""
    settles: bool = False
    """Can open and end a run in one transaction."""
    leases: dict[str, SendLease] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return address(self.name)

    @property
    def salt(self) -> str:
        return to_hex32(keccak(b"salt of " + self.name.encode()))


def honest(count: int, prefix: str = "worker") -> list[Fake]:
    return [Fake(f"{prefix}{number}", owner=f"{prefix}{number}") for number in range(count)]
