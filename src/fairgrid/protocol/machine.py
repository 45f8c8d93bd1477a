"""What a worker says of its machine when it enrols: claims, signed by it, that its pool tests before it relies on them.

Whole numbers only, in bytes, bytes a second and fuel a second, so that the canonical JSON of the claims is one text.
None of it is believed because it was said: the pool holds it against timings of real work.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import rfc8785
from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from fairgrid.protocol.hexes import checksum, keccak

__all__ = ["MACHINE_FORMAT", "MAX_COUNT", "Benchmark", "Gpu", "Machine", "claims_of", "machine_message"]

MACHINE_FORMAT: Final = "machine/1"
MAX_COUNT: Final = (1 << 53) - 1
"""Largest number in a claim: what every JSON reader keeps exactly."""

_Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
_Name = Annotated[str, Field(max_length=100)]
_Names = Annotated[tuple[_Name, ...], Field(max_length=64)]
_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(config=_STRICT, frozen=True, slots=True)
class Gpu:
    """One graphics processor."""

    model: _Name
    memory_bytes: _Count


@dataclass(config=_STRICT, frozen=True, slots=True)
class Benchmark:
    """What the worker measured of itself; 0 means that it was not measured."""

    fuel_per_s: _Count = 0
    """Fuel that one slot burns a second in the deterministic WebAssembly runtime."""
    memory_bytes_per_s: _Count = 0
    """Bytes copied in memory a second."""
    disk_bytes_per_s: _Count = 0
    """Bytes written to the worker's folder a second, until they are on the disk."""
    download_bytes_per_s: _Count = 0
    """Bytes received a second from the network's storage."""
    measured_at: _Count = 0
    """The worker's own clock, in seconds since the epoch."""


@dataclass(config=_STRICT, frozen=True, slots=True)
class Machine:
    """What a worker offers: what its owner gives of the machine, not what the machine has. 0 or empty: not said."""

    cpus: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Processors for jobs."""
    memory_bytes: _Count = 0
    """Memory for all jobs together."""
    disk_bytes: _Count = 0
    """Disk for all jobs together, inputs kept for later included."""
    gpus: Annotated[tuple[Gpu, ...], Field(max_length=64)] = ()
    os: _Name = ""
    """``linux``, ``macos`` or ``windows``."""
    arch: _Name = ""
    """``x86_64``, ``aarch64`` or what the system calls itself."""
    cpu_family: _Name = ""
    """Maker and family of the processor, such as ``GenuineIntel-6-143``: machines of one family round alike."""
    runtimes: _Names = ()
    """Runtime ids (decision 13) that are installed and allowed."""
    levels: _Names = ()
    """Isolation levels that the owner allows: ``wasm``, ``process``, ``container``, ``vm``."""
    labels: _Names = ()
    """Words of the owner's choice, which a pool may ask for (``eu``, ``ssd``); they prove nothing."""
    tee: _Names = ()
    """Kinds of trusted execution environment (``sgx``, ``tdx``, ``sev-snp``)."""
    benchmark: Benchmark | None = None
    network: _Names | None = None
    """Where the owner lets jobs connect to (`fairgrid.protocol.network`); None: nowhere."""
    network_runtimes: _Names | None = None
    """Runtimes that can give a job that network, and nothing beside it."""


_adapter = TypeAdapter(Machine)
_NEWER: Final = ("network", "network_runtimes")


def claims_of(machine: Machine) -> dict[str, Any]:
    """The machine as plain JSON values. Who offers no network says nothing of it, as machines did before they could."""
    claims: dict[str, Any] = _adapter.dump_python(machine, mode="json")
    return {name: value for name, value in claims.items() if value is not None or name not in _NEWER}


def machine_message(chain_id: int, hub: str, workerpool: str, worker: str, nonce: str, machine: Machine) -> bytes:
    """The 32 bytes that the worker signs as an EIP-191 message for its claims.

    keccak256 of the canonical JSON (RFC 8785) of claims, chain, hub, workerpool, worker and the challenge's nonce:
    claims of another worker, or of yesterday, cannot be sent again.
    """
    return keccak(
        rfc8785.dumps(
            {
                "fairgrid": MACHINE_FORMAT,
                "chainId": str(chain_id),
                "hub": checksum(hub),
                "workerpool": checksum(workerpool),
                "worker": checksum(worker),
                "nonce": nonce,
                "machine": claims_of(machine),
            }
        )
    )
