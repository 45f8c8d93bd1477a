"""The image of a job that does nothing, for trials: one program of some hundred bytes, made here."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive

__all__ = ["write_nothing_image"]

# exit(0), in the two machine languages: x86-64 `mov eax, 60; xor edi, edi; syscall`,
# ARM `mov x8, 93; mov x0, 0; svc 0`.
_MACHINES: Final = {
    "amd64": (62, bytes.fromhex("b83c00000031ff0f05")),
    "arm64": (183, bytes.fromhex("a80b8052000080d2010000d4")),
}
_BASE: Final = 0x400000
_HEADERS: Final = 64 + 56


def write_nothing_image(target: Path, architecture: str) -> None:
    """Write its OCI archive."""
    machine, code = _MACHINES[architecture]
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01" + bytes(9),
        *(2, machine, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    program = ImageFile("nothing", header + segment + code, executable=True)
    write_archive(target, [program], RunConfig(entrypoint=("/nothing",)), architecture=architecture)
