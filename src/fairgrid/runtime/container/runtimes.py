"""Runtimes of the level ``container``."""

from __future__ import annotations

from typing import Final

from fairgrid.protocol.app_types import Level
from fairgrid.runtime.levels import RuntimeInfo, described

__all__ = ["ARCHITECTURE_OF", "ARCHIVE_SUFFIX", "CONTAINER_RUNTIMES", "REFERENCE_SUFFIX"]

ARCHIVE_SUFFIX: Final = ".oci.tar"
REFERENCE_SUFFIX: Final = ".image.json"

_PROGRAM: Final = "an OCI archive, or an image's digest in a registry"

CONTAINER_RUNTIMES: Final[tuple[RuntimeInfo, ...]] = (
    described(
        "oci/linux-x86_64",
        Level.CONTAINER,
        summary="An OCI image for 64-bit PCs, run by podman or docker",
        program=_PROGRAM,
        suffixes=(ARCHIVE_SUFFIX, REFERENCE_SUFFIX),
    ),
    described(
        "oci/linux-aarch64",
        Level.CONTAINER,
        summary="An OCI image for 64-bit ARM machines, run by podman or docker",
        program=_PROGRAM,
    ),
    described(
        "oci-gvisor/linux-x86_64",
        Level.CONTAINER,
        summary="An OCI image for 64-bit PCs, behind gVisor's own kernel",
        program=_PROGRAM,
    ),
)

ARCHITECTURE_OF: Final = {
    "oci/linux-x86_64": "amd64",
    "oci/linux-aarch64": "arm64",
    "oci-gvisor/linux-x86_64": "amd64",
}
"""What images call the architecture of each runtime."""
