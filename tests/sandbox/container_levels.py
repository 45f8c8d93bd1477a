"""What the container engines share in the escape suite."""

from __future__ import annotations

from pathlib import Path

from fairgrid.runtime.container.oci_writer import ImageFile, RunConfig, write_archive
from fairgrid.runtime.interface import Stop
from tests.containers import ARCHITECTURE, new_provider
from tests.sandbox.attacks import LevelUnderTest

__all__ = ["container_level"]

_GVISORS_OWN = {
    "mounts": "gVisor's kernel makes namespaces and mounts that exist only in itself",
    "kernel": "gVisor's kernel answers these calls itself, and some of them kindly: its log is a joke of its own",
    "devices": "gVisor's kernel has a /dev/fuse and a /dev/net/tun of its own",
}


def container_level(flavour: str) -> LevelUnderTest:
    """One engine."""
    stops = {"scratch-bomb": frozenset({Stop.EXITED, Stop.MEMORY, Stop.OUTPUT})}
    if flavour == "gvisor":
        # Threads of its kernel count as well, so the number of processes is bounded by the memory that they take.
        stops |= {name: frozenset({Stop.MEMORY, Stop.WALL_CLOCK, Stop.CPU}) for name in ("fork-bomb", "fork-for-ever")}
    return LevelUnderTest(
        flavour,
        lambda: new_provider(flavour).sandbox(),
        _program,
        not_here=_GVISORS_OWN if flavour == "gvisor" else {},
        stops=stops,
        own_paths=frozenset({"/run"}),
    )


def _program(executable: Path, folder: Path) -> Path:
    folder.mkdir(parents=True)
    program = folder / "attack.oci.tar"
    files = [ImageFile("attack", executable, executable=True)]
    write_archive(program, files, RunConfig(entrypoint=("/attack",)), architecture=ARCHITECTURE)
    return program
