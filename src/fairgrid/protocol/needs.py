"""What a job needs of the machine that computes it: the optional ``needs`` of a manifest, and machines that are alike.

A job without needs has no such key, so the CIDs of older manifests stay as they are. What is not asked for is left out,
and never written with its default: a manifest has one text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fairgrid.protocol.machine import Machine

__all__ = ["NO_NEEDS", "Alike", "GpuNeed", "Needs", "machine_class", "needs_from_wire"]


class Alike(StrEnum):
    """How alike the machines of one task's replicas must be (homogeneous redundancy)."""

    ANY = "any"
    """The runtime gives the same bits everywhere."""
    SYSTEM = "system"
    """The same operating system and architecture."""
    PROCESSOR = "processor"
    """The same operating system, architecture and family of processor."""


@dataclass(frozen=True, slots=True)
class GpuNeed:
    """Graphics processors for one task; ``memory_bytes`` is of each, ``model`` a part of the name, in lower case."""

    count: int = 1
    memory_bytes: int = 0
    model: str = ""

    def to_wire(self) -> dict[str, Any]:
        """The JSON object."""
        wire: dict[str, Any] = {"count": self.count}
        if self.memory_bytes:
            wire["memoryBytes"] = self.memory_bytes
        if self.model:
            wire["model"] = self.model
        return wire


@dataclass(frozen=True, slots=True)
class Needs:
    """What one task needs, beside its limits. 0 and empty: nothing is asked."""

    cpus: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    gpus: GpuNeed | None = None
    os: tuple[str, ...] = ()
    """One of these operating systems."""
    arch: tuple[str, ...] = ()
    """One of these architectures."""
    level: str = ""
    """The isolation level: ``wasm``, ``process``, ``container`` or ``vm``."""
    labels: tuple[str, ...] = ()
    """All of these words, as the machine's owner chose them."""
    tee: tuple[str, ...] = ()
    """One of these kinds of trusted execution environment."""
    alike: Alike = Alike.ANY
    priority: int = 0
    """1 to 9: before this requester's own tasks of a lower one; it counts for nothing among requesters."""
    network: tuple[str, ...] = ()
    """Where the job connects to (`fairgrid.protocol.network`); it can reach nothing else. Empty: no network at all."""

    @property
    def is_empty(self) -> bool:
        return self == NO_NEEDS

    def to_wire(self) -> dict[str, Any]:
        """The JSON object; empty when nothing is asked."""
        wire: dict[str, Any] = {
            "cpus": self.cpus,
            "memoryBytes": self.memory_bytes,
            "diskBytes": self.disk_bytes,
            "gpus": self.gpus.to_wire() if self.gpus else None,
            "os": list(self.os),
            "arch": list(self.arch),
            "level": self.level,
            "labels": list(self.labels),
            "tee": list(self.tee),
            "alike": self.alike.value if self.alike is not Alike.ANY else "",
            "priority": self.priority,
            "network": list(self.network),
        }
        return {name: value for name, value in wire.items() if value}


NO_NEEDS = Needs()
"""Nothing is asked."""


def needs_from_wire(wire: Mapping[str, Any]) -> Needs:
    """Read a ``needs`` object that the manifest's schema took."""
    gpus = wire.get("gpus")
    return Needs(
        cpus=wire.get("cpus", 0),
        memory_bytes=wire.get("memoryBytes", 0),
        disk_bytes=wire.get("diskBytes", 0),
        gpus=GpuNeed(gpus["count"], gpus.get("memoryBytes", 0), gpus.get("model", "")) if gpus else None,
        os=tuple(wire.get("os", ())),
        arch=tuple(wire.get("arch", ())),
        level=wire.get("level", ""),
        labels=tuple(wire.get("labels", ())),
        tee=tuple(wire.get("tee", ())),
        alike=Alike(wire.get("alike", "any")),
        priority=wire.get("priority", 0),
        network=tuple(wire.get("network", ())),
    )


def machine_class(machine: Machine | None, alike: Alike) -> str | None:
    """The class of a machine as far as ``alike`` asks: replicas of one task are all of one class.

    Empty when nothing is asked; None when the machine does not say enough to be in any class.
    """
    if alike is Alike.ANY:
        return ""
    if machine is None or not machine.os or not machine.arch:
        return None
    if alike is Alike.SYSTEM:
        return f"{machine.os}/{machine.arch}"
    return f"{machine.os}/{machine.arch}/{machine.cpu_family}" if machine.cpu_family else None
