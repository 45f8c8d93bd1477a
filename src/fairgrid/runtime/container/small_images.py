"""Images of one program of some hundred bytes, made here: a job that does nothing, and a container that only waits."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final

from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive

__all__ = ["write_nothing_image", "write_waiting_image"]

_MACHINES: Final = {"amd64": 62, "arm64": 183}
# exit(0), in the two machine languages: x86-64 `mov eax, 60; xor edi, edi; syscall`,
# ARM `mov x8, 93; mov x0, 0; svc 0`.
_NOTHING: Final = {
    "amd64": bytes.fromhex("b83c00000031ff0f05"),
    "arm64": bytes.fromhex("a80b8052000080d2010000d4"),
}
# Until it is killed: x86-64 `mov eax, 34 (pause); syscall; jmp` to the start,
# ARM `mov x8, 73 (ppoll); mov x0 to x4, 0; svc 0; b` to the start.
_WAITING: Final = {
    "amd64": bytes.fromhex("b8220000000f05ebf7"),
    "arm64": bytes.fromhex("280980d2000080d2010080d2020080d2030080d2040080d2010000d4f9ffff17"),
}
_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56


def write_nothing_image(target: Path, architecture: str) -> None:
    """Write the OCI archive of a job that ends at once, with exit code 0."""
    _write(target, architecture, _NOTHING[architecture])


def write_waiting_image(target: Path, architecture: str) -> None:
    """Write the OCI archive of a program that waits until it is killed; a file that is there is taken for it."""
    if target.exists():
        return
    new = target.with_name(f"{target.name}.{os.getpid()}")
    _write(new, architecture, _WAITING[architecture])
    new.replace(target)


def _write(target: Path, architecture: str, code: bytes) -> None:
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9),
        *(2, _MACHINES[architecture], 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    program = ImageFile("program", header + segment + code, executable=True)
    write_archive(target, [program], RunConfig(entrypoint=("/program",)), architecture=architecture)
